"""gRCC: its linear systems, RCC as a special case, published numbers, and the method's face."""

import functools
import importlib.util
import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit import data, training
from gmkit.data.neighbour_graph import incident_edges, neighbour_graph
from gmkit.methods import grcc as room


def load_config(preset, **changes):
    path = Path(__file__).parents[2] / "configs" / "grcc.py"
    spec = importlib.util.spec_from_file_location("config_grcc", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config(preset)
    config.update_from_flattened_dict(changes)
    return config


def blobs(n=90, apart=8.0, d=4):
    """Three round clusters and their labels."""
    rng = np.random.default_rng(0)
    label = np.arange(n) % 3
    centres = 10.0 + apart * np.eye(3, d)
    return (centres[label] + rng.standard_normal((n, d))).astype(np.float32), label


@functools.cache
def problem():
    x, label = blobs()
    edges = neighbour_graph(x, 4, "euclidean")
    return {"x": x, "label": label, "edges": edges, "incident": incident_edges(edges, len(x))}


@functools.cache
def graph_of_problem():
    p = problem()
    return jax.jit(room.graph_of, static_argnums=1)(p["edges"], len(p["x"]), p["incident"])


@functools.cache
def compiled():
    return jax.jit(functools.partial(room.grcc, steps=60))


def solved(alpha):
    p = problem()
    return compiled()(p["x"], p["edges"], jnp.float32(alpha), p["incident"])


# ---------------------------------------------------------------- linear systems


def dense(edges, weight, n):
    matrix = np.zeros((n, n))
    for (i, j), w in zip(edges, weight, strict=True):
        matrix[i, i] += w
        matrix[j, j] += w
        matrix[i, j] -= w
        matrix[j, i] -= w
    return matrix


@pytest.mark.parametrize("table", [True, False])
def test_laplacian_and_its_largest_eigenvalue(table):
    p = problem()
    n, edges = len(p["x"]), jnp.asarray(p["edges"])
    graph = room.graph_of(edges, n, jnp.asarray(p["incident"]) if table else None)
    weight = np.random.default_rng(1).random(len(edges)).astype(np.float32)
    expected = dense(p["edges"], weight, n)
    product, diagonal = room.laplacian(graph, jnp.asarray(weight))
    np.testing.assert_allclose(product(jnp.asarray(p["x"])), expected @ p["x"], atol=1e-4)
    np.testing.assert_allclose(diagonal[:, 0], np.diag(expected), rtol=1e-5)
    found = float(room.largest_eigenvalue(product, n))
    assert found == pytest.approx(np.linalg.eigvalsh(expected)[-1], rel=1e-3)


def test_eigenvalue_of_a_graph_smaller_than_the_krylov_space():
    """A triangle has the eigenvalues 0, 3, 3."""
    graph = room.graph_of(jnp.array([[0, 1], [1, 2], [0, 2]]), 3)
    product, _ = room.laplacian(graph, jnp.ones(3))
    assert float(room.largest_eigenvalue(product, 3)) == pytest.approx(3.0, rel=1e-5)


def test_solver_and_its_preconditioner():
    """On a chain, where a point learns of one neighbour an iteration without the parts."""
    n = 256
    edges, weight = np.stack([np.arange(n - 1), np.arange(1, n)], axis=1), jnp.full(n - 1, 1e3)
    graph = jax.jit(room.graph_of, static_argnums=1)(edges, n, incident_edges(edges, n))
    product, diagonal = room.laplacian(graph, weight)
    b = jnp.asarray(np.random.default_rng(0).standard_normal((n, 2)), jnp.float32)

    @functools.partial(jax.jit, static_argnums=1)
    def run(start, two_levels):
        jacobi = lambda r: r / (1.0 + diagonal)
        inverse = room.preconditioner(graph, weight) if two_levels else jacobi
        return room.solve(lambda v: v + product(v), inverse, b, start, 1e-5)

    u, count = run(b, True)
    matrix = np.eye(n) + dense(edges, np.asarray(weight), n)
    np.testing.assert_allclose(u, np.linalg.solve(matrix, b), atol=1e-2)
    assert 0 < int(count) < 0.5 * int(run(b, False)[1])
    assert int(run(u, True)[1]) < 0.5 * int(count), "little to do from the solution"


def test_parts_are_connected_and_leave_out_what_is_not_reached():
    edges = jnp.array([[i, i + 1] for i in range(30)] + [[62, 63]])
    part = np.asarray(room.parts_of(edges, 64))  # from points 0, 16, 32 and 48
    assert (part[:8] == 0).all() and (part[24:31] == 1).all()
    assert (np.diff(part[:31]) >= 0).all()
    assert part[32] == 2 and part[48] == 3 and (part[62:] == 4).all()


# ---------------------------------------------------------------- the algorithm


def geman_mcclure(square, mu):
    return mu * square / (mu + square)


def test_the_start_is_that_of_rcc():
    x = np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 4.0], [3.0, 4.001]], np.float32)
    edges = np.array([[0, 1], [1, 2], [2, 3]], np.int32)
    graph = room.graph_of(jnp.asarray(edges), 4)
    s = jax.jit(room.start)(x, graph)
    np.testing.assert_allclose(graph.weight, 1.5 / np.sqrt([2.0, 4.0, 2.0]), rtol=1e-6)
    assert float(s.mu) == pytest.approx(3 * 16, rel=1e-5)
    assert float(s.delta) == float(s.threshold) == pytest.approx(3.0, rel=1e-5), "not a duplicate's"
    largest = np.linalg.eigvalsh(dense(edges, np.asarray(graph.weight), 4))[-1]
    assert float(s.smoothness) == pytest.approx(np.linalg.norm(x, 2) / largest, rel=1e-4)


def test_an_iteration_is_that_of_rcc():
    """Weights, objective, system and halving by their own formulas, densely."""
    p = problem()
    x, (i, j) = p["x"].astype(np.float64), p["edges"].T
    graph = graph_of_problem()
    settings = room.Settings(every=1, tolerance=1e-6)
    s = jax.jit(room.start)(p["x"], graph)
    new = jax.jit(functools.partial(room.iteration, alpha=-2.0, settings=settings))(
        s, jnp.asarray(p["x"]), graph
    )
    mu, smoothness = float(s.mu), float(s.smoothness)
    square = np.sum((x[i] - x[j]) ** 2, axis=1)
    weight = np.asarray(graph.weight) * (mu / (mu + square)) ** 2
    matrix = dense(p["edges"], weight, len(x))
    expected = np.linalg.solve(np.eye(len(x)) + smoothness * matrix, x)
    np.testing.assert_allclose(new.u, expected, atol=2e-3)
    terms = 0.5 * smoothness * np.asarray(graph.weight) * geman_mcclure(square, mu)
    np.testing.assert_allclose(new.edge_loss, terms, rtol=1e-4)
    assert float(new.mu) == pytest.approx(mu / 2)
    norm = np.linalg.norm(x, 2)
    largest = np.linalg.eigvalsh(matrix)[-1]
    assert float(new.smoothness) == pytest.approx(norm / largest, rel=1e-3)


def test_clusters_that_are_apart_are_found():
    for alpha in (-2.0, 0.0):
        found = room.clusters(solved(alpha), problem()["edges"])
        assert room.agreement(found, problem()["label"])["ami"] > 0.9, alpha


def test_least_squares_is_one_linear_system():
    p, s, graph = problem(), solved(2.0), graph_of_problem()
    matrix = dense(p["edges"], np.asarray(graph.weight), len(p["x"]))
    expected = np.linalg.solve(np.eye(len(p["x"])) + float(s.smoothness) * matrix, p["x"])
    np.testing.assert_allclose(s.u, expected, atol=0.02)


def test_mapped_over_alpha():
    p, alphas = problem(), jnp.array([-jnp.inf, -2.0, 1.0])
    run = lambda alpha: room.grcc(p["x"], p["edges"], alpha, p["incident"], steps=60)
    together = jax.jit(jax.vmap(run))(alphas)
    assert np.isfinite(together.u).all()
    for k in (1, 2):
        one = solved(alphas[k])
        np.testing.assert_allclose(together.u[k], one.u, atol=0.05)
        mapped = jax.tree.map(lambda v, k=k: v[k], together)
        np.testing.assert_array_equal(
            room.clusters(mapped, p["edges"]), room.clusters(one, p["edges"])
        )


def test_without_the_table_of_edges():
    p = problem()
    found = jax.jit(functools.partial(room.grcc, steps=60))(p["x"], p["edges"], -2.0)
    np.testing.assert_allclose(found.u, solved(-2.0).u, atol=0.05)


def test_points_alone_are_clusters_of_their_own():
    s = solved(-2.0)._replace(threshold=jnp.float32(-1.0))
    assert len(np.unique(room.clusters(s, problem()["edges"]))) == len(problem()["x"])


def test_agreement():
    truth = np.array([0, 0, 0, 1, 1, 2])
    same = room.agreement((truth + 1) % 3, truth)
    assert [same[k] for k in ("ami", "ami_max", "nmi", "accuracy")] == pytest.approx([1.0] * 4)
    assert same["clusters"] == 3
    one = room.agreement(np.zeros(6, int), truth)
    assert one["ami"] == pytest.approx(0.0, abs=1e-9) and one["accuracy"] == pytest.approx(0.5)


def test_matches_are_one_to_one():
    found, truth = np.array([5, 5, 5, 2, 2, 7]), np.array([1, 1, 0, 0, 0, 0])
    assert room.matches(found, truth) == {5: 1, 2: 0}


def test_principal_plane():
    rng = np.random.default_rng(0)
    x = 5.0 + rng.standard_normal((200, 5)) * np.array([0.1, 3.0, 0.1, 1.0, 0.1])
    plane = room.principal_plane(x)
    assert abs(np.corrcoef(plane[:, 0], x[:, 1])[0, 1]) > 0.99
    assert abs(np.corrcoef(plane[:, 1], x[:, 3])[0, 1]) > 0.95
    assert room.principal_plane(x[:, :1]).shape == (200, 2), "padded"


# ---------------------------------------------------------------- the method


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The smoke preset, trained by the loop until it has converged."""
    config = load_config("smoke", **{"training.steps": 90, "training.log_every": 1, "alpha": 0.0})
    options = config.data.to_dict()
    dataset = data.load(options.pop("name"), **options)
    method = room.build(config, dataset.spec)
    workdir = tmp_path_factory.mktemp("grcc")
    loop = training.LoopConfig(**config.training.to_dict(), seed=0)
    fitted = training.fit(method, dataset, loop, workdir, config={})
    records = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return method, dataset, loop, workdir, fitted.state, records


def test_training_is_grcc_and_stops(trained):
    _, dataset, _, _, state, records = trained
    p = {k: rows[0] for k, rows in dataset.examples("train").items()}
    assert bool(state.memory.done) and int(state.step) == 90 and state.params == {}
    s = jax.jit(room.grcc)(p["x"], p["edges"], 0.0, p["incident"])
    np.testing.assert_allclose(state.memory.u, s.u, atol=1e-3)
    finished = [r for r in records if r.get("done") == 1.0]
    assert 1 < len(finished) < 90
    assert len({(r["loss"], r["solver"], r["mu"]) for r in finished}) == 1, "nothing moves"
    assert records[0]["mu"] > records[-1]["mu"]
    assert finished[-1]["loss"] == pytest.approx(
        finished[-1]["loss/data"] + finished[-1]["loss/smoothness"], rel=1e-5
    )


def test_a_run_is_restored(trained):
    method, dataset, loop, workdir, state, _ = trained
    restored, step = training.restore(method, dataset, loop, workdir)
    assert step == 90
    assert isinstance(restored.memory, room.Solution)
    np.testing.assert_array_equal(restored.memory.u, state.memory.u)


def test_evaluation_and_figures(trained):
    method, dataset, _, _, state, _ = trained
    result = method.evaluate(state, dataset, jax.random.key(0))
    assert result.metrics["ami"] > 0.6 and result.provenance["converged"]
    rows = result.tables["shapes"]
    assert [row["alpha"] for row in rows] == [-2.0, 1.0]
    assert result.metrics["best/ami"] == max(row["ami"] for row in rows)
    assert method.evaluate(state, dataset, jax.random.key(0)).tables["shapes"] == rows
    figures = method.figures(state, dataset, jax.random.key(0))
    assert set(figures) == {"clusters", "loss", "shapes"}
    draws = method.sample(state, jax.random.key(0), 2)
    assert draws.shape == (2, *dataset.spec.domain.shape)
    spread = np.std(np.asarray(draws) - np.asarray(state.memory.u))
    residual = np.asarray(dataset.examples("train")["x"][0] - state.memory.u)
    assert spread == pytest.approx(np.sqrt(np.mean(residual**2)), rel=0.05)


def test_errors():
    spec = data.load("clustering/digits", n_points=30, k=3).spec
    with pytest.raises(ValueError, match=r"data\.name='digits': set data\.name to 'clustering/"):
        room.build(load_config("smoke"), data.load("digits").spec)
    with pytest.raises(ValueError, match=r"alpha: 3\.0 must be at most 2"):
        room.build(load_config("smoke", alpha=3.0), spec)
    with pytest.raises(ValueError, match=r"eval\.alphas: nan must be"):
        room.build(load_config("smoke", **{"eval.alphas": (float("nan"),)}), spec)
    with pytest.raises(ValueError, match=r"tolerance=0\.0 between 0 and 1"):
        room.build(load_config("smoke", **{"settings.tolerance": 0.0}), spec)
    method = room.build(load_config("smoke"), spec)
    batch = {"x": jnp.zeros((2, 30, 64)), "edges": jnp.zeros((2, 5, 2), jnp.int32)}
    with pytest.raises(ValueError, match=r"training\.batch_size=2: must be 1"):
        method.init(jax.random.key(0), batch)


# ---------------------------------------------------------------- published numbers

#: The file with "x" `(7494, 16)`, pen points from 0 to 100, and "y".
PENDIGITS = os.environ.get("GMKIT_PENDIGITS")


@pytest.mark.slow
@pytest.mark.skipif(not PENDIGITS, reason="set GMKIT_PENDIGITS to pendigits_train.npz")
@pytest.mark.parametrize(
    ("n", "alpha", "ami", "number"),
    [(2000, -2.0, 0.827, 17), (2000, 1.0, 0.842, None), (7494, -2.0, 0.843, 24)],
)
def test_pen_digits(n, alpha, ami, number):
    with np.load(PENDIGITS) as stored:
        x, label = stored["x"][:n].astype(np.float32), stored["y"][:n]
    edges = neighbour_graph(x)
    s = jax.jit(room.grcc)(x, edges, jnp.float32(alpha), incident_edges(edges, n))
    found = room.agreement(room.clusters(s, edges), label)
    assert found["ami"] == pytest.approx(ami, abs=0.002)
    assert number is None or found["clusters"] == number


@pytest.mark.slow
def test_a_shape_between_helps_on_digits():
    """RCC (alpha = -2) cuts digits into too many clusters, alpha = 1 joins too many."""
    p = {k: rows[0] for k, rows in data.load("clustering/digits").examples("train").items()}
    run = jax.jit(room.grcc)

    def judged(alpha):
        s = run(p["x"], p["edges"], jnp.float32(alpha), p["incident"])
        return room.agreement(room.clusters(s, p["edges"]), p["label"])

    rcc, cauchy, charbonnier = (judged(alpha) for alpha in (-2.0, 0.0, 1.0))
    assert rcc["ami"] == pytest.approx(0.882, abs=0.01)
    assert cauchy["ami"] > rcc["ami"] + 0.01 and cauchy["ami"] > charbonnier["ami"] + 0.05
    assert charbonnier["clusters"] < cauchy["clusters"] < rcc["clusters"]
