"""Signals: finish the step, save, stop."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any

import jax
from jax.experimental import multihost_utils

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupts:
    """Context in which SIGTERM and SIGINT ask the loop to stop instead of ending the process.

    A second signal ends the process at once. Handlers are installed in the main thread only
    (Python allows no other) and the earlier ones come back on exit. With several processes
    SIGTERM belongs to JAX's pre-emption service, which makes all of them stop after the same
    step; SIGINT is handed on to it.
    """

    def __init__(self) -> None:
        self._signum: int | None = None
        self._earlier: dict[signal.Signals, Any] = {}
        self._multiprocess = jax.process_count() > 1

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGINT,) if self._multiprocess else SIGNALS:
                self._earlier[signum] = signal.signal(signum, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for signum, handler in self._earlier.items():
            # None: a handler that was not installed from Python; it cannot be put back.
            signal.signal(signum, signal.SIG_DFL if handler is None else handler)
        if self._signum is not None and error is None:
            os.kill(os.getpid(), self._signum)  # it came too late for the loop to see it

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self._signum is not None:
            if sys.stderr.isatty():
                os.write(2, b"\033[?25h\n")  # the progress bar hides the cursor
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
            return
        self._signum = signum
        if self._multiprocess:
            os.kill(os.getpid(), signal.SIGTERM)

    def requested(self, step: int) -> int | None:
        """The signal to stop on after this step, the same answer on every process, or None."""
        if not self._multiprocess:
            return self._signum
        if multihost_utils.reached_preemption_sync_point(step):
            return self._signum or signal.SIGTERM
        return None
