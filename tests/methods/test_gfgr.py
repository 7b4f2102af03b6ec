"""gFGR: the geometry, one step against linear algebra, the annealings, and the bars."""

import importlib.util
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from scipy.spatial.transform import Rotation

from gmkit.core import parallel
from gmkit.data.clouds import load_registration, registration_problems
from gmkit.data.outliers import load_regression_outliers
from gmkit.methods import gfgr as room
from gmkit.objectives import general_loss

iterate = jax.jit(room.iteration)
rotation_of = jax.jit(room.rotation_of)


def load_config(preset, **changes):
    path = Path(__file__).parents[2] / "configs" / "gfgr.py"
    spec = importlib.util.spec_from_file_location("config_gfgr", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config(preset)
    config.update_from_flattened_dict(changes)
    return config


def clouds(**options):
    """One problem: p, q and its pose."""
    found = registration_problems(n_problems=1, **options)
    pose = room.Pose(found["rotation"][0], found["translation"][0])
    return jnp.asarray(found["p"][0]), jnp.asarray(found["q"][0]), pose


# ---------------------------------------------------------------- geometry


@pytest.mark.parametrize("size", [0.0, 1e-4, 9e-4, 0.01, 1.0, 3.1])
def test_rotations(size):
    vector = size * np.array([1.0, -2.0, 2.0]) / 3
    found = rotation_of(jnp.asarray(vector, jnp.float32))
    np.testing.assert_allclose(found, Rotation.from_rotvec(vector).as_matrix(), atol=5e-7)
    assert float(room.angle_of(found)) == pytest.approx(np.degrees(size), rel=1e-4, abs=1e-6)


def test_rotations_are_differentiable_at_zero():
    slope = jax.jit(jax.jacrev(room.rotation_of))(jnp.zeros(3))
    np.testing.assert_allclose(slope[..., 2], [[0, -1, 0], [1, 0, 0], [0, 0, 0]], atol=1e-7)
    np.testing.assert_allclose(slope[..., 0], [[0, 0, 0], [0, 0, -1], [0, 1, 0]], atol=1e-7)


def test_closed_form_least_squares():
    p, q, truth = clouds(n=40, outliers=0.0, noise=0.0)
    chex.assert_trees_all_close(room.least_squares(p, q), truth, atol=2e-6)
    # A mirror image, which no rotation matches, still gives a rotation.
    found = room.least_squares(p * jnp.array([[1.0, 1.0, -1.0]]), q)
    assert float(jnp.linalg.det(found.rotation)) == pytest.approx(1.0, abs=1e-5)


def test_a_step_solves_the_weighted_normal_equations():
    """For weights held fixed, the six-vector about the origin has the same first order."""
    p, q, truth = clouds(n=40, outliers=0.3)
    turn = rotation_of(jnp.array([0.01, -0.02, 0.015]))
    start = room.Pose(turn @ truth.rotation, truth.translation + 0.01)
    alpha, scale = jnp.float32(-2.0), jnp.float32(0.1)
    found, metrics = iterate(start, p, q, alpha, scale)
    y = np.asarray(room.move(start, q), np.float64)
    r = np.asarray(p, np.float64) - y
    w = (np.sum(r**2, axis=1) / (4 * 0.1**2) + 1) ** -2
    cross = np.array([np.cross(np.eye(3), v) for v in y])  # w x y = cross.T w
    g = np.concatenate([cross.swapaxes(1, 2), np.tile(np.eye(3), (40, 1, 1))], axis=2)
    a = np.einsum("n,nki,nkj->ij", w, g, g)
    twist = np.linalg.solve(a, np.einsum("n,nki,nk->i", w, g, r))
    moved = y + np.einsum("nki,i->nk", g, twist)
    # Equal up to the second order of a twist of some 0.03.
    np.testing.assert_allclose(room.move(found, q), moved, atol=2e-3)
    size = np.linalg.norm(twist[:3])
    assert np.radians(float(metrics["turn"])) == pytest.approx(size, rel=1e-3)
    assert float(metrics["weight"]) == pytest.approx(w.mean(), rel=1e-4)


def test_steps_end_where_the_loss_is_least():
    p, q, truth = clouds(n=40, outliers=0.4, noise=0.01)
    fixed = lambda t, size: (jnp.float32(0.5), jnp.float32(0.05))
    found, _ = jax.jit(lambda p, q: room.register(p, q, fixed, 60, truth))(p, q)

    def loss(twist):
        turn = room.rotation_of(twist[:3])
        pose = room.Pose(turn @ found.rotation, found.translation + twist[3:])
        distance = jnp.sqrt(jnp.sum(jnp.square(p - room.move(pose, q)), axis=1))
        return jnp.sum(general_loss(distance, 0.5, 0.05))

    value, slope = jax.jit(jax.value_and_grad(loss))(jnp.zeros(6))
    assert float(jnp.abs(slope).max()) < 2e-3 * float(value)
    aside = scipy.optimize.approx_fprime(np.zeros(6), lambda v: float(loss(jnp.float32(v))), 0.02)
    assert aside.min() > 0.0, "every way up"


def test_nothing_moves_where_no_match_has_weight():
    p, q, _ = clouds(n=40)
    found, _ = iterate(room.identity(), p + 100.0, q, jnp.float32(-jnp.inf), jnp.float32(1))
    chex.assert_trees_all_close(found, room.identity())


# ---------------------------------------------------------------- annealing


def test_schedules():
    size = jnp.float32(2.0)
    scale = room.scale_annealed(64, divisor=1.5, every=2, least=0.1)
    mu = [4 * float(scale(jnp.int32(t), size)[1]) ** 2 for t in (0, 1, 2, 5, 60)]
    np.testing.assert_allclose(mu, [4.0, 4.0, 4 / 1.5, 4 / 1.5**2, 0.04], rtol=1e-5)
    shape = room.shape_annealed(40, alpha=-6.0, scale=0.05, share=0.5)
    found = [shape(jnp.int32(t), size) for t in (0, 10, 20, 39)]
    np.testing.assert_allclose([a for a, _ in found], [2.0, -2.0, -6.0, -6.0], rtol=1e-6)
    np.testing.assert_allclose([c for _, c in found], 0.1, rtol=1e-6)


def test_alpha_minus_two_is_the_line_process_of_fgr():
    p, q, _ = clouds(n=40)
    alpha, scale = room.scale_annealed(64)(jnp.int32(8), room.diameter(q))
    mu = float(room.diameter(q)) ** 2 / 1.4**2
    _, metrics = iterate(room.identity(), p, q, alpha, scale)
    square = np.sum(np.square(p - q), axis=1)
    assert float(metrics["weight"]) == pytest.approx(((mu / (mu + square)) ** 2).mean(), rel=1e-4)


# ---------------------------------------------------------------- the method


@pytest.fixture(scope="module")
def dataset():
    return load_registration(n_problems=8)


@pytest.fixture(scope="module")
def by_annealing(dataset):
    """Rotation errors of every annealing from the identity, degrees."""
    problems = {k: v[0] for k, v in dataset.examples("test").items()}
    options = load_config("default").schedules
    truth = room.Pose(problems["rotation"], problems["translation"])

    def errors(find):
        found = jax.jit(jax.vmap(find))(problems["p"], problems["q"])
        return room.pose_errors(found, truth, problems["q"])

    annealings = {name: of(64, **options[name]) for name, of in room.ANNEALINGS.items()}
    found = {
        name: errors(lambda p, q, of=annealing: room.register(p, q, of)[0])
        for name, annealing in annealings.items()
    }
    return found | {"closed form": errors(room.least_squares)}


def test_both_annealings_find_the_pose_and_least_squares_does_not(by_annealing):
    for name in ("scale", "shape"):
        summary = room.summary(by_annealing[name])
        assert summary["rotation/max"] < 1.0 and summary["share_within_1_degree"] == 1.0
        assert summary["rmse_x100/max"] < 0.5
    assert room.summary(by_annealing["none"])["rotation/mean"] > 20.0


def test_least_squares_by_steps_is_the_closed_form(by_annealing):
    chex.assert_trees_all_close(by_annealing["none"], by_annealing["closed form"], atol=1e-2)


def small(**changes):
    config = load_config("smoke", **changes)
    dataset = load_registration(n_problems=8, n=40)
    return room.build(config, dataset.spec), dataset


def stepped(method, dataset, strategy="jit", order=None, steps=8):
    rows = dataset.examples("train")
    batch = {k: jnp.asarray(v if order is None else v[order])[None] for k, v in rows.items()}
    state = method.init(jax.random.key(0), {k: v[0] for k, v in batch.items()})
    mesh = parallel.make_mesh(1 if strategy == "jit" else 4)
    step = parallel.compile_step(method.step, mesh, strategy, donate=False)
    for _ in range(steps):
        state, metrics = step(state, batch)
    return state, metrics


@pytest.fixture(scope="module")
def run():
    method, dataset = small()
    return method, dataset, *stepped(method, dataset)


def test_a_step_is_an_iteration_of_register(run):
    _, dataset, state, metrics = run
    problems = {k: v[0] for k, v in dataset.examples("test").items()}
    annealing = room.scale_annealed(8, every=1)
    find = jax.jit(jax.vmap(lambda p, q: room.register(p, q, annealing, 8)[0]))
    found = find(problems["p"], problems["q"])
    chex.assert_trees_all_close(room.Pose(*state.memory["pose"]), found, atol=1e-5)
    assert set(metrics) == {"alpha", "scale", "weight", "residual", "turn", "shift"}
    assert state.params == {} and int(state.step) == 8


def test_the_order_of_rows_and_their_device_do_not_matter(run):
    method, dataset, state, _ = run
    order = np.random.default_rng(0).permutation(40)
    other, _ = stepped(method, dataset, "pmap", order)
    chex.assert_trees_all_close(other.memory, state.memory, atol=2e-5)


@pytest.mark.slow
def test_evaluation(run):
    method, dataset, state, _ = run
    result = method.evaluate(state, dataset, jax.random.key(0))
    assert result.metrics["rotation/mean"] < result.metrics["least_squares/rotation/mean"]
    names = [row["rmse_x100"] for row in result.tables["noise"]]
    assert names[:3] == ["least squares", "FGR (alpha -2)", "shape-annealed gFGR"]
    assert names[3].startswith("gFGR* (alpha ") and len(result.tables["noise"][0]) == 7
    best = min(result.tables["shapes"], key=lambda row: row["rmse_x100, others"])
    assert names[3] == f"gFGR* (alpha {best['alpha']:g})"
    assert len(result.tables["poses"]) == 8
    figures = method.figures(state, dataset, jax.random.key(0))
    assert set(figures) == {"clouds", "iterations", "shapes"}


@pytest.mark.slow
def test_your_own_clouds_without_a_truth(run, tmp_path):
    method, _, _, _ = run
    p, q, truth = clouds(n=40, outliers=0.2)
    np.savez(tmp_path / "mine.npz", p=p, q=q)
    mine = load_registration(path=tmp_path / "mine.npz")
    state, _ = stepped(method, mine, steps=20)
    np.testing.assert_allclose(state.memory["pose"][0][0], truth.rotation, atol=0.02)
    result = method.evaluate(state, mine, jax.random.key(0))
    assert set(result.metrics) == {"near/share", "near/rmse_x100"}
    assert result.metrics["near/share"] == pytest.approx(0.8, abs=0.03)
    assert "errors" not in result.tables
    angle = result.tables["poses"][0]["angle"]
    assert angle == pytest.approx(60.0, abs=1.0)


def test_samples_are_poses_that_were_found(run):
    method, _, state, _ = run
    draws = method.sample(state, jax.random.key(0), 5)
    assert draws.shape == (5, 3, 4)
    known = np.asarray(state.memory["pose"][1])
    assert all((np.abs(known - t).max(axis=1) == 0).any() for t in np.asarray(draws[:, :, 3]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"annealing": "both"}, "annealing='both': choose scale, shape, none"),
        ({"schedules.scale.divisor": 1.0}, "divisor=1.0 must be above 1"),
        ({"schedules.shape.alpha": 2.5}, "alpha=2.5 must be below 2"),
    ],
)
def test_wrong_settings(changes, message):
    with pytest.raises(ValueError, match=message):
        small(**changes)


def test_other_data():
    with pytest.raises(ValueError, match=r"data\.name=registration"):
        room.build(load_config("smoke"), load_regression_outliers().spec)
