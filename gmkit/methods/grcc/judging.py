"""Judging clusters where the classes are known."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gmkit import objectives
from gmkit.core import Evaluation, TrainState
from gmkit.methods.grcc.clustering import Settings, clusters, grcc
from gmkit.reporting import labelled_planes, robust

Array = jax.Array
#: Shapes of the loss that have a name: Welsch, Geman-McClure, Cauchy, Charbonnier, squares.
NAMED = (-math.inf, -2.0, 0.0, 1.0, 2.0)


def agreement(found: Any, truth: Any) -> dict[str, float]:
    """How clusters `(N,)` agree with classes `(N,)`: numbers that are 1 where they are the same.

    `ami` and `ami_max`, mutual information adjusted for chance and divided by the arithmetic mean
    and the maximum of the entropies; `nmi`, not adjusted; `accuracy`, the share of points in the
    class that their cluster is matched with, one to one. And the number of `clusters`.
    """
    from sklearn.metrics import adjusted_mutual_info_score, normalized_mutual_info_score

    found, truth = np.asarray(found), np.asarray(truth)
    pairs = matches(found, truth)
    hits = [np.sum((found == cluster) & (truth == label)) for cluster, label in pairs.items()]
    return {
        "ami": float(adjusted_mutual_info_score(truth, found)),
        "ami_max": float(adjusted_mutual_info_score(truth, found, average_method="max")),
        "nmi": float(normalized_mutual_info_score(truth, found)),
        "accuracy": float(sum(hits) / len(found)),
        "clusters": float(len(np.unique(found))),
    }


def matches(found: np.ndarray, truth: np.ndarray) -> dict[int, int]:
    """Cluster -> class, one to one, so that as many points as can be are in the class of theirs."""
    from scipy.optimize import linear_sum_assignment

    (names, i), (classes, j) = (np.unique(v, return_inverse=True) for v in (found, truth))
    table = np.zeros((len(names), len(classes)), int)
    np.add.at(table, (i, j), 1)
    rows, columns = linear_sum_assignment(-table)
    return dict(zip(names[rows].tolist(), classes[columns].tolist(), strict=True))


class Judge:
    """Evaluation and figures.

    Args:
      alpha: shape of the run.
      alphas: shapes to compare; each is a run of its own.
      steps: iterations of those at most.
      settings: of the algorithm.
    """

    def __init__(self, alpha: float, alphas: tuple[float, ...], steps: int, settings: Settings):
        self.alpha, self.alphas = alpha, alphas
        self.run = jax.jit(functools.partial(grcc, steps=steps, settings=settings))
        # Figures need the runs that the evaluation made.
        self.sweep = functools.lru_cache(maxsize=1)(self._sweep)

    def evaluate(self, state: TrainState, dataset: Any, key: Array) -> Evaluation:
        """Agreement of the clusters with the labels.

        Metrics: those of `agreement`, and `best/alpha` and `best/ami` of the shapes compared (by
        their AMI with the labels, so an upper bound of what a choice without labels would give).
        The table "shapes" has all of them.
        """
        problem = problem_of(dataset)
        found = clusters(state.memory, problem["edges"])
        metrics = agreement(found, problem["label"])
        provenance = {
            "points": len(found),
            "edges": len(problem["edges"]),
            "converged": bool(state.memory.done),
        }
        rows = self.sweep(dataset)
        if rows:
            best = max(rows, key=lambda row: row["ami"])
            metrics |= {"best/alpha": best["alpha"], "best/ami": best["ami"]}
        return Evaluation(metrics, provenance, {"shapes": list(rows)} if rows else {})

    def _sweep(self, dataset: Any) -> tuple[dict[str, Any], ...]:
        problem = problem_of(dataset)
        arrays = [jnp.asarray(problem[name]) for name in ("x", "edges", "incident")]
        rows = []
        for alpha in self.alphas:
            solution = self.run(arrays[0], arrays[1], jnp.float32(alpha), arrays[2])
            scores = agreement(clusters(solution, problem["edges"]), problem["label"])
            rows.append({"alpha": alpha, **scores, "converged": bool(solution.done)})
        return tuple(rows)

    def sample(self, state: TrainState, key: Array, n: int) -> Array:
        """Data sets `(n, N, D)` as the representatives explain them: these and normal noise."""
        s = state.memory
        spread = jnp.sqrt(2.0 * jnp.sum(s.point_loss) / s.u.size)
        return s.u[None] + spread * jax.random.normal(key, (n, *s.u.shape))

    def figures(self, state: TrainState, dataset: Any, key: Array) -> dict[str, Any]:
        """`Method.figures`: clusters beside classes, the loss, and agreement against alpha."""
        problem = problem_of(dataset)
        found, classes = clusters(state.memory, problem["edges"]), problem["label"]
        pairs = matches(found, classes)
        names = np.full(found.max() + 1, -1)
        names[list(pairs)] = list(pairs.values())
        plane, matched = principal_plane(problem["x"]), names[found] >= 0
        panels = {
            f"the {len(pairs)} of {len(names)} clusters matched with a class": (
                plane[matched],
                names[found][matched],
            ),
            "classes": (plane, classes),
        }
        drawn = {
            "clusters": labelled_planes(panels, f"alpha = {self.alpha:g}"),
            "loss": _loss_curves((*NAMED, self.alpha)),
        }
        # A line needs two ends; on this axis -inf and 2 are infinitely far.
        rows = [row for row in self.sweep(dataset) if -math.inf < row["alpha"] < 2.0]
        if rows:
            shapes = [math.log2(2.0 - row["alpha"]) for row in rows]
            curve = lambda name: (shapes, [row[name] for row in rows])
            drawn["shapes"] = robust.curve_panels(
                {
                    "agreement with the classes": {n: curve(n) for n in ("ami", "ami_max")},
                    "number of clusters": {"clusters": curve("clusters")},
                },
                xlabel="log2(2 - alpha); 2 is RCC",
            )
        return drawn


def principal_plane(x: np.ndarray) -> np.ndarray:
    """Points `(N, D)` on their first two principal components, `(N, 2)`."""
    centred = x - x.mean(axis=0, keepdims=True)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    plane = centred @ vectors[:, ::-1][:, :2]
    return np.pad(plane, ((0, 0), (0, 2 - plane.shape[1])))


def _loss_curves(alphas: tuple[float, ...]) -> Any:
    distance = np.linspace(0.0, 6.0, 121, dtype=np.float32)
    families = {
        "loss f(d, alpha, 1)": objectives.general_loss,
        "weight l": objectives.general_loss_weight,
    }
    return robust.curve_panels(
        {
            title: {f"{a:g}": (distance, fn(distance, a)) for a in sorted(set(alphas))}
            for title, fn in families.items()
        },
        xlabel="distance / scale",
        limits={"loss f(d, alpha, 1)": (0.0, 6.0)},
        title="the general loss, by alpha",
    )


def problem_of(dataset: Any) -> dict[str, np.ndarray]:
    return {name: rows[0] for name, rows in dataset.examples("train", 1).items()}
