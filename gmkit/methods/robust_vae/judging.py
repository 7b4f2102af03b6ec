"""Judging a VAE: bounds on its likelihood, what its likelihood learned, its pictures."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gmkit import evaluation, reporting, samplers
from gmkit.core import Evaluation, TrainState, bits_per_dim
from gmkit.methods.robust_vae.model import VAE

Array = jax.Array
#: Images that are evaluated at a time.
CHUNK = 200
#: Names of channels by the colour space and their number.
CHANNELS = {
    ("rgb", 1): ("grey",),
    ("rgb", 3): ("red", "green", "blue"),
    ("yuv", 3): ("Y", "U", "V"),
}
#: What `_bounds` finds for every image.
COLUMNS = ("rate", "distortion", "importance", "effective_draws")


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How a trained model is judged.

    Attributes:
      n_rows: test rows behind likelihoods, at most, and as many of the training split.
      n_samples: images in a picture.
      n_importance: draws of the latents per image.
    """

    n_rows: int = 10_000
    n_samples: int = 64
    n_importance: int = 50

    def __post_init__(self) -> None:
        for name, least in (("n_rows", 2), ("n_samples", 1), ("n_importance", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"eval.{name}={getattr(self, name)}: take at least {least}")


class Judge:
    """Evaluation and figures of one model.

    Args:
      vae: what is judged.
      protocol: how.
      label: what the run is called in tables.
      levels: octaves of frequency that the coefficients fall into, beside the lowest ones.
      channels: names of the residuals' channels.
    """

    def __init__(
        self, vae: VAE, protocol: Protocol, label: str, levels: int, channels: tuple[str, ...]
    ):
        self.vae, self.protocol, self.label, self.channels = vae, protocol, label, channels
        self.bands = bands(vae.spec.domain.shape, levels)
        self._bounds = jax.jit(self._bounds_of)
        self._reconstruct = jax.jit(lambda params, x: vae.decode(params, vae.encode(params, x)))
        self._sample = jax.jit(vae.sample, static_argnums=2)

    # ---------------------------------------------------------------- numbers

    def evaluate(self, state: TrainState, dataset: Any, key: Array) -> Evaluation:
        """`Method.evaluate`: bounds on test and on training images, learned shapes by band.

        Of test images `elbo`, `rate`, `distortion` and `importance` (nats of a density over the
        unit cube) and their bits per dimension; `elbo_train`; `effective_draws` of the
        `n_importance`, on average; and, where learned, the mean "alpha" or "df", all and by band.
        The noise is the same every time, so that models can be compared closely.
        """
        n = min(self.protocol.n_rows, len(dataset.test))
        rows = [self._row(state.params, dataset, s, n, i) for i, s in enumerate(("test", "train"))]
        names = ("elbo", "elbo_stderr", "rate", "distortion", "importance", "effective_draws")
        test, train = rows
        bits = ("bits_per_dim", "bits_per_dim_importance")
        metrics = {name: test[name] for name in (*bits, *names)}
        metrics |= {"elbo_train": train["elbo"], "bits_per_dim_train": train["bits_per_dim"]}
        shapes = {name: np.asarray(v) for name, v in self.vae.shapes(state.params).items()}
        for name in self._learned(state):
            metrics[name] = float(shapes[name].mean())
            for band, where in self.bands.items() if len(self.bands) > 1 else ():
                metrics[f"{name}/{band}"] = float(shapes[name][where].mean())
        about = {**dataclasses.asdict(self.protocol), "dequantised": "uniform"}
        tables = {"likelihood": rows, "bands": self._band_rows(shapes)}
        return Evaluation(metrics, about, tables)

    def _bounds_of(self, params: Any, key: Array, x: Array) -> Array:
        """`COLUMNS` of decoded images, `(B, 4)`."""
        noise, draws = jax.random.split(key)
        u = self.vae.points(noise, x)
        terms = self.vae.draws(params, draws, u, self.protocol.n_importance)
        importance, _ = jax.vmap(samplers.log_partition, in_axes=1)(terms.log_weight)
        effective = jax.vmap(samplers.effective_draws, in_axes=1)(terms.log_weight)
        means = (jnp.mean(terms.rate, axis=0), jnp.mean(terms.distortion, axis=0))
        return jnp.stack([*means, importance, effective], axis=1)

    def _row(self, params: Any, dataset: Any, split: str, n: int, seed: int) -> dict[str, Any]:
        """One line of the table of likelihoods."""
        x = dataset.examples(split, n)["image"]
        key = jax.random.key(seed)
        values = evaluation.in_batches(
            lambda i: self._bounds(params, jax.random.fold_in(key, i[0]), x[i]),
            np.arange(len(x)),
            min(CHUNK, len(x)),
        ).astype(np.float64)
        found = dict(zip(COLUMNS, values.T, strict=True))
        elbo = -found["rate"] - found["distortion"]
        mean = {name: float(v.mean()) for name, v in found.items()}
        return {
            "model": self.label,
            "split": split,
            "elbo": float(elbo.mean()),
            "elbo_stderr": float(elbo.std(ddof=1) / len(elbo) ** 0.5),
            **mean,
            "sign": self.vae.of_data(jnp.zeros(())).nll_sign,
            "bits_per_dim": self._bits(float(elbo.mean())),
            "bits_per_dim_importance": self._bits(mean["importance"]),
        }

    def _bits(self, bound: float) -> float:
        """Bits per dimension of the integers, from nats of the density."""
        return float(bits_per_dim(self.vae.of_data(jnp.float32(bound)), self.vae.spec.domain))

    def _band_rows(self, shapes: dict[str, np.ndarray]) -> list[dict[str, Any]]:
        """Mean shape and geometric mean of scales, by band and channel."""
        (name,) = shapes.keys() - {"scale"}
        return [
            {
                "band": band,
                "channel": channel,
                "coefficients": int(where.sum()),
                name: float(shapes[name][where, i].mean()),
                "scale": float(np.exp(np.log(shapes["scale"][where, i]).mean())),
            }
            for band, where in self.bands.items()
            for i, channel in enumerate(self.channels)
        ]

    def _learned(self, state: TrainState) -> list[str]:
        """The name of the shape that is learned, if any is."""
        return [name for name in ("alpha", "df") if name in state.params["likelihood"]]

    # ---------------------------------------------------------------- pictures

    def figures(self, state: TrainState, dataset: Any, key: Array) -> dict[str, Any]:
        """`Method.figures`: samples, reconstructions, and maps of shapes and scales."""
        x = dataset.examples("test", self.protocol.n_samples)["image"]
        y = np.asarray(self._sample(state.params, key, len(x)))
        again = np.asarray(self._reconstruct(state.params, x))
        drawn = {
            "samples": reporting.side_by_side({"test data": x, "samples, without residual": y}),
            "reconstructions": reporting.side_by_side({"test data": x, "reconstructions": again}),
        }
        shapes = {name: np.asarray(v) for name, v in self.vae.shapes(state.params).items()}
        for name in (*self._learned(state), "scale"):
            # From Cauchy to Normal at least, so that maps of different runs can be compared.
            limits = (0.0, max(2.0, shapes[name].max())) if name == "alpha" else None
            drawn[name] = reporting.coefficient_maps(
                shapes[name], name, names=self.channels, limits=limits, title=self.label
            )
        return drawn


def bands(shape: tuple[int, ...], levels: int) -> dict[str, np.ndarray]:
    """Coefficients of one octave of frequency each, as masks `(H, W)`.

    "band_1" are the finest details; "rest" are the lowest frequencies, which all coefficients are
    where `levels` is 0. Wavelets and cosines lie alike: the low half of both axes is split again.
    """
    height, width = shape[:2]
    level = np.zeros((height, width), int)
    for i in range(1, levels + 1):
        height, width = (height + 1) // 2, (width + 1) // 2
        level[:height, :width] = i
    return {f"band_{i + 1}": level == i for i in range(levels)} | {"rest": level == levels}
