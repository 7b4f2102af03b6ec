"""Optimal pairing, gradient directions and slope statistics."""

import itertools

import numpy as np
import pytest

from gmkit.data import atoms_of
from gmkit.evaluation import gradient_cosines, optimal_transport, slopes, wasserstein_1d


def test_translated_points_go_straight():
    fake = np.random.default_rng(0).normal(size=(20, 3))
    step = np.array([1.0, -2.0, 2.0])
    # Euclidean transport of a translation costs its length, whatever the pairing.
    assert optimal_transport(fake, fake + step).distance == pytest.approx(3.0)
    far = fake + 1e3 * step
    cosines = gradient_cosines(np.tile(step, (20, 1)), fake, far)
    np.testing.assert_allclose(cosines.partner, 1.0, atol=1e-5)
    small = fake + 1e-3 * step
    pairing = optimal_transport(fake, small)
    np.testing.assert_array_equal(pairing.partners, np.arange(20))
    cosines = gradient_cosines(np.tile(step, (20, 1)), fake, small)
    np.testing.assert_allclose(cosines.partner, 1.0, rtol=1e-9)
    against = gradient_cosines(np.tile(-step, (20, 1)), fake, small)
    np.testing.assert_allclose(against.partner, -1.0, rtol=1e-9)
    assert (against.best >= against.partner).all()


def test_five_pairs():
    real, fake = atoms_of("five_pairs")
    pairing = optimal_transport(fake, real)
    assert pairing.distance == pytest.approx(0.52184, abs=5e-6)
    costs = np.linalg.norm(fake[:, None] - real[None], axis=2)
    every = [costs[np.arange(5), list(p)].mean() for p in itertools.permutations(range(5))]
    assert pairing.distance == pytest.approx(min(every), rel=1e-12)
    directions = real[pairing.partners] - fake
    np.testing.assert_allclose(gradient_cosines(directions, fake, real).partner, 1.0)


def test_best_is_the_nearest_in_angle():
    fake, real = np.zeros((2, 2)), np.array([[1.0, 0.0], [0.0, 1.0]])
    fake[1] = (5.0, 5.0)
    got = gradient_cosines(np.array([[0.0, 2.0], [-1.0, -1.0]]), fake, real)
    # Either pairing costs the same here; one of the two cosines of the first fake is best.
    assert got.best[0] == pytest.approx(1.0)
    assert got.partner[0] in (pytest.approx(0.0), pytest.approx(1.0))
    assert got.best[1] == pytest.approx(9 / np.sqrt(2 * 41))


def test_order_does_not_matter():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 12, 2))
    p, q = rng.permutation(12), rng.permutation(12)
    first, again = optimal_transport(x, y), optimal_transport(x[p], y[q])
    assert first.distance == pytest.approx(again.distance)
    np.testing.assert_array_equal(q[again.partners], first.partners[p])
    assert optimal_transport(y, x).distance == pytest.approx(first.distance)


def test_one_dimension_agrees_with_the_sorted_samples():
    x, y = np.random.default_rng(0).normal(size=(2, 40))
    distance = optimal_transport(x[:, None], y[:, None]).distance
    assert distance == pytest.approx(wasserstein_1d(x, y))


def test_points_without_direction():
    x = np.array([[1.0, 0.0]])
    assert optimal_transport(x, x) == (0.0, np.array([0]))
    assert gradient_cosines(x, x, x) == (np.zeros(1), np.zeros(1))
    assert gradient_cosines(0 * x, x, 2 * x) == (np.zeros(1), np.zeros(1))


def test_transport_errors():
    x = np.zeros((3, 2))
    with pytest.raises(ValueError, match="3 and 2 rows"):
        optimal_transport(x, x[:2])
    with pytest.raises(ValueError, match="0 rows"):
        optimal_transport(x[:0], x[:0])
    with pytest.raises(ValueError, match="2 gradients, 3 fakes"):
        gradient_cosines(x[:2], x, x)
    with pytest.raises(ValueError, match="not finite"):
        optimal_transport(x, np.full((3, 2), np.inf))


def test_slopes():
    gradients = np.array([[[3.0], [4.0]], [[0.0], [1.0]], [[6.0], [0.0]]])
    assert slopes(gradients) == pytest.approx((6.0, 4.0, 1.0, 6.0))
    assert slopes(np.ones((4, 2))).spread == pytest.approx(1.0)
    assert slopes(np.zeros((2, 3))) == (0.0, 0.0, 0.0, 1.0)
    assert slopes(np.array([[0.0], [2.0]])).spread == np.inf
    with pytest.raises(ValueError, match="0 rows"):
        slopes(np.zeros((0, 2)))
    with pytest.raises(ValueError, match="not finite"):
        slopes(np.array([[np.nan]]))
