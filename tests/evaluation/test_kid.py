"""Kernel inception distance: hand-computed values and unbiasedness."""

import numpy as np
import pytest

from gmkit.evaluation import cubic_kernel, kid, mmd2_unbiased

X = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
Y = np.array([[2.0, 0.0], [0.0, 2.0], [1.0, -1.0]])


def test_kernel_by_hand():
    np.testing.assert_allclose(cubic_kernel(X[:1], Y), [[1.0, 8.0, 0.125]])


def test_mmd_by_hand():
    within_x = (1.0 + 3.375 + 3.375) / 3.0
    within_y = (1.0 + 8.0 + 0.0) / 3.0
    across = (1.0 + 8.0 + 0.125 + 8.0 + 1.0 + 3.375 + 8.0 + 8.0 + 1.0) / 9.0
    assert mmd2_unbiased(X, Y) == pytest.approx(within_x + within_y - 2.0 * across)
    assert mmd2_unbiased(X, Y) == pytest.approx(-2.9722222222)


def test_subsets_of_everything_are_the_full_estimate():
    result = kid(X, Y, subset_size=3, subsets=4)
    assert result.mean == pytest.approx(mmd2_unbiased(X, Y))
    assert result.std == pytest.approx(0.0, abs=1e-12)


def test_unbiased_for_equal_distributions():
    rng = np.random.default_rng(0)
    values = [mmd2_unbiased(*rng.normal(size=(2, 30, 4))) for _ in range(400)]
    assert abs(np.mean(values)) < 4.0 * np.std(values) / np.sqrt(len(values))
    assert min(values) < 0.0


def test_mean_shift_has_its_population_value():
    # In one dimension k = (xy + 1)^3, so MMD^2 = sum_j binom(3, j) (E x^j - E y^j)^2; for N(0, 1)
    # and N(1, 1) the moment differences are 1, 1, 4: 3 + 3 + 16.
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(5_000, 1)), rng.normal(size=(5_000, 1)) + 1.0
    result = kid(x, y, subsets=40, subset_size=500)
    assert result.mean == pytest.approx(22.0, abs=4.0 * result.std / np.sqrt(20))


def test_seed_decides():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(2, 50, 3))
    assert kid(x, y, seed=1) == kid(x, y, seed=1)
    assert kid(x, y, seed=1) != kid(x, y, seed=2)
    assert kid(x, y).subset_size == 25


def test_errors():
    with pytest.raises(ValueError, match="subset_size=4: choose 2 to 3"):
        kid(X, Y, subset_size=4)
    with pytest.raises(ValueError, match="subset_size=1"):
        kid(X, Y, subset_size=1)
    with pytest.raises(ValueError, match="subsets=0"):
        kid(X, Y, subsets=0)
    with pytest.raises(ValueError, match="at least 2"):
        mmd2_unbiased(X[:1], Y)
