"""Arithmetic on batches whose rows are independent examples of any shape."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp


def per_event(a: jax.Array, x: jax.Array) -> jax.Array:
    """`a`, shaped as (the last axes of) one example, with leading axes to combine with `x`."""
    return a.reshape((1,) * (x.ndim - a.ndim) + a.shape)


def per_row(a: jax.Array, x: jax.Array) -> jax.Array:
    """`a (n,)` with singleton axes, to combine with `x (n, *event)`."""
    return a.reshape(a.shape + (1,) * (x.ndim - 1))


def row_sum(x: jax.Array) -> jax.Array:
    """Sum over all axes but the first, `(n,)`."""
    return jnp.sum(x, axis=tuple(range(1, x.ndim)))


def constant_rows(value: jax.Array, x: jax.Array) -> jax.Array:
    """The same number for every row of `x`, `(n,)`."""
    return jnp.broadcast_to(value, x.shape[:1])


def sites(x: jax.Array) -> int:
    """Positions that share one vector of channels: 1 for `(n, d)`, `h * w` for images."""
    return math.prod(x.shape[1:-1])
