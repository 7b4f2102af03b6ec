"""What a run writes while it trains: `metrics.jsonl`, TensorBoard events, progress.

The JSON Lines file is the primary record: one object per log point with `step`, `seconds`
(training time so far, without compilation and evaluation), `examples_per_second` and the
metrics. After a resume it reads as one uninterrupted run. Process 0 writes.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gmkit.core import parallel
from gmkit.training.errors import NonFiniteError
from gmkit.training.settings import LoopConfig
from gmkit.training.workdir import METRICS, write_atomically

_logger = logging.getLogger(__name__)
_LINE_SECONDS = 10.0  # between two progress lines where there is no terminal
_BAR_SECONDS = 0.2
_FEW_LOGS = 20  # a run with at most this many log points prints them all
_SHOWN = 4  # metrics in the progress display


class Chronometer:
    """Training time and compile time of a run, over all its sessions, in seconds."""

    def __init__(self, seconds: float = 0.0, compile_seconds: float = 0.0) -> None:
        self.compile_seconds = compile_seconds
        self._before, self._since = seconds, time.monotonic()

    @property
    def seconds(self) -> float:
        """Training time so far, without what was `paused`."""
        return self._before + time.monotonic() - self._since

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Does not count what happens inside."""
        start = time.monotonic()
        try:
            yield
        finally:
            self._since += time.monotonic() - start

    @contextmanager
    def compiling(self) -> Iterator[None]:
        """Counts what happens inside as compilation."""
        start = time.monotonic()
        with self.paused():
            yield
        self.compile_seconds += time.monotonic() - start


class JsonLines:
    """Strict JSON records, one a line, flushed as they come.

    NaN and infinities are written as null and their names listed under "nonfinite".

    Args:
      path: the file; records of an earlier session later than `start` are dropped from it.
      start: the step that the run goes on from.
    """

    def __init__(self, path: Path, start: int = 0) -> None:
        if path.exists():
            write_atomically(path, "".join(_kept_lines(path, start)))
        self._file = path.open("a", encoding="utf-8")

    def write(self, record: Mapping[str, float | int]) -> None:
        """Appends one record."""
        bad = [name for name, value in record.items() if not math.isfinite(value)]
        values: dict[str, Any] = {k: None if k in bad else v for k, v in record.items()}
        if bad:
            values["nonfinite"] = bad
        self._file.write(json.dumps(values, allow_nan=False) + "\n")
        self._file.flush()

    def sync(self) -> None:
        """Returns when all records are on disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def _kept_lines(path: Path, last: int) -> Iterator[str]:
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            step = json.loads(line)["step"]
        except (ValueError, KeyError, TypeError):
            continue  # the process died while writing this line
        if step <= last:
            yield line + "\n"


class _Pending(NamedTuple):
    step: int
    metrics: Mapping[str, jax.Array]
    seconds: float
    previous: tuple[int, float]


class Recorder:
    """Takes the metrics of a run and writes them one interval late, so that nothing waits.

    Args:
      workdir: the run directory.
      loop: the loop's settings.
      start: the step that the run goes on from.
      examples_per_step: for the throughput.
      chronometer: the run's.
      last_checkpoint: the newest checkpoint's step, for error messages.
    """

    def __init__(
        self,
        workdir: Path,
        loop: LoopConfig,
        start: int,
        examples_per_step: int,
        chronometer: Chronometer,
        last_checkpoint: Callable[[], int | None],
    ) -> None:
        self._examples, self._chronometer = examples_per_step, chronometer
        self._last_checkpoint = last_checkpoint
        self._pending: _Pending | None = None
        self._last = (start, chronometer.seconds)
        main = parallel.is_main_process()
        self._lines = JsonLines(workdir / METRICS, start) if main else None
        board, progress = main and loop.tensorboard, main and loop.progress is not False
        self._board = _tensorboard(workdir / "tensorboard", start) if board else None
        self._progress = _progress(loop, start) if progress else None

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for writer in (self._lines, self._board, self._progress):
            if writer is not None:
                writer.close()

    def say(self, text: str) -> None:
        """One line to the person who watches."""
        if self._progress is not None:
            self._progress.say(text)

    def tick(self, step: int) -> None:
        """Moves the progress display; cheap, for every call."""
        if self._progress is not None:
            self._progress.tick(step)

    def log(self, step: int, metrics: Mapping[str, jax.Array]) -> None:
        """Takes training metrics, still being computed, and writes those of the last time.

        Raises:
          NonFiniteError: a metric of the last time is NaN or infinite.
        """
        waiting, self._pending = self._pending, None
        if waiting is not None:
            self._write_training(waiting)
        now = self._chronometer.seconds
        self._pending = _Pending(step, metrics, now, self._last)
        self._last = (step, now)

    def flush(self, step: int) -> None:
        """Writes what was taken, after waiting for it.

        Raises:
          NonFiniteError: one of the metrics is NaN or infinite.
        """
        waiting, self._pending = self._pending, None
        if waiting is None:
            return
        if waiting.step == step:
            jax.block_until_ready(waiting.metrics)
            self._last = (step, self._chronometer.seconds)
            waiting = waiting._replace(seconds=self._last[1])
        self._write_training(waiting)

    def sync(self) -> None:
        """Returns when all records are on disk."""
        if self._lines is not None:
            self._lines.sync()

    def write(self, step: int, metrics: Mapping[str, Any], seconds: float | None = None) -> None:
        """Writes host metrics at once (evaluations, hooks); `flush` first."""
        values = {name: float(value) for name, value in metrics.items()}
        elapsed = self._chronometer.seconds if seconds is None else seconds
        if self._lines is not None:
            self._lines.write({"step": step, "seconds": round(elapsed, 3), **values})
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)
        if self._progress is not None:
            self._progress.show(step, values)

    def _write_training(self, record: _Pending) -> None:
        values = host_values(record.metrics)
        steps, seconds = record.step - record.previous[0], record.seconds - record.previous[1]
        rate = steps / max(seconds, 1e-9)
        values |= {
            "steps_per_second": _rounded(rate),
            "examples_per_second": _rounded(rate * self._examples),
        }
        self.write(record.step, values, record.seconds)
        self.check(record.step, values)

    def check(self, step: int, values: Mapping[str, float]) -> None:
        """Raises `NonFiniteError` for the first value that is NaN or infinite."""
        for name, value in values.items():
            if not math.isfinite(value):
                raise NonFiniteError(step, f"metric '{name}'", value, self._last_checkpoint())


def host_values(metrics: Mapping[str, jax.Array]) -> dict[str, float]:
    """Metrics as Python floats; waits for them."""
    return {name: float(np.asarray(value)) for name, value in jax.device_get(dict(metrics)).items()}


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def _tensorboard(directory: Path, start: int) -> Any:
    if importlib.util.find_spec("tensorboardX") is None:
        _logger.warning("tensorboardX is not installed: no TensorBoard events, metrics.jsonl only")
        return None
    from tensorboardX import SummaryWriter

    return SummaryWriter(str(directory), purge_step=start + 1 if start else None, flush_secs=10)


# ---------------------------------------------------------------- progress


def _progress(loop: LoopConfig, start: int) -> _Bar | _Lines:
    console = Console(stderr=True)
    return _Bar(loop, start, console) if console.is_terminal else _Lines(loop, start)


def _summary(values: Mapping[str, float]) -> str:
    speeds = {"steps_per_second": "steps/s", "examples_per_second": "examples/s"}
    # Losses first, then what has no group; a compiled step returns names in alphabetical order.
    names = sorted(values, key=lambda name: (not name.startswith("loss"), "/" in name))
    shown = [f"{name} {values[name]:.4g}" for name in names if name not in speeds]
    rates = [f"{values[name]:.4g} {unit}" for name, unit in speeds.items() if name in values]
    return "  ".join([*shown[:_SHOWN], *rates])


class _Bar:
    """A rich progress bar with the time that is left and the newest metrics."""

    def __init__(self, loop: LoopConfig, start: int, console: Console) -> None:
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[metrics]}", markup=False),
            console=console,
            refresh_per_second=4,
        )
        self._task = self._bar.add_task("training", total=loop.steps, completed=start, metrics="")
        self._time = -math.inf
        self._bar.start()

    def tick(self, step: int) -> None:
        if time.monotonic() - self._time >= _BAR_SECONDS:
            self._time = time.monotonic()
            self._bar.update(self._task, completed=step)

    def show(self, step: int, values: Mapping[str, float]) -> None:
        self._bar.update(self._task, completed=step, metrics=_summary(values))

    def say(self, text: str) -> None:
        self._bar.console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        self._bar.stop()


class _Lines:
    """A plain line now and then, for logs that are files."""

    def __init__(self, loop: LoopConfig, start: int) -> None:
        self._console = Console(stderr=True, soft_wrap=True)
        self._steps = loop.steps
        self._all = (loop.steps - start) / loop.log_every <= _FEW_LOGS
        self._time = -math.inf
        self._began, self._start = time.monotonic(), start

    def tick(self, step: int) -> None:
        """Nothing moves between two lines."""

    def show(self, step: int, values: Mapping[str, float]) -> None:
        now = time.monotonic()
        if not self._all and step < self._steps and now - self._time < _LINE_SECONDS:
            return
        self._time = now
        done = max(step - self._start, 1)
        left = (self._steps - step) * (now - self._began) / done
        self.say(f"step {step}/{self._steps}  {_summary(values)}  {left:.0f} s left")

    def say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        """Nothing is open."""
