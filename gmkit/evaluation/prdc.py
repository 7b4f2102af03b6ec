"""Improved precision and recall, density and coverage of generated samples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from gmkit.evaluation.features import check_features

# Squared distances closer than this (relative) are ties: products of different matrix shapes
# round differently, and a tie must not be decided by that.
_TIE = 1e-9


class PRDC(NamedTuple):
    """Precision, recall and coverage in [0, 1]; density >= 0, expected 1 for a perfect model."""

    precision: float
    recall: float
    density: float
    coverage: float


def prdc(real: np.ndarray, generated: np.ndarray, *, k: int = 5, chunk: int = 1024) -> PRDC:
    """Precision, recall, density and coverage from k-nearest-neighbour balls.

    The radius of a point's ball is the distance to its k-th neighbour in its own set, itself
    excluded. Precision: share of generated points in some real point's ball; recall: the same
    with the sets exchanged (Kynkäänniemi et al. 2019, eq. 1-2, closed balls). Coverage: share
    of real points whose ball holds a generated point; density: real balls around a generated
    point, mean over points, divided by k (Naeem et al. 2020, eq. 5-6). Density counts open
    balls, as its authors' code does, so that a set against itself scores 1; a point repeated
    more than k times has radius zero, which a coincident point meets for precision, recall and
    coverage but not for density.

    Args:
      real: features `(n, d)`.
      generated: features `(m, d)`.
      k: neighbour that defines the radius.
      chunk: rows of the distance matrix held at a time.

    Raises:
      ValueError: k < 1, a set with at most k rows, or features that do not fit.
    """
    if k < 1:
        raise ValueError(f"k={k}: the neighbour's rank is at least 1")
    real, generated = check_features(real, generated, at_least=k + 1)
    # Distances do not change, and the rounding of their expansion shrinks.
    centre = real.mean(axis=0)
    real, generated = real - centre, generated - centre
    real_radii, generated_radii = _radii(real, k, chunk), _radii(generated, k, chunk)

    in_real_balls = np.zeros(len(generated), np.int64)
    precise = np.zeros(len(generated), bool)
    recalled, covered = [], []
    for rows, distances in _distances(real, generated, chunk):
        radii = real_radii[rows, None]
        inside = distances <= radii * (1.0 + _TIE)
        precise |= inside.any(axis=0)
        covered.append(inside.any(axis=1))
        in_real_balls += (distances < radii * (1.0 - _TIE)).sum(axis=0)
        recalled.append((distances <= generated_radii * (1.0 + _TIE)).any(axis=1))
    return PRDC(
        precision=float(precise.mean()),
        recall=float(np.concatenate(recalled).mean()),
        density=float(in_real_balls.mean() / k),
        coverage=float(np.concatenate(covered).mean()),
    )


def _distances(x: np.ndarray, y: np.ndarray, chunk: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Squared distances of `x`'s rows to all of `y`, chunk by chunk."""
    y_norms = np.sum(y * y, axis=1)
    for start in range(0, len(x), chunk):
        rows = slice(start, min(start + chunk, len(x)))
        norms = np.sum(x[rows] ** 2, axis=1)[:, None] + y_norms
        distances = norms - 2.0 * (x[rows] @ y.T)
        # What is left of equal points is rounding.
        yield rows, np.where(distances > 1e-13 * norms, distances, 0.0)


def _radii(x: np.ndarray, k: int, chunk: int) -> np.ndarray:
    """Squared distance of each row to its k-th neighbour, itself excluded."""
    radii = np.empty(len(x))
    for rows, distances in _distances(x, x, chunk):
        own = np.arange(rows.start, rows.stop)
        distances[own - rows.start, own] = np.inf
        radii[rows] = np.partition(distances, k - 1, axis=1)[:, k - 1]
    return radii
