"""Energies one can sample from, and the algebra that composes them."""

from gmkit.energies.density_ratio import DensityRatio
from gmkit.energies.latent import Potential, latent_posterior, prior_potential
from gmkit.energies.linear_gaussian import LinearGaussian

__all__ = ["DensityRatio", "LinearGaussian", "Potential", "latent_posterior", "prior_potential"]
