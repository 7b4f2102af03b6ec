"""Adversarial losses in the energy's sign: low energy means real. For baselines.

The critic or logit of the usual formulation is `-E`.
"""

from __future__ import annotations

import jax

from gmkit.core import parallel


def wasserstein_loss(real: jax.Array, fake: jax.Array) -> jax.Array:
    """Critic's loss `mean E_real - mean E_fake` (Arjovsky et al. 2017)."""
    return parallel.batch_mean(real) - parallel.batch_mean(fake)


def wasserstein_base_loss(fake: jax.Array) -> jax.Array:
    """Generator's loss `mean E_fake`."""
    return parallel.batch_mean(fake)


def logistic_loss(real: jax.Array, fake: jax.Array) -> jax.Array:
    """Discriminator's cross-entropy `mean log(1 + e^E_real) + mean log(1 + e^-E_fake)`."""
    return parallel.batch_mean(jax.nn.softplus(real)) + parallel.batch_mean(jax.nn.softplus(-fake))


def logistic_base_loss(fake: jax.Array) -> jax.Array:
    """Generator's non-saturating loss `mean log(1 + e^E_fake)` (Goodfellow et al. 2014)."""
    return parallel.batch_mean(jax.nn.softplus(fake))
