"""Kernel inception distance: unbiased squared MMD with the cubic polynomial kernel."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gmkit.evaluation.features import check_features


class KID(NamedTuple):
    """Mean and standard deviation of the estimate over subsets, and the subsets' size."""

    mean: float
    std: float
    subset_size: int


def cubic_kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """`(x.y / d + 1)^3` for all pairs: `(n, d), (m, d) -> (n, m)` (Binkowski et al. 2018)."""
    return (x @ y.T / x.shape[1] + 1.0) ** 3


def mmd2_unbiased(x: np.ndarray, y: np.ndarray) -> float:
    """Unbiased estimate of MMD^2 with the cubic kernel, from all pairs; may be negative.

    Gretton et al. 2012, eq. (3).

    Raises:
      ValueError: fewer than 2 rows in either set, unequal dimensions, values not finite.
    """
    x, y = check_features(x, y)
    return float(_within(x) + _within(y) - 2.0 * cubic_kernel(x, y).mean())


def _within(x: np.ndarray) -> float:
    kernel = cubic_kernel(x, x)
    n = len(x)
    return (kernel.sum() - np.trace(kernel)) / (n * (n - 1))


def kid(
    x: np.ndarray,
    y: np.ndarray,
    *,
    subsets: int = 10,
    subset_size: int | None = None,
    seed: int = 0,
) -> KID:
    """Kernel inception distance (Binkowski et al. 2018) of feature sets `(n, d)`, `(m, d)`.

    Args:
      x, y: features.
      subsets: number of random subsets, drawn without replacement from each set.
      subset_size: rows of each subset; default `min(1000, n // 2, m // 2)`, the published
        1000 wherever there are twice as many rows, so that subsets differ.
      seed: of the subsets.

    Raises:
      ValueError: a subset size below 2 or above the smaller set, or features that do not fit.
    """
    x, y = check_features(x, y)
    smaller = min(len(x), len(y))
    size = max(2, min(1000, smaller // 2)) if subset_size is None else subset_size
    if not 2 <= size <= smaller:
        raise ValueError(f"subset_size={size}: choose 2 to {smaller}, the size of the smaller set")
    if subsets < 1:
        raise ValueError(f"subsets={subsets}: at least 1 is needed")
    rng = np.random.default_rng(seed)
    values = [
        mmd2_unbiased(
            x[rng.choice(len(x), size, replace=False)], y[rng.choice(len(y), size, replace=False)]
        )
        for _ in range(subsets)
    ]
    return KID(float(np.mean(values)), float(np.std(values)), size)
