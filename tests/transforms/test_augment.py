"""Augmentations: exact where they can be, neutral at p = 0, and the rule for p."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit.transforms import augment as room

IMAGES = np.random.default_rng(0).normal(size=(16, 8, 8, 3)).astype(np.float32)
run = jax.jit(room.augmented, static_argnames="kind")


def test_the_filter_is_orthonormal():
    taps = np.asarray(room.taps())
    assert taps.sum() == pytest.approx(np.sqrt(2))
    overlaps = [taps[2 * s :] @ taps[: len(taps) - 2 * s] for s in range(6)]
    np.testing.assert_allclose(overlaps, [1, 0, 0, 0, 0, 0], atol=1e-10)


@pytest.mark.parametrize("kind", ["blit", "bgc"])
def test_nothing_happens_at_probability_zero(key, kind):
    np.testing.assert_allclose(run(IMAGES, key, 0.0, kind=kind), IMAGES, atol=2e-5)


def test_blits_move_whole_pixels():
    ramp = np.arange(64, dtype=np.float32).reshape(1, 8, 8, 1)
    many = np.repeat(ramp, 256, axis=0)
    y = np.asarray(run(many, jax.random.key(1), 1.0, kind="blit"))
    assert set(np.unique(y)) <= set(range(64))
    # Each of the 8 flips and turns occurs, and shifts by at most an eighth: 1 pixel.
    turned = {np.rot90(f, k).tobytes() for f in (ramp[0], ramp[0, :, ::-1]) for k in range(4)}
    assert len({x.tobytes() for x in y} & turned) == 8
    inner = {frozenset(np.unique(x[2:6, 2:6])) for x in y}
    assert len(inner) == 9
    assert all(min(s) >= 9 for s in inner)


def test_the_general_path_shifts_as_the_exact_one():
    """Doubling, sampling and halving; the filter is not symmetric, so flips are not exact."""
    shifts = [(1.0, 0.0), (-1.0, 1.0), (0.0, -1.0)]
    matrices = jnp.stack([room._shift(*s) for s in shifts])
    images = jnp.asarray(IMAGES[:3])
    exact = jax.vmap(room._moved)(images, matrices)
    np.testing.assert_allclose(jax.jit(room._resampled)(images, matrices), exact, atol=2e-5)


def test_a_turn_of_a_smooth_image():
    y, x = np.mgrid[:16, :16] - 7.5
    image = np.exp(-((x - 2) ** 2 + (y + 1) ** 2) / 20).astype(np.float32)[None, ..., None]
    # Output pixel (x, y) shows what was at (-y, x).
    turn = room._turn(jnp.asarray(np.pi / 2))[None]
    expected = np.exp(-((-y - 2) ** 2 + (x + 1) ** 2) / 20)
    found = jax.jit(room._resampled)(jnp.asarray(image), turn)[0, ..., 0]
    np.testing.assert_allclose(found, expected, atol=0.03)


def test_colours_keep_grey_and_act_alike_on_every_pixel(key):
    colours = jax.vmap(lambda k: room._colour(k, 1.0))(jax.random.split(key, 32))
    grey = colours[:, :, :3] @ jnp.ones(3)
    np.testing.assert_allclose(
        grey, jnp.broadcast_to(grey.mean(1, keepdims=True), grey.shape), atol=1e-5
    )
    # A luma flip reverses brightness and is a reflection.
    signs = np.sign(np.linalg.det(np.asarray(colours[:, :, :3])))
    assert set(signs) == {-1.0, 1.0}


def test_gradients_reach_the_images(key):
    total = lambda x: jnp.sum(jnp.square(room.augmented(x, key, 0.8, "bgc")))
    slope = jax.jit(jax.grad(total))(IMAGES)
    assert np.isfinite(slope).all() and np.abs(slope).max() > 0


def test_the_probability_moves_at_its_rate():
    up = room.updated_probability(jnp.asarray(0.5), jnp.asarray(0.9), 256)
    assert float(up) == pytest.approx(0.5 + 256 / 500_000)
    assert float(room.updated_probability(jnp.asarray(1e-6), jnp.asarray(0.1), 256)) == 0.0
    assert float(room.updated_probability(jnp.asarray(1.0), jnp.asarray(0.9), 500)) > 1.0


def test_unknown_names_and_shapes(key):
    with pytest.raises(ValueError, match="augmentations 'all'"):
        room.augmented(IMAGES, key, 0.5, "all")
    with pytest.raises(ValueError, match="square grey or RGB"):
        room.augmented(IMAGES[:, :4], key, 0.5)
