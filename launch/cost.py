"""What a step costs, from its ahead-of-time compilation: nothing is trained, nothing written."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from rich import box
from rich.console import Console
from rich.table import Table

from gmkit import data, training
from gmkit.core import Method, parallel
from gmkit.training import feed


def step_cost(
    method: Method, dataset: data.Dataset, loop: training.LoopConfig
) -> dict[str, dict[str, float]]:
    """Parameters per network, and FLOPs and bytes of the compiled step.

    FLOPs are XLA's count, in which the body of a loop (`lax.scan`) counts once, however often
    it runs. Bytes are those of one device.

    Returns:
      {"parameters": {network: count}, "step": {"flops", "argument_bytes", "temporary_bytes",
      "output_bytes"}}.
    """
    mesh = parallel.make_mesh(loop.devices)
    batch = feed.init_batch(dataset, loop)
    state = jax.eval_shape(method.init, jax.random.key(0), batch)
    batches = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((method.batches_per_step, *x.shape), x.dtype), batch
    )
    # The compiled program of `jax.pmap` cannot be inspected; that of its global view can.
    strategy = "jit" if loop.strategy == "jax_pmap" else loop.strategy
    shardings = parallel.state_sharding(state, mesh, loop.fsdp)
    step = parallel.compile_step(method.step, mesh, strategy, state_shardings=shardings)
    compiled = step.lower(state, batches).compile()
    memory = compiled.memory_analysis()
    return {
        "parameters": {name: _count(tree) for name, tree in state.params.items()},
        "step": {
            "flops": float(compiled.cost_analysis().get("flops", math.nan)),
            "argument_bytes": memory.argument_size_in_bytes,
            "temporary_bytes": memory.temp_size_in_bytes,
            "output_bytes": memory.output_size_in_bytes - memory.alias_size_in_bytes,
        },
    }


def print_cost(
    title: str, method: Method, dataset: data.Dataset, loop: training.LoopConfig
) -> None:
    """Prints `step_cost` as a table."""
    cost = step_cost(method, dataset, loop)
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", show_header=False)
    for name, count in cost["parameters"].items():
        table.add_row(f"parameters of {name}", f"{count:,}")
    step = cost["step"]
    table.add_row("FLOPs per step (a loop's body counted once)", f"{step['flops']:.3e}")
    for name in ("argument", "temporary", "output"):
        table.add_row(f"{name} memory per device", _size(step[f"{name}_bytes"]))
    Console().print(table)


def _count(tree: Any) -> int:
    return sum(math.prod(jnp.shape(leaf)) for leaf in jax.tree.leaves(tree))


def _size(n: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if n < 1024:
            return f"{n:.4g} {unit}"
        n /= 1024
    return f"{n:.4g} GiB"
