"""Relative MMD test: which of two samples is closer to a reference?"""

from __future__ import annotations

import math

import numpy as np

from gmkit.evaluation.features import check_features
from gmkit.evaluation.kid import cubic_kernel


def relative_mmd_test(
    reference: np.ndarray, x: np.ndarray, y: np.ndarray, *, chunk: int = 2048
) -> float:
    """p-value of the null hypothesis that `x` is not closer to the reference than `y`.

    The statistic `MMD^2(reference, x) - MMD^2(reference, y)` of unbiased estimates with the
    cubic polynomial kernel is asymptotically normal (Bounliphone et al. 2016, theorem 2). Both
    estimates share the reference sample; the variance of their difference comes from their
    joint covariance, here by the first-order projections of each sample, so sizes may differ.
    Small: `x` is significantly better; 1/2: no difference; near 1: `x` is worse. Where all
    three distributions coincide the estimated variance exceeds the true one, so that the test
    is conservative.

    Args:
      reference: features of data `(r, d)`.
      x: features of the new samples `(n, d)`.
      y: features of the old samples `(m, d)`, drawn independently of `x`.
      chunk: rows of a kernel matrix held at a time.

    Raises:
      ValueError: fewer than 2 rows in a set, unequal dimensions, values not finite.
    """
    reference, x, y = check_features(reference, x, y)
    x_x, y_y = _within_means(x, chunk), _within_means(y, chunk)
    x_reference, reference_x = _cross_means(x, reference, chunk)
    y_reference, reference_y = _cross_means(y, reference, chunk)

    difference = (x_x.mean() - 2.0 * x_reference.mean()) - (y_y.mean() - 2.0 * y_reference.mean())
    # Influence of each row on the difference; within the reference its own kernel cancels.
    influences = (x_x - x_reference, y_y - y_reference, reference_x - reference_y)
    variance = sum(4.0 * h.var(ddof=1) / len(h) for h in influences)
    if variance == 0.0:
        return 0.5 if difference == 0.0 else float(difference > 0.0)
    return 0.5 * math.erfc(-difference / math.sqrt(2.0 * variance))


def _within_means(x: np.ndarray, chunk: int) -> np.ndarray:
    """Mean kernel value of each row with the other rows, `(n,)`."""
    diagonal = (np.sum(x * x, axis=1) / x.shape[1] + 1.0) ** 3
    totals = [cubic_kernel(x[i : i + chunk], x).sum(axis=1) for i in range(0, len(x), chunk)]
    return (np.concatenate(totals) - diagonal) / (len(x) - 1)


def _cross_means(x: np.ndarray, y: np.ndarray, chunk: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean kernel value of each row of `x` over `y`, `(n,)`, and of `y` over `x`, `(m,)`."""
    over_y, over_x = np.empty(len(x)), np.zeros(len(y))
    for i in range(0, len(x), chunk):
        kernel = cubic_kernel(x[i : i + chunk], y)
        over_y[i : i + chunk] = kernel.mean(axis=1)
        over_x += kernel.sum(axis=0) / len(x)
    return over_y, over_x
