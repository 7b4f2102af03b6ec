"""Bijectors that only move coordinates: their log-determinant is 0."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from gmkit.distributions.bijector import Bijector, Cond, Params, closed_form


def _moving(
    forward: Callable[[jax.Array], jax.Array], inverse: Callable[[jax.Array], jax.Array]
) -> Bijector:
    def still(move: Callable[[jax.Array], jax.Array]):
        def call(params: Params, x: jax.Array, cond: Cond) -> tuple[jax.Array, jax.Array]:
            del params, cond
            return move(x), jnp.zeros(x.shape[:1], x.dtype)

        return call

    return closed_form(lambda key, x, cond: {}, still(forward), still(inverse))


def reverse() -> Bijector:
    """Reverses the order of the last axis (features or channels)."""
    return _moving(lambda x: x[..., ::-1], lambda z: z[..., ::-1])


def permute(order: jax.Array) -> Bijector:
    """`z[..., i] = x[..., order[i]]`; `order (d,)` is a permutation and may be traced."""
    order = jnp.asarray(order)
    return _moving(lambda x: x[..., order], lambda z: z[..., jnp.argsort(order)])


def flatten(shape: tuple[int, ...]) -> Bijector:
    """Examples of `shape` to vectors, row by row."""
    return _moving(lambda x: x.reshape(x.shape[0], -1), lambda z: z.reshape(z.shape[0], *shape))


def squeeze() -> Bijector:
    """`(n, 2h, 2w, c)` to `(n, h, w, 4c)`: every 2 x 2 window becomes channels.

    Raises:
      ValueError: height or width is odd.
    """

    def forward(x: jax.Array) -> jax.Array:
        n, h, w, c = x.shape
        if h % 2 or w % 2:
            raise ValueError(f"squeeze needs an even height and width, got {h} x {w}: pad or crop")
        x = x.reshape(n, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5)
        return x.reshape(n, h // 2, w // 2, 4 * c)

    def inverse(z: jax.Array) -> jax.Array:
        n, h, w, c = z.shape
        z = z.reshape(n, h, w, 2, 2, c // 4).transpose(0, 1, 3, 2, 4, 5)
        return z.reshape(n, 2 * h, 2 * w, c // 4)

    return _moving(forward, inverse)
