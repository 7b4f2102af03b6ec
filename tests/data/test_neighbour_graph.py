"""Graphs of neighbours: their edges, duplicates, separate parts, and data sets made of them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from gmkit import data
from gmkit.data import neighbour_graph as room


def points(n: int = 60, d: int = 3) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n, d))


def parts(edges: np.ndarray, n: int) -> int:
    graph = coo_matrix((np.ones(len(edges)), edges.T), shape=(n, n))
    return connected_components(graph, directed=False)[0]


@pytest.mark.parametrize("metric", room.METRICS)
def test_neighbours_are_the_nearest(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "CHUNK", 16)  # several, the last one shorter
    x = points()
    if metric == "cosine":
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        expected = 1.0 - unit @ unit.T
    else:
        expected = np.linalg.norm(x[:, None] - x[None], axis=2)
    np.fill_diagonal(expected, np.inf)
    neighbours, distances = room.nearest_neighbours(x, 4, metric)
    np.testing.assert_array_equal(neighbours, np.argsort(expected, axis=1)[:, :4])
    np.testing.assert_allclose(distances, np.sort(expected, axis=1)[:, :4], atol=1e-12)


def test_edges_are_mutual_neighbours_and_a_tree() -> None:
    x = points()
    neighbours, _ = room.nearest_neighbours(x, 4, "euclidean")
    near = np.zeros((60, 60), bool)
    near[np.arange(60)[:, None], neighbours] = True
    edges = room.neighbour_graph(x, 4, "euclidean")
    assert edges.dtype == np.int32 and (edges[:, 0] < edges[:, 1]).all()
    assert len(np.unique(edges, axis=0)) == len(edges)
    graph = np.zeros((60, 60), bool)
    graph[tuple(edges.T)] = True
    graph |= graph.T
    assert graph[near & near.T].all(), "every mutual pair"
    assert not graph[~(near | near.T)].any(), "no pair that neither side is near to"
    assert parts(edges, 60) == parts(np.argwhere(near), 60), "the tree joins what can be joined"
    assert len(edges) <= (near & near.T).sum() // 2 + 59


def test_a_line_is_a_chain() -> None:
    """On a line with growing gaps the tree is the chain, and one neighbour is never mutual."""
    x = 2.0 ** np.arange(6)[:, None]
    edges = room.neighbour_graph(x, 1, "euclidean")
    np.testing.assert_array_equal(edges, [[i, i + 1] for i in range(5)])


def test_duplicates_are_joined() -> None:
    x = np.repeat(points(10), 3, axis=0)
    edges = room.neighbour_graph(x, 2, "euclidean")
    groups = np.arange(30) // 3
    assert (groups[edges[:, 0]] == groups[edges[:, 1]]).all()
    assert parts(edges, 30) == 10


def test_incident_edges() -> None:
    edges = np.array([[0, 1], [0, 2], [1, 2], [0, 3]], np.int32)
    table = room.incident_edges(edges, 5)
    np.testing.assert_array_equal(
        np.sort(table, axis=1), [[0, 1, 3], [0, 2, 4], [1, 2, 4], [3, 4, 4], [4, 4, 4]]
    )


def test_images_are_one_problem() -> None:
    dataset = data.load("clustering/digits", n_points=100, k=5)
    assert (dataset.spec.name, dataset.spec.kind) == ("clustering/digits", "problem")
    assert (dataset.spec.domain.shape, dataset.spec.n_classes) == ((100, 64), 10)
    source = data.load("digits").examples("train", 100)
    row = dataset.examples("train")
    np.testing.assert_allclose(row["x"][0], (source["image"].reshape(100, 64) + 1) / 2, atol=1e-6)
    np.testing.assert_array_equal(row["label"][0], source["label"])
    np.testing.assert_array_equal(row["edges"][0], room.neighbour_graph(row["x"][0], 5))
    np.testing.assert_array_equal(row["incident"][0], room.incident_edges(row["edges"][0], 100))
    assert {name: array.dtype.name for name, array in row.items()} == {
        "x": "float32",
        "edges": "int32",
        "incident": "int32",
        "label": "int32",
    }


def test_your_own_vectors(tmp_path) -> None:
    x, y = points(30).astype(np.float32), np.arange(30) % 3
    np.savez(tmp_path / "mine.npz", x_train=x, y_train=y, x_test=x[:1], y_test=y[:1])
    dataset = data.load(f"clustering/{tmp_path}/mine.npz", k=3, metric="euclidean")
    row = dataset.examples("train")
    np.testing.assert_array_equal(row["x"][0], x)
    np.testing.assert_array_equal(row["label"][0], y)
    assert dataset.spec.name == "clustering/mine"


def test_errors() -> None:
    digits = data.load("digits")
    with pytest.raises(data.DataError, match="no labels"):
        room.clustering(data.load("moons", n_train=20, n_test=1))
    with pytest.raises(data.DataError, match=r"data\.n_points=9999: must be from 2 to the 1437"):
        room.clustering(digits, n_points=9999)
    with pytest.raises(data.DataError, match=r"data\.k=20: must be from 1 to 19"):
        room.clustering(digits, n_points=20, k=20)
    with pytest.raises(data.DataError, match=r"data\.metric='cosine': point 3"):
        room.neighbour_graph(np.where(np.arange(9)[:, None] == 3, 0.0, 1.0), 2)
    with pytest.raises(data.DataError, match=r"data\.metric='l1': choose cosine or euclidean"):
        room.neighbour_graph(points(), 2, "l1")
