"""Annealed importance sampling: log-partition functions from both sides.

Chains start at exact draws of a base `exp(-U_0)` and follow a path of potentials to the target
`exp(-U_1)` (Neal 2001); their weights estimate the ratio of partition functions. From exact
draws of the target the same path runs backwards (bidirectional Monte Carlo, Grosse et al.
2015), and from given points it bounds their density (RAISE, Burda et al. 2015)::

    path = geometric_path(base_potential, target_potential)
    forward = annealed_importance_sampling(key, path, z0, sigmoid_betas(1000), step_sizes)
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gmkit.samplers.hmc import hmc
from gmkit.samplers.importance import effective_draws, log_partition
from gmkit.samplers.kernel import Info, Kernel, Potential, positions, row_values

#: A kernel for a potential, such as `mala` or `functools.partial(hmc, n_leap=5)`.
KernelBuilder = Callable[[Potential], Kernel]


class PotentialPath(NamedTuple):
    """Potentials `U_b` between `b = 0`, the base, and `b = 1`, the target.

    Attributes:
      at: `b -> U_b`, for a traced scalar `b`.
      change: `(b, b', z) -> U_b'(z) - U_b(z)`, `(n,)`. A path that knows this in one piece
        loses no digits where potentials are large and steps small.
    """

    at: Callable[[jax.Array], Potential]
    change: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


class Annealed(NamedTuple):
    """Result of `annealed_importance_sampling` and `reverse_annealing`.

    Attributes:
      log_z: estimate of `log Z_1 - log Z_0`, scalar, nats.
      log_z_stderr: its standard error over chains, by the delta method; NaN for one chain.
      ess: effective number of the chains, scalar in [1, n].
      log_weights: one per chain, `(n,)`; -inf where it was not a number.
      z: the chains' last positions, `(n, *event)`.
      acceptance: mean acceptance at each temperature in the order visited, float32 `(T,)`.
      n_invalid: chains whose weight was not a number; they count as weight 0.
    """

    log_z: jax.Array
    log_z_stderr: jax.Array
    ess: jax.Array
    log_weights: jax.Array
    z: jax.Array
    acceptance: jax.Array
    n_invalid: jax.Array


class Bidirectional(NamedTuple):
    """Result of `bidirectional`: `log Z_1 - log Z_0` from both sides, with their runs.

    Attributes:
      lower: forward estimate, at most the truth on average, scalar.
      upper: reverse estimate, at least the truth on average, scalar.
      forward: the run from the base.
      reverse: the run from the target.
    """

    lower: jax.Array
    upper: jax.Array
    forward: Annealed
    reverse: Annealed


# ---------------------------------------------------------------- paths and schedules


def interpolated_path(potential: Callable[[jax.Array, jax.Array], jax.Array]) -> PotentialPath:
    """Path from a function `(b, z (n, *event)) -> U_b(z) (n,)`."""

    def at(beta: jax.Array) -> Potential:
        return row_values(lambda z: potential(beta, z))

    def change(previous: jax.Array, beta: jax.Array, z: jax.Array) -> jax.Array:
        return at(beta)(z) - at(previous)(z)

    return PotentialPath(at, change)


def geometric_path(base: Potential, target: Potential) -> PotentialPath:
    """`U_b = (1 - b) base + b target`: the densities' weighted geometric mean.

    Args:
      base: `(n, *event) -> (n,)`; with a normalised density the results are `log Z` of the
        target itself.
      target: `(n, *event) -> (n,)`; may be +inf where the target has no mass.
    """
    base, target = row_values(base), row_values(target)

    def at(beta: jax.Array) -> Potential:
        return lambda z: (1.0 - beta) * base(z) + beta * target(z)

    def change(previous: jax.Array, beta: jax.Array, z: jax.Array) -> jax.Array:
        step = beta - previous
        # Where the temperature stays, an infinite potential must not turn into 0 * inf.
        return jnp.where(step == 0, 0.0, step * (target(z) - base(z)))

    return PotentialPath(at, change)


def linear_betas(n_steps: int) -> np.ndarray:
    """`t / n_steps` for t = 0 .. n_steps, float32 `(n_steps + 1,)`.

    Raises:
      ValueError: `n_steps` below 1.
    """
    if n_steps < 1:
        raise ValueError(f"n_steps={n_steps} must be at least 1")
    return np.linspace(0.0, 1.0, n_steps + 1).astype(np.float32)


def sigmoid_betas(n_steps: int, delta: float = 4.0) -> np.ndarray:
    """Inverse temperatures that are dense near both ends, float32 `(n_steps + 1,)`.

    The logistic function on an even grid of [-delta, delta], rescaled to run from 0 to 1
    (Grosse et al. 2015). As `delta` goes to 0 they become linear.

    Raises:
      ValueError: `n_steps` below 1 or `delta` not positive.
    """
    if not delta > 0:
        raise ValueError(f"delta={delta} must be positive")
    # s(x) = (1 + tanh(x / 2)) / 2, so the rescaling leaves a ratio of tangents.
    grid = delta * (2.0 * linear_betas(n_steps).astype(np.float64) - 1.0) / 2.0
    return (0.5 + 0.5 * np.tanh(grid) / np.tanh(delta / 2.0)).astype(np.float32)


# ---------------------------------------------------------------- runs


def _add(total: jax.Array, lost: jax.Array, term: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Kahan's sum: thousands of small terms keep float32's full precision."""
    term = term - lost
    new = total + term
    lost = (new - total) - term
    return new, jnp.where(jnp.isfinite(lost), lost, 0.0)


def _transitions(
    key: jax.Array, kernel: Kernel, z: jax.Array, step_size: jax.Array, n_transitions: int
) -> tuple[jax.Array, jax.Array]:
    """Positions after some steps of one kernel, and the mean acceptance."""

    def one(state: Any, t: jax.Array) -> tuple[Any, Info]:
        return kernel.step(jax.random.fold_in(key, t), state, step_size)

    state, info = jax.lax.scan(one, kernel.init(z), jnp.arange(n_transitions))
    return state.z, jnp.mean(info.acceptance)


def _checked(
    betas: np.ndarray, step_sizes: Any, n_transitions: int
) -> tuple[np.ndarray, jax.Array]:
    betas = np.asarray(betas, np.float32)
    if betas.ndim != 1 or len(betas) < 2:
        raise ValueError(f"betas has shape {betas.shape}: give (T + 1,) values, T at least 1")
    if betas[0] != 0 or betas[-1] != 1 or not np.all(np.diff(betas) >= 0):
        raise ValueError(f"betas from {betas[0]} to {betas[-1]}: must rise from 0 to 1")
    step_sizes = jnp.asarray(step_sizes, jnp.float32)
    n_steps = len(betas) - 1
    if step_sizes.shape not in ((), (n_steps,)):
        raise ValueError(f"step_sizes has shape {step_sizes.shape}: give one, or ({n_steps},)")
    if n_transitions < 1:
        raise ValueError(f"n_transitions={n_transitions} must be at least 1")
    return betas, jnp.broadcast_to(step_sizes, (n_steps,))


_HMC: KernelBuilder = functools.partial(hmc, n_leap=10)


def annealed_importance_sampling(
    key: jax.Array,
    path: PotentialPath,
    z0: jax.Array,
    betas: np.ndarray,
    step_sizes: jax.Array | np.ndarray | float,
    *,
    kernel: KernelBuilder = _HMC,
    n_transitions: int = 1,
) -> Annealed:
    """Annealed importance sampling from the base to the target (Neal 2001).

    The mean weight is unbiased, so `log_z` is low on average (Jensen): a stochastic lower
    bound of `log Z_1 - log Z_0`.

    Args:
      key: typed key; every chain draws by its own row.
      path: from `geometric_path` or `interpolated_path`.
      z0: exact, independent draws of the base, `(n, *event)`.
      betas: 0 = b_0 <= ... <= b_T = 1, `(T + 1,)`, not traced; see `linear_betas`,
        `sigmoid_betas`.
      step_sizes: of the kernel at b_1 .. b_T, `(T,)` or scalar; fixed beforehand (see
        `pilot_step_sizes`), since adapting them by these chains would bias the weights.
      kernel: builds the kernel of each temperature, which must leave `exp(-U_b)` invariant
        (default: HMC of 10 leapfrog steps).
      n_transitions: kernel steps at each temperature.

    Raises:
      ValueError: betas, step sizes or transitions of another form.
    """
    betas, step_sizes = _checked(betas, step_sizes, n_transitions)

    def anneal(carry: Any, inputs: Any) -> tuple[Any, jax.Array]:
        z, total, lost = carry
        t, previous, beta, step_size = inputs
        total, lost = _add(total, lost, -path.change(previous, beta, z))
        built = kernel(path.at(beta))
        key_t = jax.random.fold_in(key, t)
        z, acceptance = _transitions(key_t, built, z, step_size, n_transitions)
        return (z, total, lost), acceptance

    z = positions(z0)
    zeros = jnp.zeros(z.shape[:1], z.dtype)
    inputs = (jnp.arange(len(step_sizes)), betas[:-1], betas[1:], step_sizes)
    (z, total, _), acceptance = jax.lax.scan(anneal, (z, zeros, zeros), inputs)
    return _annealed(z, total, acceptance, sign=1.0)


def reverse_annealing(
    key: jax.Array,
    path: PotentialPath,
    z1: jax.Array,
    betas: np.ndarray,
    step_sizes: jax.Array | np.ndarray | float,
    *,
    kernel: KernelBuilder = _HMC,
    n_transitions: int = 1,
) -> Annealed:
    """The same chains run backwards, from the target to the base (Grosse et al. 2015).

    Here the mean weight is an unbiased estimate of `Z_0 / Z_1`, so `log_z`, minus its
    logarithm, is high on average: a stochastic upper bound of `log Z_1 - log Z_0`.

    Args:
      z1: exact, independent draws of the target, `(n, *event)`. From anything else the result
        bounds nothing.
      kernel: as forward, and reversible, as every Metropolis-corrected kernel here is.

    The other arguments are those of `annealed_importance_sampling`, in the same order of
    temperatures.

    Raises:
      ValueError: betas, step sizes or transitions of another form.
    """
    betas, step_sizes = _checked(betas, step_sizes, n_transitions)

    def anneal(carry: Any, inputs: Any) -> tuple[Any, jax.Array]:
        z, total, lost = carry
        t, beta, following, step_size = inputs
        built = kernel(path.at(beta))
        key_t = jax.random.fold_in(key, t)
        z, acceptance = _transitions(key_t, built, z, step_size, n_transitions)
        total, lost = _add(total, lost, -path.change(beta, following, z))
        return (z, total, lost), acceptance

    z = positions(z1)
    zeros = jnp.zeros(z.shape[:1], z.dtype)
    inputs = (jnp.arange(len(step_sizes)), betas[:0:-1], betas[-2::-1], step_sizes[::-1])
    (z, total, _), acceptance = jax.lax.scan(anneal, (z, zeros, zeros), inputs)
    return _annealed(z, total, acceptance, sign=-1.0)


def _annealed(z: jax.Array, log_weights: jax.Array, acceptance: jax.Array, sign: float) -> Annealed:
    invalid = jnp.isnan(log_weights)
    log_weights = jnp.where(invalid, -jnp.inf, log_weights)
    log_z, stderr = log_partition(log_weights)
    ess = effective_draws(log_weights)
    return Annealed(sign * log_z, stderr, ess, log_weights, z, acceptance, jnp.sum(invalid))


def bidirectional(
    key: jax.Array,
    path: PotentialPath,
    z0: jax.Array,
    z1: jax.Array,
    betas: np.ndarray,
    step_sizes: jax.Array | np.ndarray | float,
    *,
    kernel: KernelBuilder = _HMC,
    n_transitions: int = 1,
) -> Bidirectional:
    """Bidirectional Monte Carlo: both bounds of `log Z_1 - log Z_0` (Grosse et al. 2015).

    Their gap, `upper - lower`, is how far either can be off, up to the standard errors.

    Args:
      z0: exact draws of the base, `(n, *event)`.
      z1: exact draws of the target, `(m, *event)`.

    The other arguments are those of `annealed_importance_sampling`.
    """
    options: dict[str, Any] = {"kernel": kernel, "n_transitions": n_transitions}
    key_forward, key_reverse = jax.random.split(key)
    forward = annealed_importance_sampling(key_forward, path, z0, betas, step_sizes, **options)
    reverse = reverse_annealing(key_reverse, path, z1, betas, step_sizes, **options)
    return Bidirectional(forward.log_z, reverse.log_z, forward, reverse)


def raise_log_density(
    key: jax.Array,
    path: PotentialPath,
    x: jax.Array,
    betas: np.ndarray,
    step_sizes: jax.Array | np.ndarray | float,
    *,
    kernel: KernelBuilder = _HMC,
    n_transitions: int = 1,
) -> jax.Array:
    """Log-densities of `x` by reverse annealing, `(n,)`, nats (RAISE, Burda et al. 2015).

    One chain per row, so repeat rows and take `log mean exp` for tighter values. On average
    each is at most the log-density of the annealing process that ends at the target, which
    tends to the target's as the temperatures become many. The base must be normalised.

    Args:
      x: points, `(n, *event)`.

    The other arguments are those of `annealed_importance_sampling`; the kernel must be
    reversible.
    """
    options: dict[str, Any] = {"kernel": kernel, "n_transitions": n_transitions}
    run = reverse_annealing(key, path, x, betas, step_sizes, **options)
    return run.log_weights - path.at(jnp.float32(1.0))(positions(x))


def pilot_step_sizes(
    key: jax.Array,
    path: PotentialPath,
    z0: jax.Array,
    betas: np.ndarray,
    step_size: float,
    *,
    kernel: KernelBuilder = _HMC,
    acceptance: float = 0.65,
    n_bands: int = 8,
    rate: float = 0.2,
) -> jax.Array:
    """Step sizes `(T,)`, constant on bands of temperatures, from a run of its own.

    Chains follow the path while the logarithm of the step size moves by `rate` times the
    excess of the mean acceptance over `acceptance` (Robbins-Monro). Each band gets the
    geometric mean of its later half. Use other keys and draws for the weighted run.

    Args:
      z0: draws of the base, `(n, *event)`.
      step_size: where the search starts.
      acceptance: mean acceptance aimed at, in (0, 1).
      n_bands: bands of about equally many temperatures (fewer if there are fewer).
      rate: step of the search.

    The other arguments are those of `annealed_importance_sampling`.

    Raises:
      ValueError: numbers out of range, or betas of another form.
    """
    betas, initial = _checked(betas, step_size, 1)
    n_steps = initial.shape[0]
    if not (step_size > 0 and 0 < acceptance < 1 and n_bands >= 1 and rate > 0):
        raise ValueError(
            f"step_size={step_size}, acceptance={acceptance}, n_bands={n_bands}, rate={rate}: "
            "all must be positive, and acceptance below 1"
        )

    def search(carry: Any, inputs: Any) -> tuple[Any, jax.Array]:
        z, log_step = carry
        t, beta = inputs
        built = kernel(path.at(beta))
        key_t = jax.random.fold_in(key, t)
        z, mean = _transitions(key_t, built, z, jnp.exp(log_step), 1)
        return (z, log_step + rate * (mean - acceptance)), log_step

    start = (positions(z0), jnp.log(initial[0]))
    _, log_steps = jax.lax.scan(search, start, (jnp.arange(n_steps), betas[1:]))
    bands = np.array_split(np.arange(n_steps), min(n_bands, n_steps))
    means = [jnp.mean(log_steps[band[len(band) // 2 :]]) for band in bands]
    return jnp.exp(jnp.repeat(jnp.stack(means), np.array([len(band) for band in bands])))
