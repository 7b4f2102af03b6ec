"""Robust stereo: what a disparity does to images, likelihoods, and disparities that are found."""

import importlib.util
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit.data import stereo
from gmkit.methods import robust_stereo as room

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
IMAGES = jnp.asarray(RNG.uniform(size=(2, 6, 10, 3)), jnp.float32)


def load_config(preset="smoke", **changes):
    path = Path(__file__).parents[2] / "configs" / "robust_stereo.py"
    spec = importlib.util.spec_from_file_location("config_robust_stereo", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config(preset)
    config.update_from_flattened_dict(changes)
    return config


def optimised(config, dataset):
    """Method and state after the config's steps."""
    method = room.build(config, dataset.spec)
    rows = {k: jnp.asarray(v) for k, v in dataset.examples("train").items()}
    batch = jax.tree.map(lambda v: v[None], rows)
    state = method.init(jax.random.key(config.seed), rows)
    run = jax.jit(
        lambda s: jax.lax.scan(lambda s, _: method.step(s, batch), s, length=config.training.steps)
    )
    state, metrics = run(state)
    return method, state, metrics


# ---------------------------------------------------------------- geometry


def test_warping_by_whole_and_half_pixels():
    warped, inside = room.warp(IMAGES, jnp.full((6, 10), 3.0))
    np.testing.assert_allclose(warped[:, :, 3:], IMAGES[:, :, :7], atol=1e-6)
    np.testing.assert_array_equal(inside, np.broadcast_to(np.arange(10) >= 3, (6, 10)))
    warped, inside = room.warp(IMAGES, jnp.full((6, 10), -0.5))
    middle = 0.5 * (IMAGES[:, :, :-1] + IMAGES[:, :, 1:])
    np.testing.assert_allclose(warped[:, :, :-1], middle, atol=1e-6)
    assert not inside[:, -1].any() and inside[:, :-1].all()
    still, everywhere = room.warp(IMAGES, jnp.zeros((6, 10)))
    np.testing.assert_allclose(still, IMAGES, atol=1e-6)
    assert everywhere.all()


def test_the_gradient_of_a_warp_is_the_slope_of_the_image():
    disparity = jnp.asarray(RNG.uniform(0.2, 0.8, (6, 10)), jnp.float32)
    slope = jax.grad(lambda d: jnp.sum(room.warp(IMAGES, d)[0]))(disparity)
    steps = jnp.sum(IMAGES[:, :, :-1] - IMAGES[:, :, 1:], axis=(0, 3))
    np.testing.assert_allclose(slope[:, 1:], steps, atol=1e-5)
    # Column 0 looks outside, where nothing changes.
    np.testing.assert_array_equal(slope[:, 0], 0.0)


def test_no_residual_outside():
    residual, inside = room.residuals(IMAGES, IMAGES[::-1], jnp.full((6, 10), 4.0))
    np.testing.assert_array_equal(residual[:, :, :4], 0.0)
    np.testing.assert_allclose(residual[:, :, 4:], IMAGES[::-1, :, :6] - IMAGES[:, :, 4:])
    assert int(inside.sum()) == 6 * 6


def test_grids_add_up_in_pixels_of_the_finer_image():
    shapes = room.pyramid_shapes((16, 24), 3)
    assert shapes == ((16, 24), (8, 12), (4, 6))
    grids = tuple(
        jnp.full(shape, value) for shape, value in zip(shapes, (1.0, 2.0, 3.0), strict=True)
    )
    np.testing.assert_allclose(room.disparity_at(grids, 0), 1.0 + 2 * 2.0 + 4 * 3.0)
    np.testing.assert_allclose(room.disparity_at(grids, 1), 2.0 + 2 * 3.0)
    np.testing.assert_allclose(room.disparity_at(grids, 2), 3.0)
    assert room.pyramid_shapes((5, 7), 1) == ((5, 7),)
    assert room.pyramid_shapes((9, 15), 2) == ((9, 15), (5, 8))
    for levels in (0, 4):
        with pytest.raises(ValueError, match=f"levels={levels}: images of 16x24 have 1 to 3"):
            room.pyramid_shapes((16, 24), levels)


def test_planes_are_smooth_and_creases_cost_less_at_edges():
    y, x = jnp.mgrid[:6, :10].astype(jnp.float32)
    plane = 2.0 + 0.3 * x - 0.7 * y
    np.testing.assert_allclose(room.roughness(plane, IMAGES, 0.0, 0.1), 0.0, atol=1e-7)
    crease = jnp.abs(x - 5.0)
    flat, edge = jnp.zeros_like(IMAGES), jnp.broadcast_to(x[None, ..., None] > 5.0, IMAGES.shape)
    cost = room.roughness(crease, flat, 10.0, 0.1)
    # Six rows bend by 2 pixels a pixel: sqrt((2 / 0.1)^2 + 1) - 1 each, over 60 pixels.
    np.testing.assert_allclose(cost, (math.sqrt(401.0) - 1.0) * 6 / 60, rtol=1e-6)
    at_edge = room.roughness(crease, edge.astype(jnp.float32), 10.0, 0.1)
    np.testing.assert_allclose(at_edge, cost * math.exp(-10.0), rtol=1e-5)


def test_block_matching_finds_whole_shifts():
    left = jnp.asarray(RNG.uniform(size=(20, 40, 3)), jnp.float32)
    right = jnp.roll(left, -5, axis=1)
    d = room.block_matching(left, right, 8, window=5)
    assert d.dtype == jnp.float32
    np.testing.assert_array_equal(d[:, 5:35], 5.0)
    assert not (d[:, :5] > np.arange(5.0)[None]).any()


def test_errors_count_known_pixels_alone():
    truth = np.array([[1.0, 2.0], [3.0, 0.0]])
    found = np.array([[1.0, 5.0], [2.0, 99.0]])
    errors = room.disparity_errors(found, truth, [[1, 1], [1, 0]])
    assert errors == pytest.approx({"rmse": math.sqrt(10 / 3), "mae": 4 / 3, "bad2": 1 / 3})


# ---------------------------------------------------------------- likelihoods


def test_schedules_go_from_normal_to_cauchy():
    shape, z = (2, 3, 1), 0.05 * jnp.asarray(RNG.normal(size=(4, 2, 3, 1)), jnp.float32)
    made = {n: room.likelihood(n, shape, scale=0.01, steps=10) for n in room.learning.SCHEDULES}
    at = lambda name, step: made[name].log_prob({}, z, jnp.int32(step))
    normal = -0.5 * (z / 0.01) ** 2 - 0.5 * math.log(2 * math.pi) - math.log(0.01)
    wide = math.sqrt(2.0) * 0.01
    cauchy = -jnp.log1p((z / wide) ** 2) - math.log(math.pi * wide)
    np.testing.assert_allclose(at("normal", 5), normal, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(at("cauchy", 5), cauchy, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(at("annealed", 0), at("normal", 0), rtol=1e-6)
    np.testing.assert_allclose(at("annealed", 5), at("charbonnier", 0), rtol=1e-6)
    for step in (10, 99):
        np.testing.assert_allclose(at("annealed", step), at("cauchy", 0), rtol=1e-6)
    assert made["annealed"].init() == {} and made["annealed"].alpha is None


@pytest.mark.parametrize("shared", [False, True])
def test_learned_shapes_start_in_the_middle(shared):
    shape = (2, 3, 1)
    made = room.likelihood("adaptive", shape, scale=0.01, steps=10, shared=shared)
    params = made.init()
    assert set(params) == {"alpha"}
    np.testing.assert_allclose(made.alpha(params), np.ones(shape), rtol=1e-5)
    z = jnp.full((1, *shape), 0.02).at[0, 0, 0, 0].set(1.0)
    fixed = room.likelihood("charbonnier", shape, scale=0.01, steps=10)
    now = jnp.int32(0)
    np.testing.assert_allclose(made.log_prob(params, z, now), fixed.log_prob({}, z, now), rtol=1e-5)


def test_student_t_learns_its_tails_alone():
    made = room.likelihood("student_t", (2, 3, 1), scale=0.01, steps=10)
    assert set(made.init()) == {"df"} and made.alpha is None


# ---------------------------------------------------------------- what is found


def check_found(likelihood):
    """Better than block matching on planes that hide each other."""
    config = load_config(coarse_steps=70, **{"space.name": "pixels", "space.colour": "rgb"})
    config.update_from_flattened_dict({"likelihood.name": likelihood, "training.steps": 400})
    dataset = stereo.synthetic()
    method, state, metrics = optimised(config, dataset)
    judged = method.evaluate(state, dataset, KEY)
    assert judged.metrics["rmse"] < judged.metrics["block_matching/rmse"]
    assert judged.metrics["bad2"] < 0.06
    rows = {row["disparity"]: row for row in judged.tables["errors"]}
    assert len(rows) == 3 and rows["constant (median)"]["rmse"] > 1.5
    np.testing.assert_array_equal(np.unique(metrics["level"]), [0.0, 1.0, 2.0])
    return method, state, dataset, judged.metrics


def test_a_disparity_is_found_from_zero():
    check_found("charbonnier")


@pytest.mark.slow
def test_a_disparity_is_found_with_learned_shapes():
    method, state, dataset, metrics = check_found("adaptive")
    figures = method.figures(state, dataset, KEY)
    alpha = np.asarray(figures["alpha"].axes[0].images[0].get_array())
    assert set(figures) == {"alpha", "disparity"}
    assert alpha.min() < 0.5 and alpha.max() > 1.5
    # Noise is below the scale; what is hidden is not.
    assert metrics["alpha_above_1.5"] > 0.5 and metrics["alpha_below_0.5"] > 0.02
    x = method.sample(state, KEY, 3)
    assert x.shape == (3, *dataset.spec.domain.shape) and np.isfinite(x).all()
    assert 0.003 < np.median(np.abs(x)) < 0.03


@pytest.mark.slow
def test_the_photographed_pair_is_found_from_zero():
    pytest.importorskip("skimage")
    dataset = stereo.motorcycle()
    errors = {}
    for space, colour in (("pixels", "rgb"), ("cdf97", "yuv")):
        config = load_config("default", **{"space.name": space, "space.colour": colour})
        method, state, _ = optimised(config, dataset)
        errors[space] = method.evaluate(state, dataset, KEY).metrics
    for metrics in errors.values():
        assert metrics["rmse"] < 0.9 * metrics["block_matching/rmse"]
    assert errors["cdf97"]["bad2"] < errors["pixels"]["bad2"] < 0.2


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"levels": 9}, "levels=9: images of 48x64 have 1 to"),
        ({"likelihood.name": "laplace"}, "likelihood.name='laplace': choose normal, charbonnier"),
        ({"smoothness": -1.0}, "smoothness=-1.0"),
        ({"bend": 0.0}, "bend=0.0"),
        ({"likelihood.scale": 0.0, "likelihood.name": "cauchy"}, "likelihood.scale=0.0"),
    ],
)
def test_settings_that_do_not_fit(changes, message):
    with pytest.raises(ValueError, match=message):
        room.build(load_config(**changes), stereo.synthetic().spec)


def test_other_data_are_refused():
    config = load_config()
    spec = stereo.synthetic().spec
    other = type(spec)("digits", spec.domain, spec.value_range, 10, "image")
    with pytest.raises(ValueError, match=r"data\.name='digits': choose stereo/motorcycle"):
        room.build(config, other)
