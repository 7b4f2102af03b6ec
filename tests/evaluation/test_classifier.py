"""The trained feature space: accuracy, cache, fingerprint."""

import logging

import numpy as np
import pytest

from gmkit.evaluation import classifier_features, trained_classifier


@pytest.fixture(scope="module")
def digits():
    from sklearn.datasets import load_digits

    bunch = load_digits()
    order = np.random.default_rng(0).permutation(len(bunch.target))
    images = (bunch.images / 8.0 - 1.0).astype(np.float32)[..., None]
    split = lambda rows: {"image": images[rows], "label": bunch.target[rows]}
    return split(order[:1437]), split(order[1437:])


@pytest.fixture(scope="module")
def trained(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    return folder, classifier_features(*digits, 10, folder)


def quick(digits, folder, **options):
    options = {"steps": 2, **options}
    return classifier_features(*digits, 10, folder, **options)


def test_learns_the_digits(trained):
    _, features = trained
    assert features.info["test_accuracy"] >= 0.97
    assert features.name == "clf"
    assert len(features.fingerprint) == 8


def test_features_have_a_unit(trained, digits):
    _, features = trained
    values = features.apply(digits[0]["image"])
    assert values.shape == (1437, 64)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values.mean(axis=0), 0.0, atol=1e-4)
    assert np.cov(values, rowvar=False).trace() == pytest.approx(64.0, rel=2e-3)


def test_features_tell_classes_apart(trained, digits):
    # Nearest class mean in feature space, which was never trained for that.
    _, features = trained
    train, test = digits
    x, y = features.apply(train["image"]), features.apply(test["image"])
    means = np.stack([x[train["label"] == c].mean(axis=0) for c in range(10)])
    nearest = np.linalg.norm(y[:, None] - means[None], axis=2).argmin(axis=1)
    assert np.mean(nearest == test["label"]) > 0.9


def test_second_call_loads_the_same_space(trained, digits, monkeypatch):
    folder, features = trained
    monkeypatch.setattr("gmkit.evaluation.classifier._build", None)  # training would fail
    again = classifier_features(*digits, 10, folder)
    assert again.label == features.label
    assert again.info == features.info
    x = digits[1]["image"][:33]
    np.testing.assert_array_equal(again.apply(x), features.apply(x))
    assert [p.suffix for p in folder.iterdir()] == [".npz"]


def test_probabilities_of_the_same_network(trained, digits, monkeypatch):
    folder, features = trained
    monkeypatch.setattr("gmkit.evaluation.classifier._build", None)
    classifier = trained_classifier(*digits, 10, folder)
    assert classifier.features.label == features.label
    test = digits[1]
    p = classifier.probabilities(test["image"])
    assert p.shape == (360, 10) and p.dtype == np.float32
    np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=1e-5)
    assert np.mean(p.argmax(axis=1) == test["label"]) == features.info["test_accuracy"]
    logits = classifier.logits(test["image"])
    np.testing.assert_allclose(
        np.log(p[:, 1:] / p[:, :1]), logits[:, 1:] - logits[:, :1], atol=1e-3
    )
    # Smoothed labels: sure of its answers, but not more than it was taught.
    assert 0.8 < p.max(axis=1).mean() < 0.95
    assert classifier.probabilities(test["image"][:0]).shape == (0, 10)
    with pytest.raises(ValueError, match="expected images"):
        classifier.probabilities(test["image"][0])


@pytest.mark.slow
def test_cache_key_follows_data_and_settings(digits, tmp_path):
    quick(digits, tmp_path)
    quick(digits, tmp_path, seed=1)
    quick(digits, tmp_path, steps=1)
    other = {**digits[0], "image": digits[0]["image"] * 0.5}
    quick((other, digits[1]), tmp_path)
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("damage", ["cut", "byte", "text", "entries"])
def test_damaged_cache_is_rebuilt_and_said(digits, tmp_path, caplog, damage):
    features = quick(digits, tmp_path)
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "byte":
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)
    elif damage == "text":
        path.write_text("not an archive")
    else:
        np.savez(path, mean=np.zeros(64))
    with caplog.at_level(logging.WARNING):
        rebuilt = quick(digits, tmp_path)
    assert len(caplog.records) == 1
    assert "training it again" in caplog.text
    assert rebuilt.label == features.label
    caplog.clear()
    assert quick(digits, tmp_path).label == features.label
    assert not caplog.records


@pytest.mark.slow
def test_other_shapes(tmp_path):
    rng = np.random.default_rng(0)
    data = {"image": rng.uniform(-1, 1, (5, 28, 20, 3)), "label": np.arange(5)}
    features = classifier_features(data, data, 5, tmp_path, steps=1, flip=True)
    assert features.apply(data["image"]).shape == (5, 64)
    assert features.apply(data["image"][:0]).shape == (0, 64)
    with pytest.raises(ValueError, match="expected images"):
        features.apply(np.zeros((2, 28, 28, 3)))


def test_errors(digits, tmp_path):
    train, test = digits
    with pytest.raises(ValueError, match='train has no "label"'):
        classifier_features({"image": train["image"]}, test, 10, tmp_path)
    with pytest.raises(ValueError, match="0 to 9: expected 0 to 4"):
        classifier_features(train, test, 5, tmp_path)
    raw = np.zeros((1437, 8, 8, 1), np.uint8)
    with pytest.raises(ValueError, match="decode to floats"):
        classifier_features({**train, "image": raw}, test, 10, tmp_path)
    with pytest.raises(ValueError, match="one integer per image"):
        classifier_features({**train, "label": train["label"][:5]}, test, 10, tmp_path)
    with pytest.raises(ValueError, match="steps=0"):
        classifier_features(train, test, 10, tmp_path, steps=0)
