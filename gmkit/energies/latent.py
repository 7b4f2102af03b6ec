"""Posterior over latents of a base that an energy re-weights."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

#: Potential of independent rows, `(n, d)` -> `(n,)`.
Potential = Callable[[jax.Array], jax.Array]


def prior_potential(z: jax.Array) -> jax.Array:
    """`|z|^2 / 2` per row: the standard normal up to a constant, `(n, d)` -> `(n,)`."""
    return 0.5 * jnp.sum(jnp.square(z), axis=-1)


def latent_posterior(
    energy: Callable[[jax.Array], jax.Array],
    decode: Callable[[jax.Array], jax.Array],
    beta: jax.Array | float = 1.0,
) -> Potential:
    """Potential `U(z) = |z|^2 / 2 + beta E(B(z))` of the latent posterior (Arbel et al. 2021).

    With `beta = 1`, decoded samples of `exp(-U)` are samples of the energy based model. Both
    networks must be in evaluation mode: with batch statistics the rows depend on each other, and
    U is no function of z.

    Args:
      energy: examples `(n, ...)` -> energies `(n,)`.
      decode: latents `(n, d)` -> examples `(n, ...)`.
      beta: inverse temperature that multiplies the energy; 0 gives the prior.
    """

    def potential(z: jax.Array) -> jax.Array:
        return prior_potential(z) + beta * energy(decode(z))

    return potential
