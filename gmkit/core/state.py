"""The one training state, and the one place where gradients change parameters."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from gmkit.core import parallel

PyTree = Any


@flax.struct.dataclass
class TrainState:
    """All that a run remembers; arrays only, so it can be donated, sharded and saved whole.

    Attributes:
      step: number of completed calls of `Method.step`, int32 scalar.
      key: root typed PRNG key of the run; never advanced, see `step_key`.
      params: trained parameters, one pytree per network.
      variables: what networks carry but gradients do not train (batch statistics,
        spectral-norm vectors), under the same names.
      opt_state: optax state per network.
      ema: exponential moving averages of `params`, for the networks that keep one.
      memory: what the method itself remembers between steps (replay buffer, counters), or None.
    """

    step: jax.Array
    key: jax.Array
    params: dict[str, PyTree]
    variables: dict[str, PyTree]
    opt_state: dict[str, PyTree]
    ema: dict[str, PyTree]
    memory: PyTree = None


def create(
    key: jax.Array,
    params: Mapping[str, PyTree],
    txs: Mapping[str, optax.GradientTransformation],
    *,
    variables: Mapping[str, PyTree] | None = None,
    ema: tuple[str, ...] = (),
    memory: PyTree = None,
) -> TrainState:
    """A state at step 0.

    Args:
      key: typed PRNG key that the run's randomness derives from.
      params: parameters per network.
      txs: optimiser per network; networks without one are frozen.
      variables: non-trained variables per network.
      ema: names of the networks whose parameters are averaged over time.
      memory: the method's own memory.
    """
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        key=key,
        params=dict(params),
        variables=dict(variables or {}),
        opt_state={name: tx.init(params[name]) for name, tx in txs.items()},
        # Copies, because a donated state may not hold one buffer twice.
        ema={name: jax.tree.map(jnp.copy, params[name]) for name in ema},
        memory=memory,
    )


def update(
    state: TrainState,
    name: str,
    grads: PyTree,
    tx: optax.GradientTransformation,
    *,
    ema_decay: float = 0.999,
    slot: str | None = None,
    average: bool = True,
    **extra_args: Any,
) -> TrainState:
    """One gradient step of network `name`: averaged over devices, transformed, applied.

    Args:
      state: current state.
      name: the network whose parameters change.
      grads: gradient pytree of this device's share of the batch (or of the whole batch
        where no device axis is mapped).
      tx: the optimiser that `state.opt_state[name]` belongs to.
      ema_decay: decay of the moving average, used when `name` keeps one; warmed up as
        `min(ema_decay, (1 + t) / (10 + t))`.
      slot: entry of `opt_state` with the optimiser's memory, `name` by default; a network that
        two losses move has another, "<name>/<loss>".
      average: whether the moving average follows; for a network that takes more than one update a
        step, in the last one only.
      **extra_args: passed on to transformations that ask for them.

    Returns:
      A new state; `step` is unchanged.
    """
    grads = parallel.mean_over_devices(grads)
    tx = optax.with_extra_args_support(tx)
    slot = name if slot is None else slot
    updates, opt_state = tx.update(grads, state.opt_state[slot], state.params[name], **extra_args)
    params = optax.apply_updates(state.params[name], updates)
    ema = state.ema
    if average and name in ema:
        t = state.step.astype(jnp.float32)
        decay = jnp.minimum(ema_decay, (1.0 + t) / (10.0 + t))
        averaged = jax.tree.map(
            lambda old, new: (old + (1.0 - decay) * (new - old)).astype(old.dtype),
            ema[name],
            params,
        )
        ema = {**ema, name: averaged}
    return dataclasses.replace(
        state,
        params={**state.params, name: params},
        opt_state={**state.opt_state, slot: opt_state},
        ema=ema,
    )


def in_turn(
    step: Callable[[TrainState, PyTree], tuple[TrainState, PyTree]],
    state: TrainState,
    inputs: PyTree,
    *,
    unroll: bool = False,
) -> tuple[TrainState, PyTree]:
    """Smaller steps one after another within a step; returns the last one's metrics.

    Args:
      step: `(state, input) -> (state, metrics)`.
      state: before the first one.
      inputs: leaves `(n, ...)`, n >= 1.
      unroll: no loop in the compiled program (on a CPU a convolution's gradient is slower there).
    """
    if jax.tree.leaves(inputs)[0].shape[0] == 1:
        # `lax.scan` keeps its loop for a single step, also when it is told to unroll.
        return step(state, jax.tree.map(lambda x: x[0], inputs))
    state, history = jax.lax.scan(step, state, inputs, unroll=unroll)
    return state, jax.tree.map(lambda m: m[-1], history)


def finish_step(state: TrainState) -> TrainState:
    """Counts one completed call of `Method.step`."""
    return dataclasses.replace(state, step=state.step + 1)


def step_key(state: TrainState, stream: str = "") -> jax.Array:
    """The PRNG key of this step for one purpose: a pure function of (root key, step, stream).

    A resumed run therefore draws the same numbers as one that never stopped.
    """
    return jax.random.fold_in(
        jax.random.fold_in(state.key, state.step), zlib.crc32(stream.encode())
    )


def eval_params(state: TrainState, name: str) -> PyTree:
    """Parameters to evaluate network `name` with: its moving average if it keeps one."""
    return state.ema[name] if name in state.ema else state.params[name]
