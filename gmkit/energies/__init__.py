"""Energies one can sample from, and the algebra that composes them."""

from gmkit.energies.attributes import discrete_log_prob, gaussian_log_prob
from gmkit.energies.composition import And, Atom, Expression, Not, Or, atoms, compose
from gmkit.energies.density_ratio import DensityRatio
from gmkit.energies.expressions import ExpressionError, parse
from gmkit.energies.latent import Potential, latent_posterior, prior_potential
from gmkit.energies.linear_gaussian import LinearGaussian

__all__ = [
    "And",
    "Atom",
    "DensityRatio",
    "Expression",
    "ExpressionError",
    "LinearGaussian",
    "Not",
    "Or",
    "Potential",
    "atoms",
    "compose",
    "discrete_log_prob",
    "gaussian_log_prob",
    "latent_posterior",
    "parse",
    "prior_potential",
]
