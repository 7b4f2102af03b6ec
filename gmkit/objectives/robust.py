"""The general robust loss, from Welsch (alpha = -inf) over Cauchy (0) to least squares (2) and on.

J. T. Barron, "A General and Adaptive Robust Loss Function", CVPR 2019 (arXiv:1701.03077), eq. 1:
with `z = x / c` and `b = |alpha - 2|`,

    f(x, alpha, c) = (b / alpha) ((z^2 / b + 1)^(alpha / 2) - 1),

continued to alpha = 0, 2, inf and -inf. There is no branch at those: two forms, one for alpha
near 2 and one for the rest, are exact through them to a few units in the last place, also where
`z` is so small that the textbook formula loses every digit.

To learn alpha or c by minimising this loss is degenerate (alpha -> -inf, c -> inf); what can be
minimised is the negative log-density, `gmkit.distributions.adaptive`.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

Array = jax.Array

#: Half-width around alpha = 2 of the form that is exact there.
_NEAR = 0.5


@jax.jit
def general_loss(x: Array, alpha: Any, scale: Any = 1.0) -> Array:
    """The loss `f(x, alpha, c)`, element by element, in nats.

    Differentiable in all three arguments. `df/dalpha` is exact but at alpha = 2, where it is
    infinite (a large finite value is returned), and at +-inf, where it is 0.

    Args:
      x: residuals, floating point of any shape.
      alpha: shape, in [-inf, inf]; broadcast against `x`.
      scale: c > 0; broadcast against `x`.

    Returns:
      Non-negative losses of the broadcast shape, finite for finite `x` (saturated where the
      result would overflow).
    """
    x, alpha, scale = _broadcast(x, alpha, scale)
    return _standard_loss(x / scale, alpha)


@jax.jit
def general_loss_derivative(x: Array, alpha: Any, scale: Any = 1.0) -> Array:
    """`df/dx = (x / c^2) (z^2 / b + 1)^(alpha / 2 - 1)`; arguments as of `general_loss`."""
    x, alpha, scale = _broadcast(x, alpha, scale)
    return _slope(x / scale, alpha) / scale


@jax.jit
def general_loss_weight(x: Array, alpha: Any, scale: Any = 1.0) -> Array:
    """`f'(x) / x = (1 / c^2) (z^2 / b + 1)^(alpha / 2 - 1)`, the weight of x^2 / 2 in IRLS.

    Arguments as of `general_loss`; at `x = 0` it is the limit `1 / c^2`.
    """
    x, alpha, scale = _broadcast(x, alpha, scale)
    return _weight(x / scale, alpha) / jnp.square(scale)


@jax.jit
def general_loss_curvature(x: Array, alpha: Any, scale: Any = 1.0) -> Array:
    """`d2f/dx2`; never negative where alpha >= 1. Arguments as of `general_loss`."""
    x, alpha, scale = _broadcast(x, alpha, scale)
    z = x / scale
    z2, a = _square(z), _finite(alpha)
    d = a - 2.0
    b = jnp.maximum(jnp.abs(d), _tiny(z))
    # (1 + (a - 1) q) / (1 + q) with q = z^2 / b, which may overflow.
    return _weight(z, alpha) * (1.0 + d * (z2 / (b + z2))) / jnp.square(scale)


# ---------------------------------------------------------------- unit scale


@jax.custom_jvp
def _standard_loss(z: Array, alpha: Array) -> Array:
    return _forms(z, alpha)


@partial(_standard_loss.defjvp, symbolic_zeros=True)
def _standard_loss_jvp(primals: tuple[Array, Array], tangents: tuple[Any, Any]) -> Any:
    z, alpha = primals
    dz, dalpha = tangents
    out, change = _standard_loss(z, alpha), jnp.zeros_like(z)
    if type(dz) is not jax.custom_derivatives.SymbolicZero:
        change = change + _slope(z, alpha) * dz
    if type(dalpha) is not jax.custom_derivatives.SymbolicZero:
        rate = jax.jvp(lambda a: _forms(z, a), (alpha,), (jnp.ones_like(alpha),))[1]
        change = change + rate * dalpha
    return out, change


def _forms(z: Array, alpha: Array) -> Array:
    """`f(z, alpha, 1)` by the form that is accurate for each alpha.

    Both are evaluated on inputs that are harmless where the other is used, lest a NaN there
    reach the gradient.
    """
    z2, a = _square(z), _finite(alpha)
    near = jnp.abs(a - 2.0) < _NEAR
    top = _top(z)
    # Far: with l = log(1 + z^2 / b), (b / a) expm1(a l / 2), and no division by a.
    a_far = jnp.where(near, 1.0, a)
    b = jnp.abs(a_far - 2.0)
    log = jnp.log1p(z2 / b)
    far = 0.5 * b * log * _relative_expm1(jnp.minimum(0.5 * a_far * log, top))
    # Near: (z^2 (1 + z^2 / b)^(d / 2) + b ((1 + z^2 / b)^(d / 2) - 1)) / a, with d = a - 2.
    a_near = jnp.where(near, a, 2.0)
    d = a_near - 2.0
    b = jnp.maximum(jnp.abs(d), _tiny(z))
    w = jnp.minimum(0.5 * d * _log1p_ratio(z2, b), top)
    near_value = (z2 * jnp.exp(w) + b * jnp.expm1(w)) / a_near
    return jnp.minimum(jnp.where(near, near_value, far), jnp.finfo(z.dtype).max)


def _weight(z: Array, alpha: Array) -> Array:
    """`(z^2 / b + 1)^(alpha / 2 - 1)`."""
    z2, a = _square(z), _finite(alpha)
    d = a - 2.0
    near = jnp.abs(d) < _NEAR
    b = jnp.maximum(jnp.abs(d), _tiny(z))
    b_far = jnp.where(near, 1.0, b)
    log = jnp.where(near, _log1p_ratio(z2, jnp.where(near, b, 1.0)), jnp.log1p(z2 / b_far))
    return jnp.exp(jnp.minimum(0.5 * d * log, _top(z)))


def _slope(z: Array, alpha: Array) -> Array:
    limit, top = math.sqrt(_largest_square(z)), float(jnp.finfo(z.dtype).max)
    return jnp.clip(jnp.clip(z, -limit, limit) * _weight(z, alpha), -top, top)


def _relative_expm1(y: Array) -> Array:
    """`expm1(y) / y`, 1 at 0."""
    small = jnp.abs(y) < 1e-3
    safe = jnp.where(small, 1.0, y)
    series = 1.0 + y * (0.5 + y * (1.0 / 6.0 + y / 24.0))
    return jnp.where(small, series, jnp.expm1(safe) / safe)


def _log1p_ratio(z2: Array, b: Array) -> Array:
    """`log(1 + z2 / b)` where the quotient may overflow."""
    floor = _tiny(z2)
    return jnp.logaddexp(0.0, jnp.log(jnp.maximum(z2, floor)) - jnp.log(b))


def _square(z: Array) -> Array:
    return jnp.minimum(jnp.square(z), _largest_square(z))


def _largest_square(z: Array) -> float:
    return float(jnp.finfo(z.dtype).max) / 30.0


def _tiny(z: Array) -> float:
    return float(jnp.finfo(z.dtype).tiny)


def _top(z: Array) -> float:
    """The largest exponent."""
    return math.log(float(jnp.finfo(z.dtype).max)) - 0.7


def _finite(alpha: Array) -> Array:
    """Infinite alpha is so large that the limits are reached to rounding."""
    large = 10.0 / float(jnp.finfo(alpha.dtype).eps)
    return jnp.clip(alpha, -large, large)


def _broadcast(*arguments: Any) -> list[Array]:
    """Arrays of one shape and one floating-point type."""
    dtype = jnp.result_type(*arguments)
    if not jnp.issubdtype(dtype, jnp.floating):
        dtype = jnp.result_type(float)
    return jnp.broadcast_arrays(*(jnp.asarray(v, dtype) for v in arguments))
