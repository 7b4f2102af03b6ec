"""Judging samples and reconstructions, and mode collapse in a plane of latents."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from gmkit import evaluation, reporting
from gmkit.core import Evaluation, TrainState
from gmkit.methods.gaan.model import GAAN

Array = jax.Array
#: Latents in the picture of mode collapse, and behind its numbers.
MAX_LATENTS = 4000


class Judge:
    """Evaluation and figures of one model.

    Args:
      model: what is judged.
      protocol: how samples are judged.
      field: entry of a batch that holds the data.
    """

    def __init__(self, model: GAAN, protocol: evaluation.SampleProtocol, field: str):
        self.model, self.protocol, self.field = model, protocol, field
        self._latents = jax.jit(model.latents, static_argnums=1)
        self._decode, self._encode = jax.jit(model.decode), jax.jit(model.encode)

    def decoded(self, state: TrainState, key: Array, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Latents of the prior and what they give."""
        z = np.asarray(self._latents(key, n))
        return z, evaluation.in_batches(lambda v: self._decode(state, v), z, 1000)

    def reconstructed(self, state: TrainState, x: np.ndarray) -> np.ndarray:
        """`G(E(x))`."""
        return evaluation.in_batches(lambda v: self._decode(state, self._encode(state, v)), x, 1000)

    def evaluate(self, state: TrainState, dataset: Any, key: Array) -> Evaluation:
        """`Method.evaluate`: samples and reconstructions against data.

        Beside the numbers of `evaluation.judge_samples`: `reconstruction_mse` on held-out data,
        `latent_correlation` of distances between latents and between what they give (features;
        near 0 is collapse), and for 1-d data the `mean` and `std` of samples.
        """
        z, x = self.decoded(state, key, self.protocol.n_samples)
        held_out = dataset.examples("test", self.protocol.n_samples)[self.field]
        rec = self.reconstructed(state, held_out)
        sets = {"samples": x, "reconstructions": rec}
        found = evaluation.judge_samples(self.protocol, dataset, self.field, sets)
        metrics = {
            **found.metrics,
            "reconstruction_mse": float(np.mean(np.square(held_out - rec))),
        }
        finite = np.isfinite(x).reshape(len(x), -1).all(axis=1)
        if finite.sum() > 1:
            features = self.protocol.features(dataset).apply(x[finite])
            correlation = evaluation.pair_distance_correlation(z[finite], features)
            metrics["latent_correlation"] = correlation
        if x.shape[1:] == (1,):
            metrics |= {"mean": float(x.mean()), "std": float(x.std(ddof=1))}
        return found._replace(metrics=metrics)

    def figures(self, state: TrainState, dataset: Any, key: Array) -> dict[str, Any]:
        """`Method.figures`: data, reconstructions and samples; the plane of latents by class."""
        real = dataset.examples("test", reporting.MAX_COMPARED)[self.field]
        z, x = self.decoded(state, key, len(real))
        rec = self.reconstructed(state, real)
        panels = {"data": real, "reconstructions": rec, "samples": x}
        drawn = {"samples": reporting.compare_sets(panels)}
        classify = self.protocol.classifier
        if z.shape[1] == 2 and classify is not None and not self.protocol.stacked:
            drawn["latents"] = self._collapse(state, dataset, key, classify(dataset))
        return drawn

    def _collapse(
        self, state: TrainState, dataset: Any, key: Array, classifier: evaluation.TrainedClassifier
    ) -> Any:
        """Latents by the class of what they give, beside encoded data by their labels."""
        z, x = self.decoded(state, key, MAX_LATENTS)
        labels = classifier.probabilities(x).argmax(axis=1)
        rows = dataset.examples("test", MAX_LATENTS)
        encoded = evaluation.in_batches(lambda v: self._encode(state, v), rows[self.field], 1000)
        return reporting.labelled_planes(
            {
                "latents, by class of the sample": (z, labels),
                "encoded data": (encoded, rows["label"]),
            }
        )
