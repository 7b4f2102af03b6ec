"""Floor 1: the types every other floor speaks, and the only code that knows about devices."""

from gmkit.core.generator import LatentGenerator, from_decoder, truncate
from gmkit.core.likelihood import Domain, LogLik, bits_per_dim, dequantised
from gmkit.core.method import Evaluation, Hook, Method
from gmkit.core.seeds import over_seeds, run_of
from gmkit.core.selection import keep_best, selected
from gmkit.core.stage import FinishedStage
from gmkit.core.state import (
    TrainState,
    create,
    eval_params,
    finish_step,
    in_turn,
    step_key,
    update,
)

__all__ = [
    "Domain",
    "Evaluation",
    "FinishedStage",
    "Hook",
    "LatentGenerator",
    "LogLik",
    "Method",
    "TrainState",
    "bits_per_dim",
    "create",
    "dequantised",
    "eval_params",
    "finish_step",
    "from_decoder",
    "in_turn",
    "keep_best",
    "over_seeds",
    "run_of",
    "selected",
    "step_key",
    "truncate",
    "update",
]
