"""Many runs of one method at once: the same program, mapped over seeds."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gmkit.core.method import Batch, Evaluation, Method, Metrics
from gmkit.core.state import TrainState, finish_step

#: What follows the name of a number's standard deviation over runs.
SPREAD = "_over_seeds"


def run_of(state: TrainState, i: int) -> TrainState:
    """The `i`-th run's own state, from a state of `over_seeds`."""
    return jax.tree.map(lambda leaf: leaf[i], _runs(state))


def _runs(state: TrainState) -> TrainState:
    """The states of all runs as one, with a leading axis on every leaf."""
    inner = state.memory
    return dataclasses.replace(state, step=inner["step"], key=inner["key"], memory=inner["memory"])


def _joined(runs: TrainState, step: jax.Array, key: jax.Array) -> TrainState:
    memory = {"step": runs.step, "key": runs.key, "memory": runs.memory}
    return dataclasses.replace(runs, step=step, key=key, memory=memory)


def over_seeds(method: Method, n: int) -> Method:
    """`n` independent runs of a method as one method, trained by one compiled program.

    Every run has its own parameters, noise and minibatches: a step consumes `n` times as many.
    `evaluate` gives the mean over runs of every number that all runs have, their standard
    deviation as `<name>_over_seeds`, the table "seeds" with a row per run, and the runs' own tables
    one below the other; `sample` and `figures` are the first run's. Logged metrics are means.

    Args:
      method: what is run; rules on the host (`Method.hooks`) act on one run and are refused.
      n: number of runs, at least 1.

    Raises:
      ValueError: `n < 1`, or a method with hooks.
    """
    if n < 1:
        raise ValueError(f"seeds={n}: run at least one seed")
    if method.hooks:
        raise ValueError(f"seeds={n}: {method.name} has rules between steps (hooks); set seeds=1")

    def init(key: jax.Array, batch: Batch) -> TrainState:
        root, init_key = jax.random.split(key)
        runs = jax.vmap(method.init, in_axes=(0, None))(jax.random.split(init_key, n), batch)
        return _joined(runs, jnp.zeros((), jnp.int32), root)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        own = jax.tree.map(lambda x: x.reshape(n, method.batches_per_step, *x.shape[1:]), batch)
        runs, metrics = jax.vmap(method.step)(_runs(state), own)
        state = _joined(runs, state.step, state.key)
        return finish_step(state), jax.tree.map(lambda m: jnp.mean(m, axis=0), metrics)

    def evaluate(state: TrainState, dataset: Any, key: jax.Array) -> Evaluation:
        keys = jax.random.split(key, n)
        found = [method.evaluate(run_of(state, i), dataset, keys[i]) for i in range(n)]
        return _summary(found)

    first = lambda function: (
        None if function is None else lambda state, *args: function(run_of(state, 0), *args)
    )
    return method._replace(
        init=init,
        step=step,
        evaluate=evaluate,
        sample=first(method.sample),
        figures=first(method.figures),
        batches_per_step=n * method.batches_per_step,
        log_lik=first(method.log_lik),
        encode=first(method.encode),
        decode=first(method.decode),
        energy=first(method.energy),
        score=first(method.score),
    )


def _summary(found: list[Evaluation]) -> Evaluation:
    """Means and spreads of the runs' numbers, and their tables with a column "run"."""
    metrics: dict[str, float] = {}
    for name in found[0].metrics:
        if not all(name in e.metrics for e in found):
            continue
        values = np.asarray([e.metrics[name] for e in found], np.float64)
        metrics[name] = float(values.mean())
        if len(found) > 1:
            finite = np.isfinite(values).all()
            metrics[name + SPREAD] = float(values.std(ddof=1)) if finite else math.nan
    tables: dict[str, list[dict[str, Any]]] = {
        "seeds": [{"run": i, **e.metrics} for i, e in enumerate(found)]
    }
    for i, e in enumerate(found):
        for name, rows in e.tables.items():
            tables.setdefault(name, []).extend({"run": i, **row} for row in rows)
    return Evaluation(metrics, {**found[0].provenance, "seeds": len(found)}, tables)
