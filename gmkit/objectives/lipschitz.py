"""Penalties that control the Lipschitz constant of a scalar function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gmkit.core import parallel

#: A function of a batch without cross-talk between examples, `(n, ...)` -> `(n,)`.
Scalar = Callable[[jax.Array], jax.Array]


def interpolate(key: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    """`alpha x + (1 - alpha) y`, with one `alpha ~ U(0, 1)` per example of the global batch.

    Raises:
      ValueError: `x` and `y` differ in shape.
    """
    if x.shape != y.shape:
        raise ValueError(f"cannot interpolate {x.shape} with {y.shape}: pass equally many of both")
    alpha = jax.vmap(lambda k: jax.random.uniform(k, dtype=x.dtype))(
        parallel.example_keys(key, x.shape[0])
    ).reshape(-1, *(1,) * (x.ndim - 1))
    return alpha * x + (1.0 - alpha) * y


def squared_gradient_norms(f: Scalar, x: jax.Array) -> jax.Array:
    """`|grad f(x_i)|^2` per example, `(n,)`; no square root, so smooth at 0."""
    gradients = jax.grad(lambda y: jnp.sum(f(y)))(x)
    return jnp.sum(jnp.square(gradients), axis=tuple(range(1, x.ndim)))


def gradient_penalty(f: Scalar, real: jax.Array, fake: jax.Array, key: jax.Array) -> jax.Array:
    """Zero-centred penalty `mean |grad f|^2` on random interpolates of real and fake examples.

    Args:
      f: the energy, `(n, ...)` -> `(n,)`.
      real: examples `(n, ...)`.
      fake: as many others.
      key: PRNG key.

    Raises:
      ValueError: `real` and `fake` differ in shape.
    """
    points = jax.lax.stop_gradient(interpolate(key, real, fake))
    return parallel.batch_mean(squared_gradient_norms(f, points))


def mean_squared_parameters(params: Any) -> jax.Array:
    """Mean square over all entries of all parameters, scalar."""
    leaves = jax.tree.leaves(params)
    squares = jnp.stack([jnp.sum(jnp.square(p)) for p in leaves])
    return jnp.sum(squares) / sum(p.size for p in leaves)
