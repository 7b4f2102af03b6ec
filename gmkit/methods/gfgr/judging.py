"""Judging poses where the true ones are known, and comparing shapes of the loss."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gmkit.core import Evaluation, TrainState
from gmkit.data.clouds import registration_problems
from gmkit.methods.gfgr.registration import (
    ANNEALINGS,
    Annealing,
    Pose,
    angle_of,
    diameter,
    einsum,
    least_squares,
    move,
    register,
    scale_annealed,
)
from gmkit.reporting import robust

Array = jax.Array
#: Distance, in diameters of the cloud, up to which a match counts as right.
NEAR = 0.02


@jax.jit
def pose_errors(found: Pose, truth: Pose, q: Array) -> dict[str, Array]:
    """Errors of poses with leading axes `(P,)`, of clouds `(P, n, 3)`; `(P,)` each.

    `rotation` in degrees, `translation` as a distance, and `rmse_x100`, a hundred times the root
    mean squared distance between where the two poses put the points.
    """

    def of_one(found: Pose, truth: Pose, q: Array) -> dict[str, Array]:
        apart = jnp.sum(jnp.square(move(found, q) - move(truth, q)), axis=1)
        shift = jnp.square(found.translation - truth.translation)
        return {
            "rotation": angle_of(einsum("ij,kj->ik", found.rotation, truth.rotation)),
            "translation": jnp.sqrt(jnp.sum(shift)),
            "rmse_x100": 100.0 * jnp.sqrt(jnp.mean(apart)),
        }

    return jax.vmap(of_one)(found, truth, q)


def summary(errors: dict[str, Array]) -> dict[str, float]:
    """Mean and maximum over problems, and the share of rotations within a degree."""
    numbers = {f"{k}/mean": float(v.mean()) for k, v in errors.items()}
    numbers |= {f"{k}/max": float(v.max()) for k, v in errors.items()}
    return numbers | {"share_within_1_degree": float((errors["rotation"] < 1.0).mean())}


def compare(
    problems: dict[str, Array], shapes: Array, annealing: Annealing, steps: int, options: Any
) -> dict[str, dict[str, Array]]:
    """Errors of least squares, of a given annealing, and of scale annealing with each shape.

    Args:
      problems: as `registration_problems`, with one more leading axis `(S,)`.
      shapes: alphas `(A,)`.
      annealing: named "annealed" in the result.
      steps: iterations of each.
      options: of `scale_annealed`, but for its alpha.

    Returns:
      "least squares" and "annealed" `(S, P)`, "shapes" `(A, S, P)`, each as `pose_errors`.
    """

    def of_one(p: Array, q: Array, rotation: Array, translation: Array) -> Any:
        scaled = lambda alpha: scale_annealed(steps, **options, alpha=alpha)
        poses = {
            "least squares": least_squares(p, q),
            "annealed": register(p, q, annealing, steps)[0],
            "shapes": jax.vmap(lambda a: register(p, q, scaled(a), steps)[0])(shapes),
        }
        truth = Pose(rotation, translation)
        judged = lambda pose: jax.tree.map(
            lambda x: x[0], pose_errors(*jax.tree.map(lambda x: x[None], (pose, truth, q)))
        )
        return {k: (jax.vmap(judged) if k == "shapes" else judged)(v) for k, v in poses.items()}

    out = {"least squares": 0, "annealed": 0, "shapes": 1}
    over = lambda f: jax.vmap(f, out_axes=out)
    of = (problems[k] for k in ("p", "q", "rotation", "translation"))
    return jax.jit(over(over(of_one)))(*of)


class Judge:
    """Evaluation and figures.

    Args:
      annealing: name of the run's.
      schedules: options of each annealing.
      steps: iterations of the run.
      options: `config.eval`.
    """

    def __init__(self, annealing: str, schedules: Any, steps: int, options: Any):
        self.annealing, self.steps, self.options = annealing, steps, options
        self.scale = {name: value for name, value in schedules.scale.items() if name != "alpha"}
        self.annealings = {name: f(steps, **schedules[name]) for name, f in ANNEALINGS.items()}

    @functools.cached_property
    def sweep(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """`compare` over noises, on problems to tune by and on others to report."""
        shapes, found = jnp.asarray(self.options.alphas, jnp.float32), []
        for seed in (self.options.seed + 1, self.options.seed):
            drawn = [
                registration_problems(
                    self.options.n_problems,
                    self.options.n,
                    self.options.outliers,
                    noise,
                    outlier_size=self.options.outlier_size,
                    seed=seed,
                )
                for noise in self.options.noises
            ]
            problems = jax.tree.map(lambda *rows: np.stack(rows), *drawn)
            errors = compare(problems, shapes, self.annealings["shape"], self.steps, self.scale)
            found.append(jax.device_get(errors))
        return found[0], found[1]

    def tables(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Rows of "shapes", an alpha each, and of "noise", a method each."""
        tuning, report = self.sweep
        noises, alphas = self.options.noises, self.options.alphas
        rmse = tuning["shapes"]["rmse_x100"].mean(axis=(1, 2))
        shapes = []
        for i, alpha in enumerate(alphas):
            of = {k: v[i] for k, v in report["shapes"].items()}
            row = {"alpha": float(alpha), "rmse_x100, others": float(rmse[i])}
            for j, noise in enumerate(noises):
                row[f"rmse_x100, sigma={noise:g}"] = float(of["rmse_x100"][j].mean())
            row["rotation"] = float(of["rotation"].mean())
            row["within 1 degree"] = float((of["rotation"] < 1.0).mean())
            shapes.append(row)
        best = int(rmse.argmin())
        of_alpha = lambda i: report["shapes"]["rmse_x100"][i]
        lines = {"least squares": report["least squares"]["rmse_x100"]}
        if -2.0 in alphas:
            lines["FGR (alpha -2)"] = of_alpha(list(alphas).index(-2.0))
        lines["shape-annealed gFGR"] = report["annealed"]["rmse_x100"]
        lines[f"gFGR* (alpha {alphas[best]:g})"] = of_alpha(best)
        table = []
        for name, errors in lines.items():
            row: dict[str, Any] = {"rmse_x100": name}
            for word, over in (("mean", np.mean), ("max", np.max)):
                for j, noise in enumerate(noises):
                    row[f"{word}, sigma={noise:g}"] = float(over(errors[j]))
            table.append(row)
        return shapes, table

    def evaluate(self, state: TrainState, dataset: Any, key: Array) -> Evaluation:
        """Errors of the poses where the true ones are known.

        Metrics: of the matches that the poses bring within `NEAR` diameters, their share of all
        and a hundred times their root mean squared distance, `near/...`; with a truth
        `rotation/...`, `translation/...`, `rmse_x100/...` (mean and max) and
        `share_within_1_degree`, and those of closed-form least squares behind `least_squares/`.
        Tables: "errors" of both, "poses" found, and on problems drawn for it, the same for every
        run, "shapes" (scale annealing with each alpha; "others" are the problems that gFGR* is
        tuned on) and "noise".
        """
        problems = {name: rows[0] for name, rows in dataset.examples("test", 1).items()}
        found, p, q = Pose(*state.memory["pose"]), problems["p"], problems["q"]
        distances = jnp.sqrt(jnp.sum(jnp.square(p - jax.vmap(move)(found, q)), axis=-1))
        near = distances < NEAR * jax.vmap(diameter)(q)[:, None]
        rmse = jnp.sqrt(jnp.mean(jnp.square(distances), where=near))
        metrics = {"near/share": float(near.mean())}
        metrics["near/rmse_x100"] = 100.0 * float(rmse) if near.any() else math.nan
        shapes, noise = self.tables()
        tables = {"poses": _rows(found), "shapes": shapes, "noise": noise}
        if "rotation" in problems:
            truth = Pose(problems["rotation"], problems["translation"])
            baseline = jax.jit(jax.vmap(least_squares))(p, q)
            own = summary(pose_errors(found, truth, q))
            plain = summary(pose_errors(baseline, truth, q))
            metrics |= own | {f"least_squares/{name}": value for name, value in plain.items()}
            tables["errors"] = [
                {"pose": f"annealing {self.annealing}", **own},
                {"pose": "least squares (closed form)", **plain},
            ]
        provenance = {"problems": len(p), "matches": p.shape[1], "sweep": dict(self.options)}
        return Evaluation(metrics, provenance, tables)

    def sample(self, state: TrainState, key: Array, n: int) -> Array:
        """Poses (R | t), `(n, 3, 4)`, of problems picked at random."""
        rotation, translation = state.memory["pose"]
        poses = jnp.concatenate([rotation, translation[..., None]], axis=-1)
        return poses[jax.random.randint(key, (n,), 0, len(poses))]

    def figures(self, state: TrainState, dataset: Any, key: Array) -> dict[str, Any]:
        """`Method.figures`: the first pair, errors by iteration (with a truth) and by alpha."""
        problems = {name: rows[0] for name, rows in dataset.examples("test", 1).items()}
        first = Pose(*(x[0] for x in state.memory["pose"]))
        p, q = problems["p"][0], problems["q"][0]
        after = np.asarray(move(first, q))
        drawn = {
            "clouds": robust.cloud_panels(
                {"before": (p, q), "after": (p, after)}, focus=np.concatenate([q, after])
            )
        }
        if "rotation" in problems:
            drawn["iterations"] = robust.curve_panels(
                self._by_iteration(problems),
                xlabel="iteration",
                ylabels=("degrees", "degrees"),
                logy=True,
                title="rotation error",
            )
        alphas, (_, report) = np.asarray(self.options.alphas), self.sweep
        panels: dict[str, Any] = {"mean": {}, "max": {}}
        for j, noise in enumerate(self.options.noises):
            errors = report["shapes"]["rotation"][:, j]
            panels["mean"][f"sigma {noise:g}"] = alphas, errors.mean(axis=1)
            panels["max"][f"sigma {noise:g}"] = alphas, errors.max(axis=1)
        drawn["shapes"] = robust.curve_panels(
            panels,
            xlabel="alpha",
            ylabels=("degrees", "degrees"),
            logy=True,
            title="rotation error of scale-annealed registration",
        )
        return drawn

    def _by_iteration(self, problems: dict[str, Any]) -> dict[str, Any]:
        """Mean and largest rotation error after each iteration, for every annealing."""
        panels: dict[str, Any] = {"mean": {}, "max": {}}
        t = np.arange(1, self.steps + 1)
        for name, annealing in self.annealings.items():

            def errors(p: Array, q: Array, truth: Array, annealing: Annealing = annealing) -> Array:
                path = register(p, q, annealing, self.steps)[1].rotation
                return jax.vmap(lambda r: angle_of(einsum("ij,kj->ik", r, truth)))(path)

            found = jax.jit(jax.vmap(errors))(problems["p"], problems["q"], problems["rotation"])
            panels["mean"][name] = t, np.asarray(found.mean(axis=0))
            panels["max"][name] = t, np.asarray(found.max(axis=0))
        return panels


def _rows(poses: Pose) -> list[dict[str, Any]]:
    """Angle (degrees) and matrix of each pose."""
    angle = jax.vmap(angle_of)(poses.rotation)
    rows = []
    for i, (rotation, translation) in enumerate(zip(*jax.device_get(poses), strict=True)):
        row: dict[str, Any] = {"problem": i, "angle": float(angle[i])}
        row |= {f"r{j + 1}{k + 1}": float(rotation[j, k]) for j in range(3) for k in range(3)}
        rows.append(row | {f"t{j + 1}": float(translation[j]) for j in range(3)})
    return rows
