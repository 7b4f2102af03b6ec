"""Steps and projections of perturbations, and the best example found so far, row by row."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from gmkit.attacks.attack import Bounds, Logits
from gmkit.attacks.losses import Loss
from gmkit.core.parallel import example_normal, example_uniform

Norm = Literal["linf", "l2"]
Scalar = jax.Array | float


def per_row(a: jax.Array, like: jax.Array) -> jax.Array:
    """`a (n,)` with singleton axes, to combine with `like (n, ...)`."""
    return a.reshape(a.shape + (1,) * (like.ndim - 1))


def select(taken: jax.Array, new: Any, old: Any) -> Any:
    """Rows of `new` where `taken (n,)`, rows of `old` elsewhere, for every leaf."""
    return jax.tree.map(lambda a, b: jnp.where(per_row(taken, a), a, b), new, old)


def row_norm(x: jax.Array, norm: Norm) -> jax.Array:
    """Largest absolute value or Euclidean length of every row, `(n,)`."""
    axes = tuple(range(1, x.ndim))
    largest = jnp.max(jnp.abs(x), axis=axes)
    if norm == "linf":
        return largest
    # Scaled, so that squares of gradients neither vanish nor overflow.
    scale = jnp.where(largest > 0, largest, 1.0)
    return scale * jnp.sqrt(jnp.sum((x / per_row(scale, x)) ** 2, axis=axes))


def direction(grad: jax.Array, norm: Norm) -> jax.Array:
    """Steepest ascent of unit length in `norm`: the gradient's sign, or itself normalised.

    0 where the gradient is 0.
    """
    if norm == "linf":
        return jnp.sign(grad)
    length = row_norm(grad, "l2")
    return grad / per_row(jnp.where(length > 0, length, 1.0), grad)


def project(z: jax.Array, x: jax.Array, epsilon: Scalar, norm: Norm, bounds: Bounds) -> jax.Array:
    """`z` brought into the ball of radius `epsilon` around `x`, then into the box."""
    if norm == "linf":
        z = jnp.clip(z, x - epsilon, x + epsilon)
    else:
        delta = z - x
        length = row_norm(delta, "l2")
        shrink = jnp.where(length > epsilon, epsilon / jnp.maximum(length, 1e-30), 1.0)
        z = x + delta * per_row(shrink, delta)
    return jnp.clip(z, *bounds)


def random_start(
    key: jax.Array, x: jax.Array, epsilon: float, norm: Norm, bounds: Bounds
) -> jax.Array:
    """A point uniform in the ball around every row, cut by the box; keyed per row."""
    n, shape = x.shape[0], x.shape[1:]
    if norm == "linf":
        return project(x + epsilon * example_uniform(key, n, shape), x, epsilon, norm, bounds)
    key_direction, key_radius = jax.random.split(key)
    unit = direction(example_normal(key_direction, n, shape), "l2")
    u = 0.5 * (example_uniform(key_radius, n, ()) + 1.0)
    radius = epsilon * u ** (1.0 / math.prod(shape))
    return project(x + per_row(radius, x) * unit, x, epsilon, norm, bounds)


def checked_logits(model: Logits, x: jax.Array) -> jax.Array:
    """Logits as float32 `(n, K)`.

    Raises:
      ValueError: the model returns another shape.
    """
    logits = model(x)
    if logits.ndim != 2 or logits.shape[0] != x.shape[0]:
        raise ValueError(
            f"the model returned shape {logits.shape} for inputs {x.shape}: it must return logits "
            "(n, K), one row per input"
        )
    return logits.astype(jnp.float32)


def with_gradient(model: Logits, raised: Loss) -> Callable[..., tuple[jax.Array, ...]]:
    """`(x, labels) -> (values (n,), logits (n, K), gradient (n, ...))` of what an attack raises.

    Entries of the gradient that are not finite are 0: they move nothing.
    """

    def total(x: jax.Array, labels: Any) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        logits = checked_logits(model, x)
        values = raised(logits, labels)
        return jnp.sum(values), (values, logits)

    def evaluate(x: jax.Array, labels: Any) -> tuple[jax.Array, ...]:
        grad, (values, logits) = jax.grad(total, has_aux=True)(x, labels)
        return values, logits, jnp.where(jnp.isfinite(grad), grad, 0.0)

    return evaluate


def fooled(logits: jax.Array, labels: jax.Array, targeted: bool) -> jax.Array:
    """Whether the prediction is the target, or is not the true label; bool `(n,)`."""
    hit = jnp.argmax(logits, axis=-1) == labels
    return hit if targeted else ~hit


class Best(NamedTuple):
    """The strongest example of every row so far.

    Attributes:
      x: examples `(n, ...)`.
      fooled: whether they succeed, bool `(n,)`.
      loss: what the attack raises, `(n,)`.
    """

    x: jax.Array
    fooled: jax.Array
    loss: jax.Array


def nothing_yet(x: jax.Array) -> Best:
    """Before the first example: the inputs themselves, which anything replaces."""
    n = x.shape[:1]
    return Best(x, jnp.zeros(n, bool), jnp.full(n, -jnp.inf))


def better(new: Best, old: Best) -> Best:
    """Row by row the one that succeeds, or of two alike the one of larger loss."""
    alike = new.fooled == old.fooled
    return select(jnp.where(alike, new.loss > old.loss, new.fooled), new, old)
