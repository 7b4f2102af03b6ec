"""Monotone rational-quadratic splines with linear tails (Durkan et al. 2019)."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gmkit.distributions.elementwise import Elementwise, Pair


class Knots(NamedTuple):
    """Knots of one spline per coordinate.

    Attributes:
      x: positions, increasing, `(..., K + 1)`, from -bound to bound exactly.
      y: their images, likewise.
      slopes: derivatives there, `(..., K + 1)`; 1 at both ends.
    """

    x: jax.Array
    y: jax.Array
    slopes: jax.Array


class _Bin(NamedTuple):
    """The bin of every point: corner, width, mean slope, slopes at its two ends."""

    x: jax.Array
    y: jax.Array
    width: jax.Array
    mean: jax.Array
    left: jax.Array
    right: jax.Array


def _positions(raw: jax.Array, bound: float, smallest: float) -> jax.Array:
    """Knot positions from raw sizes `(..., K)`: every bin has at least `smallest` of the range."""
    n_bins = raw.shape[-1]
    sizes = smallest + (1.0 - n_bins * smallest) * jax.nn.softmax(raw, axis=-1)
    inner = bound * (2.0 * jnp.cumsum(sizes[..., :-1], axis=-1) - 1.0)
    ends = jnp.full((*raw.shape[:-1], 1), bound, raw.dtype)
    return jnp.concatenate([-ends, inner, ends], axis=-1)


def spline_knots(
    raw: jax.Array,
    n_bins: int,
    bound: float = 5.0,
    min_size: float = 1e-3,
    min_slope: float = 1e-3,
) -> Knots:
    """Knots from unconstrained parameters.

    Args:
      raw: `(..., 3 K - 1)`: K widths, K heights, K - 1 inner slopes; zeros give the identity.
      n_bins: K.
      bound: the spline acts on [-bound, bound].
      min_size: smallest width and height, as a share of the range `2 bound`.
      min_slope: smallest derivative at a knot.
    """
    widths, heights = raw[..., :n_bins], raw[..., n_bins : 2 * n_bins]
    # softplus(0 + offset) = 1 - min_slope: raw slopes of zero are slopes of one.
    offset = math.log(math.expm1(1.0 - min_slope))
    inner = min_slope + jax.nn.softplus(raw[..., 2 * n_bins :] + offset)
    ones = jnp.ones((*raw.shape[:-1], 1), raw.dtype)
    return Knots(
        _positions(widths, bound, min_size),
        _positions(heights, bound, min_size),
        jnp.concatenate([ones, inner, ones], axis=-1),
    )


def _bin_of(value: jax.Array, along: jax.Array, knots: Knots) -> _Bin:
    """The bins that hold `value (...)`, searched in `along`, one of the knots' coordinates."""
    n_bins = along.shape[-1] - 1
    index = jnp.sum(value[..., None] >= along[..., 1:-1], axis=-1, dtype=jnp.int32)
    index = jnp.clip(index, 0, n_bins - 1)[..., None]

    def take(a: jax.Array, shift: int) -> jax.Array:
        return jnp.take_along_axis(a, index + shift, axis=-1)[..., 0]

    width = take(knots.x, 1) - take(knots.x, 0)
    mean = (take(knots.y, 1) - take(knots.y, 0)) / width
    return _Bin(
        take(knots.x, 0), take(knots.y, 0), width, mean, take(knots.slopes, 0),
        take(knots.slopes, 1),
    )  # fmt: skip


def _log_slope(xi: jax.Array, b: _Bin) -> tuple[jax.Array, jax.Array]:
    """Log-derivative at the relative position `xi` in the bin, and the denominator (eq. 4-5)."""
    both = xi * (1.0 - xi)
    denominator = b.mean + (b.left + b.right - 2.0 * b.mean) * both
    numerator = b.right * jnp.square(xi) + 2.0 * b.mean * both + b.left * jnp.square(1.0 - xi)
    return 2.0 * jnp.log(b.mean) + jnp.log(numerator) - 2.0 * jnp.log(denominator), denominator


def rational_quadratic(
    n_bins: int = 8, bound: float = 5.0, min_size: float = 1e-3, min_slope: float = 1e-3
) -> Elementwise:
    """Rational-quadratic spline on [-bound, bound], the identity outside (Durkan et al. 2019).

    Derivatives are continuous everywhere. Both directions are computed on inputs moved into the
    interval and chosen afterwards, so that no branch can poison a gradient, and the inverse
    clamps its discriminant at 0 and its solution to the bin.

    Args:
      n_bins: K; `3 K - 1` parameters per coordinate.
      bound: half the width of the interval; standardise the data for it.
      min_size: smallest width and height of a bin, as a share of the interval.
      min_slope: smallest derivative at a knot.

    Raises:
      ValueError: `n_bins` bins of `min_size` do not fit, or there is no bin.
    """
    if n_bins < 1 or n_bins * min_size >= 1.0:
        raise ValueError(f"n_bins={n_bins} of min_size={min_size} do not fit: need 0 < product < 1")

    def knots_of(raw: jax.Array) -> Knots:
        return spline_knots(raw, n_bins, bound, min_size, min_slope)

    def forward(x: jax.Array, raw: jax.Array) -> Pair:
        inside = jnp.abs(x) < bound
        knots, point = knots_of(raw), jnp.where(inside, x, 0.0)
        b = _bin_of(point, knots.x, knots)
        xi = (point - b.x) / b.width
        log_slope, denominator = _log_slope(xi, b)
        rise = b.mean * jnp.square(xi) + b.left * xi * (1.0 - xi)
        y = b.y + b.mean * b.width * rise / denominator
        return jnp.where(inside, y, x), jnp.where(inside, log_slope, 0.0)

    def inverse(y: jax.Array, raw: jax.Array) -> Pair:
        inside = jnp.abs(y) < bound
        knots, point = knots_of(raw), jnp.where(inside, y, 0.0)
        b = _bin_of(point, knots.y, knots)
        # The quadratic of eq. 6-8 over the bin's height, with all terms of the size of slopes.
        v = (point - b.y) / (b.mean * b.width)
        bend = v * (b.left + b.right - 2.0 * b.mean)
        qa, qb, qc = b.mean - b.left + bend, b.left - bend, -b.mean * v
        discriminant = jnp.square(qb) - 4.0 * qa * qc
        positive = discriminant > 0.0
        root = jnp.where(positive, jnp.sqrt(jnp.where(positive, discriminant, 1.0)), 0.0)
        down = qb + root
        nonzero = down > 0.0
        xi = jnp.where(nonzero, -2.0 * qc / jnp.where(nonzero, down, 1.0), 0.0)
        # `clip` would halve the gradient at its bounds, which are the knots.
        xi = jnp.where(xi < 0.0, 0.0, jnp.where(xi > 1.0, 1.0, xi))
        log_slope, _ = _log_slope(xi, b)
        return jnp.where(inside, b.x + xi * b.width, y), jnp.where(inside, -log_slope, 0.0)

    return Elementwise(3 * n_bins - 1, forward, inverse)
