"""The training loop's settings and what they must satisfy."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal, get_args

import jax

from gmkit.core import Method
from gmkit.core.parallel import Strategy
from gmkit.training.errors import UsageError

#: Training sets up to this size are kept on the devices.
RESIDENT_BYTES = 2**30
_VIRTUAL_DEVICES = 4  # shares of strategy "vmap", see core.parallel.over_devices


@dataclasses.dataclass(frozen=True)
class LoopConfig:
    """How long to train, on what, and how often to log, evaluate and save.

    Attributes:
      steps: calls of `Method.step` in the whole run.
      batch_size: examples in one minibatch, over all devices.
      seed: root of the run's randomness, data order included.
      log_every: steps between two records of the training metrics.
      checkpoint_every_seconds: seconds between checkpoints (0: off).
      checkpoint_every_steps: steps between checkpoints (0: off).
      keep_last: newest checkpoints kept.
      keep_best: checkpoints kept by `best_metric`, besides.
      best_metric: a name of `Method.evaluate`'s metrics, or None.
      best_mode: whether the smallest ("min") or the largest ("max") is best.
      eval_every: steps between evaluations in training (0: never).
      strategy: how a step runs on the devices, see `core.parallel.over_devices`.
      devices: how many devices (None: all).
      fsdp: shard parameters and optimiser state over the devices.
      steps_per_call: steps in one compiled call (0: 1 on CPU, elsewhere the largest number up
        to 10 that divides all intervals). Logs, checkpoints and evaluations happen at the
        first end of a call at or after each multiple of their interval.
      on_device_data: keep the training set on the devices (None: if it is in memory and at
        most `RESIDENT_BYTES`).
      tensorboard: write TensorBoard events, where tensorboardX is installed.
      progress: False hides the progress display; it is a bar on a terminal, lines elsewhere.
      debug_nans: stop at the operation that makes a NaN (slow).
    """

    steps: int
    batch_size: int
    seed: int = 0
    log_every: int = 50
    checkpoint_every_seconds: float = 60.0
    checkpoint_every_steps: int = 0
    keep_last: int = 2
    keep_best: int = 1
    best_metric: str | None = None
    best_mode: Literal["min", "max"] = "min"
    eval_every: int = 0
    strategy: Strategy = "jit"
    devices: int | None = None
    fsdp: bool = False
    steps_per_call: int = 0
    on_device_data: bool | None = None
    tensorboard: bool = True
    progress: bool | None = None
    debug_nans: bool = False

    def validate(self, dataset: Any, method: Method | None = None) -> None:
        """Checks the settings against each other, the data, the devices and the method.

        Raises:
          UsageError: one line with the field, its value and what would do.
        """
        self._validate_numbers()
        self._validate_strategy()
        n = len(dataset.train)
        if self.batch_size > n:
            _refuse("batch_size", self.batch_size, f"the training set has {n} examples")
        share = _VIRTUAL_DEVICES if self.strategy == "vmap" else self.n_devices()
        if self.batch_size % share:
            fits = self.batch_size + share - self.batch_size % share
            why = f"must divide over {share} devices, for example {fits}"
            _refuse("batch_size", self.batch_size, why)
        if self.on_device_data and dataset.train.arrays is None:
            _refuse("on_device_data", True, "this data set streams; use false or leave it unset")
        if method is not None:
            _validate_splits(method, dataset)
        if method is not None and self.steps_per_call > 1:
            for hook in method.hooks:
                if hook.every % self.steps_per_call:
                    why = f"{method.name} works between steps, every {hook.every}: use a divisor"
                    _refuse("steps_per_call", self.steps_per_call, why)

    def _validate_numbers(self) -> None:
        for name, least in {
            "steps": 1,
            "batch_size": 1,
            "seed": 0,
            "log_every": 1,
            "checkpoint_every_seconds": 0,
            "checkpoint_every_steps": 0,
            "keep_last": 1,
            "keep_best": 0,
            "eval_every": 0,
            "steps_per_call": 0,
        }.items():
            value = getattr(self, name)
            real = name == "checkpoint_every_seconds"
            kind = (int, float) if real else int
            if isinstance(value, bool) or not isinstance(value, kind) or not value >= least:
                what = "a number" if real else "an integer"
                _refuse(name, value, f"must be {what} of at least {least}")
        for name in ("steps", "seed"):
            if getattr(self, name) >= 2**31:
                _refuse(name, getattr(self, name), "must be below 2**31")
        if self.best_mode not in ("min", "max"):
            _refuse("best_mode", self.best_mode, "choose min or max")
        if self.best_metric is not None and not self.eval_every:
            _refuse("best_metric", self.best_metric, "needs training.eval_every > 0")

    def _validate_strategy(self) -> None:
        if self.strategy not in get_args(Strategy):
            _refuse("strategy", self.strategy, f"choose {', '.join(get_args(Strategy))}")
        available = jax.device_count()
        if self.devices is not None and not 1 <= self.devices <= available:
            _refuse("devices", self.devices, f"this machine has {available}")
        if jax.process_count() > 1 and self.n_devices() != available:
            _refuse("devices", self.devices, f"processes share all {available}: leave it unset")
        if self.fsdp and self.strategy != "jit":
            _refuse("fsdp", True, f"strategy {self.strategy} keeps the state whole; use jit")
        if self.strategy == "jax_pmap":
            if self.steps_per_call > 1:
                _refuse("steps_per_call", self.steps_per_call, "strategy jax_pmap makes one a call")
            if self.on_device_data:
                _refuse("on_device_data", True, "strategy jax_pmap takes host batches; use pmap")
            if jax.process_count() > 1:
                _refuse("strategy", "jax_pmap", "runs in one process; use pmap")

    def n_devices(self) -> int:
        """Devices of the run, over all processes."""
        return jax.device_count() if self.devices is None else self.devices

    def choose_steps_per_call(self, method: Method) -> int:
        """Steps in one compiled call; see `steps_per_call`."""
        if self.steps_per_call:
            return self.steps_per_call
        if jax.default_backend() == "cpu" or self.strategy == "jax_pmap" or self.debug_nans:
            return 1
        intervals = [self.log_every, self.eval_every, self.checkpoint_every_steps]
        common = math.gcd(*intervals, *(hook.every for hook in method.hooks))
        return max(n for n in range(1, 11) if common % n == 0)

    def resident(self, dataset: Any) -> bool:
        """Whether the training set is kept on the devices."""
        if self.on_device_data is not None:
            return self.on_device_data
        arrays = dataset.train.arrays
        if arrays is None or self.strategy == "jax_pmap":
            return False
        return sum(x.nbytes for x in arrays.values()) <= RESIDENT_BYTES


def _refuse(field: str, value: Any, why: str) -> None:
    raise UsageError(f"training.{field}={value}: {why}")


def _validate_splits(method: Method, dataset: Any) -> None:
    for hook in method.hooks:
        for split in hook.splits:
            if getattr(dataset, split, None) is None:
                raise UsageError(
                    f"{method.name} looks at {split} rows every {hook.every} steps, but "
                    f"{dataset.spec.name} has none: set config.select_every=0, or take data with "
                    "that split"
                )
