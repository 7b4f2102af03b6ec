"""Reports carry their feature space and sample counts."""

import json

import numpy as np
import pytest

from gmkit.evaluation import (
    Features,
    frechet_distance,
    kid,
    metric_key,
    pixel_features,
    prdc,
    quality,
)

METRICS = {"fd", "kid", "kid_std", "precision", "recall", "density", "coverage"}


def test_key():
    features = Features("clf", "3fa2c19e", 64, lambda x: x)
    assert metric_key("fd", features, 360, 1000) == "fd[clf-3fa2c19e;360x1000]"


def test_report():
    rng = np.random.default_rng(0)
    features = pixel_features(3)
    real, generated = rng.normal(size=(40, 3)), rng.normal(size=(60, 3)) + 0.5
    report = quality(features, real, generated, "base", k=3)
    assert set(report.values) == {f"{name}_base" for name in METRICS}
    assert report.values["fd_base"] == frechet_distance(real, generated)
    assert report.values["kid_base"] == kid(real, generated).mean
    assert report.values["recall_base"] == prdc(real, generated, k=3).recall
    assert report.keyed["fd_base[pixel-3d;40x60]"] == report.values["fd_base"]
    assert len(report.keyed) == len(report.values)
    assert report.provenance["fingerprint"] == "3d"
    assert (report.provenance["n_real"], report.provenance["n_generated"]) == (40, 60)
    json.dumps(report._asdict())


def test_without_a_name_and_with_info():
    features = Features("clf", "ab", 2, lambda x: x, {"test_accuracy": 0.98})
    x = np.random.default_rng(1).normal(size=(20, 2))
    report = quality(features, x, x)
    assert set(report.values) == METRICS
    assert report.values["fd"] == pytest.approx(0.0, abs=1e-12)
    assert report.provenance["test_accuracy"] == 0.98


def test_features_of_another_space_are_refused():
    x = np.zeros((20, 3))
    with pytest.raises(ValueError, match="sets have 3 features, pixel-2d has 2"):
        quality(pixel_features(2), x, x)
