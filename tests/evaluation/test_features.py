"""Feature spaces: shapes, batching, fingerprints."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit.evaluation import Features, in_batches, pixel_features
from gmkit.evaluation.features import check_features, fingerprint


def test_pixel_features_flatten():
    features = pixel_features(12)
    x = np.arange(24.0).reshape(2, 2, 2, 3)
    np.testing.assert_array_equal(features.apply(x), x.reshape(2, 12).astype(np.float32))
    assert features.apply(x).dtype == np.float32
    assert features.label == "pixel-12d"
    assert features.apply(x[:0]).shape == (0, 12)


def test_pixel_features_of_another_size_are_refused():
    with pytest.raises(ValueError, match="expected 5 values"):
        pixel_features(5).apply(np.zeros((3, 4)))


@pytest.mark.parametrize("n", [0, 1, 4, 10])
def test_in_batches_compiles_once_and_drops_the_padding(n):
    traces = []

    @jax.jit
    def double(x):
        traces.append(x.shape)
        return jnp.stack([x, 2.0 * x], axis=1)

    x = np.arange(n, dtype=np.float32)
    got = in_batches(double, x, batch_size=4)
    np.testing.assert_array_equal(got, np.stack([x, 2.0 * x], axis=1))
    assert traces == [(4,)]


def test_fingerprint_sees_values_names_shapes_and_types():
    a = {"w": np.arange(6.0), "b": np.zeros(2)}
    variants = [
        a,
        {"w": np.arange(6.0).reshape(2, 3), "b": np.zeros(2)},
        {"w": np.arange(6.0) + 1e-12, "b": np.zeros(2)},
        {"v": np.arange(6.0), "b": np.zeros(2)},
        {"w": np.arange(6.0, dtype=np.float32), "b": np.zeros(2)},
    ]
    assert len({fingerprint(v) for v in variants}) == len(variants)
    assert fingerprint(dict(reversed(a.items()))) == fingerprint(a)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ((np.zeros(3),), "expected \\(n, d\\)"),
        ((np.zeros((3, 2)), np.zeros((3, 4))), "one d"),
        ((np.zeros((1, 2)),), "at least 2"),
        ((np.zeros((0, 2)),), "at least 2"),
        ((np.array([[0.0, 1.0], [np.nan, 0.0]]),), "1 of 2 feature rows are not finite"),
    ],
)
def test_feature_sets_that_do_not_fit(arrays, message):
    with pytest.raises(ValueError, match=message):
        check_features(*arrays)


def test_features_label_carries_the_fingerprint():
    features = Features("clf", "3fa2c19e", 2, lambda x: x)
    assert features.label == "clf-3fa2c19e"
