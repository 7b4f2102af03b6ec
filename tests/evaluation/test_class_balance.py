"""Entropy, rare classes, confidence, and the correlation of pair distances."""

import numpy as np
import pytest

from gmkit.evaluation import class_balance, pair_distance_correlation


def test_even_classes():
    report = class_balance(np.tile(np.eye(10), (3, 1)))
    assert report.entropy == pytest.approx(1.0) and report.rare == 0
    assert report.confidence == 1.0
    np.testing.assert_allclose(report.shares, 0.1)


def test_one_class():
    p = np.tile([0.1, 0.6, 0.3], (5, 1))
    report = class_balance(p)
    assert (report.entropy, report.rare) == (0.0, 2)
    assert report.confidence == pytest.approx(0.6)


def test_rare_classes_and_entropy():
    labels = np.array([0] * 989 + [1] * 9 + [2] * 2)
    report = class_balance(np.eye(4)[labels])
    assert report.rare == 3
    shares = np.array([0.989, 0.009, 0.002])
    assert report.entropy == pytest.approx(-(shares * np.log(shares)).sum() / np.log(4))
    mixed = class_balance(np.eye(4)[np.random.default_rng(0).permutation(labels)])
    assert mixed.entropy == report.entropy
    # Exactly one per cent is not below it.
    assert class_balance(np.eye(2)[np.array([0] * 99 + [1])]).rare == 0


def test_balance_errors():
    with pytest.raises(ValueError, match="0 rows"):
        class_balance(np.zeros((0, 3)))
    with pytest.raises(ValueError, match="at least 2 classes"):
        class_balance(np.ones((3, 1)))
    for bad in ([[2.0, -1.0]], [[0.5, 0.6]]):
        with pytest.raises(ValueError, match="not logits"):
            class_balance(np.array(bad))


def test_isometries_correlate_fully():
    z = np.random.default_rng(0).uniform(-1, 1, (300, 2))
    angle = 0.7
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    assert pair_distance_correlation(z, 3 * z @ turn + 5) == pytest.approx(1.0)


def test_unrelated_features_do_not_correlate():
    rng = np.random.default_rng(0)
    value = pair_distance_correlation(rng.normal(size=(2000, 2)), rng.normal(size=(2000, 4)))
    assert abs(value) < 0.05


def test_collapse_correlates_with_nothing():
    z = np.random.default_rng(0).normal(size=(50, 2))
    assert pair_distance_correlation(z, np.full((50, 3), 0.1)) == 0.0
    # Two rows have one distance.
    assert pair_distance_correlation(z[:2], z[:2]) == 0.0


def test_pair_errors():
    z = np.random.default_rng(0).normal(size=(5, 2))
    with pytest.raises(ValueError, match="one feature row per latent"):
        pair_distance_correlation(z, z[:4])
    with pytest.raises(ValueError, match="at least 2"):
        pair_distance_correlation(z[:1], z[:1])
    with pytest.raises(ValueError, match="pairs=1"):
        pair_distance_correlation(z, z, pairs=1)
