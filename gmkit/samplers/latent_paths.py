"""Paths between latents."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def traversal(key: jax.Array, n_points: int, d: int) -> jax.Array:
    """Latents on the way from one draw of N(0, I) to another, `(n_points, d)`.

    Points between the ends are those of the straight line, rescaled to the mean of the ends'
    norms, so that they are no closer to the origin than latents are (Nie et al. 2021).

    Args:
      key: typed key.
      n_points: with both ends, at least 2.
      d: dimension of a latent.

    Raises:
      ValueError: fewer points.
    """
    if n_points < 2:
        raise ValueError(f"n_points={n_points}: must be at least 2, the ends")
    ends = jax.random.normal(key, (2, d))
    share = (jnp.arange(n_points) / (n_points - 1))[:, None]
    line = ends[:1] + share * (ends[1:] - ends[:1])
    norm = jnp.mean(jnp.linalg.norm(ends, axis=-1))
    between = line / jnp.linalg.norm(line, axis=-1, keepdims=True) * norm
    return between.at[0].set(ends[0]).at[-1].set(ends[1])
