"""From bounded data to the whole space, and from images to vectors."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from gmkit.distributions.bijector import Bijector, Cond, Params, closed_form
from gmkit.distributions.rows import row_sum


def logit(alpha: float = 0.05) -> Bijector:
    """`z = logit(alpha + (1 - 2 alpha) x)` for entries `x` in [0, 1] (Dinh et al. 2017, 4.1).

    With `alpha > 0` latents stay bounded at both ends; the inverse maps every real number to
    somewhat more than [0, 1].

    Args:
      alpha: in [0, 1/2).

    Raises:
      ValueError: alpha out of range.
    """
    if not 0.0 <= alpha < 0.5:
        raise ValueError(f"alpha={alpha}: must be in [0, 1/2)")
    scale = 1.0 - 2.0 * alpha

    def log_slope(z: jax.Array) -> jax.Array:
        """Of the inverse: `log sigmoid(z) sigmoid(-z) / scale`."""
        return row_sum(jax.nn.log_sigmoid(z) + jax.nn.log_sigmoid(-z) - math.log(scale))

    def forward(params: Params, x: jax.Array, cond: Cond) -> tuple[jax.Array, jax.Array]:
        del params, cond
        p = alpha + scale * x
        z = jnp.log(p) - jnp.log1p(-p)
        return z, -log_slope(z)

    def inverse(params: Params, z: jax.Array, cond: Cond) -> tuple[jax.Array, jax.Array]:
        del params, cond
        return (jax.nn.sigmoid(z) - alpha) / scale, log_slope(z)

    return closed_form(lambda key, x, cond: {}, forward, inverse)


def shift_and_scale(shift: float, scale: float) -> Bijector:
    """`z = (x - shift) / scale` with fixed numbers.

    Raises:
      ValueError: a scale that is not positive.
    """
    if not scale > 0:
        raise ValueError(f"scale={scale}: must be positive")

    def log_det(x: jax.Array) -> jax.Array:
        return jnp.full(x.shape[:1], math.prod(x.shape[1:]) * -math.log(scale), x.dtype)

    def forward(params: Params, x: jax.Array, cond: Cond) -> tuple[jax.Array, jax.Array]:
        del params, cond
        return (x - shift) / scale, log_det(x)

    def inverse(params: Params, z: jax.Array, cond: Cond) -> tuple[jax.Array, jax.Array]:
        del params, cond
        return scale * z + shift, -log_det(z)

    return closed_form(lambda key, x, cond: {}, forward, inverse)
