"""Signs of collapse in labelled generations: uneven classes, and latents that all give one image.

Tran, Bui and Cheung 2018 scatter the latents of a generator, coloured by class, to show mode
collapse; these are the numbers behind that picture.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gmkit.evaluation.features import check_features

RARE = 0.01


class ClassBalance(NamedTuple):
    """How evenly samples spread over classes.

    Attributes:
      entropy: entropy of the class shares over its maximum `log K`; 1: even, 0: one class.
      rare: classes with a share below 1 %.
      confidence: mean of the largest class probability, in [1/K, 1].
      shares: share of each class among the most probable ones, float64 `(K,)`.
    """

    entropy: float
    rare: int
    confidence: float
    shares: np.ndarray


def class_balance(probabilities: np.ndarray) -> ClassBalance:
    """Balance of the most probable classes of samples.

    Args:
      probabilities: a classifier's `(n, K)`, rows that sum to one, K >= 2.

    Raises:
      ValueError: no rows, one class, or rows that are not probabilities.
    """
    (p,) = check_features(probabilities, at_least=1)
    if p.shape[1] < 2:
        raise ValueError(f"probabilities have shape {p.shape}: balance needs at least 2 classes")
    if p.min() < 0 or np.abs(p.sum(axis=1) - 1).max() > 1e-3:
        raise ValueError("probabilities must be non-negative with rows that sum to 1: not logits")
    shares = np.bincount(p.argmax(axis=1), minlength=p.shape[1]) / len(p)
    there = shares[shares > 0]
    entropy = float(-np.sum(there * np.log(there)) / np.log(len(shares)))
    return ClassBalance(
        entropy=max(0.0, entropy),
        rare=int((shares < RARE).sum()),
        confidence=float(p.max(axis=1).mean()),
        shares=shares,
    )


def pair_distance_correlation(
    latents: np.ndarray, features: np.ndarray, *, pairs: int = 10_000, seed: int = 0
) -> float:
    """Pearson correlation of `|z_i - z_j|` and `|f_i - f_j|` over random pairs i != j.

    Near 0 where distant latents give near-identical samples. 0 where the distances on one side
    are all equal, as those of a generator that has only one image.

    Args:
      latents: `(n, d)`, n >= 2.
      features: of the sample that each latent gives, `(n, e)`.
      pairs: how many, drawn with replacement.
      seed: of the draw.

    Raises:
      ValueError: fewer than 2 rows, unequal numbers of rows, values not finite, or pairs < 2.
    """
    (z,), (f,) = check_features(latents), check_features(features)
    if len(z) != len(f):
        raise ValueError(f"{len(z)} latents, {len(f)} features: need one feature row per latent")
    if pairs < 2:
        raise ValueError(f"pairs={pairs}: a correlation needs at least 2 pairs")
    rng = np.random.default_rng(seed)
    i = rng.integers(len(z), size=pairs)
    j = (i + rng.integers(1, len(z), size=pairs)) % len(z)
    a, b = (np.linalg.norm(x[i] - x[j], axis=1) for x in (z, f))
    a, b = a - a.mean(), b - b.mean()
    # Distances that are equal up to rounding carry no signal to correlate.
    if any(np.abs(d).max() <= 1e-12 * np.abs(x).max() for d, x in ((a, z), (b, f))):
        return 0.0
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))
