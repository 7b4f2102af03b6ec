"""Precision, recall, density and coverage on sets with known answers."""

import numpy as np
import pytest

from gmkit.evaluation import prdc


def reference_prdc(real, generated, k):
    """The definitions, one pair at a time."""

    def radius(points, i):
        return sorted(np.linalg.norm(points[i] - p) for j, p in enumerate(points) if j != i)[k - 1]

    def inside(a, b, r, closed=True):
        distance = np.linalg.norm(a - b)
        return distance <= r if closed else distance < r

    real_radii = [radius(real, i) for i in range(len(real))]
    generated_radii = [radius(generated, i) for i in range(len(generated))]
    balls = list(zip(real, real_radii, strict=True))
    other = list(zip(generated, generated_radii, strict=True))
    return (
        np.mean([any(inside(g, c, r) for c, r in balls) for g in generated]),
        np.mean([any(inside(x, c, r) for c, r in other) for x in real]),
        np.mean([sum(inside(g, c, r, closed=False) for c, r in balls) for g in generated]) / k,
        np.mean([any(inside(g, c, r) for g in generated) for c, r in balls]),
    )


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("chunk", [4, 1000])
def test_matches_the_definitions(k, chunk):
    rng = np.random.default_rng(0)
    real, generated = rng.normal(size=(25, 3)), 0.6 * rng.normal(size=(31, 3)) + 0.4
    np.testing.assert_allclose(
        prdc(real, generated, k=k, chunk=chunk), reference_prdc(real, generated, k)
    )


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_a_set_against_itself(offset):
    x = np.random.default_rng(1).normal(size=(300, 16)) + offset
    assert prdc(x, x, k=5, chunk=64) == (1.0, 1.0, 1.0, 1.0)
    shuffled = np.random.default_rng(2).permutation(x)
    assert prdc(x, shuffled, k=5, chunk=77) == (1.0, 1.0, 1.0, 1.0)


def test_disjoint_sets():
    x = np.random.default_rng(3).normal(size=(40, 4))
    assert prdc(x, x + 100.0) == (0.0, 0.0, 0.0, 0.0)


def test_half_of_the_modes():
    # The generator makes one of two modes, well: precise, half recalled, half covered.
    rng = np.random.default_rng(4)
    mode = rng.normal(size=(50, 2))
    real = np.concatenate([mode, mode + 1000.0])
    result = prdc(real, mode, k=3)
    assert result.precision == 1.0
    assert result.recall == 0.5
    assert result.coverage == 0.5


def test_repeated_points_have_balls_of_radius_zero():
    real = np.repeat([[0.0, 0.0], [5.0, 5.0]], 4, axis=0)
    hit = prdc(real, np.repeat([[0.0, 0.0]], 4, axis=0), k=2)
    assert (hit.precision, hit.recall, hit.density, hit.coverage) == (1.0, 0.5, 0.0, 0.5)
    missed = prdc(real, np.repeat([[0.0, 1e-3]], 4, axis=0), k=2)
    assert missed == (0.0, 0.0, 0.0, 0.0)


def test_equal_distributions_reach_the_expected_coverage():
    # Coverage under equality: 1 - prod_{i<k} (n - 1 - i) / (n + m - 1 - i) (Naeem et al. 2020).
    rng = np.random.default_rng(5)
    n, k = 500, 3
    i = np.arange(k)
    expected = 1.0 - np.prod((n - 1 - i) / (2 * n - 1 - i))
    results = [prdc(*rng.normal(size=(2, n, 4)), k=k) for _ in range(8)]
    assert np.mean([r.coverage for r in results]) == pytest.approx(expected, abs=0.02)
    assert np.mean([r.density for r in results]) == pytest.approx(1.0, abs=0.05)


def test_errors():
    x = np.zeros((5, 2))
    with pytest.raises(ValueError, match="5 rows: at least 6"):
        prdc(x, x, k=5)
    with pytest.raises(ValueError, match="k=0"):
        prdc(x, x, k=0)
    with pytest.raises(ValueError, match="one d"):
        prdc(np.zeros((9, 2)), np.zeros((9, 3)))
