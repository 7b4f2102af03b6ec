"""Density baselines against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from gmkit import evaluation

RNG = np.random.default_rng(0)
ROOT = np.array([[1.0, 0.0, 0.0], [0.5, 2.0, 0.0], [-0.3, 0.4, 0.5]])


def gaussian(n: int) -> np.ndarray:
    return RNG.normal(size=(n, 3)) @ ROOT.T + 1.0


def test_gaussian_baseline_is_the_closed_form() -> None:
    train, test = gaussian(2000), gaussian(5000)
    mean, cov = train.mean(0), np.cov(train.T, bias=True)
    centred = test - mean
    quadratic = np.einsum("ni,ij,nj->n", centred, np.linalg.inv(cov), centred)
    values = 0.5 * (quadratic + np.linalg.slogdet(cov)[1] + 3 * np.log(2 * np.pi))
    found = evaluation.gaussian_baseline(train, test)
    assert found.nll == pytest.approx(values.mean(), abs=1e-4)
    assert found.nll_stderr == pytest.approx(values.std(ddof=1) / np.sqrt(5000), rel=1e-3)
    assert found.components == 1 and np.isnan(found.validation_nll)
    # The entropy of the true Gaussian, and the spread of half a chi-square with 3 degrees.
    entropy = 0.5 * (np.linalg.slogdet(ROOT @ ROOT.T)[1] + 3 * np.log(2 * np.pi * np.e))
    assert abs(found.nll - entropy) < 3 * found.nll_stderr + 9 / (2 * 2000) * 2
    assert found.nll_stderr == pytest.approx(np.sqrt(1.5 / 5000), rel=0.1)


@pytest.mark.slow
def test_validation_chooses_one_component_for_gaussian_data() -> None:
    train, validation, test = gaussian(200), gaussian(1000), gaussian(1000)
    found = evaluation.mixture_baseline(train, validation, test, (1, 5, 10))
    single = evaluation.gaussian_baseline(train, test)
    assert found.components == 1
    assert found.nll == pytest.approx(single.nll, abs=1e-9)
    assert abs(found.validation_nll - found.nll) < 0.15


def test_mixtures_are_found() -> None:
    def draw(n: int) -> np.ndarray:
        centres = np.array([[-10.0, 0.0], [10.0, 0.0]])
        return centres[RNG.integers(2, size=n)] + RNG.normal(size=(n, 2))

    found = evaluation.mixture_baseline(draw(1000), draw(1000), draw(4000), (1, 2, 5))
    assert found.components == 2
    entropy = np.log(2) + np.log(2 * np.pi * np.e)
    assert abs(found.nll - entropy) < 3 * found.nll_stderr + 0.02
    assert found.validation_nll == pytest.approx(found.nll, abs=0.15)


def test_errors_name_the_values() -> None:
    x = gaussian(10)
    for components in ((), (0,), (2, 11)):
        with pytest.raises(ValueError, match="components="):
            evaluation.mixture_baseline(x, x, x, components)
    with pytest.raises(ValueError, match="shapes"):
        evaluation.gaussian_baseline(x, x[:, :2])
    with pytest.raises(ValueError, match="not finite"):
        evaluation.gaussian_baseline(x, np.where(x == x[0, 0], np.nan, x))
