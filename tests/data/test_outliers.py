"""The line with outliers: the notebook's numbers, and every error."""

from __future__ import annotations

import numpy as np
import pytest

from gmkit.data import DataError
from gmkit.data.outliers import LINE, load_regression_outliers


def rows(**options: float) -> np.ndarray:
    return load_regression_outliers(**options).examples("train")["x"]  # pyright: ignore


def test_least_squares_on_the_notebooks_rows() -> None:
    """Its loss there, with alpha = 2 and c = 0.1, is printed as 1.673694."""
    x, y = rows().astype(np.float64).T
    residual = y - np.polyval(np.polyfit(x, y, 1), x)
    assert np.mean(residual**2) / (2 * 0.1**2) == pytest.approx(1.673694, abs=5e-7)


def test_rows_and_spec() -> None:
    dataset = load_regression_outliers()
    assert dataset.spec.kind == "vector" and dataset.spec.domain.shape == (2,)
    train, test = (dataset.examples(split)["x"] for split in ("train", "test"))
    assert train.shape == (50, 2) and train.dtype == np.float32
    np.testing.assert_array_equal(train, test)
    assert (rows(seed=2) != train).any()


def test_outliers_lie_on_two_levels() -> None:
    x, y = rows(n=4000, outliers=0.25).T
    far = np.abs(y - np.polyval(LINE, x)) > 0.15
    assert set(np.round(np.unique(y[far]), 6)) == {np.float32(0.05), np.float32(0.85)}
    assert abs(far.mean() - 0.25) < 0.05
    x, y = rows(std=0.0, outliers=0.0).T
    np.testing.assert_allclose(y, np.polyval(LINE, x), rtol=1e-6)


@pytest.mark.parametrize(
    ("option", "value"), [("n", 1), ("std", -0.1), ("outliers", 1.0), ("outliers", -0.1)]
)
def test_wrong_options(option: str, value: float) -> None:
    with pytest.raises(DataError, match=rf"data\.{option}={value}"):
        rows(**{option: value})
