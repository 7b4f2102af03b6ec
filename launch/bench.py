"""Measures what gmkit's pieces cost: `python launch/bench.py [--filter=sampler] [--json=out.json]`.

A benchmark is a function of the config that returns a `Benchmark`: a name, a unit, and a
function `fn()` that does `work` units and returns the arrays it computed. Compilation is timed
apart; after one call to warm up, `--repeats` calls are timed, each until its results are there.
Printed are the median rate and the distance between its quartiles.

`--filter=pair` measures gmkit's flows (`launch.pairs`), GAN steps (`launch.gan_pairs`), robust loss
(`launch.robust_pairs`), attacks (`launch.attack_pairs`) and guided samplers (`launch.lace_pairs`)
beside PyTorch instead, and its clustering (`launch.rcc_peer`) beside SciPy; `--filter=pair/maf/d2`
some of them. Those of PyTorch need the extra `bench`, of GANs and attacks also
`pip install --no-deps torch-mimicry torchattacks`; they take minutes.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import jax
import jax.numpy as jnp
from absl import flags as absl_flags

from gmkit import reporting, samplers
from gmkit.core import parallel
from gmkit.training import feed
from launch import (
    attack_pairs,
    flags,
    gan_pairs,
    lace_pairs,
    memory,
    pairs,
    rcc_peer,
    robust_pairs,
    run,
)
from launch.pairs import compiled

#: Heads of the tables' columns, and the keys of a row that they show.
COLUMNS = {"benchmark": "name", "median": "rate", "IQR": "rate_iqr", "unit": "unit"}
COLUMNS |= {"compile (s)": "compile_seconds"}
PAIR_COLUMNS = {
    "pair": "name",
    "ours": "rate",
    "peer's": "peer_rate",
    "ratio": "ratio",
    "its IQR": "ratio_iqr",
    "unit": "unit",
    "peer": "peer",
    "parameters": "parameters",
    "peer's parameters": "peer_parameters",
    "size": "size",
}
#: Where a pair is built.
PAIRS: dict[str, Any] = {
    name: room
    for room in (pairs, gan_pairs, robust_pairs, rcc_peer, attack_pairs, lace_pairs)
    for name in room.NAMES
}
CALLS, CHAINS, CHAIN_STEPS, STEP_SIZE = 20, 64, 100, 0.01

#: Runs chains `(n, d)` on a potential for `CHAIN_STEPS` steps.
Move = Callable[[samplers.Potential, jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """One thing to measure.

    Attributes:
      name: what is measured.
      unit: what `work` counts; rates are printed in `unit`/s.
      fn: does the work and returns arrays to wait for.
      work: units done by one call.
      compile_seconds: what it took to trace and compile the program.
    """

    name: str
    unit: str
    fn: Callable[[], Any]
    work: float = 1.0
    compile_seconds: float = 0.0


def train_step(config: flags.Config) -> Benchmark:
    """Training steps per second: the loop's compiled calls and its batches, nothing between."""
    stage = run.plan(config, Path(), trains=False)
    method, loop = run.build(stage, {}), stage.loop
    mesh = parallel.make_mesh(loop.devices)
    source = feed.make_feed(stage.dataset, loop, method.batches_per_step, mesh)
    batch, key = feed.init_batch(stage.dataset, loop), jax.random.key(loop.seed)
    state = parallel.init_state(method.init, mesh, key, batch, loop.fsdp)
    n = loop.choose_steps_per_call(method)
    program: Any = parallel.compile_step(
        method.step,
        mesh,
        loop.strategy,
        state_shardings=parallel.state_sharding(state, mesh, loop.fsdp),
        fetch=source.fetch,
        steps_per_call=n,
    )
    inputs = source.inputs(feed.schedule(0, 2**31 - 1, n))
    call, seconds = compiled(program, state, next(inputs)[1])

    def fn() -> Any:
        nonlocal state
        metrics = None
        for _, data in itertools.islice(inputs, CALLS):
            state, metrics = call(state, data)
        return metrics

    return Benchmark("train_step", "steps", fn, CALLS * n, seconds)


def _chains(config: flags.Config, name: str, move: Move) -> Benchmark:
    """Chain steps per second of `move` on the latent posterior `|z|^2/2 + E(B(z))`."""
    stage = run.plan(config, Path(), trains=False)
    method = run.build(stage, {})
    if method.energy is None or method.decode is None:
        raise flags.UsageError(f"{name}: method {method.name} has no energy on decoded latents")
    energy, decode = method.energy, method.decode
    state = run.untrained(stage, method)
    z0 = jax.random.normal(jax.random.key(1), (CHAINS, config.base.latent_dim))

    @jax.jit
    def chains(state: Any, z: jax.Array) -> jax.Array:
        def potential(z: jax.Array) -> jax.Array:
            return 0.5 * jnp.sum(z**2, axis=-1) + energy(state, decode(state, z))

        return move(potential, z)

    call, seconds = compiled(chains, state, z0)
    work = CHAINS * CHAIN_STEPS
    return Benchmark(name, "chain steps", lambda: call(state, z0), work, seconds)


def _kernel_move(builder: Callable[[samplers.Potential], samplers.Kernel]) -> Move:
    def move(potential: samplers.Potential, z: jax.Array) -> jax.Array:
        steps = samplers.constant(STEP_SIZE, CHAIN_STEPS)
        key = jax.random.key(2)
        return samplers.run(key, builder(potential), z, steps, thin=CHAIN_STEPS).state.z

    return move


def sampler(config: flags.Config) -> Benchmark:
    """Kinetic Langevin."""
    return _chains(
        config, "sampler", _kernel_move(lambda u: samplers.kinetic_langevin(u, friction=1.0))
    )


def sampler_mala(config: flags.Config) -> Benchmark:
    """Metropolis-adjusted Langevin, to set beside the next one."""
    return _chains(config, "sampler_mala", _kernel_move(samplers.mala))


def sampler_mala_blackjax(config: flags.Config) -> Benchmark:
    """The same chains by blackjax, vectorised over chains; needs the extra `bench`."""
    import blackjax  # pyright: ignore[reportMissingImports]

    def move(potential: samplers.Potential, z: jax.Array) -> jax.Array:
        kernel: Any = blackjax.mala(lambda z: -potential(z[None])[0], STEP_SIZE)

        def step(state: Any, key: jax.Array) -> tuple[Any, None]:
            return jax.vmap(kernel.step)(jax.random.split(key, CHAINS), state)[0], None

        keys = jax.random.split(jax.random.key(2), CHAIN_STEPS)
        return jax.lax.scan(step, jax.vmap(kernel.init)(z), keys)[0].position

    return _chains(config, "sampler_mala_blackjax", move)


BENCHMARKS: dict[str, Callable[[flags.Config], Benchmark]] = {
    "train_step": train_step,
    "sampler": sampler,
    "sampler_mala": sampler_mala,
}
if importlib.util.find_spec("blackjax"):
    BENCHMARKS["sampler_mala_blackjax"] = sampler_mala_blackjax


def measure(benchmark: Benchmark, repeats: int) -> dict[str, Any]:
    """Times one benchmark.

    Returns:
      name, unit, rate (median units per second), rate_iqr (distance between the quartiles),
      compile_seconds, repeats.
    """

    def timed() -> float:
        start = time.perf_counter()
        jax.block_until_ready(benchmark.fn())
        return time.perf_counter() - start

    timed()
    rates = [benchmark.work / timed() for _ in range(repeats)]
    low, median, high = statistics.quantiles(rates, n=4, method="inclusive")
    return {
        "name": benchmark.name,
        "unit": f"{benchmark.unit}/s",
        "rate": median,
        "rate_iqr": high - low,
        "compile_seconds": benchmark.compile_seconds,
        "repeats": repeats,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, prints a table, writes JSON; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    values = absl_flags.FlagValues()
    options: dict[str, Any] = {"flag_values": values}
    absl_flags.DEFINE_string("config", "configs/gebm.py", "what to measure", **options)
    absl_flags.DEFINE_string("filter", "", "only benchmarks with this in their name", **options)
    absl_flags.DEFINE_integer("repeats", 7, "timed calls", lower_bound=2, **options)
    absl_flags.DEFINE_integer(
        "threads", None, "CPUs to use, all if not given (Linux)", lower_bound=1, **options
    )
    absl_flags.DEFINE_string("json", "", "file for the numbers", **options)
    absl_flags.DEFINE_boolean("help", False, "show this", **options)
    try:
        values(["bench", *argv])
        if values.help:
            print(__doc__, values.main_module_help())
            return 0
        paired = values.filter.startswith("pair")
        chosen = choose(values.filter, PAIRS if paired else BENCHMARKS)
        if values.threads is not None:
            limit_threads(values.threads)
        if paired:
            rows = [pairs.measure(PAIRS[name].build(name), values.repeats) for name in chosen]
        else:
            config, _ = flags.load_config(values.config)
            rows = [measure(BENCHMARKS[name](config), values.repeats) for name in chosen]
    except (flags.UsageError, absl_flags.Error) as error:
        print(f"gmkit: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    report(rows, values.json)
    return 0


def choose(pattern: str, offered: Iterable[str]) -> list[str]:
    """Names that contain the pattern.

    Raises:
      UsageError: none does, or pairs are asked for without their peers.
    """
    chosen = [name for name in offered if pattern in name]
    if not chosen:
        raise flags.UsageError(f"--filter={pattern}: none of {', '.join(offered)}")
    for room in dict.fromkeys(PAIRS[name] for name in chosen if name in PAIRS):
        if missing := room.missing():
            raise flags.UsageError(f"--filter={pattern} needs {', '.join(missing)}: {room.INSTALL}")
    return chosen


def limit_threads(n: int) -> None:
    """Keeps this process, and the threads that JAX and PyTorch are yet to start, on `n` CPUs.

    Raises:
      UsageError: there are fewer, or the system cannot be told.
    """
    if not hasattr(os, "sched_setaffinity"):
        raise flags.UsageError(f"--threads={n}: this system does not let a process choose its CPUs")
    cpus = sorted(os.sched_getaffinity(0))
    if n > len(cpus):
        raise flags.UsageError(f"--threads={n}: this process may use {len(cpus)} CPUs")
    os.sched_setaffinity(0, cpus[:n])


def report(rows: list[dict[str, Any]], path: str) -> None:
    """Prints the table and writes the JSON file."""
    from rich.console import Console
    from rich.table import Table

    columns = PAIR_COLUMNS if "ratio" in rows[0] else COLUMNS
    table = Table(*columns)
    for row in rows:
        cells = (row[key] for key in columns.values())
        table.add_row(*(c if isinstance(c, str) else reporting.format_value(c) for c in cells))
    Console().print(table)
    if path:
        content = {"provenance": reporting.provenance(), "benchmarks": rows}
        Path(path).write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    memory.keep_freed_memory()
    sys.exit(main())
