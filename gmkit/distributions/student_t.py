"""Student's t density, the textbook relative of the general robust density."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

Array = jax.Array


def log_prob(x: Array, df: Any, scale: Any = 1.0) -> Array:
    """Log-density of `scale` times a t variable, nats, element by element.

    Args:
      x: residuals of any shape.
      df: degrees of freedom, positive; broadcast against `x`.
      scale: positive; broadcast against `x`.
    """
    x, df, scale = jnp.broadcast_arrays(x, df, scale)
    normaliser = jax.lax.lgamma(0.5 * df) - jax.lax.lgamma(0.5 * (df + 1.0))
    tail = (df + 1.0) * jnp.log1p(jnp.square(x / scale) / df) + jnp.log(df)
    return -0.5 * tail - jnp.log(scale) - normaliser - 0.5 * math.log(math.pi)


def sample(key: Array, df: Any, scale: Any = 1.0, shape: tuple[int, ...] | None = None) -> Array:
    """Draws, reparameterised.

    Args:
      key: typed PRNG key.
      df: degrees of freedom, positive.
      scale: positive.
      shape: of the result, to which df and scale broadcast; None for their own.
    """
    df, scale = jnp.broadcast_arrays(df, scale)
    shape = df.shape if shape is None else shape
    df, scale = jnp.broadcast_to(df, shape), jnp.broadcast_to(scale, shape)
    return scale * jax.random.t(key, df, shape)
