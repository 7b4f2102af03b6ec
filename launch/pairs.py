"""gmkit's flows beside those of PyTorch libraries: equal architectures, batches and threads.

A pair is two programs that do the same work. Their turns alternate, so that what else the
machine does meets both alike, and the ratio of the rates is taken round by round.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import itertools
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import optax

from gmkit import distributions as D

BATCH, DIMENSIONS = 512, (2, 64)
LEARNING_RATE, TOLERANCE, TURN_SECONDS = 1e-4, 1e-5, 0.2
#: What is measured: the unit of each job, and how many one call does.
UNITS = {"train": ("steps", 1), "log_prob": ("examples", BATCH), "sample": ("samples", BATCH)}


@dataclasses.dataclass(frozen=True)
class Side:
    """One of the two programs.

    Attributes:
      fn: does the work and returns when it is done.
      parameters: number of trained parameters.
      compile_seconds: what it took to trace and compile the program.
      evaluations: of the vector field in one solve, without its gradient; None where no ODE is
        solved.
    """

    fn: Callable[[], Any]
    parameters: int
    compile_seconds: float = 0.0
    evaluations: int | None = None


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two programs that do the same work.

    Attributes:
      name: what is measured.
      unit: what `work` counts.
      work: units done by one call of either side.
      ours: gmkit's side.
      peer: the other side.
      library: the other side's name and version.
      size: of the networks and batches, where the name does not say it.
    """

    name: str
    unit: str
    work: float
    ours: Side
    peer: Side
    library: str
    size: str = ""


@dataclasses.dataclass(frozen=True)
class Setting:
    """A flow in both libraries.

    Attributes:
      library: the peer's distribution on PyPI.
      ours: the flow of vectors of `d` features.
      peer: the same from `launch.peers`, which is its first argument.
    """

    library: str
    ours: Callable[[int], D.Density]
    peer: Callable[[Any, int], Any]


def _hidden(d: int) -> tuple[int, ...]:
    return (64,) * 3 if d == 2 else (256,) * 3


def _solver() -> D.Solver:
    return D.Solver(method=diffrax.Dopri5(), rtol=TOLERANCE, atol=TOLERANCE)


SETTINGS: dict[str, Setting] = {
    "real_nvp": Setting(
        "normflows",
        lambda d: D.real_nvp(d, 8, (256, 256), norm="actnorm"),
        lambda peers, d: peers.RealNvp(d, 8, (256, 256)),
    ),
    "maf": Setting(
        "nflows",
        lambda d: D.maf(d, 5, (128, 128), norm="actnorm"),
        lambda peers, d: peers.maf(d, 5, 128),
    ),
    "nsf_coupling": Setting(
        "nflows",
        lambda d: D.nsf_coupling(d, 8, 128, 2, n_bins=8, bound=5.0, norm="actnorm"),
        lambda peers, d: peers.nsf_coupling(d, 8, 128, 2, 8, 5.0),
    ),
    "nsf_autoregressive": Setting(
        "nflows",
        lambda d: D.nsf_autoregressive(d, 5, (128, 128), n_bins=8, bound=5.0, norm="actnorm"),
        lambda peers, d: peers.nsf_autoregressive(d, 5, 128, 8, 5.0),
    ),
    "ffjord": Setting(
        "torchdiffeq",
        lambda d: D.ffjord(d, _hidden(d), _solver()),
        lambda peers, d: peers.Ffjord(d, _hidden(d), TOLERANCE),
    ),
}

NAMES: dict[str, tuple[str, int, str]] = {
    f"pair/{flow}/d{d}/{job}": (flow, d, job)
    for flow, d, job in itertools.product(SETTINGS, DIMENSIONS, UNITS)
}
PEERS = ("torch", "nflows", "normflows", "torchdiffeq")
#: What installs them.
INSTALL = "pip install '.[bench]'"


def missing() -> list[str]:
    """The peers' packages that are not installed."""
    return [package for package in PEERS if not importlib.util.find_spec(package)]


def compiled(program: Any, *args: Any) -> tuple[Callable[..., Any], float]:
    """A jitted function compiled for `args`, and the seconds that took."""
    start = time.perf_counter()
    executable = program.lower(*args).compile()
    return executable, time.perf_counter() - start


def threads() -> int:
    """CPUs that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def batch(d: int) -> np.ndarray:
    """Standard normal examples, float32 `(512, d)`."""
    return np.random.default_rng(0).standard_normal((BATCH, d)).astype(np.float32)


def _ours(density: D.Density, params: Any, x: jax.Array, job: str) -> tuple[Any, float]:
    """gmkit's program for a job, and its compile time."""
    key = jax.random.key(1)
    if job == "train":
        return _trainer(density, params, x, key)

    @jax.jit
    def log_prob(params: Any, x: jax.Array, key: jax.Array) -> jax.Array:
        return density.log_prob(params, x, None, key)

    @jax.jit
    def sample(params: Any, x: jax.Array, key: jax.Array) -> jax.Array:
        return density.sample(params, key, x.shape[0])

    call, seconds = compiled(log_prob if job == "log_prob" else sample, params, x, key)
    return lambda: jax.block_until_ready(call(params, x, key)), seconds


def _trainer(density: D.Density, params: Any, x: jax.Array, key: jax.Array) -> tuple[Any, float]:
    """A step of maximum likelihood by Adam, and its compile time."""
    tx = optax.adam(LEARNING_RATE)
    state = (params, tx.init(params))

    def step(state: Any, x: jax.Array, key: jax.Array) -> tuple[Any, jax.Array]:
        params, opt_state = state

        def loss(params: Any) -> jax.Array:
            return -jnp.mean(density.log_prob(params, x, None, key))

        value, grads = jax.value_and_grad(loss)(params)
        updates, opt_state = tx.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), value

    call, seconds = compiled(jax.jit(step, donate_argnums=0), state, x, key)

    def fn() -> float:
        nonlocal state
        state, value = call(state, x, key)
        jax.block_until_ready(state)
        return float(value)

    return fn, seconds


def _evaluations(d: int, params: Any, x: jax.Array, job: str) -> int:
    """How often gmkit's solve calls the vector field: on the batch, or from it as latents."""
    field, calls = D.concat_squash(_hidden(d)), []

    def counted(params: Any, t: jax.Array, x: jax.Array, cond: Any = None) -> jax.Array:
        jax.debug.callback(lambda: calls.append(1))
        return field.apply(params, t, x, cond)

    sampling = job == "sample"
    start, end = (0.0, 1.0) if sampling else (1.0, 0.0)

    @jax.jit
    def solve(params: Any, x: jax.Array) -> jax.Array:
        watched, key = D.Field(field.init, counted), jax.random.key(1)
        return D.integrate(
            watched, params, x, start, end, None, key, not sampling, _solver()
        ).x  # fmt: skip

    jax.block_until_ready(solve(params, x))
    jax.effects_barrier()
    return len(calls)


def start_torch() -> None:
    """Gives PyTorch as many threads as there are CPUs, and a seed."""
    # Threads of PyTorch that spin while they wait lose most of their time on a machine that
    # does something else too, which would flatter us.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(threads())
    torch.manual_seed(0)


def build(name: str) -> Pair:
    """The pair `name` of `NAMES`, compiled."""
    start_torch()
    from launch import peers

    flow, d, job = NAMES[name]
    setting, rows = SETTINGS[flow], batch(d)
    x, density, module = jnp.asarray(rows), setting.ours(d), setting.peer(peers, d)
    params = jax.jit(density.init)(jax.random.key(0), x)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(params))
    evaluations = peer_evaluations = None
    if flow == "ffjord":
        module.load(params["bijector"])
        evaluations = _evaluations(d, params["bijector"], x, job)
        peer_evaluations = module.evaluations(rows, job)
    peer_fn = {"train": peers.trainer, "log_prob": peers.evaluator, "sample": peers.sampler}[job](
        module, rows, LEARNING_RATE
    )
    fn, seconds = _ours(density, params, x, job)  # last: training gives the parameters away
    unit, work = UNITS[job]
    return Pair(
        name,
        unit,
        work,
        Side(fn, parameters, seconds, evaluations),
        Side(peer_fn, peers.count(module), evaluations=peer_evaluations),
        f"{setting.library} {importlib.metadata.version(setting.library)}",
    )


def measure(pair: Pair, rounds: int) -> dict[str, Any]:
    """Times the two sides of a pair in turns.

    After warming up, every turn repeats calls for about `TURN_SECONDS`.

    Returns:
      name, unit, rate and peer_rate (medians, units per second), ratio (median over the rounds
      of ours / peer), each with its `_iqr` (distance between the quartiles), compile_seconds,
      parameters, peer_parameters, evaluations, peer_evaluations, peer, size, threads, repeats.
    """

    def seconds(side: Side, calls: int) -> float:
        start = time.perf_counter()
        for _ in range(calls):
            side.fn()
        return time.perf_counter() - start

    sides = (pair.ours, pair.peer)
    for side in sides:
        seconds(side, 1)
    calls = [max(1, round(TURN_SECONDS / max(seconds(side, 1), 1e-6))) for side in sides]
    turns = [
        [n * pair.work / seconds(side, n) for side, n in zip(sides, calls, strict=True)]
        for _ in range(rounds)
    ]
    series = {
        "rate": [ours for ours, _ in turns],
        "peer_rate": [peer for _, peer in turns],
        "ratio": [ours / peer for ours, peer in turns],
    }
    row: dict[str, Any] = {"name": pair.name, "unit": f"{pair.unit}/s", "peer": pair.library}
    row["size"] = pair.size
    for name, values in series.items():
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        row |= {name: median, f"{name}_iqr": high - low}
    return row | {
        "compile_seconds": pair.ours.compile_seconds,
        "parameters": pair.ours.parameters,
        "peer_parameters": pair.peer.parameters,
        "evaluations": pair.ours.evaluations,
        "peer_evaluations": pair.peer.evaluations,
        "threads": threads(),
        "repeats": rounds,
    }
