"""Judging sets of samples by what is known of their data: features, modes, classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gmkit.core import Evaluation
from gmkit.data import DataError, DataSpec, modes_of
from gmkit.evaluation.class_balance import class_balance
from gmkit.evaluation.classifier import TrainedClassifier, trained_classifier
from gmkit.evaluation.features import Features
from gmkit.evaluation.modes import class_modes, mixture_modes, stacked_labels
from gmkit.evaluation.quality import quality
from gmkit.evaluation.spaces import feature_space
from gmkit.evaluation.wasserstein import wasserstein_1d

#: Fewest samples that the statistics are defined on.
MIN_SAMPLES = 16


@dataclasses.dataclass(frozen=True)
class SampleProtocol:
    """How samples are judged.

    Attributes:
      features: `dataset -> Features`; called when an evaluation needs it.
      n_samples: samples, and data they are compared with.
      classifier: `dataset -> TrainedClassifier` where samples are classified, or None.
      stacked: whether the classifier is of single channels, and samples are three of them.
      modes: centres `(modes, 2)` and standard deviation of a known mixture, or None.
    """

    features: Callable[[Any], Features]
    n_samples: int = 2000
    classifier: Callable[[Any], TrainedClassifier] | None = None
    stacked: bool = False
    modes: tuple[np.ndarray, float] | None = None

    def __post_init__(self) -> None:
        if self.n_samples < MIN_SAMPLES:
            raise ValueError(f"eval.n_samples={self.n_samples}: take at least {MIN_SAMPLES}")


def sample_protocol(
    spec: DataSpec,
    n_samples: int,
    features: str,
    cache: str | Path,
    *,
    inception_path: str = "",
    seed: int = 0,
) -> SampleProtocol:
    """What can be said of samples of such data.

    In features "auto" or "classifier", labelled images are classified; stacked images by a
    classifier of their channels, in whose features they are compared too. Mixtures with known modes
    have their modes counted.

    Args:
      spec: of the data.
      n_samples: see `SampleProtocol`.
      features: see `feature_space`.
      cache: folder of trained classifiers.
      inception_path: weights of features="inception".
      seed: of the classifier.

    Raises:
      ValueError: features that do not exist or do not fit.
    """
    if spec.name.startswith("stacked/") and features in ("auto", "classifier"):
        single = lambda dataset: _channel_classifier(dataset, cache, seed)
        features_of = lambda dataset: _stacked_features(single(dataset))
        return SampleProtocol(features_of, n_samples, single, stacked=True)
    space = feature_space(features, spec, cache, inception_path=inception_path, seed=seed)
    labelled = spec.kind == "image" and spec.n_classes > 1 and features in ("auto", "classifier")
    classifier = lambda dataset: trained_classifier(
        dataset.examples("train"), dataset.examples("test"), spec.n_classes, cache, seed
    )
    try:
        modes = modes_of(spec.name)
    except DataError:
        modes = None
    return SampleProtocol(space, n_samples, classifier if labelled else None, modes=modes)


def _channel_classifier(dataset: Any, cache: str | Path, seed: int) -> TrainedClassifier:
    """Of the single images, which the first channel of as many stacked rows runs through."""
    per_class = round(dataset.spec.n_classes ** (1 / 3))
    parts = {}
    for name, split in (("train", dataset.train), ("test", dataset.test)):
        rows = dataset.examples(name, len(split.source))
        label = rows["label"] // per_class**2
        parts[name] = {"image": rows["image"][..., :1], "label": label}
    return trained_classifier(parts["train"], parts["test"], per_class, cache, seed)


def _stacked_features(classifier: TrainedClassifier) -> Features:
    single = classifier.features

    def apply(images: np.ndarray) -> np.ndarray:
        return np.concatenate([single.apply(images[..., k : k + 1]) for k in range(3)], axis=1)

    return dataclasses.replace(
        single, name=f"{single.name}-stacked", dim=3 * single.dim, apply=apply
    )


def judge_samples(
    protocol: SampleProtocol, dataset: Any, field: str, sets: Mapping[str, np.ndarray]
) -> Evaluation:
    """Sets of samples against data.

    Args:
      protocol: how.
      dataset: with splits "train" (what samples are compared with) and "test" (a row beside).
      field: entry of its examples.
      sets: name -> samples; the first is the model's own.

    Returns:
      Metrics `fd`, and where they are defined `modes`, `registered`, `reverse_kl` (mixtures),
      `modes`, `kl` (stacked images), `class_entropy`, `class_confidence` (labelled images) and
      `w1` (vectors, first coordinate), of the first set; the keyed quality of all sets (such as
      "fd_samples[clf-3fa2c19e;1437x2000]"); and the table "samples" with a row per set.
    """
    n = protocol.n_samples
    features = protocol.features(dataset)
    classifier = None if protocol.classifier is None else protocol.classifier(dataset)
    real = dataset.examples("train", n)[field]
    real_features = features.apply(real)
    metrics: dict[str, float] = {}
    keyed: dict[str, float] = {}
    provenance: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    every = {"test_data": dataset.examples("test", n)[field], **sets}
    for name, x in every.items():
        finite = np.isfinite(x).reshape(len(x), -1).all(axis=1)
        row: dict[str, Any] = {"samples": name, "counts": f"{len(real)}x{int(finite.sum())}"}
        x = x[finite]
        if len(x) >= MIN_SAMPLES:
            report = quality(features, real_features, features.apply(x), name)
            keyed |= report.keyed
            row |= {key.removesuffix(f"_{name}"): v for key, v in report.values.items()}
            row |= _known(protocol, classifier, x, real)
            provenance = report.provenance
        row["invalid"] = float(1.0 - finite.mean())
        rows.append(row)
        if name == next(iter(sets), None):
            about = ("samples", "counts")
            metrics = {key: value for key, value in row.items() if key not in about}
    return Evaluation(metrics | keyed, provenance, {"samples": rows})


def _known(
    protocol: SampleProtocol, classifier: TrainedClassifier | None, x: np.ndarray, real: np.ndarray
) -> dict[str, float]:
    """What is known of the data beyond their features."""
    found: dict[str, float] = {}
    if protocol.modes is not None:
        modes = mixture_modes(x, *protocol.modes)
        found |= {
            "modes": modes.covered,
            "registered": modes.registered,
            "reverse_kl": modes.reverse_kl,
        }
    if x.ndim == 2:
        found["w1"] = wasserstein_1d(real[:, 0], x[:, 0])
    if classifier is None:
        return found
    if protocol.stacked:
        probabilities = classifier.probabilities
        n_classes = probabilities(x[:1, ..., :1]).shape[1] ** 3
        counted = class_modes(stacked_labels(x, probabilities), n_classes)
        return found | {"modes": counted.modes, "kl": counted.kl}
    balance = class_balance(classifier.probabilities(x))
    return found | {
        "class_entropy": balance.entropy,
        "class_confidence": balance.confidence,
        "rare_classes": balance.rare,
    }
