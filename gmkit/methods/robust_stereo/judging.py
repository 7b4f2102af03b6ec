"""Judging a disparity where the true one is known."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gmkit.core import Evaluation, TrainState
from gmkit.methods.robust_stereo.geometry import WINDOW, block_matching, disparity_at, warp
from gmkit.methods.robust_stereo.learning import Level
from gmkit.reporting import stereo

Array = jax.Array


def disparity_errors(found: Any, truth: Any, valid: Any) -> dict[str, float]:
    """`rmse`, `mae` (pixels) and `bad2` (share of errors above 2 pixels) where it is known."""
    error = np.abs(np.asarray(found, np.float64) - truth)[np.asarray(valid) > 0]
    return {
        "rmse": float(np.sqrt(np.mean(error**2))),
        "mae": float(np.mean(error)),
        "bad2": float(np.mean(error > 2.0)),
    }


class Judge:
    """Evaluation and figures.

    Args:
      levels: as of `learner`.
      label: what the run is called in tables.
      max_disparity: the largest that block matching tries.
      channels: names of the residuals' channels.
    """

    def __init__(
        self,
        levels: tuple[Level, ...],
        label: str,
        max_disparity: int,
        channels: tuple[str, ...] = (),
    ):
        self.finest, self.label, self.channels = levels[0], label, channels
        self.max_disparity = max_disparity

    def evaluate(self, state: TrainState, dataset: Any, key: Array) -> Evaluation:
        """Errors of the disparity where it is known, in pixels of the images given.

        Metrics: `rmse`, `mae`, `bad2`; the same of block matching, `block_matching/...`; for
        learned shapes the mean `alpha` and the shares below 0.5 and above 1.5. The table "errors"
        has both, and the best constant for each error.
        """
        pair = {name: rows[0] for name, rows in dataset.examples("test", 1).items()}
        truth, valid = pair["disparity"], pair["valid"]
        left, right = jnp.asarray(pair["left"]), jnp.asarray(pair["right"])
        matched = block_matching(left, right, self.max_disparity)
        constant = np.full_like(truth, np.median(truth[valid > 0]))
        found = {
            self.label: disparity_at(state.params["disparity"], 0),
            f"block matching, {WINDOW}x{WINDOW}": matched,
            "constant (median)": constant,
        }
        errors = {name: disparity_errors(d, truth, valid) for name, d in found.items()}
        metrics = dict(errors[self.label])
        baseline = errors[f"block matching, {WINDOW}x{WINDOW}"]
        metrics |= {f"block_matching/{name}": value for name, value in baseline.items()}
        if (alpha := self._alpha(state)) is not None:
            metrics |= {
                "alpha": float(alpha.mean()),
                "alpha_below_0.5": float((alpha < 0.5).mean()),
                "alpha_above_1.5": float((alpha > 1.5).mean()),
            }
        provenance = {"pixels": int(valid.sum()), "size": list(truth.shape)}
        rows = [{"disparity": name, **values} for name, values in errors.items()]
        return Evaluation(metrics, provenance, {"errors": rows})

    def sample(self, state: TrainState, key: Array, n: int) -> Array:
        """Draws of the residual image `(n, H, W, C)` by the likelihood."""
        likelihood, space = self.finest.likelihood, self.finest.space
        density = state.params["likelihood"][0] if "likelihood" in state.params else {}
        return space.inverse(likelihood.sample(density, key, n, state.step))

    def figures(self, state: TrainState, dataset: Any, key: Array) -> dict[str, Any]:
        """`Method.figures`: images, disparities and errors; and the shapes, where learned."""
        pair = {name: rows[0] for name, rows in dataset.examples("test", 1).items()}
        found = disparity_at(state.params["disparity"], 0)
        warped, inside = warp(jnp.asarray(pair["right"]), found)
        drawn = {
            "disparity": stereo.disparity_panels(
                pair["left"],
                np.where(inside[..., None], warped, 1.0),
                np.asarray(found),
                pair["disparity"],
                pair["valid"],
                title=self.label,
            )
        }
        if (alpha := self._alpha(state)) is not None:
            drawn["alpha"] = stereo.shape_maps(alpha, self.label, self.channels)
        return drawn

    def _alpha(self, state: TrainState) -> np.ndarray | None:
        of = self.finest.likelihood.alpha
        return None if of is None else np.asarray(of(state.params["likelihood"][0]))
