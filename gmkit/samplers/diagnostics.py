"""Health of a set of chains: acceptance, effective sample size, split R-hat.

Samples are `(T, n, *event)`: draws, chains, coordinates, as `run` returns them. Effective
sample sizes follow Geyer's initial monotone sequence over all chains together (Gelman et al.,
Bayesian Data Analysis, 3rd edition, section 11.5; Vehtari et al. 2021).
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from gmkit.samplers.kernel import Info, Trace


def acceptance_rate(info: Info) -> jax.Array:
    """Mean acceptance probability over all chains and steps, scalar."""
    return jnp.mean(info.acceptance)


def autocovariance(samples: jax.Array) -> jax.Array:
    """Autocovariance of every chain at lags 0 .. T-1, `(T, n, *event)`, by FFT.

    Uses the normalisation 1/T, which keeps the sequence positive semi-definite.
    """
    n_draws = samples.shape[0]
    centred = samples - jnp.mean(samples, axis=0, keepdims=True)
    padded = 2 ** math.ceil(math.log2(2 * n_draws))
    spectrum = jnp.fft.rfft(centred, n=padded, axis=0)
    return jnp.fft.irfft(jnp.abs(spectrum) ** 2, n=padded, axis=0)[:n_draws] / n_draws


def _split(samples: jax.Array) -> jax.Array:
    """Halves of every chain as chains of their own, `(T // 2, 2 n, *event)`."""
    if samples.ndim < 2 or samples.shape[0] < 8:
        raise ValueError(f"samples {samples.shape}: need (T, n, ...) with at least 8 draws a chain")
    half = samples.shape[0] // 2
    return jnp.concatenate([samples[:half], samples[-half:]], axis=1)


def _variances(chains: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean within-chain variance and the pooled estimate of the variance, each `(*event)`."""
    n_draws = chains.shape[0]
    within = jnp.mean(jnp.var(chains, axis=0, ddof=1), axis=0)
    between = jnp.var(jnp.mean(chains, axis=0), axis=0, ddof=1)
    return within, within * (n_draws - 1) / n_draws + between


def _nan_where_constant(value: jax.Array, samples: jax.Array) -> jax.Array:
    """NaN for coordinates that never move, whose variances are rounding errors."""
    moves = jnp.any(samples != samples[:1, :1], axis=(0, 1))
    return jnp.where(moves, value, jnp.nan)


def split_rhat(samples: jax.Array) -> jax.Array:
    """Split R-hat of every coordinate, `(*event)`; 1 when halves of chains agree.

    NaN for a coordinate that never moves.

    Raises:
      ValueError: fewer than 8 draws a chain.
    """
    within, pooled = _variances(_split(samples))
    return _nan_where_constant(jnp.sqrt(pooled / within), samples)


def effective_sample_size(samples: jax.Array) -> jax.Array:
    """Effective number of independent draws in all chains together, `(*event)`.

    Chains that disagree lower it. Capped at `N log10(N)` for `N = T n` draws, since the
    estimate for antithetic chains is unbounded. NaN for a coordinate that never moves.

    Raises:
      ValueError: fewer than 8 draws a chain.
    """
    chains = _split(samples)
    n_draws, n_chains = chains.shape[:2]
    within, pooled = _variances(chains)
    covariance = jnp.mean(autocovariance(chains), axis=1) * n_draws / (n_draws - 1)
    rho = 1.0 - (within[None] - covariance) / pooled[None]
    rho = rho.at[0].set(1.0)
    even = n_draws // 2 * 2
    pairs = rho[0:even:2] + rho[1:even:2]
    initial = jnp.cumprod(pairs > 0, axis=0)
    monotone = jax.lax.cummin(pairs, axis=0)
    time = -1.0 + 2.0 * jnp.sum(jnp.where(initial > 0, monotone, 0.0), axis=0)
    total = n_draws * n_chains
    size = total / jnp.maximum(time, 1.0 / math.log10(total))
    return _nan_where_constant(size, samples)


def ess_per_gradient(trace: Trace) -> jax.Array:
    """Smallest effective sample size over coordinates, per gradient evaluation, scalar.

    Gradients are counted over all chains. Infinite for kernels that use none.

    Raises:
      ValueError: the trace holds no samples, or fewer than 8 blocks.
    """
    if trace.samples is None:
        raise ValueError("ess_per_gradient needs samples: run(..., collect=True)")
    n_gradients = jnp.sum(trace.info.n_grad) * trace.samples.shape[1]
    return jnp.min(effective_sample_size(trace.samples)) / n_gradients
