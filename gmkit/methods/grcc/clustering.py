"""Robust continuous clustering with the general loss: the algorithm, as pure functions."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gmkit import objectives
from gmkit.methods.grcc.systems import (
    Graph,
    graph_of,
    laplacian,
    largest_eigenvalue,
    lengths,
    preconditioner,
    solve,
)

Array = jax.Array
#: Edges shorter than this, per root of the dimension, join duplicates and say nothing of scale.
DUPLICATE = 1e-2


class Settings(NamedTuple):
    """What the papers leave to choose.

    Attributes:
      every: iterations between two halvings of mu.
      change: of the objective, below which mu is halved at once.
      tolerance: of the linear systems, relative to the norm of the centred data; see `solve`.
    """

    every: int = 4
    change: float = 0.1
    tolerance: float = 2e-5


#: The settings of RCC.
PUBLISHED = Settings()


class Solution(NamedTuple):
    """Where the algorithm stands.

    Attributes:
      u: representatives `(N, D)`.
      mu: four times the squared scale of the loss.
      smoothness: lambda, the weight of the edges.
      point_loss, edge_loss: terms of the objective before the last move, `(N,)` and `(E,)`.
      inner: iterations since mu changed, int32.
      solver: iterations of conjugate gradients so far, int32.
      done: whether it has converged.
      norm: the largest singular value of the data.
      delta: mu below which the algorithm may end.
      threshold: length of the edges that hold clusters together.
    """

    u: Array
    mu: Array
    smoothness: Array
    point_loss: Array
    edge_loss: Array
    inner: Array
    solver: Array
    done: Array
    norm: Array
    delta: Array
    threshold: Array


# ---------------------------------------------------------------- the algorithm


def start(x: Array, graph: Graph) -> Solution:
    """The solution before the first iteration: the points themselves, and what depends on them."""
    n, dimension = x.shape
    count = math.ceil(0.01 * len(graph.edges))
    i, j = graph.edges.T
    epsilon = jnp.sqrt(jnp.sum(jnp.square(x[i] - x[j]) + 1e-5, axis=1))
    longest = jnp.max(epsilon)
    epsilon = jnp.where(epsilon < DUPLICATE * math.sqrt(dimension), longest, epsilon)
    epsilon = jnp.sort(epsilon)
    narrow = x if dimension <= n else x.T
    gram = jnp.matmul(narrow.T, narrow, precision=jax.lax.Precision.HIGHEST)
    norm = jnp.sqrt(jnp.linalg.eigvalsh(gram)[-1])
    return Solution(
        u=x,
        mu=3.0 * jnp.square(longest),
        smoothness=norm / largest_eigenvalue(laplacian(graph, graph.weight)[0], n),
        point_loss=jnp.zeros(n),
        edge_loss=jnp.zeros(len(graph.edges)),
        inner=jnp.zeros((), jnp.int32),
        solver=jnp.zeros((), jnp.int32),
        done=jnp.zeros((), bool),
        norm=norm,
        delta=jnp.mean(epsilon[: min(250, count)]),
        threshold=jnp.mean(epsilon[:count]),
    )


def iteration(
    s: Solution, x: Array, graph: Graph, alpha: Any, settings: Settings = PUBLISHED
) -> Solution:
    """One iteration: weights, representatives, and now and then mu and lambda."""
    distance, scale = lengths(graph, s.u), 0.5 * jnp.sqrt(s.mu)
    square = jnp.square(scale)
    weight = graph.weight * square * objectives.general_loss_weight(distance, alpha, scale)
    point_loss = 0.5 * jnp.sum(jnp.square(x - s.u), axis=1)
    edge_loss = objectives.general_loss(distance, alpha, scale)
    edge_loss = s.smoothness * square * graph.weight * edge_loss
    # Term by term: in float32 the objective itself is coarser than its last changes.
    change = jnp.sum(point_loss - s.point_loss) + jnp.sum(edge_loss - s.edge_loss)

    product, _ = laplacian(graph, weight)
    u, count = solve(
        lambda v: v + s.smoothness * product(v),
        preconditioner(graph, s.smoothness * weight),
        x,
        s.u,
        settings.tolerance,
    )
    inner = s.inner + 1
    full, large = inner == settings.every, s.mu >= s.delta
    turn = full | (jnp.abs(change) < settings.change)
    done = turn & ~full & ~large
    moves = turn & ~done
    return s._replace(
        u=u,
        mu=jnp.where(moves, jnp.where(large, 0.5 * s.mu, 0.5 * s.delta), s.mu),
        smoothness=jax.lax.cond(
            moves,
            lambda: s.norm / largest_eigenvalue(product, len(x)),
            lambda: s.smoothness,
        ),
        point_loss=point_loss,
        edge_loss=edge_loss,
        inner=jnp.where(turn, 0, inner),
        solver=s.solver + count,
        done=done,
    )


def grcc(
    x: Array,
    edges: Array,
    alpha: Any = -2.0,
    incident: Array | None = None,
    *,
    steps: int = 99,
    settings: Settings = PUBLISHED,
) -> Solution:
    """Clusters points; to be compiled, or mapped over alpha.

    Args:
      x: points `(N, D)`.
      edges: the graph that joins neighbours, `(E, 2)`; see `gmkit.data.neighbour_graph`.
      alpha: shape of the loss, at most 2; -2 is RCC.
      incident: see `graph_of`.
      steps: iterations at most.
      settings: of the algorithm.

    Returns:
      The solution; `u` are the representatives, see `clusters`.
    """
    graph = graph_of(edges, len(x), incident)
    going = lambda carry: ~carry[0].done & (carry[1] < steps)
    body = lambda carry: (iteration(carry[0], x, graph, alpha, settings), carry[1] + 1)
    return jax.lax.while_loop(going, body, (start(x, graph), jnp.zeros((), jnp.int32)))[0]


def clusters(solution: Solution, edges: Any) -> np.ndarray:
    """Labels `(N,)` of the clusters, on the host; the largest is 0, the next 1, and so on.

    A cluster is a component of the edges that are not longer than the threshold.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    u, edges = np.asarray(solution.u), np.asarray(edges)
    length = np.sqrt(np.sum(np.square(u[edges[:, 0]] - u[edges[:, 1]]), axis=1))
    i, j = edges[length <= np.asarray(solution.threshold)].T
    joined = coo_matrix((np.ones(len(i)), (i, j)), shape=(len(u), len(u)))
    _, labels = connected_components(joined, directed=False)
    order = np.argsort(-np.bincount(labels), kind="stable")
    return np.argsort(order)[labels]
