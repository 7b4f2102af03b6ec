"""Labelled data as one clustering problem: all points and the graph that joins neighbours.

The graph of robust continuous clustering (S. A. Shah, V. Koltun, PNAS 2017): mutual k nearest
neighbours, and the minimum spanning tree of the k-nearest-neighbour graph, so that no point is
alone.
"""

from __future__ import annotations

import math

import numpy as np

from gmkit.data.dataset import Dataset
from gmkit.data.problems import problem_dataset
from gmkit.data.spec import DataError

PREFIX = "clustering/"
METRICS = ("cosine", "euclidean")
#: Points whose distances to all others are computed at a time.
CHUNK = 1024


def clustering(
    source: Dataset, *, n_points: int | None = None, k: int = 10, metric: str = "cosine"
) -> Dataset:
    """The training rows of a labelled data set as one problem.

    The one row holds "x" float32 `(N, D)`, the rows flattened (images with values from 0 to 1),
    "edges" int32 `(E, 2)` of `neighbour_graph`, "incident" int32 `(N, K)` of `incident_edges` and
    "label" int32 `(N,)`.

    Args:
      source: images or vectors with labels.
      n_points: how many, the first ones; None for all.
      k: neighbours of each point.
      metric: "cosine" or "euclidean".

    Raises:
      DataError: no labels, options out of range, or points without a direction.
    """
    name = PREFIX + source.spec.name
    if source.spec.kind == "problem" or not source.spec.n_classes:
        raise DataError(f"data.name={name!r}: {source.spec.name!r} has no labels to compare with")
    total = len(source.train)
    if n_points is not None and not 2 <= n_points <= total:
        raise DataError(f"data.n_points={n_points}: must be from 2 to the {total} rows of {name!r}")
    rows = source.examples("train", n_points)
    x = rows[source.spec.kind if source.spec.kind == "image" else "x"].astype(np.float64)
    low, high = source.spec.value_range
    if math.isfinite(high - low):
        # Black is nothing, so that the cosine compares what is drawn.
        x = (x - low) / (high - low)
    x = x.reshape(len(x), -1)
    edges = neighbour_graph(x, k, metric)
    problem = {
        "x": x.astype(np.float32),
        "edges": edges,
        "incident": incident_edges(edges, len(x)),
        "label": rows["label"].astype(np.int32),
    }
    return problem_dataset(
        name,
        {key: array[None] for key, array in problem.items()},
        shape=x.shape,
        n_classes=source.spec.n_classes,
    )


def neighbour_graph(x: np.ndarray, k: int = 10, metric: str = "cosine") -> np.ndarray:
    """Mutual k nearest neighbours and the spanning tree of the k-nearest-neighbour graph.

    Where that graph falls apart there is a tree in each part.

    Args:
      x: points `(N, D)`.
      k: neighbours of each point, the point itself not among them.
      metric: "cosine" (1 - cosine) or "euclidean".

    Returns:
      Edges `(E, 2)`, int32, i < j in each, sorted, none of them twice.

    Raises:
      DataError: options out of range, or a point of length zero under the cosine.
    """
    from scipy.sparse import csr_matrix, triu
    from scipy.sparse.csgraph import minimum_spanning_tree

    neighbours, distances = nearest_neighbours(x, k, metric)
    n = len(x)
    i, j = np.repeat(np.arange(n), k), neighbours.ravel()
    # A stored zero is no edge to SciPy, but duplicates of a point are its nearest neighbours.
    length = np.maximum(distances.ravel(), np.finfo(float).tiny)
    directed = csr_matrix((length, (i, j)), shape=(n, n))
    tree = minimum_spanning_tree(directed.maximum(directed.T))
    joined = csr_matrix((np.ones(n * k), (i, j)), shape=(n, n))
    graph = joined.minimum(joined.T) + tree.maximum(tree.T)
    upper = triu(graph, k=1).tocsr()
    upper.sort_indices()
    return np.stack(upper.nonzero(), axis=1).astype(np.int32)


def nearest_neighbours(x: np.ndarray, k: int, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest other points of each, nearest first, and their distances; `(N, k)` both.

    Raises:
      DataError: options out of range, or a point of length zero under the cosine.
    """
    n = len(x)
    if metric not in METRICS:
        raise DataError(f"data.metric={metric!r}: choose {' or '.join(METRICS)}")
    if not 1 <= k < n:
        raise DataError(f"data.k={k}: must be from 1 to {n - 1}, as there are {n} points")
    x = np.asarray(x, np.float64)
    square = np.sum(x**2, axis=1)
    if metric == "cosine":
        if not square.all():
            raise DataError(
                f"data.metric='cosine': point {square.argmin()} (from 0) is all zeros and has no "
                "direction; remove it, or set data.metric='euclidean'"
            )
        x = x / np.sqrt(square)[:, None]
        square = np.ones(n)
    found = [_nearest(x, square, start, k) for start in range(0, n, CHUNK)]
    neighbours, squares = (np.concatenate(part) for part in zip(*found, strict=True))
    # |x - y|^2 = 2 (1 - cosine) for unit vectors.
    return neighbours, squares / 2.0 if metric == "cosine" else np.sqrt(squares)


def _nearest(x: np.ndarray, square: np.ndarray, start: int, k: int) -> tuple[np.ndarray, ...]:
    """Neighbours and squared distances of the points from `start` on."""
    rows = np.arange(start, min(start + CHUNK, len(x)))
    distance = square[rows, None] + square[None] - 2.0 * x[rows] @ x.T
    np.maximum(distance, 0.0, out=distance)
    distance[np.arange(len(rows)), rows] = np.inf
    near = np.argpartition(distance, k - 1, axis=1)[:, :k]
    values = np.take_along_axis(distance, near, axis=1)
    order = np.lexsort((near, values), axis=1)
    return np.take_along_axis(near, order, axis=1), np.take_along_axis(values, order, axis=1)


def incident_edges(edges: np.ndarray, n: int) -> np.ndarray:
    """The edges at each point, `(n, K)` int32 with K the largest number of them.

    Entries are rows of `edges` `(E, 2)`; those that a point has fewer than K of are E.
    """
    ends = edges.T.ravel()
    degree = np.bincount(ends, minlength=n)
    order = np.argsort(ends, kind="stable")
    at = ends[order]
    table = np.full((n, degree.max()), len(edges), np.int32)
    table[at, np.arange(len(ends)) - (np.cumsum(degree) - degree)[at]] = order % len(edges)
    return table
