"""Wasserstein distance of one-dimensional samples."""

from __future__ import annotations

import numpy as np


def wasserstein_1d(x: np.ndarray, y: np.ndarray) -> float:
    """Wasserstein-1 distance of two samples `(n,)`, `(m,)`, in the units of the samples.

    The area between the two empirical distribution functions, from the sorted samples.

    Raises:
      ValueError: not one-dimensional, empty, or values that are not finite.
    """
    from scipy.stats import wasserstein_distance

    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.ndim != 1 or y.ndim != 1 or not len(x) or not len(y):
        raise ValueError(f"samples have shapes {x.shape}, {y.shape}: need (n,), (m,), not empty")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("samples are not finite: the Wasserstein distance needs finite values")
    return float(wasserstein_distance(x, y))
