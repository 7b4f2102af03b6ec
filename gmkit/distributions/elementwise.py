"""Increasing functions of one number whose parameters a network supplies.

They are what coupling and autoregressive layers apply: `forward(x, raw)` takes numbers
`x (n, *event)` and unconstrained parameters `raw (n, *event, n_params)` and returns the images
with the logarithm of the slope, both like `x`. With `raw = 0` the functions `additive`,
`affine`, `location_scale` and `rational_quadratic` are the identity.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

Pair = tuple[jax.Array, jax.Array]


class Elementwise(NamedTuple):
    """An increasing function of each coordinate.

    Attributes:
      n_params: unconstrained parameters per coordinate.
      forward: `(x, raw) -> (y, log dy/dx)`.
      inverse: `(y, raw) -> (x, log dx/dy)`.
    """

    n_params: int
    forward: Callable[[jax.Array, jax.Array], Pair]
    inverse: Callable[[jax.Array, jax.Array], Pair]


def _bounded(a: jax.Array, bound: float | None) -> jax.Array:
    """`a`, smoothly kept within +-bound; close to `a` where it is small."""
    return a if bound is None else bound * jnp.tanh(a / bound)


def additive() -> Elementwise:
    """`y = x + t` (NICE, Dinh et al. 2015); keeps volumes."""

    def forward(x: jax.Array, raw: jax.Array) -> Pair:
        return x + raw[..., 0], jnp.zeros_like(x)

    def inverse(y: jax.Array, raw: jax.Array) -> Pair:
        return y - raw[..., 0], jnp.zeros_like(y)

    return Elementwise(1, forward, inverse)


def affine(bound: float | None = None) -> Elementwise:
    """`y = x exp(s) + t` with `raw = (s, t)` (RealNVP, Dinh et al. 2017).

    Args:
      bound: keeps `s` within +-bound by a scaled tanh; None leaves it free.
    """

    def forward(x: jax.Array, raw: jax.Array) -> Pair:
        s = _bounded(raw[..., 0], bound)
        return x * jnp.exp(s) + raw[..., 1], s

    def inverse(y: jax.Array, raw: jax.Array) -> Pair:
        s = _bounded(raw[..., 0], bound)
        return (y - raw[..., 1]) * jnp.exp(-s), -s

    return Elementwise(2, forward, inverse)


def location_scale(bound: float | None = 5.0) -> Elementwise:
    """`y = (x - mu) exp(-a)` with `raw = (a, mu)` (MAF, Papamakarios et al. 2017, eq. 4).

    Args:
      bound: keeps `a` within +-bound by a scaled tanh. The paper leaves it free (None), which
        overflows in float32 for inputs far outside the data.
    """

    def forward(x: jax.Array, raw: jax.Array) -> Pair:
        a = _bounded(raw[..., 0], bound)
        return (x - raw[..., 1]) * jnp.exp(-a), -a

    def inverse(y: jax.Array, raw: jax.Array) -> Pair:
        a = _bounded(raw[..., 0], bound)
        return y * jnp.exp(a) + raw[..., 1], a

    return Elementwise(2, forward, inverse)


def gated(offset: float = 1.5, bound: float | None = 5.0) -> Elementwise:
    """`y = g x + (1 - g) mu`, `g = sigmoid(s + offset)`, `raw = (s, mu)`.

    The stable step of an inverse autoregressive flow (Kingma et al. 2016, eq. 13-14).

    Args:
      offset: makes the initial gate sigmoid(1.5) = 0.82.
      bound: keeps `s` within +-bound by a scaled tanh, so that the inverse cannot overflow.
    """

    def forward(x: jax.Array, raw: jax.Array) -> Pair:
        s = _bounded(raw[..., 0], bound) + offset
        # 1 - sigmoid(s) = sigmoid(-s), without cancellation.
        return jax.nn.sigmoid(s) * x + jax.nn.sigmoid(-s) * raw[..., 1], jax.nn.log_sigmoid(s)

    def inverse(y: jax.Array, raw: jax.Array) -> Pair:
        s = _bounded(raw[..., 0], bound) + offset
        # 1 / g = 1 + exp(-s) and (1 - g) / g = exp(-s).
        odds = jnp.exp(-s)
        return (1.0 + odds) * y - odds * raw[..., 1], -jax.nn.log_sigmoid(s)

    return Elementwise(2, forward, inverse)


def sigmoid_affine(offset: float = 2.0, floor: float = 1e-3) -> Elementwise:
    """`y = (x + t) (sigmoid(s + offset) + floor)`, `raw = (s, t)` (Glow's official code).

    Args:
      offset: makes the initial scale sigmoid(2) = 0.88.
      floor: keeps the inverse bounded.
    """

    def scale(raw: jax.Array) -> jax.Array:
        return jax.nn.sigmoid(raw[..., 0] + offset) + floor

    def forward(x: jax.Array, raw: jax.Array) -> Pair:
        s = scale(raw)
        return (x + raw[..., 1]) * s, jnp.log(s)

    def inverse(y: jax.Array, raw: jax.Array) -> Pair:
        s = scale(raw)
        return y / s - raw[..., 1], -jnp.log(s)

    return Elementwise(2, forward, inverse)
