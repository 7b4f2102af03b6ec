"""The training loop: one compiled call after another, and what happens between two calls."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from gmkit.core import Method, TrainState, parallel, step_key
from gmkit.training.checkpoint import Checkpointer, Restored, compare_structure, describe
from gmkit.training.errors import Interrupted, UsageError
from gmkit.training.feed import Call, Feed, init_batch, make_feed, schedule
from gmkit.training.interrupts import Interrupts
from gmkit.training.metrics import Chronometer, Recorder, host_values
from gmkit.training.settings import LoopConfig
from gmkit.training.workdir import CHECKPOINTS, locked, open_workdir

PyTree = Any
EVAL_PREFIX = "eval/"


class FitResult(NamedTuple):
    """A finished run.

    Attributes:
      state: the final state, on the devices.
      step: completed steps.
      seconds: training time over all sessions, without compilation and evaluation.
      compile_seconds: compilation of the training calls, over all sessions.
      resumed_from: the step this session went on from, or None for a new run.
      mesh: the devices.
    """

    state: TrainState
    step: int
    seconds: float
    compile_seconds: float
    resumed_from: int | None
    mesh: Mesh


def fit(
    method: Method,
    dataset: Any,
    loop: LoopConfig,
    workdir: Path | str,
    *,
    config: Mapping[str, Any],
) -> FitResult:
    """Trains to `loop.steps` completed steps, or goes on with what is in `workdir`.

    Batch t and the randomness of step t are functions of (seed, t), and the state is saved
    whole; on the same devices a run that was stopped, or killed, and started again ends with
    the same bits as one that never stopped, and so does its `metrics.jsonl` up to times.

    Args:
      method: the model and its step.
      dataset: `train` (with `gather`, `arrays`, a length) and `decode`; see `gmkit.data`.
      loop: the loop's settings.
      workdir: the run directory, see `open_workdir`.
      config: the resolved settings of the run, JSON-able; compared on resume.

    Raises:
      UsageError: settings or a run directory that cannot be used.
      NonFiniteError: a metric or parameter became NaN or infinite.
      Interrupted: SIGTERM or SIGINT; the state is saved.
    """
    workdir = Path(workdir)
    loop.validate(dataset, method)
    nans = jax.debug_nans(True) if loop.debug_nans else contextlib.nullcontext()
    with locked(workdir), Interrupts() as interrupts, nans:
        open_workdir(workdir, config)
        plan = _Plan.make(method, dataset, loop)
        with _checkpointer(loop, workdir) as checkpointer:
            restored = checkpointer.restore_latest_valid(plan.target, set_aside=True)
            return _run(plan, workdir, checkpointer, interrupts, restored)


def restore(
    method: Method, dataset: Any, loop: LoopConfig, workdir: Path | str
) -> tuple[TrainState, int]:
    """The newest checkpoint in `workdir` that verifies: (state on the devices, its step).

    Reads only, so that a run that is still training can be evaluated.

    Raises:
      UsageError: there is none, or it belongs to another model.
    """
    directory = Path(workdir) / CHECKPOINTS
    loop.validate(dataset, method)
    if directory.is_dir():
        with _checkpointer(loop, Path(workdir), writing=False) as checkpointer:
            restored = checkpointer.restore_latest_valid(_Plan.make(method, dataset, loop).target)
        if restored is not None:
            return restored.state, restored.step
    raise UsageError(f"{directory}: no checkpoint there; train first, or name another workdir")


def _checkpointer(loop: LoopConfig, workdir: Path, writing: bool = True) -> Checkpointer:
    return Checkpointer(
        workdir / CHECKPOINTS,
        loop.keep_last,
        loop.keep_best,
        loop.best_metric,
        loop.best_mode,
        writing=writing,
    )


@dataclasses.dataclass(frozen=True)
class _Plan:
    """A run before it has a state."""

    method: Method
    dataset: Any
    loop: LoopConfig
    mesh: Mesh
    init: Callable[[jax.Array, PyTree], TrainState]
    batch: PyTree
    target: PyTree  # ShapeDtypeStructs with shardings

    @classmethod
    def make(cls, method: Method, dataset: Any, loop: LoopConfig) -> _Plan:
        mesh = parallel.make_mesh(loop.devices)
        batch = init_batch(dataset, loop)

        def init(key: jax.Array, batch: PyTree) -> TrainState:
            return jax.tree.map(_strong, method.init(key, batch))

        abstract = jax.eval_shape(init, jax.random.key(loop.seed), batch)
        shardings = parallel.state_sharding(abstract, mesh, loop.fsdp)
        target = jax.tree.map(
            lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), abstract, shardings
        )
        return cls(method, dataset, loop, mesh, init, batch, target)

    @property
    def shardings(self) -> PyTree:
        return jax.tree.map(lambda x: x.sharding, self.target)

    def new_state(self) -> TrainState:
        key = jax.random.key(self.loop.seed)
        return parallel.init_state(self.init, self.mesh, key, self.batch, self.loop.fsdp)


def _strong(x: Any) -> jax.Array:
    """Without JAX's weak type, which a checkpoint does not keep: a resumed run compiles alike."""
    x = jnp.asarray(x)
    is_key = jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
    return x if is_key else jax.lax.convert_element_type(x, x.dtype)


def _run(
    plan: _Plan,
    workdir: Path,
    checkpointer: Checkpointer,
    interrupts: Interrupts,
    restored: Restored | None,
) -> FitResult:
    loop, method = plan.loop, plan.method
    start = 0 if restored is None else restored.step
    times = {} if restored is None else restored.meta["time"]
    resumed_from = None if restored is None else start
    if start > loop.steps:
        raise UsageError(f"training.steps={loop.steps}: {workdir} is at step {start} already")
    if restored is not None and start == loop.steps:
        return FitResult(restored.state, start, mesh=plan.mesh, resumed_from=start, **times)
    state = plan.new_state() if restored is None else restored.state
    chronometer = Chronometer(**times)
    examples = method.batches_per_step * loop.batch_size
    latest = checkpointer.latest_step
    with Recorder(workdir, loop, start, examples, chronometer, latest) as recorder:
        if restored is not None:
            recorder.say(f"resumed from step {start} of {loop.steps} in {workdir}")
        session = _Session(plan, checkpointer, recorder, chronometer, interrupts)
        state = session.train(state, start)
        seconds = chronometer.seconds
        checkpointer.wait()
    return FitResult(
        state, loop.steps, seconds, chronometer.compile_seconds, resumed_from, plan.mesh
    )


class _Session:
    """One start of a run: the calls, and between two calls logs, hooks, evaluation, saves."""

    def __init__(
        self,
        plan: _Plan,
        checkpointer: Checkpointer,
        recorder: Recorder,
        chronometer: Chronometer,
        interrupts: Interrupts,
    ) -> None:
        self.plan, self.loop, self.method = plan, plan.loop, plan.method
        self.checkpointer, self.recorder = checkpointer, recorder
        self.chronometer, self.interrupts = chronometer, interrupts
        self.saved_at = time.monotonic()

    def train(self, state: TrainState, start: int) -> TrainState:
        """All calls from `start` on; returns the final state, saved."""
        loop = self.loop
        feed = make_feed(self.plan.dataset, loop, self.method.batches_per_step, self.plan.mesh)
        programs = _Programs(self.plan, feed, self.chronometer)
        calls = schedule(start, loop.steps, loop.choose_steps_per_call(self.method))
        with contextlib.closing(feed.inputs(calls)) as inputs:
            for call, data in inputs:
                state, metrics = programs(call, state, data)
                state = self.between(call, state, metrics)
        return state

    def between(self, call: Call, state: TrainState, metrics: PyTree) -> TrainState:
        """What is due after a call; saving comes last, when all else of this step is done."""
        loop, recorder = self.loop, self.recorder
        step = call.step + call.n
        last = step == loop.steps
        recorder.tick(step)
        if last or _due(loop.log_every, call):
            recorder.log(step, metrics)
        for hook in self.method.hooks:
            if _due(hook.every, call):
                recorder.flush(step)
                state, found = hook.run(state, self.plan.dataset)
                state = self.placed(state)
                recorder.write(step, found)
        scores = None
        if _due(loop.eval_every, call):
            scores = self.evaluate(step, state, metrics)
        signum = self.interrupts.requested(step)
        best = scores is not None and loop.best_metric is not None
        if last or signum or best or self.save_due(call):
            self.save(step, state, metrics, scores)
        if signum:
            raise Interrupted(signum, step)
        return state

    def placed(self, state: TrainState) -> TrainState:
        """A hook's state with the types and places of a step's."""
        try:
            compare_structure(describe(self.plan.target), state)
        except ValueError as error:
            raise ValueError(f"a hook of {self.method.name} changed the state: {error}") from error
        return jax.device_put(jax.tree.map(_strong, state), self.plan.shardings)

    def evaluate(self, step: int, state: TrainState, metrics: PyTree) -> dict[str, float]:
        """The method's own evaluation, logged under "eval/"; its time does not count."""
        loop, recorder = self.loop, self.recorder
        recorder.flush(step)
        recorder.check(step, host_values(metrics))
        with self.chronometer.paused():
            result = self.method.evaluate(state, self.plan.dataset, step_key(state, "evaluate"))
        scores = {name: float(value) for name, value in result.metrics.items()}
        if loop.best_metric is not None and loop.best_metric not in scores:
            raise UsageError(
                f"training.best_metric={loop.best_metric}: {self.method.name} evaluates "
                f"{', '.join(sorted(scores))}"
            )
        recorder.write(step, {EVAL_PREFIX + name: value for name, value in scores.items()})
        return scores

    def save_due(self, call: Call) -> bool:
        """Whether it is time for a checkpoint; the same answer on every process."""
        loop = self.loop
        if _due(loop.checkpoint_every_steps, call):
            return True
        if not loop.checkpoint_every_seconds:
            return False
        due = time.monotonic() - self.saved_at >= loop.checkpoint_every_seconds
        if jax.process_count() == 1:
            return due
        # Clocks differ: process 0 decides, at log points only, because asking takes time.
        if not _due(loop.log_every, call):
            return False
        return bool(multihost_utils.broadcast_one_to_all(jnp.asarray(due)))

    def save(
        self, step: int, state: TrainState, metrics: PyTree, scores: dict[str, float] | None
    ) -> None:
        """Records and state to disk, in this order, if all numbers are finite."""
        self.recorder.flush(step)
        self.recorder.check(step, host_values(metrics))
        self.recorder.sync()
        times = {
            "seconds": self.chronometer.seconds,
            "compile_seconds": self.chronometer.compile_seconds,
        }
        self.checkpointer.save(step, state, {"time": times}, scores)
        self.saved_at = time.monotonic()


def _due(every: int, call: Call) -> bool:
    """Whether a multiple of `every` was reached by this call; a function of the step alone."""
    return every > 0 and (call.step + call.n) // every > call.step // every


class _Programs:
    """The compiled call for one step and the one for `steps_per_call`, compiled when first met."""

    def __init__(self, plan: _Plan, feed: Feed, chronometer: Chronometer) -> None:
        self._plan, self._feed, self._chronometer = plan, feed, chronometer
        self._compiled: dict[int, Callable[..., tuple[TrainState, PyTree]]] = {}

    def __call__(self, call: Call, state: TrainState, data: PyTree) -> tuple[TrainState, PyTree]:
        if call.n in self._compiled:
            return self._compiled[call.n](state, data)
        plan = self._plan
        program: Any = parallel.compile_step(
            plan.method.step,
            plan.mesh,
            plan.loop.strategy,
            state_shardings=plan.shardings,
            fetch=self._feed.fetch,
            steps_per_call=call.n,
            donate=not plan.loop.debug_nans,
        )
        ahead = hasattr(program, "lower") and not plan.loop.debug_nans
        with self._chronometer.compiling():
            if ahead:
                program = program.lower(state, data).compile()
            else:  # jax.pmap, and debug_nans, which runs the step again op by op on a NaN
                state, metrics = jax.block_until_ready(program(state, data))
        if ahead:
            state, metrics = program(state, data)
        self._compiled[call.n] = program
        self._check(call, state, metrics)
        return state, metrics

    def _check(self, call: Call, state: TrainState, metrics: Mapping[str, jax.Array]) -> None:
        """What the loop relies on, once for each program."""
        name = self._plan.method.name
        counted = int(state.step)
        if counted != call.step + call.n:
            raise ValueError(
                f"{name}.step must count its calls (core.finish_step): state.step is {counted} "
                f"after {call.step + call.n}"
            )
        for metric, value in metrics.items():
            if math.prod(value.shape) != 1:
                raise ValueError(f"{name}: metric {metric!r} has shape {value.shape}, not a scalar")
