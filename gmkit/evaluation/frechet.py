"""Fréchet distance between Gaussians fitted to two feature sets."""

from __future__ import annotations

import numpy as np

from gmkit.evaluation.features import check_features


def moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean `(d,)` and unbiased covariance `(d, d)` of `(n, d)` features, float64.

    Raises:
      ValueError: fewer than 2 rows, not `(n, d)`, or values that are not finite.
    """
    (x,) = check_features(features)
    mean = x.mean(axis=0)
    centred = x - mean
    return mean, centred.T @ centred / (len(x) - 1)


def frechet_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Fréchet distance of two feature sets `(n, d)`, `(m, d)`, each summarised by its moments.

    `|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^{1/2})` (Dowson & Landau 1982; Heusel et al. 2017).
    In squared units of the features. It depends on both sample sizes (biased upwards as 1/n):
    compare only at equal sizes.

    Raises:
      ValueError: fewer than 2 rows in either set, unequal dimensions, values not finite.
    """
    x, y = check_features(x, y)
    return frechet_from_moments(*moments(x), *moments(y))


def frechet_from_moments(
    mean1: np.ndarray, cov1: np.ndarray, mean2: np.ndarray, cov2: np.ndarray
) -> float:
    """Fréchet distance of two Gaussians from means `(d,)` and covariances `(d, d)`.

    The trace of `(C1 C2)^{1/2}` is that of `(C1^{1/2} C2 C1^{1/2})^{1/2}`, the sum of the
    singular values of `C1^{1/2} C2^{1/2}`; both roots come from symmetric eigenproblems, so
    singular covariances cost no accuracy and nothing complex appears. Rounding below zero is
    clipped.

    Raises:
      ValueError: shapes that do not fit, or a covariance that is not positive semi-definite.
    """
    mean1, mean2 = (np.atleast_1d(np.asarray(m, np.float64)) for m in (mean1, mean2))
    cov1, cov2 = (np.atleast_2d(np.asarray(c, np.float64)) for c in (cov1, cov2))
    d = mean1.shape[0]
    if mean1.shape != mean2.shape or cov1.shape != (d, d) or cov2.shape != (d, d):
        shapes = ", ".join(str(a.shape) for a in (mean1, cov1, mean2, cov2))
        raise ValueError(f"moments have shapes {shapes}: expected (d,), (d, d), (d,), (d, d)")
    cross = np.linalg.svd(_root(cov1) @ _root(cov2), compute_uv=False).sum()
    distance = np.sum((mean1 - mean2) ** 2) + np.trace(cov1) + np.trace(cov2) - 2.0 * cross
    return float(max(distance, 0.0))


def _root(cov: np.ndarray) -> np.ndarray:
    """Symmetric square root; eigenvalues below the rounding floor count as zero."""
    values, vectors = np.linalg.eigh((cov + cov.T) / 2.0)
    floor = len(cov) * np.finfo(np.float64).eps * np.abs(values).max()
    # Covariances may have been computed in float32 elsewhere: tolerate its rounding, no more.
    if values[0] < -1e-5 * np.abs(values).max():
        raise ValueError(f"covariance has eigenvalue {values[0]:.3g}: not positive semi-definite")
    values = np.where(values > floor, values, 0.0)
    return (vectors * np.sqrt(values)) @ vectors.T
