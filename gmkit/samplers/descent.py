"""Optimisation baselines in the kernels' interface: no noise, no sampling guarantee."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gmkit.samplers.kernel import (
    Info,
    Kernel,
    Potential,
    State,
    moved,
    per_row,
    positions,
    row_sum,
    row_value_and_grad,
)


def gradient_descent(potential: Potential) -> Kernel:
    """The zero-temperature limit of Langevin: `z' = z - step_size * grad U(z)`."""
    value_and_grad = row_value_and_grad(potential)

    def init(z: jax.Array) -> State:
        z = positions(z)
        return State(z, *value_and_grad(z))

    def step(key: jax.Array, state: State, step_size: jax.Array) -> tuple[State, Info]:
        del key
        z = state.z - step_size * state.grad
        state = State(z, *value_and_grad(z))
        return state, moved(state, n_grad=1)

    return Kernel(init, step)


class TransportState(NamedTuple):
    """State of `optimal_transport_descent`: `State` and where each row started.

    Attributes:
      z, u, grad, velocity: as in `State`; `u` and `grad` are those of the energy.
      origin: starting positions, `(n, *event)`.
    """

    z: jax.Array
    u: jax.Array
    grad: jax.Array
    velocity: None
    origin: jax.Array


def max_gradient_norm(energy: Potential, z: jax.Array) -> jax.Array:
    """Largest gradient norm of the energy over rows `z`: an estimate of its Lipschitz constant."""
    _, grad = row_value_and_grad(energy)(positions(z))
    return jnp.sqrt(jnp.max(row_sum(grad**2)))


def without_radial_part(direction: jax.Array, z: jax.Array) -> jax.Array:
    """`direction` minus its component along `z`, row by row (unchanged where `z` is 0)."""
    squared_norm = row_sum(z**2)
    along = row_sum(direction * z) / jnp.where(squared_norm > 0, squared_norm, 1.0)
    return direction - per_row(along, z) * z


def _distance_gradient(z: jax.Array, origin: jax.Array) -> jax.Array:
    """Gradient of `|z - origin|`; 0, which is a subgradient, at the origin itself."""
    difference = z - origin
    norm = jnp.sqrt(row_sum(difference**2))
    return difference / per_row(jnp.where(norm > 0, norm, 1.0), z)


def optimal_transport_descent(energy: Potential, lipschitz: jax.Array | float) -> Kernel:
    """Discriminator optimal transport in latent space (Tanaka 2019).

    Descends `E(z) / lipschitz + |z - z_0|` along the gradient without its radial part, which
    keeps a Gaussian latent near its sphere.

    Args:
      energy: energy of latents, `(n, *event) -> (n,)`.
      lipschitz: from `max_gradient_norm(energy, prior_draws)`.
    """
    value_and_grad = row_value_and_grad(energy)

    def init(z: jax.Array) -> TransportState:
        z = positions(z)
        u, grad = value_and_grad(z)
        return TransportState(z, u, grad, None, z)

    def step(
        key: jax.Array, state: TransportState, step_size: jax.Array
    ) -> tuple[TransportState, Info]:
        del key
        direction = state.grad / lipschitz + _distance_gradient(state.z, state.origin)
        z = state.z - step_size * without_radial_part(direction, state.z)
        end = State(z, *value_and_grad(z))
        return TransportState(*end, state.origin), moved(end, n_grad=1)

    return Kernel(init, step)
