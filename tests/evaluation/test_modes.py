"""Mode counts against what a perfect sampler gives in closed form."""

import numpy as np
import pytest

from gmkit.data import modes_of
from gmkit.evaluation import class_modes, mixture_modes, stacked_labels


def draw(name, n, seed=0):
    centres, std = modes_of(name)
    rng = np.random.default_rng(seed)
    which = rng.integers(len(centres), size=n)
    return centres[which] + std * rng.standard_normal((n, 2)), centres, std


@pytest.mark.parametrize("name", ["25grid", "plus", "sine", "8gaussians"])
def test_perfect_sampler(name):
    samples, centres, std = draw(name, 200_000)
    report = mixture_modes(samples, centres, std)
    assert report.registered == pytest.approx(1 - np.exp(-4.5), abs=0.0008)
    assert report.covered == len(centres)
    assert report.counts.sum() == round(report.registered * 200_000)
    assert report.reverse_kl == pytest.approx(0.0, abs=5e-4)


def test_perfect_sampler_at_the_radius_of_the_code():
    samples, centres, std = draw("25grid", 2000)
    report = mixture_modes(samples, centres, std, radius=2 * np.sqrt(2))
    assert report.registered == pytest.approx(0.9817, abs=0.006)
    assert report.covered == 25


def test_missing_modes():
    _, centres, std = draw("25grid", 1)
    samples = np.repeat(centres[:5], 400, axis=0)
    report = mixture_modes(samples, centres, std)
    assert (report.covered, report.registered) == (5, 1.0)
    assert report.reverse_kl == pytest.approx(np.log(5))
    # One point for all: the largest divergence.
    alone = mixture_modes(centres[:1], centres, std)
    assert (alone.covered, alone.reverse_kl) == (1, pytest.approx(np.log(25)))


def test_far_points_are_not_registered():
    _, centres, std = draw("8gaussians", 1)
    edge = centres + np.array([3.0 * std, 0.0]) * (1 - 1e-9)
    assert mixture_modes(edge, centres, std).registered == 1.0
    report = mixture_modes(centres + np.array([3.01 * std, 0.0]), centres, std)
    assert (report.covered, report.registered) == (0, 0.0)


@pytest.mark.parametrize("n", [2000, 700, 100])
def test_coverage_needs_one_in_a_hundred(n):
    centres, far = np.zeros((1, 2)), np.full((n, 2), 9.0)
    for hits, covered in ((n // 100 - 1, 0), (n // 100, 1)):
        samples = far.copy()
        samples[:hits] = 0.0
        assert mixture_modes(samples, centres, 1.0).covered == covered


def test_order_does_not_matter():
    samples, centres, std = draw("plus", 500)
    rng = np.random.default_rng(1)
    modes = rng.permutation(len(centres))
    first = mixture_modes(samples, centres, std)
    again = mixture_modes(rng.permutation(samples), centres[modes], std)
    assert first[:2] == again[:2] and again.reverse_kl == pytest.approx(first.reverse_kl)
    np.testing.assert_array_equal(first.counts[modes], again.counts)


def test_mixture_errors():
    samples, centres, std = draw("plus", 10)
    for bad in (samples[:0], samples[:, :1], np.full((3, 2), np.nan)):
        with pytest.raises(ValueError, match="feature"):
            mixture_modes(bad, centres, std)
    with pytest.raises(ValueError, match="std=0"):
        mixture_modes(samples, centres, 0.0)
    with pytest.raises(ValueError, match="radius=-1"):
        mixture_modes(samples, centres, std, radius=-1.0)
    with pytest.raises(ValueError, match="least=0"):
        mixture_modes(samples, centres, std, least=0.0)


def test_uniform_triples():
    labels = np.random.default_rng(0).integers(1000, size=25_600)
    report = class_modes(labels, 1000)
    assert report.modes == 1000
    assert report.kl == pytest.approx(999 / (2 * 25_600), abs=0.0015)
    assert class_modes(np.random.default_rng(1).permutation(labels), 1000) == report


def test_class_limits():
    assert class_modes(np.arange(1000), 1000) == (1000, 0.0)
    one = class_modes(np.full(7, 999), 1000)
    assert one.modes == 1 and one.kl == pytest.approx(np.log(1000))
    half = class_modes(np.arange(500), 1000)
    assert half.modes == 500 and half.kl == pytest.approx(np.log(2))
    assert class_modes(np.zeros(3, int), 1) == (1, 0.0)


@pytest.mark.parametrize("labels", [[], [[1]], [0.5], [10], [-1]])
def test_label_errors(labels):
    with pytest.raises(ValueError, match="labels"):
        class_modes(np.array(labels), 10)


def test_stacked_labels():
    # Flat channels whose grey says the class, read off by a perfect classifier.
    digits = np.random.default_rng(0).integers(10, size=(50, 3))
    images = np.broadcast_to(digits[:, None, None] / 10.0, (50, 4, 4, 3)).astype(np.float32)
    classify = lambda x: np.eye(10)[np.rint(10 * x.mean(axis=(1, 2, 3))).astype(int)]
    labels = stacked_labels(images, classify)
    np.testing.assert_array_equal(labels, digits @ [100, 10, 1])
    with pytest.raises(ValueError, match="3 stacked channels"):
        stacked_labels(images[..., :1], classify)
