"""Densities and flows: things with `log_prob` and `sample`, as tuples of pure functions.

    density = real_nvp(d)
    params = density.init(key, x)            # x: a batch (n, d); data-initialised layers use it
    density.log_prob(params, x)              # (n,) nats
    density.sample(params, key, n)           # (n, d)

A `Density` is `flow(base, bijector)` or a base alone. Bijectors go **forward from data to
latents**; they compose by `chain`, `scanned` (equal layers, compiled once), `invert` and
`multi_scale`. Couplings and autoregressive layers are made of a conditioner (which network) and
an elementwise function (which map). Conditions are rows `cond (n, c)`, optional everywhere.
"""

from gmkit.distributions import robust, student_t
from gmkit.distributions.adaptive import (
    RESIDUALS,
    Adaptive,
    adaptive,
    adaptive_student_t,
    affine_sigmoid,
    affine_softplus,
    inverse_affine_sigmoid,
    inverse_affine_softplus,
)
from gmkit.distributions.autoregressive import autoregressive, made, made_masks, made_mixture
from gmkit.distributions.bijector import Bijector, chain, closed_form, invert, scanned
from gmkit.distributions.catalogue import FLOWS, has_normal_latents, named
from gmkit.distributions.conditioners import (
    Conditioner,
    convolutional,
    mlp,
    residual_mlp,
    separate,
)
from gmkit.distributions.continuous import (
    Field,
    Solution,
    Solver,
    concat_squash,
    continuous,
    integrate,
)
from gmkit.distributions.coupling import alternating_coupling, channel_mask, checker_mask, coupling
from gmkit.distributions.density import Density, flow, log_lik
from gmkit.distributions.elementwise import (
    Elementwise,
    additive,
    affine,
    gated,
    location_scale,
    sigmoid_affine,
)
from gmkit.distributions.flows import (
    ffjord,
    iaf,
    made_gaussian,
    maf,
    maf_mog,
    nice,
    nsf_autoregressive,
    nsf_coupling,
    real_nvp,
    residual_flow,
)
from gmkit.distributions.image_flows import glow, real_nvp_images
from gmkit.distributions.intervals import logit, shift_and_scale
from gmkit.distributions.linear import invertible_1x1, random_rotations
from gmkit.distributions.multiscale import multi_scale
from gmkit.distributions.normalisation import actnorm, batch_norm, diagonal
from gmkit.distributions.permutation import flatten, permute, reverse, squeeze
from gmkit.distributions.residual import (
    estimated_log_det,
    exact_log_det,
    fixed_point,
    residual,
    spectral_bound,
)
from gmkit.distributions.simple import (
    diagonal_gaussian,
    gaussian_mixture,
    standard_logistic,
    standard_normal,
)
from gmkit.distributions.spline import Knots, rational_quadratic, spline_knots

__all__ = [
    "FLOWS",
    "RESIDUALS",
    "Adaptive",
    "Bijector",
    "Conditioner",
    "Density",
    "Elementwise",
    "Field",
    "Knots",
    "Solution",
    "Solver",
    "actnorm",
    "adaptive",
    "adaptive_student_t",
    "additive",
    "affine",
    "affine_sigmoid",
    "affine_softplus",
    "alternating_coupling",
    "autoregressive",
    "batch_norm",
    "chain",
    "channel_mask",
    "checker_mask",
    "closed_form",
    "concat_squash",
    "continuous",
    "convolutional",
    "coupling",
    "diagonal",
    "diagonal_gaussian",
    "estimated_log_det",
    "exact_log_det",
    "ffjord",
    "fixed_point",
    "flatten",
    "flow",
    "gated",
    "gaussian_mixture",
    "glow",
    "has_normal_latents",
    "iaf",
    "integrate",
    "inverse_affine_sigmoid",
    "inverse_affine_softplus",
    "invert",
    "invertible_1x1",
    "location_scale",
    "log_lik",
    "logit",
    "made",
    "made_gaussian",
    "made_masks",
    "made_mixture",
    "maf",
    "maf_mog",
    "mlp",
    "multi_scale",
    "named",
    "nice",
    "nsf_autoregressive",
    "nsf_coupling",
    "permute",
    "random_rotations",
    "rational_quadratic",
    "real_nvp",
    "real_nvp_images",
    "residual",
    "residual_flow",
    "residual_mlp",
    "reverse",
    "robust",
    "scanned",
    "separate",
    "shift_and_scale",
    "sigmoid_affine",
    "spectral_bound",
    "spline_knots",
    "squeeze",
    "standard_logistic",
    "standard_normal",
    "student_t",
]
