import jax.numpy as jnp
import numpy as np
import pytest

from gmkit import reporting


@pytest.mark.parametrize(
    ("shape", "drawn"),
    [
        ((5, 8, 8, 1), True), ((120, 4, 4, 3), True), ((9, 2), True), ((9, 1), True), ((9,), True),
        ((9, 5), False), ((0, 2), False), ((0, 8, 8, 1), False), ((3, 4, 4, 2), False),
    ],
)  # fmt: skip
def test_numbers_always_and_a_picture_where_possible(tmp_path, shape, drawn):
    samples = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    paths = reporting.save_samples(tmp_path / "samples", samples, "draws")
    with np.load(paths["npz"]) as stored:
        np.testing.assert_array_equal(stored["samples"], samples)
    assert ("png" in paths) == drawn
    names = {path.name for path in (tmp_path / "samples").iterdir()}
    assert names == {"draws.npz", "draws.png"} if drawn else names == {"draws.npz"}


def test_a_dict_is_stored_by_key_and_its_image_drawn(tmp_path):
    samples = {"image": jnp.zeros((2, 8, 8, 1), jnp.bfloat16), "label": np.arange(2)}
    paths = reporting.save_samples(tmp_path, samples)
    with np.load(paths["npz"]) as stored:
        assert stored["image"].dtype == np.float32
        assert sorted(stored) == ["image", "label"]
    assert "png" in paths
    assert "png" not in reporting.save_samples(tmp_path, {"nodes": np.zeros((2, 3))}, "graphs")
