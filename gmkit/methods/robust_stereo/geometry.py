"""What a disparity does to images, and block matching."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp

from gmkit import objectives

Array = jax.Array
#: Side of the windows that block matching compares.
WINDOW = 7


def resize(x: Array, shape: tuple[int, int]) -> Array:
    """Images `(..., H, W, C)` at another size; a smaller one is smoothed first."""
    return jax.image.resize(x, (*x.shape[:-3], *shape, x.shape[-1]), "linear")


def pyramid_shapes(shape: tuple[int, int], levels: int) -> tuple[tuple[int, int], ...]:
    """Sizes `(H, W)` of the levels, each half the one before, rounded up.

    Raises:
      ValueError: fewer than one level, or one of less than 4 pixels.
    """
    shapes = tuple((-(-shape[0] // 2**k), -(-shape[1] // 2**k)) for k in range(levels))
    if levels < 1 or min(shapes[-1]) < 4:
        raise ValueError(
            f"levels={levels}: images of {shape[0]}x{shape[1]} have 1 to "
            f"{max(1, int(math.log2(min(shape) / 4)) + 1)} levels of at least 4 pixels"
        )
    return shapes


def disparity_at(grids: tuple[Array, ...], level: int) -> Array:
    """Disparity `(H_l, W_l)` of the images of a level, in their pixels.

    The sum of the grids of that level and the coarser ones, each in pixels of its own level.
    """
    height, width = grids[level].shape
    grown = [
        resize(g[..., None], (height, width))[..., 0] * (width / g.shape[1]) for g in grids[level:]
    ]
    return functools.reduce(jnp.add, grown)


def warp(right: Array, disparity: Array) -> tuple[Array, Array]:
    """The right images as the left camera sees them.

    Args:
      right: `(..., H, W, C)`.
      disparity: `(H, W)` of the left image, in pixels.

    Returns:
      Samples, bilinear, of the right images at `x - disparity`, `(..., H, W, C)`; and whether
      that lies inside them, bool `(H, W)`. Outside, the nearest column is repeated.
    """
    height, width = disparity.shape
    x = jnp.broadcast_to(jnp.arange(width, dtype=disparity.dtype), disparity.shape) - disparity
    inside = (x >= 0.0) & (x <= width - 1.0)
    x = jnp.clip(x, 0.0, width - 1.0)
    left = jnp.clip(jnp.floor(x), 0.0, width - 2.0)
    share = (x - left)[..., None]
    column = left.astype(jnp.int32)
    row = jnp.broadcast_to(jnp.arange(height)[:, None], column.shape)
    a, b = right[..., row, column, :], right[..., row, column + 1, :]
    share = share.reshape((1,) * (a.ndim - 3) + share.shape)
    return a + share * (b - a), inside


def residuals(left: Array, right: Array, disparity: Array) -> tuple[Array, Array]:
    """Warped right minus left images `(B, H, W, C)`, 0 where the match lies outside; and where."""
    warped, inside = warp(right, disparity)
    return jnp.where(inside[None, :, :, None], warped - left, 0.0), inside


def roughness(disparity: Array, left: Array, edge: float, bend: float) -> Array:
    """Mean over pixels of the Charbonnier loss of second differences, for every image.

    Along both axes; a plane costs nothing, however slanted.

    Args:
      disparity: `(H, W)`.
      left: `(B, H, W, C)`; across its edges a difference costs less, by exp(-edge * contrast)
        with the contrast of both pairs of neighbours, mean over channels.
      edge: how much less; 0 is nothing.
      bend: difference at which the loss turns from squares to absolute values, in pixels.

    Returns:
      `(B,)`.
    """
    total = jnp.zeros(left.shape[0], disparity.dtype)
    for axis in (0, 1):
        contrast = jnp.mean(jnp.abs(jnp.diff(left, axis=axis + 1)), axis=-1)
        n = contrast.shape[axis + 1]
        one, other = (jax.lax.slice_in_dim(contrast, i, n - 1 + i, axis=axis + 1) for i in (0, 1))
        cost = objectives.general_loss(jnp.diff(disparity, 2, axis=axis), 1.0, bend)
        total += jnp.sum(jnp.exp(-edge * (one + other)) * cost[None], axis=(1, 2))
    return total / disparity.size


def block_matching(left: Array, right: Array, max_disparity: int, window: int = WINDOW) -> Array:
    """Whole disparities by the smallest sum of squared differences over a window.

    Args:
      left, right: `(H, W, C)`.
      max_disparity: the largest that is tried.
      window: side of the square window, odd.

    Returns:
      `(H, W)`, float32. Matches outside the right image are not considered.
    """
    height, width, _ = left.shape

    def cost(disparity: Array) -> Array:
        warped, inside = warp(right, jnp.broadcast_to(disparity, (height, width)))
        squares = jnp.where(inside, jnp.sum(jnp.square(warped - left), axis=-1), 0.0)
        add = lambda x: jax.lax.reduce_window(x, 0.0, jax.lax.add, (window, window), (1, 1), "SAME")
        mean = add(squares) / jnp.maximum(add(inside.astype(squares.dtype)), 1.0)
        return jnp.where(inside, mean, jnp.inf)

    costs = jax.lax.map(cost, jnp.arange(max_disparity + 1, dtype=left.dtype))
    return jnp.argmin(costs, axis=0).astype(jnp.float32)
