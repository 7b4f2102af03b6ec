"""Continuous flows: latents at time 0, data at time 1, an ODE between them, solved by diffrax.

`dx/dt = v(x, t)` carries noise to data as `t` rises, the convention of flow matching, so the
same field serves both. Going either way, the log-determinant is the integral of the trace of
`dv/dx` along the path (Chen et al. 2018); without a key the trace is computed from `d` products,
with one it is estimated by one product with a Rademacher vector per row that stays the same
throughout a solve (FFJORD, Grathwohl et al. 2019).

All rows are one ODE with one step size, whose error is the largest of the rows'. A solve that
does not reach its end within `max_steps`, or is not finite there, gives **NaN for every row** of
the batch, which the training loop's check for non-finite numbers reports; `integrate` returns
the success flag and the number of steps itself.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp

from gmkit.core.parallel import example_keys
from gmkit.distributions.bijector import Bijector, Cond, Key, Params
from gmkit.distributions.conditioners import Activation, dense, dense_params, flat_input
from gmkit.distributions.rows import per_event, row_sum


class Field(NamedTuple):
    """A vector field over examples.

    Attributes:
      init: `(key, x, cond=None) -> params`.
      apply: `(params, t, x, cond=None) -> dx/dt`, shaped like `x`; `t` is a scalar.
    """

    init: Callable[..., Params]
    apply: Callable[..., jax.Array]


class Solution(NamedTuple):
    """Where an ODE took a batch.

    Attributes:
      x: end points, `(n, *event)`.
      log_det: log-determinant of the map from start to end, `(n,)`; None if not asked for.
      n_steps: solver steps, int32 scalar.
      success: whether the end was reached and is finite, bool scalar.
    """

    x: jax.Array
    log_det: jax.Array | None
    n_steps: jax.Array
    success: jax.Array


class Solver(NamedTuple):
    """How an ODE is solved; every field that is None gets the default.

    Attributes:
      method: diffrax solver (`Tsit5()`).
      controller: diffrax step-size controller (`PIDController` with the tolerances below, and
        the largest of the rows' errors as its norm).
      adjoint: diffrax adjoint (`RecursiveCheckpointAdjoint()`; `BacksolveAdjoint()` needs
        memory that does not grow with the steps, and approximates gradients).
      rtol: relative tolerance.
      atol: absolute tolerance.
      step: first step (chosen by the controller); needed by constant step sizes.
      max_steps: bound on the number of steps; memory and compile time grow with it.
    """

    method: diffrax.AbstractSolver | None = None
    controller: diffrax.AbstractStepSizeController | None = None
    adjoint: diffrax.AbstractAdjoint | None = None
    rtol: float = 1e-5
    atol: float = 1e-5
    step: float | None = None
    max_steps: int = 512


def concat_squash(hidden: Sequence[int] = (64, 64, 64), activation: Activation = jnp.tanh) -> Field:
    """Dense layers `(W x + b) sigmoid(w_t t + b_t) + w_b t` over flattened examples (FFJORD).

    Args:
      hidden: units per hidden layer.
      activation: smooth, between the layers.
    """
    last = len(hidden)

    def init(key: jax.Array, x: jax.Array, cond: Cond = None) -> Params:
        sizes = (flat_input(x, cond).shape[1], *hidden, math.prod(x.shape[1:]))
        params = {}
        for i, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
            keys = jax.random.split(jax.random.fold_in(key, i), 3)
            params[f"dense_{i}"] = dense_params(keys[0], inputs, outputs)
            params[f"gate_{i}"] = dense_params(keys[1], 1, outputs)
            params[f"shift_{i}"] = dense_params(keys[2], 1, outputs)["kernel"]
        return params

    def apply(params: Params, t: jax.Array, x: jax.Array, cond: Cond = None) -> jax.Array:
        time = jnp.reshape(jnp.asarray(t, x.dtype), (1, 1))
        h = flat_input(x, cond)
        for i in range(last + 1):
            gate = jax.nn.sigmoid(dense(params[f"gate_{i}"], time))
            h = dense(params[f"dense_{i}"], h) * gate + time @ params[f"shift_{i}"]
            h = activation(h) if i < last else h
        return h.reshape(x.shape)

    return Field(init, apply)


def exact_trace(f: Callable[[jax.Array], jax.Array], x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`f(x)` and the trace of each row's Jacobian `(n,)`, from `d` forward products."""
    y, product = jax.linearize(f, x)
    d = math.prod(x.shape[1:])
    basis = jnp.eye(d, dtype=x.dtype).reshape(d, *x.shape[1:])

    def diagonal_entry(e: jax.Array) -> jax.Array:
        e = per_event(e, x)
        return row_sum(e * product(jnp.broadcast_to(e, x.shape)))

    return y, jnp.sum(jax.vmap(diagonal_entry)(basis), axis=0)


def estimated_trace(
    f: Callable[[jax.Array], jax.Array], x: jax.Array, probe: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """`f(x)` and the estimate `probe' J probe` of each row's trace, from one forward product."""
    y, product = jax.jvp(f, (x,), (probe,))
    return y, row_sum(probe * product)


def _largest_row(tree: Any) -> jax.Array:
    """Largest root mean square over the rows of all leaves."""

    def leaf(x: jax.Array) -> jax.Array:
        rows = x.reshape(x.shape[0], -1) if x.ndim else x.reshape(1, 1)
        # The gradient of a root at 0 is not finite; step sizes are differentiated nowhere.
        return jnp.max(jnp.sqrt(jnp.mean(jnp.square(jax.lax.stop_gradient(rows)), axis=1)))

    return jnp.max(jnp.stack([leaf(x) for x in jax.tree.leaves(tree)]))


def integrate(
    field: Field,
    params: Params,
    x: jax.Array,
    start: float,
    end: float,
    cond: Cond = None,
    key: Key = None,
    log_det: bool = True,
    solver: Solver | None = None,
) -> Solution:
    """Solves the field's ODE from time `start` to time `end` (later or earlier).

    Args:
      field: the vector field.
      params: its parameters.
      x: positions at `start`, `(n, *event)`.
      start: time to start from.
      end: time to end at.
      cond: rows that condition the field.
      key: estimate the trace with one vector per row, keyed by its position in the global
        batch; None computes it.
      log_det: whether to integrate the trace at all.
      solver: how to solve.
    """
    s = Solver() if solver is None else solver
    probe = None
    if key is not None and log_det:
        keys = example_keys(key, x.shape[0])
        probe = jax.vmap(lambda k: jax.random.rademacher(k, x.shape[1:], x.dtype))(keys)

    def derivative(t: Any, y: Any, args: Any) -> Any:
        params, cond, probe = args

        def velocity(x: jax.Array) -> jax.Array:
            return field.apply(params, t, x, cond)

        if not log_det:
            return velocity(y)
        if probe is None:
            return exact_trace(velocity, y[0])
        return estimated_trace(velocity, y[0], probe)

    controller = s.controller
    if controller is None:
        controller = diffrax.PIDController(rtol=s.rtol, atol=s.atol, norm=_largest_row)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(derivative),
        diffrax.Tsit5() if s.method is None else s.method,
        start,
        end,
        None if s.step is None else math.copysign(s.step, end - start),
        (x, jnp.zeros(x.shape[:1], x.dtype)) if log_det else x,
        args=(params, cond, probe),
        stepsize_controller=controller,
        adjoint=diffrax.RecursiveCheckpointAdjoint() if s.adjoint is None else s.adjoint,
        max_steps=s.max_steps,
        throw=False,
    )
    final = jax.tree.map(lambda y: y[0], solution.ys)
    finite = jnp.stack([jnp.isfinite(y).all() for y in jax.tree.leaves(final)]).all()
    success = (solution.result == diffrax.RESULTS.successful) & finite
    x, total = final if log_det else (final, None)
    return Solution(x, total, jnp.asarray(solution.stats["num_steps"], jnp.int32), success)


def continuous(field: Field, solver: Solver | None = None) -> Bijector:
    """The map from data at time 1 to latents at time 0 of a vector field's ODE; kind "ode".

    Args:
      field: vector field, `concat_squash()` for vectors.
      solver: how to solve; see the module for what happens when a solve fails.
    """

    def solved(start: float, end: float) -> Callable[..., tuple[jax.Array, jax.Array]]:
        def call(
            params: Params, x: jax.Array, cond: Cond = None, key: Key = None
        ) -> tuple[jax.Array, jax.Array]:
            solution = integrate(field, params, x, start, end, cond, key, True, solver)
            assert solution.log_det is not None
            ok = solution.success
            return jnp.where(ok, solution.x, jnp.nan), jnp.where(ok, solution.log_det, jnp.nan)

        return call

    def alone(start: float, end: float) -> Callable[..., jax.Array]:
        def call(params: Params, x: jax.Array, cond: Cond = None) -> jax.Array:
            solution = integrate(field, params, x, start, end, cond, None, False, solver)
            return jnp.where(solution.success, solution.x, jnp.nan)

        return call

    def init(key: jax.Array, x: jax.Array, cond: Cond = None) -> Params:
        return field.init(key, x, cond)

    return Bijector(
        init, solved(1.0, 0.0), solved(0.0, 1.0), alone(1.0, 0.0), alone(0.0, 1.0), kind="ode"
    )
