"""Transition kernels as pairs of pure functions, and the loop that runs many chains of them.

Chains are the rows of an array: positions are `(n, *event)`, a potential is a function
`U: (n, *event) -> (n,)` that treats rows independently, and the target density is
proportional to `exp(-U)`. A kernel is a pair `(init, step)`::

    kernel = mala(potential)
    trace = run(key, kernel, z0, constant(0.1, 1000), thin=10)

Every random number is keyed by the chain's position in the global batch, so chains sharded
over devices draw the same numbers as chains on one device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from gmkit.core.parallel import example_keys

Potential = Callable[[jax.Array], jax.Array]
Scalar = jax.Array | float
Loop = Literal["scan", "python"]
ValueAndGrad = Callable[[jax.Array], tuple[jax.Array, jax.Array]]


class State(NamedTuple):
    """State of `n` chains.

    Attributes:
      z: positions, float `(n, *event)`.
      u: potential where it was last evaluated, `(n,)`.
      grad: its gradient there, `(n, *event)`; None for kernels without gradients.
      velocity: `(n, *event)` for kinetic kernels, else None.
    """

    z: jax.Array
    u: jax.Array
    grad: Any = None
    velocity: Any = None


class Info(NamedTuple):
    """What happened in one step (from `kernel.step`) or in a block of steps (from `run`).

    Attributes:
      acceptance: acceptance probability, float32 `(n,)`; 1 for kernels that always move.
      accepted: whether the proposal was accepted, bool `(n,)`; from `run` the fraction of the
        block's steps, float32.
      diverged: whether the proposal (for kernels that always move, the new state) was not
        finite, or its energy error was hopeless, bool `(n,)`; from `run` the fraction.
      n_grad: gradient evaluations per chain, int32 scalar; from `run` the block's sum.
    """

    acceptance: jax.Array
    accepted: jax.Array
    diverged: jax.Array
    n_grad: jax.Array


class Kernel(NamedTuple):
    """A Markov kernel over rows.

    Attributes:
      init: `z (n, *event) -> state`; evaluates the potential once.
      step: `(key, state, step_size) -> (state, info)`, with a scalar step size.
    """

    init: Callable[[jax.Array], Any]
    step: Callable[[jax.Array, Any, jax.Array], tuple[Any, Info]]


class Trace(NamedTuple):
    """Result of `run`.

    Attributes:
      state: the chains' last state (pass it back as `z0` to continue).
      samples: positions after every `thin` steps, `(T // thin, n, *event)`, or None.
      info: `Info` with leaves `(T // thin, n)` (`n_grad`: `(T // thin,)`): means over the
        steps of each block, and the sum of `n_grad`.
    """

    state: Any
    samples: jax.Array | None
    info: Info


def batched(potential: Callable[[jax.Array], jax.Array]) -> Potential:
    """A potential of many rows from a potential of one: `(*event) -> ()` to `(n, *event) -> (n,)`.

    The negative of a log-density as other libraries write it (`logdensity_fn`) becomes usable
    here by `batched(lambda z: -logdensity_fn(z))`.
    """
    return jax.vmap(potential)


# ---------------------------------------------------------------- rows


def per_row(a: jax.Array, like: jax.Array) -> jax.Array:
    """`a (n,)` with singleton axes, to combine with `like (n, *event)`."""
    return a.reshape(a.shape + (1,) * (like.ndim - 1))


def row_sum(x: jax.Array) -> jax.Array:
    """Sum over all axes but the first, `(n,)`."""
    return jnp.sum(x, axis=tuple(range(1, x.ndim)))


def row_finite(*arrays: jax.Array) -> jax.Array:
    """Whether every entry of a row is finite in all arrays, bool `(n,)`."""
    finite = [jnp.all(jnp.isfinite(x), axis=tuple(range(1, x.ndim))) for x in arrays]
    return jnp.stack(finite).all(axis=0)


def row_normal(key: jax.Array, z: jax.Array) -> jax.Array:
    """Standard normal noise of the shape and dtype of `z`, keyed per row."""
    keys = example_keys(key, z.shape[0])
    return jax.vmap(lambda k: jax.random.normal(k, z.shape[1:], z.dtype))(keys)


def row_uniform(key: jax.Array, n: int) -> jax.Array:
    """Uniform numbers in [0, 1), `(n,)`, keyed per row."""
    return jax.vmap(jax.random.uniform)(example_keys(key, n))


def select(accepted: jax.Array, new: Any, old: Any) -> Any:
    """Rows of `new` where `accepted (n,)`, rows of `old` elsewhere, for every leaf."""
    return jax.tree.map(lambda a, b: jnp.where(per_row(accepted, a), a, b), new, old)


# ---------------------------------------------------------------- potentials


def positions(z: Any) -> jax.Array:
    """`z` as an array of at least float32: MCMC arithmetic stays out of half precision."""
    z = jnp.asarray(z)
    return z.astype(jnp.promote_types(z.dtype, jnp.float32))


def row_values(potential: Potential) -> Potential:
    """`potential` with its values checked to be one per row and cast to the rows' dtype."""

    def values(z: jax.Array) -> jax.Array:
        u = potential(z)
        if u.shape != z.shape[:1]:
            raise ValueError(
                f"potential returned shape {u.shape} for positions {z.shape}: it must return "
                f"{z.shape[:1]}, one value per row; wrap a single-row potential in batched()"
            )
        return u.astype(z.dtype)

    return values


def row_value_and_grad(potential: Potential) -> ValueAndGrad:
    """`z -> (U (n,), grad U (n, *event))`, in one evaluation.

    Rows are independent, so the gradient of the sum over rows holds every row's gradient.
    """
    values = row_values(potential)

    def total(z: jax.Array) -> tuple[jax.Array, jax.Array]:
        u = values(z)
        return jnp.sum(u), u

    total_grad = jax.value_and_grad(total, has_aux=True)

    def value_and_grad(z: jax.Array) -> tuple[jax.Array, jax.Array]:
        (_, u), grad = total_grad(z)
        return u, grad

    return value_and_grad


def moved(state: State, n_grad: int) -> Info:
    """`Info` of a kernel that always moves."""
    velocity = () if state.velocity is None else (state.velocity,)
    ones = jnp.ones(state.u.shape, jnp.float32)
    diverged = ~row_finite(state.z, state.u, *velocity)
    return Info(ones, ones > 0, diverged, jnp.int32(n_grad))


# ---------------------------------------------------------------- many steps


def run(
    key: jax.Array,
    kernel: Kernel,
    z0: Any,
    step_sizes: jax.Array,
    *,
    thin: int = 1,
    collect: bool = True,
    loop: Loop = "scan",
) -> Trace:
    """Runs the chains for `T = len(step_sizes)` steps, in one nested scan.

    Args:
      key: typed key; step `t` draws from `fold_in(key, t)`.
      kernel: from `mala(potential)` and the like.
      z0: positions `(n, *event)`, or a state of the same kernel to continue from.
      step_sizes: one per step, float `(T,)`; see `schedules`.
      thin: steps per block; one sample and one row of info per block.
      collect: whether to keep the samples (without them memory does not grow with `T`, but
        for the info's one row per block).
      loop: "scan", or "python" to call a compiled step from Python, outside of any `jit`, with
        the same numbers: on a CPU, convolutions run several times slower inside a scan.

    Raises:
      ValueError: `step_sizes` is not a vector, `thin` does not divide its length, or another
        loop.
    """
    if loop not in ("scan", "python"):
        raise ValueError(f"loop={loop!r}: choose scan or python")
    step_sizes = jnp.asarray(step_sizes)
    if step_sizes.ndim != 1:
        raise ValueError(f"step_sizes has shape {step_sizes.shape}: give one per step, (T,)")
    n_steps = step_sizes.shape[0]
    if thin < 1 or n_steps % thin:
        raise ValueError(f"thin={thin} must be positive and divide the {n_steps} steps")
    if loop == "python":
        kernel = Kernel(jax.jit(kernel.init), jax.jit(kernel.step))
    state = z0 if isinstance(z0, tuple) else kernel.init(positions(z0))

    def one_step(state: Any, inputs: tuple[jax.Array, jax.Array]) -> tuple[Any, Info]:
        t, step_size = inputs
        return kernel.step(jax.random.fold_in(key, t), state, step_size)

    def block(state: Any, inputs: tuple[jax.Array, jax.Array]) -> tuple[Any, Any]:
        state, infos = scan(one_step, state, inputs)
        means = jax.tree.map(lambda x: jnp.mean(x, axis=0, dtype=jnp.float32), infos)
        info = means._replace(n_grad=jnp.sum(infos.n_grad))
        return state, (state.z if collect else None, info)

    shape = (n_steps // thin, thin)
    inputs = (jnp.arange(n_steps).reshape(shape), step_sizes.reshape(shape))
    scan = jax.lax.scan if loop == "scan" else _scan_in_python
    state, (samples, info) = scan(block, state, inputs)
    return Trace(state, samples, info)


def _scan_in_python(step: Callable[..., Any], carry: Any, xs: Any) -> tuple[Any, Any]:
    """`jax.lax.scan` by calls from Python."""
    outputs = []
    for t in range(jax.tree.leaves(xs)[0].shape[0]):
        carry, y = step(carry, jax.tree.map(lambda x, t=t: x[t], xs))
        outputs.append(y)
    return carry, jax.tree.map(lambda *ys: jnp.stack(ys), *outputs)
