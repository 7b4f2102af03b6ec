"""Langevin dynamics in continuous time, solved by diffrax.

The library supplies solver, step-size control and adjoint; every chain is a solve of its own
with its own Brownian path, keyed by its position in the global batch. On a fixed grid the
overdamped solve with the Euler solver is ULA; for plain sampling on a grid the scans of
`langevin` are several times cheaper.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import lineax

from gmkit.core.parallel import example_keys
from gmkit.samplers.kernel import Potential, positions, row_values

_LEVY_AREAS = (diffrax.BrownianIncrement, diffrax.SpaceTimeLevyArea, diffrax.SpaceTimeTimeLevyArea)


class Path(NamedTuple):
    """Solutions of `n` chains at `S` times.

    Attributes:
      samples: positions, `(S, n, *event)`.
      velocity: velocities, likewise; None for overdamped dynamics.
      n_steps: solver steps of every chain, int `(n,)`.
      success: whether the solver reached the last time within `max_steps` and stayed finite,
        bool `(n,)`. Rows that failed hold `inf` or NaN.
    """

    samples: jax.Array
    velocity: jax.Array | None
    n_steps: jax.Array
    success: jax.Array


def _brownian_path(key: jax.Array, solver: Any, t1: jax.Array, dt: float, adaptive: bool, dim: int):
    """A Brownian path with the Levy area that the solver asks for, finer than its steps."""
    needed = getattr(solver, "minimal_levy_area", diffrax.BrownianIncrement)
    area = next(a for a in _LEVY_AREAS if issubclass(a, needed))
    tolerance = dt / 256 if adaptive else dt / 4
    shape = jax.ShapeDtypeStruct((dim,), jnp.float32)
    return diffrax.VirtualBrownianTree(0.0, t1, tolerance, shape, key, levy_area=area)


def _solve(key, terms_of, y0, times, dt, solver, controller, adjoint, max_steps, dim) -> Any:
    """One solve per chain; `terms_of(brownian_path)` are its terms, `y0` has leaves `(n, dim)`."""
    times = jnp.asarray(times, jnp.float32)
    controller = diffrax.ConstantStepSize() if controller is None else controller
    adaptive = not isinstance(controller, diffrax.ConstantStepSize)
    adjoint = diffrax.RecursiveCheckpointAdjoint() if adjoint is None else adjoint

    def one(key: jax.Array, y0: Any) -> tuple[Any, jax.Array, jax.Array]:
        path = _brownian_path(key, solver, times[-1], dt, adaptive, dim)
        solution = diffrax.diffeqsolve(
            terms_of(path), solver, 0.0, times[-1], dt, y0, saveat=diffrax.SaveAt(ts=times),
            stepsize_controller=controller, adjoint=adjoint, max_steps=max_steps, throw=False,
        )  # fmt: skip
        finite = jnp.stack([jnp.isfinite(y).all() for y in jax.tree.leaves(solution.ys)]).all()
        success = (solution.result == diffrax.RESULTS.successful) & finite
        return solution.ys, solution.stats["num_steps"], success

    n = jax.tree.leaves(y0)[0].shape[0]
    return jax.vmap(one, out_axes=(1, 0, 0))(example_keys(key, n), y0)


def _flat_gradient(potential: Potential, event: tuple[int, ...]) -> Any:
    """Gradient of the potential of one flattened row, `(dim,) -> (dim,)`."""
    values = row_values(potential)
    return jax.grad(lambda z: values(z.reshape(1, *event))[0])


def overdamped_sde(
    key: jax.Array,
    potential: Potential,
    z0: jax.Array,
    times: jax.Array,
    dt: float,
    *,
    solver: diffrax.AbstractSolver | None = None,
    controller: diffrax.AbstractStepSizeController | None = None,
    adjoint: diffrax.AbstractAdjoint | None = None,
    max_steps: int = 4096,
) -> Path:
    """Solves `dz = -grad U(z) dt + sqrt(2) dW`, whose stationary density is `exp(-U)`.

    Args:
      key: typed key of the Brownian paths.
      potential: `(n, *event) -> (n,)`.
      z0: start at time 0, `(n, *event)`.
      times: when to report, increasing and positive, `(S,)`; the last one ends the solve.
      dt: first step, and every step unless `controller` adapts them.
      solver: any diffrax SDE solver for additive noise (default Euler; `ShARK()` has order
        1.5 and an error estimate for adaptive steps).
      controller: diffrax step-size controller (default: constant steps).
      adjoint: diffrax adjoint (default: recursive checkpointing).
      max_steps: bound on the solver's steps.
    """
    z0 = positions(z0)
    n, *event = z0.shape
    flat = z0.reshape(n, -1)
    gradient = _flat_gradient(potential, tuple(event))
    noise = lineax.DiagonalLinearOperator(jnp.full(flat.shape[1:], jnp.sqrt(2.0), flat.dtype))

    def terms_of(path: diffrax.AbstractBrownianPath) -> diffrax.AbstractTerm:
        drift = diffrax.ODETerm(lambda t, z, args: -gradient(z))
        return diffrax.MultiTerm(drift, diffrax.ControlTerm(lambda t, z, args: noise, path))

    solver = diffrax.Euler() if solver is None else solver
    settings = (solver, controller, adjoint, max_steps, flat.shape[1])
    ys, n_steps, success = _solve(key, terms_of, flat, times, dt, *settings)
    return Path(ys.reshape(-1, n, *event), None, n_steps, success)


def kinetic_sde(
    key: jax.Array,
    potential: Potential,
    z0: jax.Array,
    times: jax.Array,
    dt: float,
    friction: float,
    *,
    velocity: jax.Array | None = None,
    solver: diffrax.AbstractSolver | None = None,
    controller: diffrax.AbstractStepSizeController | None = None,
    adjoint: diffrax.AbstractAdjoint | None = None,
    max_steps: int = 4096,
) -> Path:
    """Solves `dz = v dt`, `dv = -(grad U(z) + kappa v) dt + sqrt(2 kappa) dW`.

    The stationary density is `exp(-U(z) - |v|^2 / 2)`. Arguments as in `overdamped_sde`, and:

    Args:
      friction: kappa > 0.
      velocity: initial velocities, `(n, *event)` (default: 0).
      solver: a diffrax solver for underdamped Langevin terms (default `ALIGN()`, second order
        with one gradient per step).
    """
    z0 = positions(z0)
    n, *event = z0.shape
    flat = z0.reshape(n, -1)
    v0 = jnp.zeros_like(flat) if velocity is None else positions(velocity).reshape(n, -1)
    gradient = _flat_gradient(potential, tuple(event))

    def terms_of(path: diffrax.AbstractBrownianPath) -> diffrax.AbstractTerm:
        drift = diffrax.UnderdampedLangevinDriftTerm(friction, 1.0, lambda z, args: gradient(z))
        return diffrax.MultiTerm(
            drift, diffrax.UnderdampedLangevinDiffusionTerm(friction, 1.0, path)
        )

    solver = diffrax.ALIGN() if solver is None else solver
    settings = (solver, controller, adjoint, max_steps, flat.shape[1])
    (z, v), n_steps, success = _solve(key, terms_of, (flat, v0), times, dt, *settings)
    return Path(z.reshape(-1, n, *event), v.reshape(-1, n, *event), n_steps, success)
