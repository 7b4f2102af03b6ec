"""Which feature space a run is judged in, from its settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gmkit.data import DataSpec
from gmkit.evaluation.classifier import classifier_features
from gmkit.evaluation.features import Features, pixel_features
from gmkit.evaluation.inception import inception_features


def feature_space(
    kind: str, spec: DataSpec, cache: str | Path, *, inception_path: str = "", seed: int = 0
) -> Callable[[Any], Features]:
    """How to get the features of a data set: checked now, made when an evaluation needs them.

    Args:
      kind: "classifier", "pixels" (the values themselves), "inception", or "auto": a classifier
        for labelled images, and the values for vectors.
      spec: of the data.
      cache: folder of trained classifiers.
      inception_path: weights of "inception".
      seed: of the classifier.

    Returns:
      `dataset -> Features`.

    Raises:
      ValueError: another kind, or one that the data do not allow.
    """
    labelled = spec.kind == "image" and spec.n_classes > 0
    if kind == "auto" and not (labelled or spec.kind == "vector"):
        raise ValueError(
            f"eval.features='auto': {spec.name} has no labels to train a classifier on; set "
            "eval.features=inception and eval.inception_path=<weights>.npz, or eval.features=pixels"
        )
    if kind == "auto":
        kind = "classifier" if labelled else "pixels"
    if kind == "classifier":
        if not labelled:
            raise ValueError("eval.features='classifier' needs images with labels; use pixels")
        return lambda dataset: classifier_features(
            dataset.examples("train"), dataset.examples("test"), spec.n_classes, cache, seed
        )
    if kind == "pixels":
        return lambda dataset: pixel_features(spec.domain.dim)
    if kind != "inception":
        raise ValueError(f"eval.features={kind!r}: choose auto, classifier, pixels or inception")
    if not Path(inception_path).is_file():
        raise ValueError(f"eval.inception_path={inception_path!r}: no such file of weights")
    return lambda dataset: inception_features(inception_path)
