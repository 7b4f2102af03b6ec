"""Exact optimal transport of small samples, and whether a critic's gradients follow it.

The gradient of the best Lipschitz-regularised critic at a fake point to the real point that
optimal transport pairs it with (Zhou et al. 2019, "Lipschitz generative adversarial
nets"); an unregularised critic's gradient need not point to any.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from gmkit.evaluation.features import check_features


class Transport(NamedTuple):
    """Optimal pairing of two samples.

    Attributes:
      distance: Wasserstein-1 distance, in the units of the points.
      partners: row of the second sample that each row of the first goes to, int `(n,)`.
    """

    distance: float
    partners: np.ndarray


class GradientCosines(NamedTuple):
    """Cosines of gradients at fake points to directions towards real points.

    Attributes:
      partner: to the optimal-transport partner, `(n,)` in [-1, 1].
      best: the largest to any real point, `(n,)`; at least `partner`.
    """

    partner: np.ndarray
    best: np.ndarray


class Slopes(NamedTuple):
    """Norms of gradients; `spread` is max / min: 1 where all are equal, inf where one is 0."""

    max: float
    mean: float
    min: float
    spread: float


def optimal_transport(x: np.ndarray, y: np.ndarray) -> Transport:
    """Wasserstein-1 distance of two samples of equal size, all points of equal weight.

    Exact, by the assignment problem on Euclidean distances; time grows as n^3, memory as n^2.

    Args:
      x: `(n, d)`.
      y: `(n, d)`.

    Raises:
      ValueError: empty, of unequal sizes or dimensions, or values that are not finite.
    """
    from scipy.optimize import linear_sum_assignment

    x, y = check_features(x, y, at_least=1)
    if len(x) != len(y):
        raise ValueError(f"samples have {len(x)} and {len(y)} rows: the pairing needs equally many")
    distances = np.linalg.norm(x[:, None] - y[None], axis=2)
    rows, partners = linear_sum_assignment(distances)
    return Transport(float(distances[rows, partners].mean()), partners)


def gradient_cosines(gradients: np.ndarray, fake: np.ndarray, real: np.ndarray) -> GradientCosines:
    """Where a critic sends fake points: cosines of its gradients to real points.

    A gradient of zero, or a real point on top of the fake, has no direction: its cosine is 0.

    Args:
      gradients: of the critic, which is high on real data, at the fakes; `(n, d)`.
      fake: `(n, d)`.
      real: `(n, d)`, distinct points paired with the fakes by `optimal_transport`.

    Raises:
      ValueError: empty, of unequal sizes or dimensions, or values that are not finite.
    """
    gradients, fake, real = check_features(gradients, fake, real, at_least=1)
    if len(gradients) != len(fake):
        raise ValueError(f"{len(gradients)} gradients, {len(fake)} fakes: need one for each")
    partners = optimal_transport(fake, real).partners
    cosines = np.sum(_unit(gradients)[:, None] * _unit(real[None] - fake[:, None]), axis=2)
    return GradientCosines(cosines[np.arange(len(fake)), partners], cosines.max(axis=1))


def slopes(gradients: np.ndarray) -> Slopes:
    """Statistics of the Euclidean norms of gradients `(n, ...)`, over all axes but the first.

    Raises:
      ValueError: no gradients, or values that are not finite.
    """
    gradients = np.asarray(gradients, np.float64)
    rows = gradients.reshape(len(gradients), math.prod(gradients.shape[1:]))
    (gradients,) = check_features(rows, at_least=1)
    norms = np.linalg.norm(gradients, axis=1)
    least, most = float(norms.min()), float(norms.max())
    spread = most / least if least else (float("inf") if most else 1.0)
    return Slopes(most, float(norms.mean()), least, spread)


def _unit(x: np.ndarray) -> np.ndarray:
    """Vectors along the last axis at length 1; those of length 0 stay."""
    norms = np.linalg.norm(x, axis=-1, keepdims=True)
    return x / np.where(norms > 0, norms, 1.0)
