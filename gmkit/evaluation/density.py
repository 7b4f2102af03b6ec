"""Gaussian and mixture baselines that densities are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gmkit.evaluation.features import check_features


class DensityBaseline(NamedTuple):
    """A fitted baseline's mean negative log-likelihood.

    Attributes:
      nll: mean over the test rows, nats.
      nll_stderr: its standard error.
      components: number of Gaussians.
      validation_nll: mean over the validation rows, nats; NaN where none were used.
    """

    nll: float
    nll_stderr: float
    components: int
    validation_nll: float


def _fit(train: np.ndarray, components: int, seed: int) -> Any:
    from sklearn.mixture import GaussianMixture

    return GaussianMixture(components, max_iter=1000, random_state=seed).fit(train)


def _nll(model: Any, x: np.ndarray) -> tuple[float, float]:
    values = -model.score_samples(x)
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def gaussian_baseline(train: np.ndarray, test: np.ndarray) -> DensityBaseline:
    """The Gaussian with mean and covariance of `train (n, d)`, judged on `test (m, d)`.

    Maximum likelihood, plus 1e-6 on the covariance's diagonal (scikit-learn's default).

    Raises:
      ValueError: fewer than 2 rows, unequal dimensions, or values that are not finite.
    """
    train, test = check_features(train, test)
    return DensityBaseline(*_nll(_fit(train, 1, 0), test), 1, float("nan"))


def mixture_baseline(
    train: np.ndarray,
    validation: np.ndarray,
    test: np.ndarray,
    components: Sequence[int] = (1, 2, 5, 10, 20, 40),
    *,
    seed: int = 0,
) -> DensityBaseline:
    """The mixture of full Gaussians that suits `validation` best, judged on `test`.

    One mixture per number of components is fitted to `train` by expectation maximisation,
    from k-means centres.

    Args:
      train: `(n, d)`.
      validation: `(k, d)`, chooses the number of components.
      test: `(m, d)`.
      components: numbers of Gaussians to try.
      seed: of the k-means centres.

    Raises:
      ValueError: fewer than 2 rows, unequal dimensions, values that are not finite, or numbers
        of components outside 1 .. n.
    """
    train, validation, test = check_features(train, validation, test)
    if not components or min(components) < 1 or max(components) > len(train):
        raise ValueError(
            f"components={tuple(components)}: give numbers from 1 to the {len(train)} train rows"
        )
    models = [_fit(train, n, seed) for n in components]
    scores = [_nll(model, validation)[0] for model in models]
    best = int(np.argmin(scores))
    return DensityBaseline(*_nll(models[best], test), components[best], scores[best])
