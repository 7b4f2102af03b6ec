"""Sample quality as numbers that carry their feature space and sample counts."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from gmkit.evaluation.features import Features, check_features
from gmkit.evaluation.frechet import frechet_distance
from gmkit.evaluation.kid import kid
from gmkit.evaluation.prdc import prdc


class QualityReport(NamedTuple):
    """Result of `quality`.

    Attributes:
      values: plain name -> number, such as "fd_base", for `results.json`.
      provenance: feature space, fingerprint, sample counts and settings of these numbers.
      keyed: full key -> number, such as "fd_base[clf-3fa2c19e;360x1000]", for tables.
    """

    values: dict[str, float]
    provenance: dict[str, Any]
    keyed: dict[str, float]


def metric_key(name: str, features: Features, n_real: int, n_generated: int) -> str:
    """Full key of a number: "fd[clf-3fa2c19e;360x1000]" (real x generated)."""
    return f"{name}[{features.label};{n_real}x{n_generated}]"


def quality(
    features: Features,
    real: np.ndarray,
    generated: np.ndarray,
    name: str = "",
    *,
    k: int = 5,
    kid_subsets: int = 10,
    kid_subset_size: int | None = None,
    seed: int = 0,
) -> QualityReport:
    """Fréchet distance, KID, precision, recall, density and coverage of one set of samples.

    Args:
      features: the space that both sets were mapped to.
      real: `features.apply` of data, `(n, features.dim)`.
      generated: `features.apply` of samples, `(m, features.dim)`.
      name: what generated them; appended to every metric's name ("base" gives "fd_base").
      k: neighbour of `prdc`.
      kid_subsets, kid_subset_size, seed: see `kid`.

    Returns:
      Metrics fd, kid, kid_std, precision, recall, density and coverage.

    Raises:
      ValueError: features of another dimension, too few rows, or values that are not finite.
    """
    real, generated = check_features(real, generated, at_least=k + 1)
    if real.shape[1] != features.dim:
        raise ValueError(
            f"sets have {real.shape[1]} features, {features.label} has {features.dim}: "
            "pass what features.apply returned"
        )
    distance = kid(real, generated, subsets=kid_subsets, subset_size=kid_subset_size, seed=seed)
    numbers = {
        "fd": frechet_distance(real, generated),
        "kid": distance.mean,
        "kid_std": distance.std,
        **prdc(real, generated, k=k)._asdict(),
    }
    values = {f"{metric}_{name}" if name else metric: v for metric, v in numbers.items()}
    counts = (len(real), len(generated))
    return QualityReport(
        values=values,
        provenance={
            "feature": features.name,
            "fingerprint": features.fingerprint,
            "feature_dim": features.dim,
            **features.info,
            "n_real": counts[0],
            "n_generated": counts[1],
            "prdc_k": k,
            "kid_subsets": kid_subsets,
            "kid_subset_size": distance.subset_size,
        },
        keyed={metric_key(metric, features, *counts): v for metric, v in values.items()},
    )
