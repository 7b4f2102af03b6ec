"""Robust continuous clustering by the general robust loss: gRCC.

J. T. Barron, "A General and Adaptive Robust Loss Function", CVPR 2019, arXiv:1701.03077, section
3.4; it generalises S. A. Shah, V. Koltun, "Robust continuous clustering", PNAS 2017.

Every point x_p has a representative u_p; neighbours in a graph pull theirs together, robustly, so
that the representatives of a cluster meet in one point. Minimised is

    1/2 sum_p |x_p - u_p|^2 + lambda c^2 sum_(p,q) w_pq f(|u_p - u_q|, alpha, c),

with c^2 = mu / 4 and w_pq = mean degree / sqrt(degree_p degree_q). alpha = -2 is RCC, whose
rho(y) = mu y^2 / (mu + y^2) is 2 c^2 f(y, -2, c).

| in the papers | here |
| --- | --- |
| l_pq = (d^2 / (c^2 abs(alpha - 2)) + 1)^(alpha / 2 - 1), d = abs(u_p - u_q) | `iteration` |
| (I + lambda A) U = X, A the Laplacian of w l | `solve`, `preconditioner` |
| lambda = abs(X)_2 / abs(A)_2 | `largest_eigenvalue`, Lanczos |
| mu from 3 max abs(x_p - x_q)^2, delta, the threshold | `start` |
| mu halved every 4 iterations, or once the objective moves by less than 0.1 | `iteration` |
| clusters: components of the edges not longer than the threshold | `clusters` |
| gRCC*, the best alpha for a data set | `eval.alphas`; the table "shapes" |

`grcc` is the whole algorithm as a pure function; it can be compiled, and mapped over alpha.
`TrainState.memory` has the `Solution`, nothing is trained by gradients; one `step` is one
iteration. Steps after convergence change nothing.

Logged: `loss`, `loss/data`, `loss/smoothness`, `mu`, `lambda`, `joined` (share of edges not longer
than the threshold), `solver` (iterations of conjugate gradients so far) and `done`.

Deviations from the papers: the linear systems are solved to a relative error of 2e-5, each from
the solution before, and the largest eigenvalue comes from 32 Lanczos steps. As in the public codes
delta, a length, is compared with mu, a squared length, so the data's scale matters.

Run: `python launch/main.py --config=configs/grcc.py`; results are in the README.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from gmkit.core import Method, TrainState, create, finish_step
from gmkit.methods.grcc.clustering import (
    PUBLISHED,
    Settings,
    Solution,
    clusters,
    grcc,
    iteration,
    start,
)
from gmkit.methods.grcc.judging import Judge, agreement, matches, principal_plane
from gmkit.methods.grcc.systems import (
    Graph,
    graph_of,
    laplacian,
    largest_eigenvalue,
    lengths,
    parts_of,
    preconditioner,
    solve,
)

__all__ = [
    "PUBLISHED",
    "Graph",
    "Judge",
    "Settings",
    "Solution",
    "agreement",
    "build",
    "clusters",
    "graph_of",
    "grcc",
    "iteration",
    "laplacian",
    "largest_eigenvalue",
    "learner",
    "lengths",
    "matches",
    "parts_of",
    "preconditioner",
    "principal_plane",
    "solve",
    "start",
]

Array = jax.Array


def learner(
    alpha: float, settings: Settings
) -> tuple[Callable[..., TrainState], Callable[..., tuple[TrainState, dict[str, Array]]]]:
    """`Method.init` and `Method.step`."""

    def init(key: Array, batch: Mapping[str, Array]) -> TrainState:
        rows = len(batch["x"])
        if rows != 1:
            raise ValueError(f"training.batch_size={rows}: must be 1, a batch is one whole problem")
        x = batch["x"][0]
        graph = graph_of(batch["edges"][0], len(x), batch["incident"][0])
        return create(key, {}, {}, memory=start(x, graph))

    def step(state: TrainState, batch: Mapping[str, Array]) -> tuple[TrainState, dict[str, Array]]:
        x, edges, incident = (batch[name][0, 0] for name in ("x", "edges", "incident"))
        graph = graph_of(edges, len(x), incident)
        move = lambda s: iteration(s, x, graph, alpha, settings)
        s = jax.lax.cond(state.memory.done, lambda s: s, move, state.memory)
        losses = {"data": jnp.sum(s.point_loss), "smoothness": jnp.sum(s.edge_loss)}
        metrics = {
            "loss": losses["data"] + losses["smoothness"],
            **{f"loss/{name}": value for name, value in losses.items()},
            "mu": s.mu,
            "lambda": s.smoothness,
            "joined": jnp.mean((lengths(graph, s.u) <= s.threshold).astype(jnp.float32)),
            "solver": s.solver.astype(jnp.float32),
            "done": s.done.astype(jnp.float32),
        }
        return finish_step(dataclasses.replace(state, memory=s)), metrics

    return init, step


def build(config: Any, spec: Any) -> Method:
    """The method that a config of `configs/grcc.py` describes, for data of `spec`.

    Raises:
      ValueError: data that are no clustering problem, or settings out of range.
    """
    if not spec.name.startswith("clustering/"):
        raise ValueError(f"data.name={spec.name!r}: set data.name to 'clustering/{spec.name}'")
    alphas = tuple(float(alpha) for alpha in config.eval.alphas)
    for name, shapes in (("alpha", (config.alpha,)), ("eval.alphas", alphas)):
        for alpha in shapes:
            if not alpha <= 2.0:
                raise ValueError(f"{name}: {alpha} must be at most 2, which is least squares")
    settings = Settings(**config.settings)
    if settings.every < 1 or settings.change < 0 or not 0 < settings.tolerance < 1:
        raise ValueError(
            f"settings: every={settings.every} must be at least 1, change={settings.change} at "
            f"least 0, tolerance={settings.tolerance} between 0 and 1"
        )
    init, step = learner(float(config.alpha), settings)
    judge = Judge(float(config.alpha), alphas, config.training.steps, settings)
    return Method("grcc", init, step, judge.evaluate, judge.sample, judge.figures)
