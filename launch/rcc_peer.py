"""gmkit's clustering beside the same algorithm in NumPy and SciPy, as public ports of RCC do it.

The peer forms sparse matrices, factorises one in each iteration (SuperLU) and finds their largest
eigenvalue with ARPACK. Both sides get the same points and graph, and stop by the same rule;
neither the graph nor the labels are timed. `launch.pairs` times both in turns.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gmkit import data
from gmkit.data.neighbour_graph import clustering, incident_edges, neighbour_graph
from gmkit.methods import grcc
from launch import pairs

#: Points of each problem that are not the digits of scikit-learn.
POINTS = {"gaussians": 7500}
NAMES = {f"pair/rcc/{name}": name for name in ("digits", *POINTS)}
PEERS = ("scipy", "sklearn")
#: What installs them.
INSTALL = pairs.INSTALL
#: Shape of the loss: RCC.
ALPHA = -2.0


def missing() -> list[str]:
    """The peer's packages that are not installed."""
    return [package for package in PEERS if not importlib.util.find_spec(package)]


def rcc(
    x: np.ndarray, edges: np.ndarray, steps: int = 99, alpha: float = ALPHA
) -> tuple[np.ndarray, int]:
    """Representatives of points `(N, D)` by RCC with the general loss, and the iterations taken.

    Args:
      x: points.
      edges: of the graph, `(E, 2)`.
      steps: iterations at most.
      alpha: shape of the loss, finite and not 2.
    """
    from scipy.sparse import coo_matrix, diags, eye
    from scipy.sparse.linalg import eigs, spsolve

    (i, j), n = edges.T, len(x)
    ends = np.concatenate([i, j]), np.concatenate([j, i])

    def laplacian(weight: np.ndarray) -> Any:
        joined = coo_matrix((np.concatenate([weight, weight]), ends), shape=(n, n)).tocsr()
        return diags(np.asarray(joined.sum(axis=1)).ravel()) - joined

    def largest(matrix: Any) -> float:
        values: Any = eigs(matrix, k=1, return_eigenvectors=False)
        return values.real[0]

    squares = lambda u: np.sum((u[i] - u[j]) ** 2, axis=1)
    norm, degree = np.linalg.norm(x, 2), np.bincount(ends[0], minlength=n)
    weight = degree.mean() / np.sqrt(degree[i] * degree[j])
    epsilon = np.sqrt(np.sum((x[i] - x[j]) ** 2 + 1e-5, axis=1))
    epsilon[epsilon / math.sqrt(x.shape[1]) < 1e-2] = epsilon.max()
    epsilon = np.sort(epsilon)
    mu, count = 3.0 * epsilon[-1] ** 2, math.ceil(0.01 * len(edges))
    delta = epsilon[: min(250, count)].mean()
    smoothness, u, inner, before = norm / largest(laplacian(weight)), x.copy(), 0, 0.0
    for step in range(1, steps + 1):
        square = squares(u)
        pull = (square / (0.25 * mu * abs(alpha - 2.0)) + 1.0) ** (alpha / 2.0 - 1.0)
        objective = 0.5 * np.sum((x - u) ** 2) + 0.5 * smoothness * (
            np.sum(pull * weight * square) + mu * np.sum(weight * (np.sqrt(pull) - 1.0) ** 2)
        )
        matrix = laplacian(weight * pull)
        u = np.asarray(spsolve((eye(n) + smoothness * matrix).tocsc(), x))
        inner += 1
        if abs(before - objective) < 0.1 or inner == 4:
            if mu < delta and inner < 4:
                return u, step
            mu = 0.5 * (mu if mu >= delta else delta)
            smoothness, inner = norm / largest(matrix), 0
        before = objective
    return u, steps


def gaussians(n: int, dimension: int = 16, classes: int = 10) -> np.ndarray:
    """Clusters that touch, as skewed and as scaled as pen strokes; float32 `(n, dimension)`."""
    rng = np.random.default_rng(0)
    centres = rng.uniform(20.0, 80.0, (classes, dimension))
    shapes = rng.standard_normal((classes, dimension, 4))
    which = rng.integers(classes, size=n)
    along = np.einsum("ndk,nk->nd", shapes[which], rng.standard_normal((n, 4)))
    noise = rng.standard_normal((n, dimension))
    return (centres[which] + 8.0 * along + 4.0 * noise).astype(np.float32)


def problem(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Points and edges of a pair, without "pair/rcc/"."""
    if name in POINTS:
        x = gaussians(POINTS[name])
        return x, neighbour_graph(x)
    arrays = clustering(data.load(name)).train.arrays
    assert arrays is not None
    return arrays["x"][0], arrays["edges"][0]


def pair(name: str, x: np.ndarray, edges: np.ndarray) -> pairs.Pair:
    """Both sides on one problem, compiled."""
    run = functools.partial(grcc.grcc, alpha=ALPHA)
    arrays = jnp.asarray(x), jnp.asarray(edges), jnp.asarray(incident_edges(edges, len(x)))
    program = jax.jit(lambda x, edges, incident: run(x, edges, incident=incident))
    call, seconds = pairs.compiled(program, *arrays)
    return pairs.Pair(
        name,
        "runs",
        1.0,
        pairs.Side(lambda: jax.block_until_ready(call(*arrays)), x.size, seconds),
        pairs.Side(lambda: rcc(x, edges), x.size),
        f"SciPy {importlib.metadata.version('scipy')}",
        f"{len(x)} points, {len(edges)} edges, {x.shape[1]} coordinates",
    )


def build(name: str) -> pairs.Pair:
    """The pair `name` of `NAMES`, compiled."""
    return pair(name, *problem(NAMES[name]))
