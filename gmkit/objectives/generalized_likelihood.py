"""Generalized likelihood of an energy relative to a base distribution, and KALE.

`Q(dx) = exp(-E(x) - A) G(dx)` with `A = log E_G[exp(-E)]` re-weights the base `G` by the energy
`E` (Arbel et al. 2021). All functions take energies of data `(n,)` and of base samples `(m,)`;
means run over the whole batch and all devices.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from gmkit.core import parallel


class EnergyTerms(NamedTuple):
    """A loss of the energy and its two parts; `loss` equals `real + fake` up to a constant.

    Attributes:
      loss: scalar to minimise.
      real: part of the data.
      fake: part of the base samples.
    """

    loss: jax.Array
    real: jax.Array
    fake: jax.Array


def safe_exp(a: jax.Array, limit: float = 10.0) -> jax.Array:
    """`exp(a)` up to `limit`, its tangent above.

    Continuously differentiable; neither value nor gradient overflows, and the gradient does not
    vanish where the exponent is too large, as it would with a clipped exponent.
    """
    above = a > limit
    exponential = jnp.exp(jnp.where(above, limit, a))
    return jnp.where(above, math.exp(limit) * (1.0 + a - limit), exponential)


def energy_floor(energies: jax.Array, floor: float | None) -> tuple[jax.Array, jax.Array]:
    """`max(E, floor)` and the fraction of the batch below the floor (no gradient there).

    Args:
      energies: `(n,)`.
      floor: smallest energy, or None for none.
    """
    if floor is None:
        return energies, jnp.zeros((), energies.dtype)
    below = energies < floor
    fraction = parallel.batch_mean(below.astype(energies.dtype))
    return jnp.where(below, jnp.asarray(floor, energies.dtype), energies), fraction


def log_partition(fake: jax.Array) -> jax.Array:
    """Batch estimate of the log-partition, `A = log mean exp(-E_fake)`."""
    return parallel.batch_log_mean_exp(-fake)


def generalized_log_likelihood(real: jax.Array, fake: jax.Array) -> jax.Array:
    """`L(E) = -mean E_real - log mean exp(-E_fake)`; its supremum over E is KL(P || G)."""
    return -parallel.batch_mean(real) - log_partition(fake)


def variational_log_likelihood(real: jax.Array, fake: jax.Array, log_z: jax.Array) -> jax.Array:
    """`F(E, c) = -mean(E_real + c) - mean exp(-(E_fake + c)) + 1 <= L(E)` with c = `log_z`.

    Equality holds at `c = A`; the gap is `(c - A) + exp(A - c) - 1`. Evaluated with the exact
    exponential: -inf where it overflows.
    """
    fake_mass = jnp.exp(log_partition(fake) - log_z)
    return -parallel.batch_mean(real) - log_z - fake_mass + 1.0


def kale_loss(
    real: jax.Array, fake: jax.Array, log_z: jax.Array, limit: float = 10.0
) -> EnergyTerms:
    """Loss of the energy and of c = `log_z`: `mean(E_real + c) + mean exp(-(E_fake + c)) - 1`.

    Its negative is the KALE objective F(E, c), up to the linear continuation of the exponential
    (`safe_exp`). Minibatch gradients are unbiased.

    Args:
      real: energies of data `(n,)`.
      fake: energies of base samples `(m,)`.
      log_z: variational log-partition, scalar.
      limit: exponent above which the exponential is continued linearly.
    """
    real_term = parallel.batch_mean(real) + log_z
    fake_term = parallel.batch_mean(safe_exp(-(fake + log_z), limit))
    return EnergyTerms(real_term + fake_term - 1.0, real_term, fake_term)


def donsker_varadhan_loss(real: jax.Array, fake: jax.Array) -> EnergyTerms:
    """`mean E_real + log mean exp(-E_fake)`: the KALE loss with c at its optimum for the batch.

    The minibatch gradient is biased by O(1/m).
    """
    real_term, fake_term = parallel.batch_mean(real), log_partition(fake)
    return EnergyTerms(real_term + fake_term, real_term, fake_term)


def contrastive_divergence_loss(real: jax.Array, negative: jax.Array) -> EnergyTerms:
    """`mean E_real - mean E_negative`, negatives from the model by MCMC (Hinton 2002)."""
    real_term, fake_term = parallel.batch_mean(real), -parallel.batch_mean(negative)
    return EnergyTerms(real_term + fake_term, real_term, fake_term)


Weighting = Literal["softmax", "learned_c"]


def base_loss(
    fake: jax.Array,
    weighting: Weighting = "softmax",
    log_z: jax.Array | None = None,
    limit: float = 10.0,
) -> jax.Array:
    """Loss of the base: its gradient is `-grad KALE` through the samples, i.e. `E[w grad E]`.

    Args:
      fake: energies of base samples, differentiable in the base's parameters, `(m,)`.
      weighting: "softmax" self-normalises the density ratios in the batch (bounded weights, bias
        O(1/m)); "learned_c" uses `exp(-(E + log_z))` (unbiased for the given c).
      log_z: variational log-partition; no gradient passes to it. Needed for "learned_c" only.
      limit: exponent above which the exponential of "learned_c" is continued linearly.

    Raises:
      ValueError: unknown weighting, or "learned_c" without `log_z`.
    """
    if weighting == "softmax":
        return -log_partition(fake)
    if weighting != "learned_c":
        raise ValueError(f"weighting={weighting!r}: choose softmax or learned_c")
    if log_z is None:
        raise ValueError("weighting='learned_c' needs log_z; pass it or use weighting='softmax'")
    exponent = -(fake + jax.lax.stop_gradient(log_z))
    return -parallel.batch_mean(safe_exp(exponent, limit))


def log_partition_step(log_z: jax.Array, fake: jax.Array, rate: float = 0.05) -> jax.Array:
    """One step of the fixed point `c <- c + rate * log mean exp(-(E_fake + c))`, of at most 1.

    No gradient passes. In log space, so it neither overflows nor lags like a gradient step.
    """
    difference = log_partition(jax.lax.stop_gradient(fake)) - log_z
    return log_z + jnp.clip(rate * difference, -1.0, 1.0)


def log_partition_average(log_z: jax.Array, fake: jax.Array, rate: float = 0.05) -> jax.Array:
    """One step of a moving average of `exp(A)`: `c <- c + log(1 + rate (m - 1))`, of at most 1.

    With `m = mean exp(-(E_fake + c))` it has the fixed point of `log_partition_step`, but it
    averages `m` itself instead of its logarithm, which for few samples of unequal weight is low:
    the average over time has the bias of `1 / rate` batches, not of one. No gradient passes.
    """
    log_m = log_partition(jax.lax.stop_gradient(fake)) - log_z
    step = jnp.logaddexp(math.log1p(-rate), math.log(rate) + log_m)
    return log_z + jnp.clip(step, -1.0, 1.0)


def importance_weights(fake: jax.Array, log_z: jax.Array | None = None) -> jax.Array:
    """Weights `(m,)` that turn base samples into model samples.

    Args:
      fake: energies of base samples `(m,)` (beta times them for a tempered model).
      log_z: with it, `exp(-(E + log_z)) / M`; without, normalised to sum 1 over the batch. M
        counts the samples of all devices.
    """
    shift = log_partition(fake) if log_z is None else log_z
    total = parallel.gather_batch(fake).shape[0]
    return jnp.exp(-(fake + shift)) / total


def weight_ess(fake: jax.Array) -> jax.Array:
    """Effective sample size of the weights as a fraction of the batch: `1 / (M sum w^2)`.

    1 for equal weights, 1/M where one sample has all; the health signal of the base's update.
    """
    return jnp.exp(2.0 * log_partition(fake) - log_partition(2.0 * fake))
