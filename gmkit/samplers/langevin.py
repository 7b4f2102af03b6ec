"""Langevin kernels: overdamped (ULA), Metropolis-adjusted (MALA) and kinetic (KLA).

The deterministic maps take their noise as an argument, so that each can be checked by hand;
the kernels draw the noise and carry the gradient, which costs one gradient per step.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from gmkit.samplers.kernel import (
    Info,
    Kernel,
    Potential,
    Scalar,
    State,
    ValueAndGrad,
    moved,
    positions,
    row_normal,
    row_sum,
    row_value_and_grad,
)
from gmkit.samplers.metropolis import metropolis_accept

Ordering = Literal["aboba", "baoab"]
Phase = tuple[jax.Array, jax.Array, jax.Array, jax.Array]

# ---------------------------------------------------------------- overdamped


def langevin_move(z: jax.Array, grad: jax.Array, xi: jax.Array, step_size: Scalar) -> jax.Array:
    """Euler-Maruyama step `z - lam grad U(z) + sqrt(2 lam) xi`, with `lam = step_size`."""
    return z - step_size * grad + jnp.sqrt(2.0 * step_size) * xi


def mala_log_ratio(proposal: State, current: State, xi: jax.Array, step_size: Scalar) -> jax.Array:
    """Log acceptance ratio of a Langevin move, `(n,)`.

    `U(z) - U(z') - |z - z' + lam grad U(z')|^2 / (4 lam) + |xi|^2 / 2`: the last two terms are
    the log-densities of the reverse and the forward proposal.
    """
    residual = current.z - proposal.z + step_size * proposal.grad
    reverse = -row_sum(residual**2) / (4.0 * step_size)
    return current.u - proposal.u + reverse + row_sum(xi**2) / 2.0


def _init_with_gradient(value_and_grad: ValueAndGrad, z: jax.Array) -> State:
    z = positions(z)
    return State(z, *value_and_grad(z))


def ula(potential: Potential) -> Kernel:
    """Unadjusted Langevin: always moves, so its stationary law is biased by O(step size).

    On `U = z^2 / 2` the stationary variance is `1 / (1 - lam / 2)`.
    """
    value_and_grad = row_value_and_grad(potential)

    def step(key: jax.Array, state: State, step_size: jax.Array) -> tuple[State, Info]:
        z = langevin_move(state.z, state.grad, row_normal(key, state.z), step_size)
        state = State(z, *value_and_grad(z))
        return state, moved(state, n_grad=1)

    return Kernel(lambda z: _init_with_gradient(value_and_grad, z), step)


def mala(potential: Potential) -> Kernel:
    """Metropolis-adjusted Langevin: the ULA move with the exact accept step."""
    value_and_grad = row_value_and_grad(potential)

    def step(key: jax.Array, state: State, step_size: jax.Array) -> tuple[State, Info]:
        key_noise, key_accept = jax.random.split(key)
        xi = row_normal(key_noise, state.z)
        z = langevin_move(state.z, state.grad, xi, step_size)
        proposal = State(z, *value_and_grad(z))
        log_ratio = mala_log_ratio(proposal, state, xi, step_size)
        return metropolis_accept(key_accept, log_ratio, proposal, state, n_grad=1)

    return Kernel(lambda z: _init_with_gradient(value_and_grad, z), step)


# ---------------------------------------------------------------- kinetic


def friction_and_noise(
    v: jax.Array, xi: jax.Array, step_size: Scalar, friction: Scalar
) -> jax.Array:
    """Exact Ornstein-Uhlenbeck step of the velocity over one step size.

    `e^{-kappa h} v + sqrt(1 - e^{-2 kappa h}) xi`; `expm1` keeps the noise right for small
    `kappa h`, and an infinite product draws a fresh velocity.
    """
    damping = jnp.asarray(step_size * friction, v.dtype)
    return jnp.exp(-damping) * v + jnp.sqrt(-jnp.expm1(-2.0 * damping)) * xi


def aboba(
    z: jax.Array,
    v: jax.Array,
    xi: jax.Array,
    step_size: Scalar,
    friction: Scalar,
    value_and_grad: ValueAndGrad,
) -> Phase:
    """Drift, kick, friction and noise, kick, drift; one gradient, at the half step.

    Args:
      z, v, xi: positions, velocities and standard normal noise, `(n, *event)`.
      step_size: h.
      friction: kappa, in inverse time.
      value_and_grad: `z -> (U, grad U)`.

    Returns:
      New positions and velocities, and `(U, grad U)` at the half step.
    """
    z_half = z + 0.5 * step_size * v
    u, grad = value_and_grad(z_half)
    v = friction_and_noise(v - 0.5 * step_size * grad, xi, step_size, friction)
    v = v - 0.5 * step_size * grad
    return z_half + 0.5 * step_size * v, v, u, grad


def baoab(
    z: jax.Array,
    v: jax.Array,
    grad: jax.Array,
    xi: jax.Array,
    step_size: Scalar,
    friction: Scalar,
    value_and_grad: ValueAndGrad,
) -> Phase:
    """Kick, drift, friction and noise, drift, kick (Leimkuhler and Matthews 2013).

    One new gradient: `grad` is that of `z`, from the step before. Arguments as in `aboba`;
    the returned `(U, grad U)` belong to the new positions.
    """
    v = v - 0.5 * step_size * grad
    z = z + 0.5 * step_size * v
    v = friction_and_noise(v, xi, step_size, friction)
    z = z + 0.5 * step_size * v
    u, grad = value_and_grad(z)
    return z, v - 0.5 * step_size * grad, u, grad


def kinetic_langevin(
    potential: Potential, friction: Scalar, ordering: Ordering = "aboba"
) -> Kernel:
    """Kinetic (underdamped) Langevin with unit mass, without a Metropolis correction.

    On quadratic potentials the stationary position covariance is exact for every stable step
    size in both orderings; on others "baoab" is the more accurate in positions. Velocities
    start at 0 (`state._replace(velocity=...)` sets others). With "aboba" the state's `u` and
    `grad` are those of the last half step.

    Args:
      potential: `(n, *event) -> (n,)`.
      friction: kappa >= 0; velocities are damped by `exp(-kappa h)` per step, and infinity
        redraws them.
      ordering: "aboba" or "baoab".

    Raises:
      ValueError: an unknown ordering, or negative friction.
    """
    if ordering not in ("aboba", "baoab"):
        raise ValueError(f"ordering={ordering!r}: choose aboba or baoab")
    if isinstance(friction, int | float) and not friction >= 0:
        raise ValueError(f"friction={friction} must be at least 0")
    value_and_grad = row_value_and_grad(potential)

    def init(z: jax.Array) -> State:
        state = _init_with_gradient(value_and_grad, z)
        return state._replace(velocity=jnp.zeros_like(state.z))

    def step(key: jax.Array, state: State, step_size: jax.Array) -> tuple[State, Info]:
        xi = row_normal(key, state.z)
        if ordering == "aboba":
            phase = aboba(state.z, state.velocity, xi, step_size, friction, value_and_grad)
        else:
            phase = baoab(
                state.z, state.velocity, state.grad, xi, step_size, friction, value_and_grad
            )
        z, velocity, u, grad = phase
        state = State(z, u, grad, velocity)
        return state, moved(state, n_grad=1)

    return Kernel(init, step)
