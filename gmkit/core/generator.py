"""A trained generator of images as two functions of its latents."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp


class LatentGenerator(NamedTuple):
    """`x = synthesis(mapping(z))` with `z ~ N(0, I)`, its weights bound.

    Attributes:
      mapping: `(..., z_dim)` -> `(..., w_dim)`, one latent or any batch of them.
      synthesis: `(n, w_dim)`, or `(n, num_ws, w_dim)` for a latent per layer, to images
        `(n, H, W, C)`, nominally in [-1, 1].
      z_dim, w_dim, num_ws: sizes; `num_ws` is 1 where layers share their latent.
      w_avg: mean of `mapping(z)`, `(w_dim,)`.
    """

    mapping: Callable[[jax.Array], jax.Array]
    synthesis: Callable[[jax.Array], jax.Array]
    z_dim: int
    w_dim: int
    num_ws: int
    w_avg: jax.Array


def truncate(generator: LatentGenerator, psi: float | jax.Array) -> LatentGenerator:
    """The generator with `w_avg + psi (w - w_avg)` for every w (Karras et al. 2019, section B)."""

    def mapping(z: jax.Array) -> jax.Array:
        w = generator.mapping(z)
        mean = jnp.broadcast_to(generator.w_avg, w.shape)
        return mean + psi * (w - mean)

    return generator._replace(mapping=mapping)


def from_decoder(decode: Callable[[jax.Array], jax.Array], z_dim: int) -> LatentGenerator:
    """A decoder of standard normal latents as a generator whose mapping is the identity.

    Args:
      decode: `(n, z_dim)` -> `(n, H, W, C)`.
      z_dim: size of a latent.
    """
    return LatentGenerator(lambda z: z, decode, z_dim, z_dim, 1, jnp.zeros(z_dim))
