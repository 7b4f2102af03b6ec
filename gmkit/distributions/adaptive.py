"""Densities of residuals whose shape and scale are learned along with what made the residuals.

J. T. Barron, CVPR 2019 (arXiv:1701.03077), section 2: minimising the negative log-density (never
the loss alone, which would be degenerate) over alpha and c makes the data choose how robust to be.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gmkit.core.parallel import example_keys
from gmkit.distributions import robust, student_t

Array = jax.Array
Params = dict[str, Array]


class Adaptive(NamedTuple):
    """A density of residuals `(n, *shape)`, independent over all entries, with learned parameters.

    Attributes:
      init: `() -> params`; latents, unconstrained; {} where everything is fixed.
      log_prob: `(params, x (n, *shape)) -> (n, *shape)`, nats of each entry. Can be positive.
      parameters: `params -> {"alpha", "scale"}` (Student's t: "df") as arrays of `shape`.
      sample: `(params, key, n) -> (n, *shape)`.
    """

    init: Callable[[], Params]
    log_prob: Callable[[Params, Array], Array]
    parameters: Callable[[Params], Params]
    sample: Callable[[Params, Array, int], Array]


def affine_sigmoid(latent: Array, low: float, high: float) -> Array:
    """Reals to the open interval (low, high)."""
    return low + (high - low) * jax.nn.sigmoid(latent)


def inverse_affine_sigmoid(value: Array, low: float, high: float) -> Array:
    """The latent of a value strictly between `low` and `high`."""
    share = (value - low) / (high - low)
    return jnp.log(share) - jnp.log1p(-share)


def affine_softplus(latent: Array, low: float, at_zero: float) -> Array:
    """Reals to (low, inf); 0 to `at_zero`."""
    return low + (at_zero - low) * jax.nn.softplus(latent + math.log(math.e - 1.0))


def inverse_affine_softplus(value: Array, low: float, at_zero: float) -> Array:
    """The latent of a value above `low`."""
    y = (value - low) / (at_zero - low)
    # log(expm1(y)), without overflow.
    return y + jnp.log(-jnp.expm1(-y)) - math.log(math.e - 1.0)


def adaptive(
    shape: tuple[int, ...],
    *,
    alpha: tuple[float, float] = (0.001, 1.999),
    alpha_init: float | None = None,
    scale_lo: float = 1e-5,
    scale_init: float = 1.0,
    shared: bool = False,
) -> Adaptive:
    """The general robust density with a shape and a scale for every entry of a residual.

    Args:
      shape: of one residual.
      alpha: interval of the shapes, within [0, inf); fixed where both ends are equal: (2, 2) is
        a Normal, (0, 0) a Cauchy density. Its likelihood has a kink at 2: leave 2 outside, or
        inside as an end that is not reached.
      alpha_init: where shapes start; None for the middle.
      scale_lo: infimum of the scales; put it at the noise floor where residuals can be driven to
        0. Scales are fixed where it equals `scale_init`.
      scale_init: where scales start.
      shared: one shape and one scale for all entries.

    Raises:
      ValueError: an empty interval, or values outside their range.
    """
    low, high = alpha
    start = 0.5 * (low + high) if alpha_init is None else alpha_init
    if not 0.0 <= low <= high < math.inf:
        raise ValueError(f"alpha={alpha}: must be (low, high) with 0 <= low <= high, finite")
    if low < high and not low < start < high:
        raise ValueError(f"alpha_init={start}: must lie strictly inside alpha={alpha}")
    own = () if shared else shape
    scale_latents, scale_of = _scales(own, scale_lo, scale_init)

    def init() -> Params:
        if low == high:
            return scale_latents()
        latent = inverse_affine_sigmoid(jnp.float32(start), low, high)
        return {"alpha": jnp.full(own, latent), **scale_latents()}

    def parameters(params: Params) -> Params:
        value = jnp.full(own, low)
        if low < high:
            value = affine_sigmoid(params["alpha"], low, high)
        return _whole(shape, {"alpha": value, "scale": scale_of(params)})

    def log_prob(params: Params, x: Array) -> Array:
        return robust.log_prob(x, **parameters(params))

    def sample(params: Params, key: Array, n: int) -> Array:
        values = parameters(params)
        draw = lambda k: robust.sample(k, values["alpha"], values["scale"])
        return jax.vmap(draw)(example_keys(key, n))

    return Adaptive(init, log_prob, parameters, sample)


def adaptive_student_t(
    shape: tuple[int, ...],
    *,
    df_init: float = 1.0,
    scale_lo: float = 1e-5,
    scale_init: float = 1.0,
    shared: bool = False,
) -> Adaptive:
    """Student's t with degrees of freedom `exp(latent)` and a scale for every entry.

    Args:
      shape: of one residual.
      df_init: where degrees of freedom start.
      scale_lo: infimum of the scales, as of `adaptive`.
      scale_init: where scales start.
      shared: one pair for all entries.

    Raises:
      ValueError: values outside their range.
    """
    if not df_init > 0.0:
        raise ValueError(f"df_init={df_init}: must be positive")
    own = () if shared else shape
    scale_latents, scale_of = _scales(own, scale_lo, scale_init)

    def init() -> Params:
        return {"df": jnp.full(own, math.log(df_init), jnp.float32), **scale_latents()}

    def parameters(params: Params) -> Params:
        return _whole(shape, {"df": jnp.exp(params["df"]), "scale": scale_of(params)})

    def log_prob(params: Params, x: Array) -> Array:
        return student_t.log_prob(x, **parameters(params))

    def sample(params: Params, key: Array, n: int) -> Array:
        values = parameters(params)
        draw = lambda k: student_t.sample(k, values["df"], values["scale"])
        return jax.vmap(draw)(example_keys(key, n))

    return Adaptive(init, log_prob, parameters, sample)


def _scales(
    own: tuple[int, ...], low: float, start: float
) -> tuple[Callable[[], Params], Callable[[Params], Array]]:
    """Latents of scales that start at `start`, and the scales."""
    if not 0.0 < low <= start < math.inf:
        raise ValueError(f"scale_lo={low}, scale_init={start}: need 0 < scale_lo <= scale_init")
    if low == start:
        return dict, lambda params: jnp.full(own, start)
    latents = lambda: {"scale": jnp.zeros(own, jnp.float32)}
    return latents, lambda params: affine_softplus(params["scale"], low, start)


def _whole(shape: tuple[int, ...], values: Params) -> Params:
    return {name: jnp.broadcast_to(value, shape) for name, value in values.items()}


def _fixed(alpha: float) -> Callable[..., Adaptive]:
    def family(shape: tuple[int, ...], **options: Any) -> Adaptive:
        return adaptive(shape, alpha=(alpha, alpha), **options)

    return family


#: Families of residuals by name, `(shape, **options) -> Adaptive`.
RESIDUALS: dict[str, Callable[..., Adaptive]] = {
    "normal": _fixed(2.0),
    "cauchy": _fixed(0.0),
    "student_t": adaptive_student_t,
    "adaptive": adaptive,
}
