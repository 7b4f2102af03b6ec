"""A data set and a method of a few lines, and a program that trains them (for tests that kill).

`python toy.py workdir settings.json` trains in a process of its own.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gmkit.core import Evaluation, Hook, Method, create, finish_step, parallel, step_key, update
from gmkit.training import Interrupted, LoopConfig, fit

DIM, CLASSES, N = 6, 3, 50


class Rows:
    """A split in memory, or one that only gathers."""

    def __init__(self, rows: dict[str, np.ndarray], streams: bool = False):
        self._rows = rows
        self.arrays = None if streams else rows

    def __len__(self) -> int:
        return len(self._rows["x"])

    def gather(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        return {name: x[indices] for name, x in self._rows.items()}


@dataclasses.dataclass(frozen=True)
class Toy:
    """The face of `gmkit.data.Dataset`."""

    train: Rows
    test: Rows

    def decode(self, raw: dict[str, Any], key: jax.Array | None = None) -> dict[str, jax.Array]:
        x = jnp.asarray(raw["x"], jnp.float32) / 10.0
        if key is not None:
            *outer, n = x.shape[:-1]
            keys = jax.random.split(key, outer) if outer else key
            draw = lambda k: parallel.example_normal(k, n, x.shape[-1:])
            for _ in outer:
                draw = jax.vmap(draw)
            x = x + 0.1 * draw(keys)
        return {"x": x, "label": jnp.asarray(raw["label"], jnp.int32)}


def dataset(streams: bool = False, n: int = N) -> Toy:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 30, (n, DIM)).astype(np.uint8)
    label = (x.sum(axis=1) % CLASSES).astype(np.int32)
    split = Rows({"x": x, "label": label}, streams)
    return Toy(split, split)


def method(
    batches_per_step: int = 2,
    hook_every: int = 0,
    blow_up_at: int = -1,
    poison_at: int = -1,
    big: int = 0,
    sleep: float = 0.0,
    traces: list[str] | None = None,
    calls: list[tuple[str, int]] | None = None,
    dtype: Any = jnp.float32,
    width: int = 8,
) -> Method:
    """A noisy two-layer classifier under Adam.

    Args:
      hook_every: every so many steps a hook halves the biases.
      blow_up_at: the step whose loss is NaN.
      poison_at: the step that makes a parameter infinite, with finite metrics.
      big: elements of a leaf that makes saving slow.
      sleep: seconds the hook takes.
      traces: gets a word each time the step is traced.
      calls: gets ("hook" or "evaluate", step).
    """
    # Not Adam, which blows rounding up where a gradient vanishes.
    tx = optax.sgd(0.05, momentum=0.9)

    def logits(params, x):
        hidden = jnp.tanh(x @ params["w"] + params["b"][None, :].astype(jnp.float32))
        return hidden @ params["v"]

    def init(key, batch):
        k1, k2 = jax.random.split(key)
        params = {
            "w": jax.random.normal(k1, (batch["x"].shape[-1], width)),
            "v": jax.random.normal(k2, (width, CLASSES)),
            "b": jnp.zeros((width,), dtype),
        }
        memory = {
            "recent": jnp.zeros((4,), jnp.bfloat16),
            "seen": jnp.zeros((CLASSES,), jnp.int32),
            "on": jnp.array(True),
            "empty": jnp.zeros((0, 2)),
            "weak": 1.0,
        }
        if big:
            memory["big"] = jax.random.normal(k1, (big,))
        return create(key, {"net": params}, {"net": tx}, ema=("net",), memory=memory)

    def step(state, batch):
        if traces is not None:
            traces.append("step")
        noise = step_key(state, "noise")

        def one(state, k_and_batch):
            k, minibatch = k_and_batch
            n = minibatch["x"].shape[0]
            x = minibatch["x"] + 0.01 * parallel.example_normal(
                jax.random.fold_in(noise, k), n, (DIM,)
            )

            def loss(params):
                scores = optax.softmax_cross_entropy_with_integer_labels(
                    logits(params, x), minibatch["label"]
                )
                return jnp.mean(scores)

            value, grads = jax.value_and_grad(loss)(state.params["net"])
            return update(state, "net", grads, tx), value

        state, values = jax.lax.scan(one, state, (jnp.arange(batches_per_step), batch))
        value = parallel.batch_mean(values)
        value = jnp.where(state.step == blow_up_at, jnp.nan, value)
        memory = {
            **state.memory,
            "recent": jnp.roll(state.memory["recent"], 1).at[0].set(value.astype(jnp.bfloat16)),
            "seen": state.memory["seen"] + 1,
        }
        net = state.params["net"]
        poison = jnp.where(state.step == poison_at, jnp.inf, 0.0)
        params = {"net": {**net, "b": net["b"] + poison.astype(net["b"].dtype)}}
        state = finish_step(state.replace(memory=memory, params=params))
        return state, {"loss": value, "x_mean": parallel.batch_mean(batch["x"])}

    def evaluate(state, dataset, key):
        if calls is not None:
            calls.append(("evaluate", int(state.step)))
        batch = dataset.decode(dataset.test.gather(np.arange(len(dataset.test))), None)
        right = jnp.argmax(logits(state.ema["net"], batch["x"]), -1) == batch["label"]
        # A curve with its best at step 4, so that "best" and "last" differ.
        distance = abs(int(state.step) - 4)
        return Evaluation({"accuracy": float(jnp.mean(right)), "distance": float(distance)})

    def hook(state, dataset):
        if calls is not None:
            calls.append(("hook", int(state.step)))
        time.sleep(sleep)
        net = state.params["net"]
        params = {"net": {**net, "b": 0.5 * net["b"]}}
        return state.replace(params=params), {"bias": jnp.sum(net["b"].astype(jnp.float32))}

    return Method(
        name="toy",
        init=init,
        step=step,
        evaluate=evaluate,
        sample=lambda state, key, n: jax.random.normal(key, (n, DIM)),
        figures=lambda state, dataset, key: {},
        batches_per_step=batches_per_step,
        hooks=(Hook(hook_every, hook),) if hook_every else (),
    )


def loop(steps: int = 8, **settings: Any) -> LoopConfig:
    settings = {
        "batch_size": 8,
        "log_every": 2,
        "checkpoint_every_seconds": 0.0,
        "tensorboard": False,
        "progress": False,
        **settings,
    }
    return LoopConfig(steps=steps, **settings)


def config(loop: LoopConfig) -> dict[str, Any]:
    return {"training": {"steps": loop.steps, "batch_size": loop.batch_size}}


def run(workdir: Path, settings: LoopConfig, data: Toy | None = None, **options: Any):
    """`fit` of the toy."""
    data = dataset() if data is None else data
    return fit(method(**options), data, settings, workdir, config=config(settings))


def records(workdir: Path) -> list[dict[str, Any]]:
    """`metrics.jsonl` without times."""
    lines = (Path(workdir) / "metrics.jsonl").read_text().splitlines()
    timed = ("seconds", "steps_per_second", "examples_per_second")
    return [{k: v for k, v in json.loads(line).items() if k not in timed} for line in lines]


def leaves(state: Any) -> dict[str, np.ndarray]:
    """All of a state's bits, by path."""

    def bits(x: jax.Array) -> np.ndarray:
        is_key = jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(x) if is_key else x)

    flat = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path): bits(x) for path, x in flat}


def assert_same_bits(a: Any, b: Any) -> None:
    a, b = leaves(a), leaves(b)
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype, name
        assert a[name].tobytes() == b[name].tobytes(), name


def main(workdir: str, settings: str) -> int:
    """Trains in this process as the JSON says; writes the final state's bits at the end."""
    given = json.loads(settings)
    jax.config.update("jax_num_cpu_devices", given.get("devices", 4))
    if cache := os.environ.get("TOY_CACHE"):
        jax.config.update("jax_compilation_cache_dir", cache)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    if "distributed" in given:
        parallel.initialize(given["distributed"])
    data = dataset(streams=given.get("streams", False))
    try:
        result = run(Path(workdir), loop(**given["loop"]), data, **given.get("method", {}))
    except Interrupted as stopped:
        print(stopped, file=sys.stderr)
        return stopped.exit_code
    if parallel.is_main_process():
        np.savez(Path(workdir) / "final.npz", **leaves(result.state))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
