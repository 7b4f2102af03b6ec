"""Metropolis correction, and the two kernels that need nothing else.

Random-walk Metropolis explores locally without gradients; independent Metropolis proposes
from a fixed distribution (for a latent posterior: the prior) and is exact in the limit.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from gmkit.samplers.kernel import (
    Info,
    Kernel,
    Potential,
    State,
    positions,
    row_finite,
    row_normal,
    row_uniform,
    row_values,
    select,
)


def metropolis_accept(
    key: jax.Array, log_ratio: jax.Array, proposal: State, current: State, n_grad: int = 0
) -> tuple[State, Info]:
    """Accepts each row of `proposal` with probability `min(1, exp(log_ratio))`.

    Rows whose proposal or log-ratio is not a number, or whose proposal is infinite, are
    rejected and flagged; the whole row of `current` survives, cached gradient included.
    """
    arrays = (
        (proposal.z, proposal.u)
        if proposal.grad is None
        else (
            proposal.z,
            proposal.u,
            proposal.grad,
        )
    )
    valid = row_finite(*arrays) & ~jnp.isnan(log_ratio)
    log_ratio = jnp.where(valid, log_ratio, -jnp.inf)
    uniform = row_uniform(key, log_ratio.shape[0])
    accepted = jnp.log(uniform) < log_ratio
    acceptance = jnp.exp(jnp.minimum(log_ratio, 0.0)).astype(jnp.float32)
    info = Info(acceptance, accepted, ~valid, jnp.int32(n_grad))
    return select(accepted, proposal, current), info


def random_walk_metropolis(potential: Potential) -> Kernel:
    """Random-walk Metropolis: propose `z + step_size * xi`, accept with `U(z) - U(z')`."""
    values = row_values(potential)

    def init(z: jax.Array) -> State:
        z = positions(z)
        return State(z, values(z))

    def step(key: jax.Array, state: State, step_size: jax.Array) -> tuple[State, Info]:
        key_noise, key_accept = jax.random.split(key)
        z = state.z + step_size * row_normal(key_noise, state.z)
        proposal = State(z, values(z))
        return metropolis_accept(key_accept, state.u - proposal.u, proposal, state)

    return Kernel(init, step)


def independent_metropolis(
    energy: Potential, propose: Callable[[jax.Array, jax.Array], jax.Array] = row_normal
) -> Kernel:
    """Independent Metropolis: propose fresh rows, accept with `energy(z) - energy(z')`.

    Args:
      energy: negative log-density of the target relative to the proposal, `(n,)`. For a
        latent posterior `prior(z) exp(-beta E(B(z)))` with the prior as proposal it is
        `beta E(B(z))` alone.
      propose: `(key, z) -> z'`, fresh rows with the shape and dtype of `z` (default: standard
        normal, keyed per row).

    The step size is ignored.
    """
    values = row_values(energy)

    def init(z: jax.Array) -> State:
        z = positions(z)
        return State(z, values(z))

    def step(key: jax.Array, state: State, step_size: jax.Array) -> tuple[State, Info]:
        del step_size
        key_noise, key_accept = jax.random.split(key)
        z = propose(key_noise, state.z)
        proposal = State(z, values(z))
        return metropolis_accept(key_accept, state.u - proposal.u, proposal, state)

    return Kernel(init, step)
