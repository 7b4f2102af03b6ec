"""Hamiltonian Monte Carlo with unit mass and full velocity refreshment."""

from __future__ import annotations

import jax

from gmkit.samplers.kernel import (
    Info,
    Kernel,
    Potential,
    Scalar,
    State,
    ValueAndGrad,
    positions,
    row_normal,
    row_sum,
    row_value_and_grad,
)
from gmkit.samplers.metropolis import metropolis_accept

#: Energy error beyond which a trajectory counts as divergent.
DIVERGENCE = 1000.0


def leapfrog(state: State, step_size: Scalar, n_leap: int, value_and_grad: ValueAndGrad) -> State:
    """`n_leap` leapfrog steps from `(state.z, state.velocity)`.

    Uses the gradient that the state carries, and returns a state that carries the gradient of
    its end: `n_leap` evaluations.
    """

    def one(state: State, _: None) -> tuple[State, None]:
        v = state.velocity - 0.5 * step_size * state.grad
        z = state.z + step_size * v
        u, grad = value_and_grad(z)
        return State(z, u, grad, v - 0.5 * step_size * grad), None

    state, _ = jax.lax.scan(one, state, None, length=n_leap)
    return state


def hamiltonian(state: State) -> jax.Array:
    """`U(z) + |v|^2 / 2`, `(n,)`."""
    return state.u + 0.5 * row_sum(state.velocity**2)


def hmc(potential: Potential, n_leap: int = 2) -> Kernel:
    """Hamiltonian Monte Carlo: fresh velocity, `n_leap` leapfrog steps, Metropolis on H.

    Trajectories whose energy error exceeds 1000 are flagged as diverged.

    Args:
      potential: `(n, *event) -> (n,)`.
      n_leap: leapfrog steps, and gradient evaluations, per step.

    Raises:
      ValueError: `n_leap` below 1.
    """
    if n_leap < 1:
        raise ValueError(f"n_leap={n_leap} must be at least 1")
    value_and_grad = row_value_and_grad(potential)

    def init(z: jax.Array) -> State:
        z = positions(z)
        return State(z, *value_and_grad(z))

    def step(key: jax.Array, state: State, step_size: jax.Array) -> tuple[State, Info]:
        key_velocity, key_accept = jax.random.split(key)
        start = state._replace(velocity=row_normal(key_velocity, state.z))
        end = leapfrog(start, step_size, n_leap, value_and_grad)
        log_ratio = hamiltonian(start) - hamiltonian(end)
        proposal = end._replace(velocity=None)
        state, info = metropolis_accept(key_accept, log_ratio, proposal, state, n_grad=n_leap)
        return state, info._replace(diverged=info.diverged | (log_ratio < -DIVERGENCE))

    return Kernel(init, step)
