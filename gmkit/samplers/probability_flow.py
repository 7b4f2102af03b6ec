"""Latents with wanted attributes, by ordinary differential equations (Nie et al. 2021).

The latent prior N(0, I) is stationary under the variance-preserving diffusion, so in its
probability-flow equation prior and drift cancel, and only the classifier remains::

    dz/dt = -beta(t) / 2  grad log p_t(c | z),      from t = 1 to 0,  z(1) ~ N(0, I)      (1)

`lace_ode` takes `p_t(c | z) = p(c | z)` for all t, as the paper does. That is gradient ascent on
`log p(c | z)` for the fixed time `tau = int beta / 2`: directions that the classifier does not
see keep their law, the others go to a mode, so results are more certain of c than draws of
`p(z | c)` are. `exact_ode` uses the true noised classifier, known because the noising of a
standard normal is: `p_t(c | z) = E[p(c | alpha z + sqrt(1 - alpha^2) eps)]`, by averages over
fixed draws of eps; its results are draws of `p(z | c)` up to the error of these averages.

A log-probability is a function of one latent, `log_prob(z (d,), args) -> ()`, without the prior.
All solves are diffrax's; none raises: rows that failed are marked.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypedDict, Unpack

import diffrax
import jax
import jax.numpy as jnp

from gmkit.core.parallel import example_keys
from gmkit.samplers.kernel import positions, row_finite

#: `(z (d,), args) -> ()`: log p(c | z) of one latent.
LogProb = Callable[[jax.Array, Any], jax.Array]
#: `(z (d,), level (), args) -> ()`: log p_t(c | z) where noise has reached `level = B(t)`.
NoisedLogProb = Callable[[jax.Array, jax.Array, Any], jax.Array]
Coupling = Literal["per_sample", "batch", "batch_max"]
SOLVERS: dict[str, type[diffrax.AbstractSolver]] = {
    name.lower(): solver
    for name, solver in vars(diffrax).items()
    if inspect.isclass(solver)
    and issubclass(solver, diffrax.AbstractSolver)
    and not inspect.isabstract(solver)
    and not name.startswith("Abstract")
}


class GuidedSample(NamedTuple):
    """Latents of a guided sampler and what they cost.

    Attributes:
      latents: `(n, d)`.
      steps: of the solver or the chain, int32 `(n,)`.
      accepted, rejected: which `steps` is the sum of, int32 `(n,)`.
      evaluations: of the gradient of `log_prob` per latent, int32 `(n,)`; -1 where the solver
        does not tell. The draws of `exact_ode` count as one.
      failed: whether the solver did not reach the end within its steps, or the latent is not
        finite, bool `(n,)`. The last accepted state is what such a row holds.
    """

    latents: jax.Array
    steps: jax.Array
    accepted: jax.Array
    rejected: jax.Array
    evaluations: jax.Array
    failed: jax.Array


class OdeSettings(TypedDict, total=False):
    """Keyword arguments of `guided_ode`, which documents them."""

    solver: str | diffrax.AbstractSolver
    rtol: float | None
    atol: float
    t_start: float
    t_end: float
    beta_min: float
    beta_max: float
    max_steps: int
    coupling: Coupling
    time: Literal["t", "tau"]
    dt0: float | None


def noise_level(t: Any, beta_min: float = 0.1, beta_max: float = 20.0) -> Any:
    """`B(t) = int_0^t beta`, with `beta(t) = beta_min + (beta_max - beta_min) t`.

    A normal latent keeps `alpha = exp(-B / 2)` of its signal at time t. Half of B is the time
    that gradient ascent needs for the way from t to 0: 5.025 for t = 1.
    """
    return beta_min * t + 0.5 * (beta_max - beta_min) * t**2


def noised(z: jax.Array, level: jax.Array, noise: jax.Array) -> jax.Array:
    """`alpha z + sqrt(1 - alpha^2) noise` for `alpha = exp(-level / 2)`, exact for small levels."""
    return jnp.exp(-0.5 * level) * z + jnp.sqrt(-jnp.expm1(-level)) * noise


# ---------------------------------------------------------------- the solve


def guided_ode(
    noised_log_prob: NoisedLogProb,
    z_init: jax.Array,
    args: Any = None,
    *,
    args_axis: Any = None,
    solver: str | diffrax.AbstractSolver = "dopri5",
    rtol: float | None = 1e-3,
    atol: float = 1e-3,
    t_start: float = 1.0,
    t_end: float = 0.0,
    beta_min: float = 0.1,
    beta_max: float = 20.0,
    max_steps: int = 4096,
    coupling: Coupling = "per_sample",
    time: Literal["t", "tau"] = "tau",
    dt0: float | None = None,
) -> GuidedSample:
    """Solves (1) for a time-dependent classifier.

    Args:
      noised_log_prob: `(z (d,), level (), args) -> ()`, `log p_t(c | z)` at `level = B(t)`.
      z_init: start, float `(n, d)`.
      args: pytree that `noised_log_prob` is given. Arguments of a surrounding `jit` that are
        passed here, such as parameters and targets, change without recompilation.
      args_axis: as in `jax.vmap`: 0 where `args` has one row per latent, None where they share
        it, or a pytree of these.
      solver: a diffrax solver for ordinary differential equations, or its name in any case.
      rtol, atol: tolerances of the adaptive steps; `rtol=None` for constant steps of `dt0`.
      t_start, t_end: from where to where; backwards, `t_start < t_end`, undoes it.
      beta_min, beta_max: of the diffusion, `beta(0)` and `beta(1)`.
      max_steps: bound on the solver's steps.
      coupling: "per_sample": every latent has steps of its own, so its result does not depend on
        the others. "batch": one step size for all, by the root mean square of the error over the
        whole batch (the official code's). "batch_max": one step size, by the latent whose error
        is largest.
      time: the variable of the solver: "t" (the official code's), or "tau" with
        `dz/dtau = grad log p_t` on [0, (B(t_start) - B(t_end)) / 2]. It is the same flow, and
        at loose tolerances "tau" follows it several times more closely in as many steps.
      dt0: first step in that variable, positive; None to choose it by two evaluations.

    Raises:
      ValueError: an unknown name, or a step that is missing or not positive.
    """
    z_init = positions(z_init)
    if coupling not in ("per_sample", "batch", "batch_max"):
        raise ValueError(f"coupling={coupling!r}: choose per_sample, batch or batch_max")
    if time not in ("t", "tau"):
        raise ValueError(f"time={time!r}: choose t or tau")
    if dt0 is not None and not dt0 > 0:
        raise ValueError(f"dt0={dt0}: must be positive, also where time runs backwards")
    if rtol is None and dt0 is None:
        raise ValueError("rtol=None: constant steps need dt0")
    start, end = t_start, t_end
    if time == "tau":
        highest = noise_level(t_start, beta_min, beta_max)
        start, end = 0.0, 0.5 * (highest - noise_level(t_end, beta_min, beta_max))
    method = _solver(solver)
    controller = _controller(method, rtol, atol, coupling)
    gradient = jax.grad(noised_log_prob)

    def drift(t: jax.Array, z: jax.Array, args: Any) -> jax.Array:
        if time == "tau":
            # Rounding must not take the level below 0 at the end.
            return gradient(z, jnp.maximum(highest - 2.0 * t, 0.0), args)
        level = noise_level(t, beta_min, beta_max)
        return -0.5 * (beta_min + (beta_max - beta_min) * t) * gradient(z, level, args)

    def solve(z: jax.Array, field: Any, args: Any) -> tuple[jax.Array, ...]:
        if dt0 is None:
            first = _first_step(lambda t, z: field(t, z, args), z, start, end, controller)
        else:
            first = math.copysign(dt0, end - start)
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(field), method, start, end, first, z, args,
            stepsize_controller=controller, max_steps=max_steps, throw=False,
        )  # fmt: skip
        ended = solution.result == diffrax.RESULTS.successful
        stats = solution.stats
        counts = (stats[f"num_{name}steps"] for name in ("", "accepted_", "rejected_"))
        assert solution.ys is not None
        return solution.ys[0], ended, *(jnp.asarray(c, jnp.int32) for c in counts)

    if coupling == "per_sample":
        each = jax.vmap(lambda z, args: solve(z, drift, args), in_axes=(0, args_axis))
        z, ended, steps, accepted, rejected = each(z_init, args)
    else:
        rows = jax.vmap(drift, in_axes=(None, 0, args_axis))
        z, *shared = solve(z_init, rows, args)
        ended, steps, accepted, rejected = (jnp.broadcast_to(x, z.shape[:1]) for x in shared)
    failed = ~(ended & row_finite(z))
    evaluations = _evaluations(method, steps, 2 if dt0 is None else 0)
    return GuidedSample(z, steps, accepted, rejected, evaluations, failed)


def _controller(
    method: diffrax.AbstractSolver, rtol: float | None, atol: float, coupling: Coupling
) -> diffrax.AbstractStepSizeController:
    """Adaptive steps by the tolerances, constant ones without."""
    if rtol is None:
        return diffrax.ConstantStepSize()
    if not isinstance(method, diffrax.AbstractAdaptiveSolver):
        raise ValueError(
            f"solver={type(method).__name__} estimates no error: give rtol=None and dt0 for "
            "constant steps"
        )
    if coupling == "batch_max":
        return diffrax.PIDController(rtol=rtol, atol=atol, norm=_largest_row)
    return diffrax.PIDController(rtol=rtol, atol=atol)


def _first_step(
    field: Callable[[Any, jax.Array], jax.Array], z: jax.Array, start: float, end: float, how: Any
) -> jax.Array:
    """A first step by the size of the first two derivatives (Hairer, Norsett and Wanner, II.4).

    diffrax takes 0.01 without looking. Where nothing moves, or the field is not finite, this is
    the whole way.
    """
    scale = how.atol + how.rtol * jnp.abs(z)
    slope = field(start, z)
    speed = how.norm(slope / scale)
    trial = 0.01 * how.norm(z / scale) / speed
    trial = jnp.where(jnp.isfinite(trial), jnp.clip(trial, 1e-6, abs(end - start)), 1e-6)
    signed = jnp.copysign(trial, end - start)
    change = how.norm((field(start + signed, z + signed * slope) - slope) / scale) / trial
    step = (0.01 / jnp.maximum(speed, change)) ** 0.2
    step = jnp.where(jnp.isfinite(step), jnp.minimum(100.0 * trial, step), jnp.inf)
    return jnp.copysign(jnp.minimum(step, abs(end - start)), end - start)


def _largest_row(error: jax.Array) -> jax.Array:
    """The largest root mean square over rows, scalar."""
    return jnp.sqrt(jnp.max(jnp.mean(jnp.square(error), axis=-1)))


def _solver(solver: str | diffrax.AbstractSolver) -> diffrax.AbstractSolver:
    if not isinstance(solver, str):
        return solver
    if solver.lower() not in SOLVERS:
        raise ValueError(f"solver={solver!r}: diffrax has {', '.join(SOLVERS)}")
    return SOLVERS[solver.lower()]()


def _evaluations(method: Any, steps: jax.Array, before: int) -> jax.Array:
    """Vector-field evaluations of a solve, with those `before` the first step.

    Where the last stage of a step is the first of the next (Dopri5, Tsit5), each step costs one
    less than its stages, and the first step one more.
    """
    if isinstance(method, diffrax.Euler):
        return before + steps
    if not isinstance(method, diffrax.AbstractERK):
        return jnp.full_like(steps, -1)
    tableau: Any = method.tableau
    stages = tableau.num_stages
    return before + ((stages - 1) * steps + 1 if tableau.fsal else stages * steps)


# ---------------------------------------------------------------- classifiers in time


def lace_ode(
    log_prob: LogProb,
    z_init: jax.Array,
    args: Any = None,
    *,
    args_axis: Any = None,
    **settings: Unpack[OdeSettings],
) -> GuidedSample:
    """Solves (1) with `p_t(c | z) = p(c | z)` for all t (Nie et al. 2021).

    Args:
      log_prob: `(z (d,), args) -> log p(c | z) ()`.
      z_init: draws of the prior, or latents to edit, `(n, d)`.
      args, args_axis, settings: as in `guided_ode`.
    """
    static: NoisedLogProb = lambda z, level, args: log_prob(z, args)
    return guided_ode(static, z_init, args, args_axis=args_axis, **settings)


def exact_ode(
    log_prob: LogProb,
    z_init: jax.Array,
    key: jax.Array,
    args: Any = None,
    *,
    args_axis: Any = None,
    n_pairs: int = 64,
    power: float | jax.Array = 1.0,
    shared_noise: bool = False,
    **settings: Unpack[OdeSettings],
) -> GuidedSample:
    """Solves (1) with the noised classifier, `log mean_k p(c | alpha z + sqrt(1 - alpha^2) eps_k)`.

    Carries N(0, I) to `p(z | c)` as `n_pairs` grows. Draws are held fixed during a solve, which
    keeps the equation smooth and the flow deterministic given the key.

    Args:
      log_prob: `(z (d,), args) -> log p(c | z) ()`; compositions belong inside of it.
      z_init: draws of the prior, `(n, d)`.
      key: of the noise.
      args, args_axis, settings: as in `guided_ode`.
      n_pairs: antithetic pairs `eps, -eps`; a gradient costs `2 n_pairs` of the classifier.
      power: multiplies `log_prob` inside of the expectation, for draws of
        `p(z) p(c | z)^power`; towards infinity results become those of `lace_ode`.
      shared_noise: the same draws for all latents, so that close starts stay close, as in a
        traversal, and results do not depend on the row; by default every row has its own, and
        the errors of the averages are independent.

    Raises:
      ValueError: `n_pairs` below 1, and what `guided_ode` raises.
    """
    if n_pairs < 1:
        raise ValueError(f"n_pairs={n_pairs}: must be positive")
    z_init = positions(z_init)
    shape, dtype = (n_pairs, z_init.shape[1]), z_init.dtype
    if shared_noise:
        noise = jax.random.normal(key, shape, dtype)
    else:
        keys = example_keys(key, z_init.shape[0])
        noise = jax.vmap(lambda k: jax.random.normal(k, shape, dtype))(keys)

    def expected(z: jax.Array, level: jax.Array, args: Any) -> jax.Array:
        noise, args = args
        draws = noised(z[None], level, jnp.concatenate([noise, -noise]))
        values = power * jax.vmap(log_prob, in_axes=(0, None))(draws, args)
        return jax.nn.logsumexp(values) - jnp.log(2.0 * n_pairs)

    axes = (None if shared_noise else 0, args_axis)
    return guided_ode(expected, z_init, (noise, args), args_axis=axes, **settings)
