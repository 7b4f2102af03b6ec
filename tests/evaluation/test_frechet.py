"""Fréchet distance against closed forms."""

import numpy as np
import pytest

from gmkit.evaluation import frechet_distance, frechet_from_moments, moments


def random_covariance(rng, d, rank=None):
    root = rng.normal(size=(d, rank or d))
    return root @ root.T


def test_one_dimension():
    assert frechet_from_moments([1.0], [[4.0]], [3.0], [[9.0]]) == pytest.approx(4.0 + 1.0)


def test_commuting_covariances():
    a, b = np.array([1.0, 4.0, 0.25]), np.array([9.0, 1.0, 0.0])
    mean = np.array([1.0, -2.0, 0.5])
    expected = np.sum(mean**2) + np.sum((np.sqrt(a) - np.sqrt(b)) ** 2)
    got = frechet_from_moments(mean, np.diag(a), np.zeros(3), np.diag(b))
    assert got == pytest.approx(expected, rel=1e-14)


def test_two_dimensions_that_do_not_commute():
    # In two dimensions, tr sqrt(M) = sqrt(tr M + 2 sqrt(det M)) with M = C1 C2.
    c1, c2 = np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([[1.0, -0.3], [-0.3, 1.5]])
    m = c1 @ c2
    cross = np.sqrt(np.trace(m) + 2.0 * np.sqrt(np.linalg.det(m)))
    expected = 0.25 + 1.5**2 + np.trace(c1 + c2) - 2.0 * cross
    got = frechet_from_moments([0.0, 1.0], c1, [0.5, -0.5], c2)
    assert got == pytest.approx(expected, rel=1e-13)
    assert got == pytest.approx(2.963471189606478, rel=1e-12)


def test_matches_the_matrix_square_root():
    from scipy.linalg import sqrtm

    rng = np.random.default_rng(0)
    c1, c2 = random_covariance(rng, 12), random_covariance(rng, 12)
    expected = np.trace(c1 + c2 - 2.0 * np.real(sqrtm(c1 @ c2)))
    assert frechet_from_moments(np.zeros(12), c1, np.zeros(12), c2) == pytest.approx(expected)


def test_symmetric_and_zero_for_equal_moments():
    rng = np.random.default_rng(1)
    c1, c2 = random_covariance(rng, 8), random_covariance(rng, 8, rank=3)
    m1, m2 = rng.normal(size=(2, 8))
    forward = frechet_from_moments(m1, c1, m2, c2)
    assert forward == pytest.approx(frechet_from_moments(m2, c2, m1, c1), rel=1e-12)
    for c in (c1, c2):
        assert frechet_from_moments(m1, c, m1, c) == pytest.approx(0.0, abs=1e-12 * np.trace(c))


@pytest.mark.parametrize("rank", [0, 1, 5])
def test_singular_covariances_cost_no_accuracy(rank):
    # C2 = s^2 C1 gives (1 - s)^2 tr C1 at any rank; errors of a squared spectrum would be 1e-8.
    rng = np.random.default_rng(2)
    c = random_covariance(rng, 40, rank) if rank else np.zeros((40, 40))
    got = frechet_from_moments(np.zeros(40), c, np.zeros(40), 4.0 * c)
    assert got == pytest.approx(np.trace(c), rel=1e-12, abs=1e-14)


def test_disjoint_supports():
    c1, c2 = np.diag([1.0, 0.0]), np.diag([0.0, 1.0])
    assert frechet_from_moments(np.zeros(2), c1, np.zeros(2), c2) == pytest.approx(2.0)


def test_fewer_samples_than_features():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(10, 50))
    assert frechet_distance(x, x) == pytest.approx(0.0, abs=1e-10)
    assert frechet_distance(x, x + 2.0) == pytest.approx(200.0, rel=1e-12)


def test_samples_have_unbiased_moments():
    x = np.array([[0.0, 0.0], [2.0, 0.0], [1.0, 3.0]])
    mean, cov = moments(x)
    np.testing.assert_allclose(mean, [1.0, 1.0])
    np.testing.assert_allclose(cov, np.cov(x, rowvar=False))


def test_orthogonal_maps_do_not_matter():
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(100, 5)), 2.0 * rng.normal(size=(80, 5)) + 1.0
    q, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    assert frechet_distance(x @ q, y @ q) == pytest.approx(frechet_distance(x, y), rel=1e-12)


def test_errors():
    eye = np.eye(2)
    with pytest.raises(ValueError, match="at least 2"):
        frechet_distance(np.zeros((1, 2)), np.zeros((5, 2)))
    with pytest.raises(ValueError, match="one d"):
        frechet_distance(np.zeros((5, 3)), np.zeros((5, 2)))
    with pytest.raises(ValueError, match="moments have shapes"):
        frechet_from_moments(np.zeros(2), eye, np.zeros(3), eye)
    with pytest.raises(ValueError, match="not positive semi-definite"):
        frechet_from_moments(np.zeros(2), eye, np.zeros(2), -eye)
