"""Trained linear maps of the channels with a log-determinant that costs nothing."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular

from gmkit.distributions.bijector import Bijector, Cond, Params, closed_form
from gmkit.distributions.rows import constant_rows, sites

Pair = tuple[jax.Array, jax.Array]


def random_rotations(n: int, channels: int, seed: int = 0) -> np.ndarray:
    """`n` random orthogonal matrices of determinant 1, float64 `(n, channels, channels)`."""
    gaussian = np.random.default_rng(seed).standard_normal((n, channels, channels))
    q, r = np.linalg.qr(gaussian)
    q = q * np.sign(np.diagonal(r, axis1=1, axis2=2))[:, None, :]
    q[:, :, 0] *= np.linalg.det(q)[:, None]
    return q


def _product(a: jax.Array, b: jax.Array) -> jax.Array:
    # Reduced-precision products would not be inverted by the triangular solves.
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def invertible_1x1(rotation: Any) -> Bijector:
    """`z = W x` for the channels of every pixel, `W = R L U` (Kingma & Dhariwal 2018, eq. 10).

    `R` is fixed and orthogonal, `L` unit lower and `U` upper triangular with diagonal `exp(s)`;
    `L = U = I` at first. A permutation matrix `R` gives the paper's factorisation; a random
    rotation gives its initial value too, without pivots or signs to store.

    Args:
      rotation: `R`, `(c, c)`; may be traced (one of `random_rotations` per scanned layer).
    """

    def init(key: jax.Array, x: jax.Array, cond: Cond) -> Params:
        del key, cond
        c = x.shape[-1]
        if jnp.shape(rotation) != (c, c):
            raise ValueError(f"rotation has shape {jnp.shape(rotation)}; {c} channels need {c, c}")
        return {
            "lower": jnp.zeros((c, c)),
            "upper": jnp.zeros((c, c)),
            "log_diagonal": jnp.zeros(c),
        }

    def factors(params: Params) -> Pair:
        lower = jnp.tril(params["lower"], -1)
        upper = jnp.triu(params["upper"], 1) + jnp.diag(jnp.exp(params["log_diagonal"]))
        return lower + jnp.eye(lower.shape[0], dtype=lower.dtype), upper

    def log_det(params: Params, x: jax.Array) -> jax.Array:
        return constant_rows(sites(x) * jnp.sum(params["log_diagonal"]), x)

    def forward(params: Params, x: jax.Array, cond: Cond) -> Pair:
        del cond
        lower, upper = factors(params)
        weight = _product(_product(jnp.asarray(rotation, lower.dtype), lower), upper)
        return _product(x, weight.T), log_det(params, x)

    def inverse(params: Params, z: jax.Array, cond: Cond) -> Pair:
        del cond
        lower, upper = factors(params)
        columns = _product(jnp.asarray(rotation, lower.dtype).T, z.reshape(-1, z.shape[-1]).T)
        columns = solve_triangular(lower, columns, lower=True, unit_diagonal=True)
        columns = solve_triangular(upper, columns, lower=False)
        return columns.T.reshape(z.shape), -log_det(params, z)

    return closed_form(init, forward, inverse)
