"""Judging a generator's samples, and what its latents do."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gmkit import evaluation, reporting
from gmkit.core import Evaluation, TrainState
from gmkit.methods.stylegan2.model import StyleGAN2

Array = jax.Array
#: Images that are drawn at once, and their pixels, at most.
IMAGES, PIXELS = 64, 2**20
#: Truncation of the second set of samples.
PSI = 0.7
#: Rows and columns of the picture of mixed styles.
MIXED = 6


class Judge:
    """Evaluation and figures of one model.

    Args:
      model: what is judged.
      protocol: how samples are judged.
      field: entry of a batch that holds the images.
    """

    def __init__(self, model: StyleGAN2, protocol: evaluation.SampleProtocol, field: str):
        self.model, self.protocol, self.field = model, protocol, field
        # One number of images and a traced truncation: one program for all sets of samples.
        self.size = max(1, min(IMAGES, PIXELS // model.generator.img_resolution**2))
        self._sample = jax.jit(model.sample, static_argnums=2)
        self._rows = jax.jit(model.rows)
        self._images = jax.jit(model.images)

    def drawn(self, state: TrainState, key: Array, n: int, psi: float = 1.0) -> np.ndarray:
        """Samples of the averaged generator, truncated to `psi`."""
        parts = [
            np.asarray(self._sample(state, jax.random.fold_in(key, i), self.size, jnp.float32(psi)))
            for i in range(-(-n // self.size))
        ]
        return np.concatenate(parts)[:n]

    def evaluate(self, state: TrainState, dataset: Any, key: Array) -> Evaluation:
        """`Method.evaluate`: samples, and truncated ones, against data.

        Beside the numbers of `evaluation.judge_samples` the running mean of the path lengths.
        """
        n = self.protocol.n_samples
        sets = {"samples": self.drawn(state, key, n), "truncated": self.drawn(state, key, n, PSI)}
        found = evaluation.judge_samples(self.protocol, dataset, self.field, sets)
        average = float(state.memory["path_average"])
        return found._replace(metrics={**found.metrics, "path_average": average})

    def figures(self, state: TrainState, dataset: Any, key: Array) -> dict[str, Any]:
        """`Method.figures`: data beside samples, and styles of one image in another's place."""
        real = dataset.examples("test", reporting.MAX_COMPARED)[self.field]
        sets = {"data": real, "samples": self.drawn(state, key, len(real))}
        sets[f"truncated to {PSI}"] = self.drawn(state, key, len(real), PSI)
        return {
            "samples": reporting.compare_sets(sets),
            "styles": reporting.compare_sets(self._styles(state, key)),
        }

    def _styles(self, state: TrainState, key: Array) -> dict[str, np.ndarray]:
        """Coarse rows of one latent with the fine rows of others (Karras et al. 2019, figure 3)."""
        z = self.model.latents(key, MIXED + 1)
        ws = self._rows(state, z)
        half = ws.shape[1] // 2
        coarse, others = ws[:1], ws[1:]
        swap = lambda a, b: jnp.concatenate([a[:, :half], b[:, half:]], axis=1)
        one = jnp.broadcast_to(coarse, others.shape)
        panels = {
            "one image": one,
            "others": others,
            "coarse of the one, fine of the others": swap(one, others),
            "coarse of the others, fine of the one": swap(others, one),
        }
        images = {
            name: np.clip(np.asarray(self._images(state, rows)), -1.0, 1.0)
            for name, rows in panels.items()
        }
        return {**images, "one image": images["one image"][:1]}
