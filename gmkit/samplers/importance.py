"""Importance sampling: weights, their effective size, resampling, the log-partition function.

With `M` draws from a base distribution and log-weights `-beta E`, resampling by
`softmax(-beta E)` draws from the re-weighted base as `M` grows, and the mean of the weights
estimates the partition function relative to the base.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from gmkit.samplers.kernel import Potential, row_values

Resampling = Literal["systematic", "multinomial"]


class Resampled(NamedTuple):
    """Result of `sir`.

    Attributes:
      z: resampled rows, `(n, *event)`.
      ess: effective number of the proposals, scalar in [1, M].
      log_z: estimate of `log E[exp(-beta E(z))]` over the base, scalar, nats.
      log_z_stderr: its standard error.
      n_invalid: proposals whose energy was not a number; they got weight 0.
    """

    z: jax.Array
    ess: jax.Array
    log_z: jax.Array
    log_z_stderr: jax.Array
    n_invalid: jax.Array


def effective_draws(log_weights: jax.Array) -> jax.Array:
    """Effective number of draws `(sum w)^2 / sum w^2` of log-weights `(M,)`, in [1, M].

    Divide by `M` for the fraction. NaN where all weights are 0.
    """
    log_sum = jax.nn.logsumexp(log_weights)
    return jnp.exp(2.0 * log_sum - jax.nn.logsumexp(2.0 * log_weights))


def log_partition(log_weights: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`log mean exp` of log-weights `(M,)`, and its standard error by the delta method.

    The estimate of the mean is unbiased; its logarithm is low by about half the squared
    standard error. Where few weights dominate, both numbers are optimistic: look at
    `effective_draws` too. The standard error of a single draw is NaN.
    """
    n = log_weights.shape[0]
    value = jax.nn.logsumexp(log_weights) - math.log(n)
    ratio = jnp.exp(log_weights - value)
    return value, jnp.std(ratio, ddof=1) / math.sqrt(n)


def log_partition_upper(log_weights: jax.Array, c: jax.Array) -> tuple[jax.Array, jax.Array]:
    """An estimate that is at least the log-partition function on average, and its standard error.

    `log Z <= c - 1 + Z exp(-c)` for every c, with equality at `c = log Z`, and the right side is
    linear in Z. With `log_partition` below, it brackets `log Z` (the variational bound of KALE,
    Arbel et al. 2021, section 3).

    Args:
      log_weights: `(M,)`.
      c: a guess of `log Z`, scalar, from anything but these weights.
    """
    ratio = jnp.exp(log_weights - c)
    return c - 1.0 + jnp.mean(ratio), jnp.std(ratio, ddof=1) / math.sqrt(log_weights.shape[0])


def resample(
    key: jax.Array, log_weights: jax.Array, n: int, method: Resampling = "systematic"
) -> jax.Array:
    """Indices `(n,)`, int32, drawn with probabilities `softmax(log_weights)`.

    "systematic" puts one uniform offset on a regular grid: index `i` appears
    `floor(n w_i)` or one more time, in ascending order. "multinomial" draws independently.
    An index of weight 0 is never drawn; at least one weight must be positive.

    Raises:
      ValueError: an unknown method.
    """
    if method == "systematic":
        u = (jnp.arange(n) + jax.random.uniform(key)) / n
    elif method == "multinomial":
        u = jax.random.uniform(key, (n,))
    else:
        raise ValueError(f"method={method!r}: choose systematic or multinomial")
    cumulative = jnp.cumsum(jax.nn.softmax(log_weights))
    # The total rounds to slightly less or more than 1; a position that rounds up to the total
    # would fall behind the last positive weight.
    below_total = jnp.nextafter(cumulative[-1], jnp.zeros_like(cumulative[-1]))
    u = jnp.minimum(u * cumulative[-1], below_total)
    return jnp.searchsorted(cumulative, u, side="right").astype(jnp.int32)


def sir(
    key: jax.Array,
    energy: Potential,
    z: jax.Array,
    n: int,
    *,
    beta: float = 1.0,
    method: Resampling = "systematic",
    batch_size: int | None = None,
) -> Resampled:
    """Sampling-importance-resampling of base draws `z (M, *event)` by `softmax(-beta E)`.

    The bias is O(1/M); `ess` says how many different draws carry the answer.

    Args:
      key: for the resampling.
      energy: `(B, *event) -> (B,)`.
      z: draws from the base distribution.
      n: rows wanted.
      beta: inverse temperature.
      method: see `resample`.
      batch_size: rows per evaluation of the energy (default: all at once).
    """
    values = row_values(energy)
    if batch_size is None:
        log_weights = -beta * values(z)
    else:
        one = lambda row: values(row[None])[0]
        log_weights = -beta * jax.lax.map(one, z, batch_size=batch_size)
    invalid = jnp.isnan(log_weights)
    log_weights = jnp.where(invalid, -jnp.inf, log_weights)
    log_z, stderr = log_partition(log_weights)
    chosen = z[resample(key, log_weights, n, method)]
    return Resampled(chosen, effective_draws(log_weights), log_z, stderr, jnp.sum(invalid))
