"""The relative MMD test: level, power, symmetry."""

import numpy as np
import pytest

from gmkit.evaluation import mmd2_unbiased, relative_mmd_test


def draws(rng, n, shift, d=3):
    return rng.normal(size=(n, d)) + shift


def p_values(shift_x, shift_y, trials=200, sizes=(120, 150, 100)):
    rng = np.random.default_rng(0)
    r, n, m = sizes
    return np.array(
        [
            relative_mmd_test(draws(rng, r, 0.0), draws(rng, n, shift_x), draws(rng, m, shift_y))
            for _ in range(trials)
        ]
    )


def test_uniform_where_both_are_equally_wrong():
    from scipy.stats import kstest

    p = p_values(0.4, 0.4)
    assert kstest(p, "uniform").pvalue > 0.01
    assert np.mean(p < 0.05) < 0.1


def test_conservative_where_both_are_right():
    p = p_values(0.0, 0.0)
    assert 0.4 < p.mean() < 0.6
    assert np.mean(p < 0.05) <= 0.05
    assert np.mean(p > 0.95) <= 0.05


def test_small_where_new_is_better_and_large_where_it_is_worse():
    assert p_values(0.1, 0.8, trials=10).max() < 1e-3
    assert p_values(0.8, 0.1, trials=10).min() > 1.0 - 1e-3


def test_exchanging_new_and_old_mirrors_the_p_value():
    rng = np.random.default_rng(1)
    reference, x, y = draws(rng, 60, 0.0), draws(rng, 40, 0.2), draws(rng, 50, 0.3)
    p = relative_mmd_test(reference, x, y)
    assert relative_mmd_test(reference, y, x) == pytest.approx(1.0 - p)
    assert relative_mmd_test(reference, x, x) == 0.5


def test_decides_by_the_difference_of_the_unbiased_estimates():
    rng = np.random.default_rng(2)
    for _ in range(10):
        reference, x, y = (draws(rng, 30, 0.1) for _ in range(3))
        closer = mmd2_unbiased(reference, x) < mmd2_unbiased(reference, y)
        assert (relative_mmd_test(reference, x, y) < 0.5) == closer


def test_chunks_do_not_matter():
    rng = np.random.default_rng(3)
    sets = draws(rng, 33, 0.0), draws(rng, 21, 0.2), draws(rng, 10, 0.3)
    assert relative_mmd_test(*sets, chunk=7) == pytest.approx(relative_mmd_test(*sets))


def test_constant_features():
    zeros, ones = np.zeros((4, 2)), np.ones((4, 2))
    assert relative_mmd_test(zeros, zeros, ones) == 0.0
    assert relative_mmd_test(zeros, ones, zeros) == 1.0
    assert relative_mmd_test(zeros, ones, ones) == 0.5


def test_errors():
    x = np.zeros((4, 2))
    with pytest.raises(ValueError, match="at least 2"):
        relative_mmd_test(x, x[:1], x)
    with pytest.raises(ValueError, match="one d"):
        relative_mmd_test(x, np.zeros((4, 3)), x)
