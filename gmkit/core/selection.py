"""Model selection on held-out data, remembered in the state itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from gmkit.core.method import Evaluation, Hook, Method
from gmkit.core.state import TrainState

PyTree = Any


@flax.struct.dataclass
class Selected:
    """`TrainState.memory` of a method that `keep_best` wraps.

    Attributes:
      inner: the method's own memory.
      best: what the best state so far had of the selected networks: "params", "variables" and
        "ema", each name -> pytree.
      score: its score, float32 scalar; inf before the first look.
      step: when that was, int32 scalar.
    """

    inner: PyTree
    best: dict[str, dict[str, PyTree]]
    score: jax.Array
    step: jax.Array


def _parts(state: TrainState, names: tuple[str, ...]) -> dict[str, dict[str, PyTree]]:
    """Copies (a donated state may not hold one buffer twice) of what belongs to networks."""
    groups = {"params": state.params, "variables": state.variables, "ema": state.ema}
    return {
        group: {name: jax.tree.map(jnp.copy, of[name]) for name in names if name in of}
        for group, of in groups.items()
    }


def unwrapped(state: TrainState) -> TrainState:
    """The latest state as the wrapped method knows it."""
    return dataclasses.replace(state, memory=state.memory.inner)


def rewrapped(state: TrainState, memory: Selected) -> TrainState:
    """The other way: a state of the wrapped method, with the selection of `memory`."""
    return dataclasses.replace(state, memory=dataclasses.replace(memory, inner=state.memory))


def selected(state: TrainState) -> TrainState:
    """The best state so far, as the wrapped method knows it; a state of no selection as it is.

    Before the first look at held-out data that is the latest state.
    """
    memory = state.memory
    if not isinstance(memory, Selected):
        return state
    looked = jnp.isfinite(memory.score)
    groups = {"params": state.params, "variables": state.variables, "ema": state.ema}
    chosen = {
        group: {
            **of,
            **{
                name: jax.tree.map(lambda a, b: jnp.where(looked, a, b), best, of[name])
                for name, best in memory.best[group].items()
            },
        }
        for group, of in groups.items()
    }
    return dataclasses.replace(state, memory=memory.inner, **chosen)


def keep_best(
    method: Method,
    names: tuple[str, ...],
    score: Callable[[TrainState, Any], jax.Array | float],
    every: int,
    label: str,
) -> Method:
    """A method that evaluates, samples and draws from its best state instead of its last.

    The state carries a copy of the selected networks, so a resumed run selects as one that was
    never stopped.

    Args:
      method: what is trained.
      names: networks that are selected together.
      score: `(state, dataset) -> scalar`, lower is better; only looks at validation rows.
      every: calls of `step` between looks.
      label: the score's name; logged are "validation/<label>" and "validation/best_<label>".

    Raises:
      ValueError: `every` below 1.
    """
    if every < 1:
        raise ValueError(f"every={every}: look at held-out data at least every step")

    def init(key: jax.Array, batch: Any) -> TrainState:
        state = method.init(key, batch)
        memory = Selected(
            inner=state.memory,
            best=_parts(state, names),
            score=jnp.full((), jnp.inf),
            step=jnp.zeros((), jnp.int32),
        )
        return dataclasses.replace(state, memory=memory)

    def step(state: TrainState, batch: Any) -> tuple[TrainState, dict[str, jax.Array]]:
        memory = state.memory
        state, metrics = method.step(unwrapped(state), batch)
        return rewrapped(state, memory), metrics

    def look(state: TrainState, dataset: Any) -> tuple[TrainState, dict[str, jax.Array]]:
        memory = state.memory
        value = jnp.float32(score(unwrapped(state), dataset))
        # Not `<=` and not min: a value that is not a number must never win.
        if value < memory.score:
            best = _parts(state, names)
            memory = dataclasses.replace(memory, best=best, score=value, step=state.step + 0)
        found = {f"validation/{label}": value, f"validation/best_{label}": memory.score}
        return dataclasses.replace(state, memory=memory), found

    def hook(inner: Hook) -> Hook:
        def run(state: TrainState, dataset: Any) -> tuple[TrainState, dict[str, jax.Array]]:
            memory = state.memory
            state, found = inner.run(unwrapped(state), dataset)
            return rewrapped(state, memory), found

        return inner._replace(run=run)

    def evaluate(state: TrainState, dataset: Any, key: jax.Array) -> Evaluation:
        found = method.evaluate(selected(state), dataset, key)
        about = {"selected_step": float(state.memory.step)}
        return found._replace(metrics={**found.metrics, **about})

    def of_best(function: Callable[..., Any] | None) -> Any:
        if function is None:
            return None
        return lambda state, *arguments: function(selected(state), *arguments)

    optional = ("log_lik", "encode", "decode", "energy", "score")
    return method._replace(
        init=init,
        step=step,
        evaluate=evaluate,
        hooks=(*map(hook, method.hooks), Hook(every, look, ("validation",))),
        **{name: of_best(getattr(method, name)) for name in ("sample", "figures", *optional)},
    )
