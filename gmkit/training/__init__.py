"""Training: the loop, checkpoints that prove themselves, records, signals.

`fit` takes a `Method` and a data set and returns the trained state; a second `fit` in the same
run directory goes on where the first one stopped, bit for bit.
"""

from gmkit.training.checkpoint import Checkpointer, Restored, fingerprint
from gmkit.training.errors import Interrupted, NonFiniteError, UsageError
from gmkit.training.loop import FitResult, fit, restore
from gmkit.training.settings import LoopConfig
from gmkit.training.workdir import locked, open_workdir

__all__ = [
    "Checkpointer",
    "FitResult",
    "Interrupted",
    "LoopConfig",
    "NonFiniteError",
    "Restored",
    "UsageError",
    "fingerprint",
    "fit",
    "locked",
    "open_workdir",
    "restore",
]
