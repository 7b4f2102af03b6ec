"""The density of the general robust loss: its log-partition, sampling and distribution function.

    p(x | alpha, c) = exp(-f(x, alpha, c)) / (c Z(alpha)),   Z(alpha) = int exp(-f(x, alpha, 1)) dx,

for alpha in [0, inf]: Cauchy of scale sqrt(2) c at 0, Normal of standard deviation c at 2
(J. T. Barron, CVPR 2019, arXiv:1701.03077, section 2). With `x = sqrt(b) sinh u` and
`b = |alpha - 2|` the loss is `(b / alpha) (cosh(u)^alpha - 1)` and integrands fall off at least
exponentially in u, so that sums over equally spaced u converge geometrically.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gmkit.objectives.robust import general_loss

Array = jax.Array

#: Half-nodes of the integral: |error| <= 3e-14 in log Z, 7e-11 in its slope, in float64.
_NODES = 192
#: Exponent by which an integrand has fallen off at its last node.
_FALL = 46.0
#: Knots of the table over alpha in [0, 4], and degree of the polynomial in 1 / alpha above.
_KNOTS = 513
_DEGREE = 23
#: alpha is kept this far from 2 in u: x = sqrt(b) sinh u needs b > 0.
_LEAST_B = 1e-12
#: Cells of the table behind `cdf` and `quantile`.
_CELLS = 128


# ---------------------------------------------------------------- log-partition


@functools.partial(jax.jit, static_argnames="method")
def log_partition(alpha: Any, method: str = "table") -> Array:
    """`log Z(alpha)`, nats; NaN for alpha < 0, where the loss is bounded and Z infinite.

    Args:
      alpha: shape, in [0, inf].
      method: "table", a cubic Hermite spline of exact values and slopes for alpha <= 4 and a
        polynomial in 1 / alpha above (error at most 1e-9, slope 2e-6 on [0.001, 1.999] and
        float32 rounding), or "quadrature", the integral itself at 385 nodes.

    Raises:
      ValueError: another method.
    """
    (alpha,) = _promoted(alpha)
    if method not in ("table", "quadrature"):
        raise ValueError(f"method={method!r}: choose table or quadrature")
    # Not by maximum, whose gradient at a tie is halved.
    clipped = jnp.where(alpha >= 0.0, alpha, 0.0)
    value = _interpolated(clipped) if method == "table" else _integrated(clipped)
    return jnp.where(alpha >= 0.0, value, jnp.nan)


class _Table(NamedTuple):
    values: np.ndarray
    slopes: np.ndarray  # with respect to the warped alpha, times the spacing
    spacing: float
    polynomial: np.ndarray  # Chebyshev coefficients in 8 / alpha - 1


#: How dense the knots are around 0 and 2; the latter, about 1e-5, puts knot 290 of 512 on 2.
_AT_ZERO = 0.03
_SHARE = 290 / (_KNOTS - 1)
_SPREAD = (math.asinh(2 / _AT_ZERO) - _SHARE * math.asinh(4 / _AT_ZERO)) / (2 * _SHARE - 1)
_AT_TWO = 2.0 / math.sinh(_SPREAD)


def _warp(alpha: Any, xp: Any) -> Any:
    """Where the table's knots are equally spaced."""
    return xp.arcsinh(alpha / _AT_ZERO) + xp.arcsinh((alpha - 2.0) / _AT_TWO) + _SPREAD


@functools.cache
def _table() -> _Table:
    """Built once per process, in float64, in some tens of milliseconds."""
    top = _warp(4.0, np)
    warped = np.linspace(0.0, top, _KNOTS)
    low, high = np.zeros(_KNOTS), np.full(_KNOTS, 4.0)
    for _ in range(100):
        middle = 0.5 * (low + high)
        below = _warp(middle, np) < warped
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    alpha = 0.5 * (low + high)
    alpha[0], alpha[290], alpha[-1] = 0.0, 2.0, 4.0
    values, slopes = _quadrature(alpha)
    rate = 1.0 / np.hypot(alpha, _AT_ZERO) + 1.0 / np.hypot(alpha - 2.0, _AT_TWO)
    spacing = top / (_KNOTS - 1)
    nodes = np.polynomial.chebyshev.chebpts1(_DEGREE + 1)
    polynomial = np.polynomial.chebyshev.chebfit(
        nodes, _quadrature(8.0 / (nodes + 1.0))[0], _DEGREE
    )
    return _Table(values, slopes / rate * spacing, spacing, polynomial)


def _interpolated(alpha: Array) -> Array:
    table = _table()
    below = jnp.where(alpha <= 4.0, alpha, 4.0)
    position = _warp(below, jnp) / table.spacing
    k = jnp.clip(jax.lax.stop_gradient(position).astype(jnp.int32), 0, _KNOTS - 2)
    t = position - k.astype(position.dtype)
    values = jnp.asarray(table.values, alpha.dtype)
    slopes = jnp.asarray(table.slopes, alpha.dtype)
    y0, y1, m0, m1 = values[k], values[k + 1], slopes[k], slopes[k + 1]
    # Hermite, as a correction of y0: no digits are lost in sums of large terms.
    rise = y1 - y0
    cubic = y0 + t * (m0 + t * (3 * rise - 2 * m0 - m1 + t * (m0 + m1 - 2 * rise)))
    v = 8.0 / jnp.where(alpha > 4.0, alpha, 4.0) - 1.0
    return jnp.where(alpha <= 4.0, cubic, _chebyshev(table.polynomial, v))


def _chebyshev(coefficients: np.ndarray, v: Array) -> Array:
    """Clenshaw's recurrence."""
    b1 = b2 = jnp.zeros_like(v)
    for c in coefficients[:0:-1]:
        b1, b2 = 2.0 * v * b1 - b2 + c, b1
    return v * b1 - b2 + coefficients[0]


def _log_cosh(u: Any, xp: Any) -> Any:
    large = xp.abs(u) + xp.log1p(xp.exp(-2.0 * xp.abs(u))) - math.log(2.0)
    small = 0.5 * xp.log1p(xp.sinh(xp.minimum(xp.abs(u), 1.0)) ** 2)
    return xp.where(xp.abs(u) < 1.0, small, large)


def _exponent(alpha: Any, b: Any, log_cosh: Any, xp: Any, top: float) -> Any:
    """`f = (b / alpha) (cosh(u)^alpha - 1)`."""
    zero = alpha == 0.0
    a = xp.where(zero, 1.0, alpha)
    return xp.where(zero, b * log_cosh, b / a * xp.expm1(xp.minimum(a * log_cosh, top)))


def _extent(alpha: Any, b: Any, xp: Any, top: float, power: float = 1.0) -> Any:
    """The u beyond which `cosh(u)^power exp(-f)` has fallen off."""

    def halve(_: int, bracket: Any) -> Any:
        low, high = bracket
        u = 0.5 * (low + high)
        log = _log_cosh(u, xp)
        inside = _exponent(alpha, b, log, xp, top) - power * log < _FALL
        return xp.where(inside, u, low), xp.where(inside, high, u)

    bracket = 0.0 * alpha, 0.0 * alpha + (64.0 if power == 1.0 else 4096.0)
    if xp is jnp:
        return jax.lax.fori_loop(0, 60, halve, bracket)[1]
    for i in range(60):
        bracket = halve(i, bracket)
    return bracket[1]


def _log_terms(alpha: Any, xp: Any, top: float, power: float = 1.0) -> Any:
    """Logarithms of the integral's terms `(..., nodes)`, and of cosh u."""
    alpha, ones = alpha[..., None], (1,) * alpha.ndim
    b = xp.maximum(xp.abs(alpha - 2.0), _LEAST_B)
    u = _extent(alpha, b, xp, top, power)
    if xp is jnp:
        u = jax.lax.stop_gradient(u)
    share = (np.arange(_NODES + 1) / _NODES).reshape(*ones, -1)
    log = _log_cosh(u * xp.asarray(share, alpha.dtype), xp)
    double = xp.asarray(np.where(share == 0.0, 0.0, math.log(2.0)), alpha.dtype)
    terms = xp.log(u / _NODES) + double + 0.5 * xp.log(b) + log
    return terms - _exponent(alpha, b, log, xp, top), log


def _quadrature(alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`log Z` and its slope in float64; the slope at 2, which is -inf, is set to 0."""
    terms, log = _log_terms(alpha, np, 700.0)
    largest = terms.max(axis=-1, keepdims=True)
    p = np.exp(terms - largest)
    total = p.sum(axis=-1)
    value = np.log(total) + largest[..., 0]
    slope = -np.sum(p * _alpha_slope(alpha[..., None], log), axis=-1) / total
    at_two = np.abs(alpha - 2.0) < _LEAST_B
    return np.where(at_two, 0.5 * math.log(2 * math.pi), value), np.where(at_two, 0.0, slope)


def _alpha_slope(alpha: np.ndarray, log: np.ndarray) -> np.ndarray:
    """`df / dalpha` at the nodes, by their log cosh."""
    b = np.maximum(np.abs(alpha - 2.0), _LEAST_B)
    tanh2 = -np.expm1(-2.0 * log)
    zero = alpha == 0.0
    a, s = np.where(zero, 1.0, alpha), np.sign(alpha - 2.0)
    growth = np.expm1(np.minimum(a * log, 700.0))
    slope = (s / a - b / a**2) * growth + b / a * (growth + 1.0) * (log - 0.5 * a * s / b * tanh2)
    return np.where(zero, log**2 - log + 0.5 * tanh2, slope)


def _integrated(alpha: Array) -> Array:
    a = _proper(alpha)
    return jax.nn.logsumexp(_log_terms(a, jnp, _top(a))[0], axis=-1)


# ---------------------------------------------------------------- density


@jax.jit
def log_prob(x: Array, alpha: Any, scale: Any = 1.0) -> Array:
    """`-f(x, alpha, c) - log c - log Z(alpha)`, nats, element by element.

    Args:
      x: residuals of any shape.
      alpha: shape in [0, inf], broadcast against `x`; NaN results below 0.
      scale: c > 0, broadcast against `x`.
    """
    x, alpha, scale = _promoted(x, alpha, scale)
    loss, log_scale, log_z = jnp.broadcast_arrays(
        general_loss(x, alpha, scale), jnp.log(scale), log_partition(alpha)
    )
    return -loss - log_scale - log_z


@jax.jit
def variance(alpha: Any, scale: Any = 1.0) -> Array:
    """`E x^2`; infinite at alpha = 0, and where it exceeds the range of floats just above."""
    alpha, scale = _promoted(alpha, scale)
    a = _proper(alpha)
    terms, log = _log_terms(a, jnp, _top(a), power=3.0)
    b = jnp.maximum(jnp.abs(a - 2.0), _LEAST_B)[..., None]
    # x^2 = b sinh^2 u, and sinh^2 = cosh^2 tanh^2.
    square = jnp.log(b) + 2.0 * log + jnp.log(-jnp.expm1(-2.0 * log))
    log_second = jax.nn.logsumexp(terms + square, axis=-1) - log_partition(a)
    return jnp.where(alpha > 0.0, jnp.square(scale) * jnp.exp(log_second), jnp.inf)


@jax.jit
def cdf(x: Array, alpha: Any, scale: Any = 1.0) -> Array:
    """Distribution function, differentiable in all arguments.

    Args:
      x: of any shape.
      alpha: shape in [0, inf], broadcast against `x`.
      scale: c > 0, broadcast against `x`.
    """
    x, alpha, scale = _promoted(x, alpha, scale)
    x, scale, _ = jnp.broadcast_arrays(x, scale, alpha)
    z = x / scale
    above = _tail(jnp.abs(z), _cells(alpha))
    return jnp.where(z < 0.0, above, 1.0 - above)


@jax.jit
def quantile(p: Array, alpha: Any, scale: Any = 1.0) -> Array:
    """The x at which the distribution function is `p`, +-inf at 1 and 0.

    Its gradient is that of the implicit function: `dx/dalpha = -(dF/dalpha) / p(x)`.

    Args:
      p: probabilities of any shape.
      alpha: shape in [0, inf], broadcast against `p`.
      scale: c > 0, broadcast against `p`.
    """
    p, alpha, scale = _promoted(p, alpha, scale)
    p, scale, _ = jnp.broadcast_arrays(p, scale, alpha)
    size = _tail_quantile(jnp.minimum(p, 1.0 - p), _cells(alpha))
    return scale * jnp.where(p < 0.5, -size, size)


@functools.partial(jax.jit, static_argnames="shape")
def sample(key: Array, alpha: Any, scale: Any = 1.0, shape: tuple[int, ...] | None = None) -> Array:
    """Draws by the inverse distribution function, reparameterised in alpha and scale.

    Args:
      key: typed PRNG key.
      alpha: shape in [0, inf].
      scale: c > 0.
      shape: of the result, to which alpha and scale broadcast; None for their own.
    """
    alpha, scale = _promoted(alpha, scale)
    own = np.broadcast_shapes(alpha.shape, scale.shape)
    whole = own if shape is None else shape
    tiny = float(jnp.finfo(alpha.dtype).tiny)
    # Sign and size apart: uniforms near 0 are finer than those near 1, and so are the tails.
    p_key, sign_key = jax.random.split(key)
    above = 0.5 * jax.random.uniform(p_key, whole, alpha.dtype, minval=tiny)
    size = _tail_quantile(above, _cells(alpha))
    sign = jax.random.rademacher(sign_key, whole, alpha.dtype)
    return sign * jnp.broadcast_to(scale, whole) * size


@functools.partial(jax.jit, static_argnames="shape")
def rejection_sample(
    key: Array, alpha: Any, scale: Any = 1.0, shape: tuple[int, ...] | None = None
) -> Array:
    """Draws by rejection from the Cauchy density of alpha = 0: independent of any table.

    A proposal is accepted with probability `exp(f(x, 0, 1) - f(x, alpha, 1))`, at least 0.45 on
    average; arguments as of `sample`. Not differentiable in alpha.
    """
    alpha, scale = _promoted(alpha, scale)
    own = np.broadcast_shapes(alpha.shape, scale.shape)
    whole = own if shape is None else shape
    alpha, scale = jnp.broadcast_to(alpha, whole), jnp.broadcast_to(scale, whole)

    def again(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        i, x, accepted = carry
        x_key, u_key = jax.random.split(jax.random.fold_in(key, i))
        proposal = math.sqrt(2.0) * jax.random.cauchy(x_key, whole, alpha.dtype)
        log_ratio = general_loss(proposal, 0.0) - general_loss(proposal, alpha)
        good = jnp.log(jax.random.uniform(u_key, whole, alpha.dtype)) < log_ratio
        return i + 1, jnp.where(accepted, x, proposal), accepted | good

    start = (jnp.int32(0), jnp.zeros(whole, alpha.dtype), jnp.zeros(whole, bool))
    going_on = lambda carry: (carry[0] < 200) & ~carry[2].all()
    return scale * jax.lax.while_loop(going_on, again, start)[1]


# ---------------------------------------------------------------- distribution function

#: Gauss-Legendre of a cell, on [0, 1]: error 1e-10 of the mass.
_POINTS, _WEIGHTS = (v / 2 for v in np.polynomial.legendre.leggauss(4))


class _Cells(NamedTuple):
    """Upper-tail masses at equally spaced u, for every alpha of an array."""

    alpha: Array  # (...)
    width: Array  # (...)
    tails: Array  # (..., cells + 1): 1/2 at u = 0, 0 at the end
    half: Array  # (...) the unnormalised mass of tails[0]


def _cells(alpha: Array) -> _Cells:
    alpha = _proper(alpha)
    b = jnp.maximum(jnp.abs(alpha - 2.0), _LEAST_B)
    width = jax.lax.stop_gradient(_extent(alpha, b, jnp, _top(alpha))) / _CELLS
    left = width[..., None] * jnp.arange(_CELLS, dtype=alpha.dtype).reshape(
        (1,) * alpha.ndim + (-1,)
    )
    each = lambda v: jnp.broadcast_to(v[..., None], left.shape)
    mass = _mass(left, left + each(width), each(alpha))
    tails = jnp.flip(jnp.cumsum(jnp.flip(mass, -1), axis=-1), -1)
    tails = jnp.concatenate([tails, jnp.zeros_like(tails[..., :1])], axis=-1)
    half = 2.0 * tails[..., 0]
    return _Cells(alpha, width, tails / half[..., None], half)


def _density(u: Array, alpha: Array) -> Array:
    """`exp(-f) dx / du`, not normalised."""
    root = jnp.sqrt(jnp.maximum(jnp.abs(alpha - 2.0), _LEAST_B))
    return root * jnp.cosh(u) * jnp.exp(-general_loss(root * jnp.sinh(u), alpha))


def _mass(low: Array, high: Array, alpha: Array) -> Array:
    """Integral of `_density` over at most a cell."""
    wide = high - low
    parts = [
        w * _density(low + (0.5 + x) * wide, alpha) for x, w in zip(_POINTS, _WEIGHTS, strict=True)
    ]
    return wide * sum(parts)


def _rows(shape: tuple[int, ...], cells: _Cells) -> tuple[Array, _Cells]:
    """For an array of `shape`, the row of each element among the cells' alphas; flat cells."""
    n = cells.alpha.size
    rows = jnp.broadcast_to(jnp.arange(n).reshape(cells.alpha.shape), shape)
    flat = _Cells(
        cells.alpha.reshape(n),
        cells.width.reshape(n),
        cells.tails.reshape(n, -1),
        cells.half.reshape(n),
    )
    return rows, flat


def _tail(x: Array, cells: _Cells) -> Array:
    """Mass above x >= 0; cells' alpha broadcast to x."""
    rows, flat = _rows(x.shape, cells)
    alpha, width = flat.alpha[rows], flat.width[rows]
    u = jnp.arcsinh(x / jnp.sqrt(jnp.maximum(jnp.abs(alpha - 2.0), _LEAST_B)))
    u = jnp.minimum(u, width * _CELLS)
    i = jnp.clip((u / width).astype(jnp.int32), 0, _CELLS - 1)
    rest = _mass(u, width * (i + 1).astype(u.dtype), alpha)
    return flat.tails[rows, i + 1] + rest / flat.half[rows]


def _tail_quantile(above: Array, cells: _Cells) -> Array:
    """The x >= 0 above which there is a mass of `above` in [0, 1/2]."""
    fixed = jax.lax.stop_gradient(cells)
    rows, flat = _rows(above.shape, fixed)
    alpha, width, half = flat.alpha[rows], flat.width[rows], flat.half[rows]
    mass = jnp.clip(jax.lax.stop_gradient(above), float(jnp.finfo(above.dtype).tiny), 0.5)

    def halve(_: int, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        first, last = bracket
        middle = (first + last + 1) // 2
        left = flat.tails[rows, middle] >= mass
        return jnp.where(left, middle, first), jnp.where(left, last, middle - 1)

    first = jnp.zeros(above.shape, jnp.int32)
    rounds = math.ceil(math.log2(_CELLS))
    i = jax.lax.fori_loop(0, rounds, halve, (first, first + _CELLS - 1))[0]
    low, high = width * i.astype(width.dtype), width * (i + 1).astype(width.dtype)
    beyond = flat.tails[rows, i + 1]
    tiny = float(jnp.finfo(mass.dtype).tiny)
    log_mass = jnp.log(mass)
    top, bottom = jnp.log(flat.tails[rows, i]), jnp.log(jnp.maximum(beyond, tiny))

    def newton(_: int, u: Array) -> Array:
        """On the logarithm, which is nearly linear over a cell, and concave."""
        tail = jnp.maximum(beyond + _mass(u, high, alpha) / half, tiny)
        step = tail * (jnp.log(tail) - log_mass) * half / _density(u, alpha)
        return jnp.clip(u + step, low, high)

    u = low + (high - low) * jnp.clip((top - log_mass) / (top - bottom), 0.0, 1.0)
    u = jax.lax.fori_loop(0, 3, newton, u)
    root = jnp.sqrt(jnp.maximum(jnp.abs(alpha - 2.0), _LEAST_B))
    x = jax.lax.stop_gradient(root * jnp.sinh(u))
    # A last step, in x, whose gradient is that of the implicit function.
    slope = jax.lax.stop_gradient(jnp.exp(-general_loss(x, alpha)) / half)
    x = jnp.maximum(x + (_tail(x, cells) - above) / slope, 0.0)
    return jnp.where(above > 0.0, x, jnp.inf)


def _top(alpha: Array) -> float:
    """The largest exponent."""
    return 0.98 * math.log(float(jnp.finfo(alpha.dtype).max))


def _proper(alpha: Array) -> Array:
    """Alpha in [0, 1e9], where the limit is reached; NaN below 0."""
    a = jnp.where(alpha < 1e9, alpha, 1e9)
    return jnp.where(alpha >= 0.0, a, jnp.nan)


def _promoted(*arguments: Any) -> list[Array]:
    """Arrays of one floating-point type."""
    dtype = jnp.result_type(*arguments)
    if not jnp.issubdtype(dtype, jnp.floating):
        dtype = jnp.result_type(float)
    return [jnp.asarray(v, dtype) for v in arguments]
