"""Residual flows `z = x + g(x)` with a contraction `g` (Behrmann et al. 2019; Chen et al. 2019).

Every kernel of `g` is divided down to a spectral norm below 1 by a guaranteed upper bound (Gram
iteration, Delattre et al. 2023), which needs no power-iteration state and so keeps the layer a
pure function of its parameters.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gmkit.core.parallel import example_keys
from gmkit.distributions.bijector import Bijector, Cond, Key, Params
from gmkit.distributions.conditioners import dense, dense_params
from gmkit.distributions.rows import per_row, row_sum

RowMap = Callable[[jax.Array], jax.Array]


def spectral_bound(matrix: jax.Array, squarings: int = 6) -> jax.Array:
    """Upper bound of the largest singular value, a differentiable scalar.

    `|G^(2^k)|_F^(1 / 2^(k+1))` with the Gram matrix `G`: never too small, and too large by at
    most the factor `rank^(1 / 2^(k+2))`, 1.6 % for rank 64 and six squarings.
    """
    highest = jax.lax.Precision.HIGHEST
    small_side = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    gram = jnp.matmul(small_side.T, small_side, precision=highest)
    log_norm = jnp.zeros((), gram.dtype)
    for _ in range(squarings):
        norm = jnp.sqrt(jnp.sum(jnp.square(gram)) + 1e-30)
        gram = gram / norm
        gram = jnp.matmul(gram, gram, precision=highest)
        log_norm = 2.0 * (log_norm + jnp.log(norm))
    log_norm = log_norm + 0.5 * jnp.log(jnp.sum(jnp.square(gram)) + 1e-30)
    return jnp.exp(log_norm / 2.0 ** (squarings + 1))


def lip_swish(x: jax.Array, raw_beta: jax.Array) -> jax.Array:
    """`x sigmoid(beta x) / 1.1`, `beta = softplus(raw_beta)`: 1-Lipschitz and smooth."""
    return x * jax.nn.sigmoid(jax.nn.softplus(raw_beta) * x) / 1.1


def contraction_params(key: jax.Array, x: jax.Array, cond: Cond, hidden: Sequence[int]) -> Params:
    """Parameters of `contraction` for examples like `x`."""
    event = math.prod(x.shape[1:])
    sizes = (event, *hidden, event)
    keys = jax.random.split(key, len(sizes))
    params: dict[str, Any] = {}
    for i, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        params[f"dense_{i}"] = dense_params(keys[i], inputs, outputs)
    params["raw_beta"] = jnp.full((len(hidden),), 0.5)
    if cond is not None:
        params["cond"] = dense_params(keys[-1], cond.shape[1], sizes[1])["kernel"]
    return params


def contraction(params: Params, x: jax.Array, cond: Cond, coefficient: float) -> jax.Array:
    """The network `g`: dense layers of norm at most `coefficient` with LipSwish between them.

    `cond` enters the first layer without a bound, for `g` need only contract in `x`.
    """
    if (cond is not None) != ("cond" in params):
        raise ValueError("a residual block needs cond in init and in every call, or in neither")
    last = params["raw_beta"].shape[0]
    h = x.reshape(x.shape[0], -1)
    for i in range(last + 1):
        layer = params[f"dense_{i}"]
        kernel = layer["kernel"]
        kernel = kernel * jnp.minimum(1.0, coefficient / spectral_bound(kernel))
        h = dense({"kernel": kernel, "bias": layer["bias"]}, h)
        if i == 0 and cond is not None:
            h = h + cond @ params["cond"]
        h = lip_swish(h, params["raw_beta"][i]) if i < last else h
    return h.reshape(x.shape)


# ---------------------------------------------------------------- log det(I + J)


def exact_log_det(g: Callable[..., jax.Array], x: jax.Array, cond: Cond = None) -> jax.Array:
    """`log|det(I + dg/dx)|` per row from the whole Jacobian, `(n,)`; `d` products and O(d^3).

    Args:
      g: `(x, cond) -> (n, *event)`, row by row.
      x: `(n, *event)`.
      cond: rows that go with them.
    """
    event = x.shape[1:]

    def row(x: jax.Array, cond: Cond) -> jax.Array:
        def flat(v: jax.Array) -> jax.Array:
            with_row_axis = None if cond is None else cond[None]
            return v + g(v.reshape(1, *event), with_row_axis).reshape(-1)

        return jnp.linalg.slogdet(jax.jacfwd(flat)(x))[1]

    in_axes = (0, None if cond is None else 0)
    return jax.vmap(row, in_axes)(x.reshape(x.shape[0], -1), cond)


def estimated_log_det(
    key: jax.Array,
    g: RowMap,
    frozen_g: RowMap,
    x: jax.Array,
    n_exact: int = 2,
    survival: float = 0.5,
) -> jax.Array:
    """Unbiased estimate of `log det(I + J) = sum_k (-1)^(k+1) / k tr J^k` per row, `(n,)`.

    `tr J^k` is estimated by `v' J^k v` with one Rademacher vector per row. The first `n_exact`
    terms are always taken; a geometric number of further ones, the same for all rows, is drawn
    and weighted by the inverse probability of getting there ("Russian roulette", Chen et al.
    2019, eq. 6). The gradient is an unbiased estimate too, of the Neumann series (their eq. 8),
    and does not go through the loop. The variance is finite where the spectral radius of `J` is
    below `sqrt(survival)`.

    Args:
      key: of the vectors (keyed per row) and of the number of terms.
      g: `(n, *event) -> (n, *event)`, differentiable in what it closes over.
      frozen_g: the same values with no gradients into what it closes over.
      x: `(n, *event)`.
      n_exact: terms without roulette.
      survival: probability of every next term.
    """
    count_key, probe_key = jax.random.split(key)
    keys = example_keys(probe_key, x.shape[0])
    v = jax.vmap(lambda k: jax.random.rademacher(k, x.shape[1:], x.dtype))(keys)
    uniform = jax.random.uniform(count_key, (), minval=jnp.finfo(jnp.float32).tiny)
    further = jnp.floor(jnp.log(uniform) / math.log(survival)).astype(jnp.int32)

    _, transposed = jax.vjp(frozen_g, jax.lax.stop_gradient(x))

    def term(k: jax.Array, carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        total, neumann, w = carry
        sign = jnp.where(k % 2 == 1, 1.0, -1.0)
        weight = sign * survival ** -jnp.maximum(k - n_exact, 0).astype(x.dtype)
        neumann = neumann + weight.astype(x.dtype) * w
        w = transposed(w)[0]
        return total + (weight / k).astype(x.dtype) * row_sum(w * v), neumann, w

    start = (jnp.zeros(x.shape[:1], x.dtype), jnp.zeros_like(x), v)
    total, neumann, _ = jax.lax.fori_loop(1, n_exact + further + 1, term, start)
    product = row_sum(jax.lax.stop_gradient(neumann) * jax.jvp(g, (x,), (v,))[1])
    return jax.lax.stop_gradient(total - product) + product


# ---------------------------------------------------------------- inverse


def fixed_point(
    g: RowMap, z: jax.Array, tolerance: float = 2e-6, max_iterations: int = 500
) -> jax.Array:
    """The solution `x` of `x + g(x) = z` for a contraction `g`, by `x <- z - g(x)`.

    A row stops changing once its largest error is at most `tolerance (1 + max|x|)`, so that it
    does not depend on its neighbours; rows that have not got there after `max_iterations` are
    NaN. Gradients come from the implicit function theorem.
    """

    def solve(residual: RowMap, start: jax.Array, scale: float) -> jax.Array:
        """Root of `residual` by `x <- x - residual(x)`; tolerances relative to `scale + |x|`."""

        def error(x: jax.Array, r: jax.Array) -> jax.Array:
            axes = tuple(range(1, x.ndim))
            return jnp.max(jnp.abs(r), axes) / (scale + jnp.max(jnp.abs(x), axes))

        def unfinished(carry: tuple[jax.Array, ...]) -> jax.Array:
            k, _, _, done = carry
            return (k < max_iterations) & ~jnp.all(done)

        def body(carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
            k, x, r, done = carry
            x = jnp.where(per_row(done, x), x, x - r)
            r = residual(x)
            return k + 1, x, r, error(x, r) <= tolerance

        r = residual(start)
        carry = (jnp.int32(0), start, r, error(start, r) <= tolerance)
        _, x, _, done = jax.lax.while_loop(unfinished, body, carry)
        return jnp.where(per_row(done, x), x, jnp.nan)

    def linear(matvec: RowMap, b: jax.Array) -> jax.Array:
        return solve(lambda v: matvec(v) - b, b, 1e-6)

    return jax.lax.custom_root(
        lambda x: x + g(x) - z,
        z,
        lambda f, start: solve(f, start, 1.0),
        lambda f, b: jax.lax.custom_linear_solve(f, b, linear, linear),
    )


def residual(
    hidden: Sequence[int] = (64, 64, 64),
    coefficient: float = 0.98,
    n_exact: int = 2,
    survival: float = 0.5,
    tolerance: float = 2e-6,
    max_iterations: int = 500,
) -> Bijector:
    """Residual block `z = x + g(x)` with a dense contraction `g`.

    Without a key the log-determinant is that of the whole Jacobian, with one the estimate of
    `estimated_log_det`.

    Args:
      hidden: units per hidden layer of `g`, which sees flattened examples.
      coefficient: bound of every kernel's spectral norm, below 1.
      n_exact: see `estimated_log_det` (2 in training; 20 for evaluation in the paper).
      survival: see `estimated_log_det`.
      tolerance: see `fixed_point`.
      max_iterations: see `fixed_point`.

    Raises:
      ValueError: `coefficient` is not in (0, 1).
    """
    if not 0.0 < coefficient < 1.0:
        raise ValueError(
            f"coefficient={coefficient} must be in (0, 1) for x + g(x) to be invertible"
        )

    def init(key: jax.Array, x: jax.Array, cond: Cond = None) -> Params:
        return contraction_params(key, x, cond, hidden)

    def forward(params: Params, x: jax.Array, cond: Cond = None) -> jax.Array:
        return x + contraction(params, x, cond, coefficient)

    def inverse(params: Params, z: jax.Array, cond: Cond = None) -> jax.Array:
        return fixed_point(
            lambda x: contraction(params, x, cond, coefficient), z, tolerance, max_iterations
        )

    def log_det(params: Params, x: jax.Array, cond: Cond, key: Key) -> jax.Array:
        if key is None:
            return exact_log_det(lambda x, c: contraction(params, x, c, coefficient), x, cond)
        frozen = jax.lax.stop_gradient((params, cond))
        return estimated_log_det(
            key,
            lambda x: contraction(params, x, cond, coefficient),
            lambda x: contraction(frozen[0], x, frozen[1], coefficient),
            x, n_exact, survival,
        )  # fmt: skip

    def forward_and_log_det(
        params: Params, x: jax.Array, cond: Cond = None, key: Key = None
    ) -> tuple[jax.Array, jax.Array]:
        return forward(params, x, cond), log_det(params, x, cond, key)

    def inverse_and_log_det(
        params: Params, z: jax.Array, cond: Cond = None, key: Key = None
    ) -> tuple[jax.Array, jax.Array]:
        x = inverse(params, z, cond)
        return x, -log_det(params, x, cond, key)

    return Bijector(init, forward_and_log_det, inverse_and_log_det, forward, inverse)
