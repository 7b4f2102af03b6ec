"""How a run ends other than by finishing."""

from __future__ import annotations

import signal


class UsageError(ValueError):
    """A setting or a run directory that cannot be used; the message is one line with the fix."""


class NonFiniteError(ArithmeticError):
    """A metric or a parameter became NaN or infinite; nothing non-finite was saved.

    Attributes:
      step: completed steps when it was found.
      name: the metric, or the parameter as `params['net']['layer']`.
      checkpoint: step of the newest checkpoint (all its values are finite), or None.
    """

    def __init__(self, step: int, name: str, value: float, checkpoint: int | None) -> None:
        self.step, self.name, self.checkpoint = step, name, checkpoint
        last = "none yet" if checkpoint is None else f"step {checkpoint}"
        super().__init__(f"step {step}: {name} is {value}; last good checkpoint: {last}")


class Interrupted(Exception):
    """The run stopped on a signal, after saving a checkpoint.

    Attributes:
      signum: the signal.
      step: completed steps, all saved.
    """

    def __init__(self, signum: int, step: int) -> None:
        self.signum, self.step = int(signum), step
        name = signal.Signals(signum).name
        super().__init__(f"stopped by {name} after step {step}; the same command resumes there")

    @property
    def exit_code(self) -> int:
        """What a shell expects of a process that a signal ended: 128 + signum."""
        return 128 + self.signum
