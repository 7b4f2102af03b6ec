"""Registration of point clouds by the general robust loss: gFGR.

J. T. Barron, "A General and Adaptive Robust Loss Function", CVPR 2019, arXiv:1701.03077, section
3.3; it generalises Q.-Y. Zhou, J. Park, V. Koltun, "Fast Global Registration", ECCV 2016.

Given matches (p_i, q_i), most of them wrong, find the pose T = (R, t) that minimises

    sum_i f(|p_i - T q_i|, alpha, c),

by Gauss-Newton steps on SE(3) with weights that are renewed before each,

    l_i = (r_i^2 / (c^2 |alpha - 2|) + 1)^(alpha / 2 - 1),   r_i = |p_i - T q_i|.

From a bad start the loss must begin convex and become robust on the way:

| in the papers | here |
| --- | --- |
| FGR, l = (mu / (mu + r^2))^2, mu falling | `annealing` "scale": alpha = -2, c^2 = mu / 4 |
| gFGR*, the same with the best constant alpha | "scale", `schedules.scale.alpha`; table "shapes" |
| shape-annealed gFGR, alpha falling from 2 | "shape" |
| least squares | "none" |

`register` is one registration as a pure function; `iteration` one step of it, `least_squares` the
closed form for alpha = 2. Several problems are solved side by side. `TrainState.memory` has their
poses; one `step` is one iteration. A batch holds correspondences of every problem: all of them for
the paper's algorithm, a part for its stochastic cousin.

Logged: `alpha`, `scale` (c, mean over problems), `weight` (mean l), `residual` (root of the
weighted mean r^2), `turn` (degrees) and `shift`, the mean size of the last update.

Deviations from the papers: the correspondences are given (no features, no tests of matches), the
rotation is updated by its exponential instead of Euler angles, and synthetic clouds replace theirs.

Run: `python launch/main.py --config=configs/gfgr.py`; results are in the README.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from gmkit.core import Method, TrainState, create, finish_step
from gmkit.methods.gfgr.judging import Judge, compare, pose_errors, summary
from gmkit.methods.gfgr.registration import (
    ANNEALINGS,
    Annealing,
    Pose,
    angle_of,
    diameter,
    identity,
    iteration,
    least_squares,
    move,
    not_annealed,
    register,
    rotation_of,
    scale_annealed,
    shape_annealed,
)

__all__ = [
    "ANNEALINGS",
    "Annealing",
    "Judge",
    "Pose",
    "angle_of",
    "build",
    "compare",
    "diameter",
    "identity",
    "iteration",
    "least_squares",
    "move",
    "not_annealed",
    "pose_errors",
    "register",
    "rotation_of",
    "scale_annealed",
    "shape_annealed",
    "summary",
]

Array = jax.Array


def build(config: Any, spec: Any) -> Method:
    """The method that a config of `configs/gfgr.py` describes, for data of `spec`.

    Raises:
      ValueError: data that are no clouds, or settings that do not exist or do not fit.
    """
    if spec.kind != "problem" or spec.domain.shape != (3, 4):
        raise ValueError(f"data.name={spec.name!r}: gfgr takes clouds; set data.name=registration")
    if config.annealing not in ANNEALINGS:
        raise ValueError(f"annealing={config.annealing!r}: choose {', '.join(ANNEALINGS)}")
    judge = Judge(config.annealing, config.schedules, config.training.steps, config.eval)
    annealing = judge.annealings[config.annealing]

    def init(key: Array, batch: Any) -> TrainState:
        problems = batch["q"].shape[1]
        start = jax.tree.map(lambda x: jnp.tile(x[None], (problems,) + (1,) * x.ndim), identity())
        sizes = jax.vmap(diameter, 1)(batch["q"])
        return create(key, {}, {}, memory={"pose": tuple(start), "diameter": sizes})

    def step(state: TrainState, batch: Any) -> tuple[TrainState, dict[str, Array]]:
        sizes = state.memory["diameter"]
        alpha, scale = jax.vmap(annealing, (None, 0))(state.step, sizes)
        pose, found = jax.vmap(iteration, (0, 1, 1, 0, 0))(
            Pose(*state.memory["pose"]), batch["p"][0], batch["q"][0], alpha, scale
        )
        metrics = {"alpha": alpha, "scale": scale, **found}
        memory = {"pose": tuple(pose), "diameter": sizes}
        state = dataclasses.replace(state, memory=memory)
        return finish_step(state), jax.tree.map(jnp.mean, metrics)

    return Method("gfgr", init, step, judge.evaluate, judge.sample, judge.figures)
