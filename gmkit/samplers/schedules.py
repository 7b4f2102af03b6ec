"""Step sizes of a run, as arrays `(T,)` that a scan can eat."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp


def constant(step_size: float, n_steps: int) -> jax.Array:
    """The same step size `n_steps` times, float32 `(n_steps,)`."""
    return jnp.full((n_steps,), step_size, jnp.float32)


def divided(step_size: float, n_steps: int, every: int, factor: float = 10.0) -> jax.Array:
    """`step_size / factor^(t // every)` for t = 0, 1, ..., float32 `(n_steps,)`.

    Raises:
      ValueError: `every` below 1 or a factor that is not positive.
    """
    if every < 1 or not factor > 0:
        raise ValueError(f"every={every}, factor={factor}: both must be positive")
    exponent = (jnp.arange(n_steps) // every).astype(jnp.float32)
    return step_size / jnp.asarray(factor, jnp.float32) ** exponent


def from_schedule(schedule: Callable[[jax.Array], jax.Array | float], n_steps: int) -> jax.Array:
    """Values of an optax schedule at counts 0 .. n_steps - 1, float32 `(n_steps,)`."""
    return jax.vmap(lambda t: jnp.asarray(schedule(t), jnp.float32))(jnp.arange(n_steps))
