"""Flows by name, with the architectures of their papers as defaults."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp

from gmkit.distributions.autoregressive import autoregressive, made, made_mixture
from gmkit.distributions.bijector import Bijector, chain, invert, scanned
from gmkit.distributions.conditioners import mlp, residual_mlp, separate
from gmkit.distributions.continuous import Solver, concat_squash, continuous
from gmkit.distributions.coupling import alternating_coupling, checker_mask, coupling
from gmkit.distributions.density import Density, flow
from gmkit.distributions.elementwise import additive, affine, gated, location_scale
from gmkit.distributions.normalisation import actnorm, batch_norm, diagonal
from gmkit.distributions.permutation import reverse
from gmkit.distributions.residual import residual
from gmkit.distributions.simple import standard_logistic, standard_normal
from gmkit.distributions.spline import rational_quadratic

Norm = Literal["none", "actnorm", "batch_norm"]


def _normalised(layer: Bijector, norm: Norm) -> Bijector:
    """The layer, and the normalisation after it."""
    norms = {"actnorm": actnorm, "batch_norm": batch_norm}
    if norm == "none":
        return layer
    if norm not in norms:
        raise ValueError(f"norm={norm!r}: choose none, actnorm or batch_norm")
    return chain([layer, norms[norm]()])


def nice(d: int, n_layers: int = 4, hidden: Sequence[int] = (1000,) * 5) -> Density:
    """NICE: additive couplings, a diagonal scaling, a logistic prior (Dinh et al. 2015)."""
    layers = scanned(lambda i: coupling(checker_mask(d, i), additive(), mlp(hidden)), n_layers)
    return flow(standard_logistic(d), chain([layers, diagonal()]))


def real_nvp(
    d: int,
    n_layers: int = 5,
    hidden: Sequence[int] = (100, 100),
    norm: Norm = "none",
    last_scale: float = 0.1,
    base: Density | None = None,
) -> Density:
    """RealNVP on vectors as in the density experiments of Arbel et al. 2021.

    Layer `i` keeps the features where `position + i` is odd and maps the others by
    `x exp(s) + t`, with a tanh network for `s` and a ReLU network for `t`, both d-hidden-d.

    Args:
      d: number of features.
      n_layers: coupling layers, scanned.
      hidden: units per hidden layer of both networks.
      norm: what follows every coupling.
      last_scale: scale of the networks' last layers at the start.
      base: density of the latents (default: standard normal).
    """
    networks = separate(mlp(hidden, jnp.tanh, last_scale), mlp(hidden, jax.nn.relu, last_scale))

    def layer(i: jax.Array) -> Bijector:
        return _normalised(coupling(checker_mask(d, i), affine(), networks), norm)

    return flow(standard_normal(d) if base is None else base, scanned(layer, n_layers))


def maf(
    d: int,
    n_layers: int = 5,
    hidden: Sequence[int] = (100,),
    norm: Norm = "actnorm",
    base: Density | None = None,
) -> Density:
    """Masked autoregressive flow: MADE, normalisation, reversed order (Papamakarios et al. 2017).

    The paper normalises by "batch_norm", whose statistics then have to be renewed in training;
    log-scales are smoothly bounded at 5 in absolute value, where the paper's are free.

    Args:
      d: number of features.
      n_layers: layers, scanned.
      hidden: units per hidden layer of every MADE.
      norm: what follows every MADE.
      base: density of the latents (default: standard normal).
    """
    network = made(hidden)
    step = chain([_normalised(autoregressive(location_scale(), network), norm), reverse()])
    return flow(standard_normal(d) if base is None else base, scanned(step, n_layers))


def maf_mog(
    d: int,
    n_layers: int = 5,
    n_components: int = 10,
    hidden: Sequence[int] = (100,),
    norm: Norm = "actnorm",
) -> Density:
    """`maf` whose base is a MADE with mixtures of Gaussians (Papamakarios et al. 2017)."""
    return maf(d, n_layers, hidden, norm, made_mixture(d, n_components, hidden))


def made_gaussian(d: int, hidden: Sequence[int] = (100,)) -> Density:
    """One MADE with Gaussian conditionals and leaky ReLU units."""
    layer = autoregressive(location_scale(), made(hidden, jax.nn.leaky_relu))
    return flow(standard_normal(d), layer)


def iaf(
    d: int, n_layers: int = 4, hidden: Sequence[int] = (320,), base: Density | None = None
) -> Density:
    """Inverse autoregressive flow of gated steps (Kingma et al. 2016): one pass to sample.

    From latents to data, every layer is `g z + (1 - g) mu` with `g` and `mu` from a MADE of the
    latents before and of `cond`, followed by a reversal of the order; last comes a scale and
    shift that are initialised from data. Use
    `sample_and_log_prob`: `log_prob` of given points takes `d` passes per layer.

    Args:
      d: number of features.
      n_layers: layers, scanned.
      hidden: units per hidden layer of every MADE.
      base: density of the latents (default: standard normal).
    """
    network = made(hidden, jax.nn.elu)
    step = chain([reverse(), invert(autoregressive(gated(), network))])
    layers = chain([actnorm(), scanned(step, n_layers)])
    return flow(standard_normal(d) if base is None else base, layers)


def nsf_coupling(
    d: int,
    n_layers: int = 8,
    width: int = 128,
    blocks: int = 2,
    n_bins: int = 8,
    bound: float = 5.0,
    norm: Norm = "actnorm",
) -> Density:
    """Neural spline flow with coupling layers and residual networks (Durkan et al. 2019).

    Every spline starts at the identity.

    Args:
      d: number of features; standardise them.
      n_layers: coupling layers that map the even and the odd features in turn, scanned.
      width: units of the residual networks.
      blocks: their residual blocks.
      n_bins: bins per spline.
      bound: the splines act on [-bound, bound].
      norm: what follows every coupling.
    """
    function, network = rational_quadratic(n_bins, bound), residual_mlp(width, blocks)

    def layer(i: jax.Array) -> Bijector:
        return _normalised(alternating_coupling(i, function, network), norm)

    return flow(standard_normal(d), scanned(layer, n_layers))


def nsf_autoregressive(
    d: int,
    n_layers: int = 5,
    hidden: Sequence[int] = (128, 128),
    n_bins: int = 8,
    bound: float = 5.0,
    norm: Norm = "actnorm",
) -> Density:
    """Neural spline flow with masked autoregressive layers (Durkan et al. 2019).

    Arguments as in `nsf_coupling`; `hidden` are the units of every MADE.
    """
    network = made(hidden, last_scale=0.0)
    layer = autoregressive(rational_quadratic(n_bins, bound), network)
    step = chain([_normalised(layer, norm), reverse()])
    return flow(standard_normal(d), scanned(step, n_layers))


def residual_flow(
    d: int,
    n_blocks: int = 8,
    hidden: Sequence[int] = (64, 64, 64),
    norm: Norm = "actnorm",
    coefficient: float = 0.98,
    n_exact: int = 2,
) -> Density:
    """Residual flow of dense blocks (Chen et al. 2019).

    `log_prob` without a key takes whole Jacobians; with a key it is an unbiased estimate with
    an unbiased gradient.

    Args:
      d: number of features.
      n_blocks: residual blocks, scanned.
      hidden: units per hidden layer of every block.
      norm: what follows every block.
      coefficient: bound of the kernels' spectral norms.
      n_exact: terms of the log-determinant's series that are always taken.
    """
    block = _normalised(residual(hidden, coefficient, n_exact), norm)
    return flow(standard_normal(d), scanned(block, n_blocks))


def ffjord(d: int, hidden: Sequence[int] = (64, 64, 64), solver: Solver | None = None) -> Density:
    """Continuous flow with concat-squash layers (Grathwohl et al. 2019); kind "ode".

    `log_prob` without a key takes exact traces; with a key Hutchinson's estimate.

    Args:
      d: number of features.
      hidden: units per hidden layer of the vector field.
      solver: how to solve the ODE.
    """
    return flow(standard_normal(d), continuous(concat_squash(hidden), solver))
