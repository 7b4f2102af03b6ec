"""Judging a flow: its likelihood beside baselines, its samples, its inverse."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gmkit import evaluation, reporting
from gmkit.core import Evaluation, LogLik, TrainState, bits_per_dim, eval_params
from gmkit.methods.flow.model import NET, Flow

Array = jax.Array
#: Rows that are evaluated at a time.
CHUNK = 500
#: Test rows that are mapped to latents and back.
INVERTED = 1000
#: Side of the grid that a density of the plane is drawn on.
PIXELS = 200


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How a trained flow is judged.

    Attributes:
      n_rows: rows of the training and of the test split behind likelihoods, at most.
      n_samples: samples that are compared with data, and in pictures.
      n_dequantise: draws of the dequantisation noise per image.
      components: numbers of Gaussians that the mixture baseline tries.
      n_pictures: images in a picture.
    """

    n_rows: int = 10_000
    n_samples: int = 2000
    n_dequantise: int = 8
    components: tuple[int, ...] = (1, 2, 5, 10, 20, 40)
    n_pictures: int = 64

    def __post_init__(self) -> None:
        for name in ("n_rows", "n_samples", "n_dequantise"):
            if getattr(self, name) < 2:
                raise ValueError(f"eval.{name}={getattr(self, name)}: take at least 2")


class Judge:
    """Evaluation and figures of one flow.

    Args:
      flow: what is judged.
      protocol: how.
    """

    def __init__(self, flow: Flow, protocol: Protocol):
        self.flow, self.protocol = flow, protocol
        log_liks = lambda params, key, x: flow.log_liks(params, key, x, protocol.n_dequantise)
        self._log_liks = jax.jit(log_liks)
        self._one = jax.jit(lambda params, key, x: flow.log_lik(params, key, x).value)
        self._density = jax.jit(flow.density.log_prob)
        self._encode, self._decode = jax.jit(flow.encode), jax.jit(flow.decode)
        self._sample = jax.jit(flow.sample, static_argnums=2)

    # ---------------------------------------------------------------- numbers

    def score(self, state: TrainState, dataset: Any) -> float:
        """Negative log-likelihood of the validation rows, nats; the same noise every time."""
        x = dataset.examples("validation")[self.flow.field]
        values = _in_chunks(self._one, eval_params(state, NET), jax.random.key(0), x)
        return -float(values.mean())

    def evaluate(self, state: TrainState, dataset: Any, key: Array) -> Evaluation:
        """`Method.evaluate`: likelihoods of all splits, baselines, samples, inversion.

        `nll_<split>` are nats per example, for images upper bounds of the integers'; their
        `bits_per_dim_<split>` come with `bits_per_dim_test_importance`, from the log-mean-exp
        over the draws. `max_inverse_error` is `max |decode(encode(x)) - x|` of test rows.
        """
        params, splits = eval_params(state, NET), _splits(dataset)
        *baselines, own = rows = self._rows(params, dataset, splits)
        metrics = {f"nll_{split}": own[f"nll_{split}"] for split in splits}
        metrics |= {"nll_stderr": own["stderr"]}
        metrics |= {f"nll_{row['model']}": row["nll_test"] for row in baselines}
        if self.flow.images:
            found = {f"bits_per_dim_{s}": self._bits(own[f"nll_{s}"]) for s in splits}
            found["bits_per_dim_test_importance"] = own["bits_per_dim_importance"]
            found |= {f"bits_per_dim_{row['model']}": row["bits_per_dim"] for row in baselines}
            metrics = found | metrics
        if self.flow.spec.domain.shape == (2,):
            metrics |= self._distances(params, dataset, key)
        x = dataset.examples("test", INVERTED)[self.flow.field]
        back = self._decode(params, self._encode(params, x))
        metrics["max_inverse_error"] = float(np.abs(back - x).max())
        about = {"n_rows": self.protocol.n_rows, "n_samples": self.protocol.n_samples}
        if self.flow.images:
            about["n_dequantise"] = self.protocol.n_dequantise
        return Evaluation(metrics, about, {"likelihood": rows})

    def _distances(self, params: Any, dataset: Any, key: Array) -> dict[str, float]:
        """Wasserstein distances of samples and of test rows to training rows, first coordinate."""
        n = self.protocol.n_samples
        real, test = (dataset.examples(split, n)["x"][:, 0] for split in ("train", "test"))
        y = np.asarray(self._sample(params, key, n))[:, 0]
        drawn = {"test_data": test, "flow": y[np.isfinite(y)]}
        return {f"w1_{k}": evaluation.wasserstein_1d(real, v) for k, v in drawn.items() if v.size}

    def _rows(self, params: Any, dataset: Any, splits: tuple[str, ...]) -> list[dict[str, Any]]:
        """Lines of the table of likelihoods: the baselines and, last, the flow.

        Images get the same noise every time, so that models can be compared closely.
        """
        values = {}
        for i, split in enumerate(splits):
            x = dataset.examples(split, self.protocol.n_rows)[self.flow.field]
            values[split] = _in_chunks(self._log_liks, params, jax.random.key(i), x)
        test = values["test"]
        row = _row("flow", self.flow.of_data(jnp.zeros(1)), -float(test.mean()))
        row["stderr"] = _stderr(test.mean(axis=1))
        for split in ("validation", "train"):
            row[f"nll_{split}"] = -float(values[split].mean()) if split in values else None
        row["parameters"] = sum(p.size for p in jax.tree.leaves(params))
        if self.flow.images:
            tight = np.logaddexp.reduce(test, axis=1) - math.log(test.shape[1])
            row["bits_per_dim"] = self._bits(row["nll_test"])
            row["bits_per_dim_importance"] = self._bits(-float(tight.mean()))
        return [*self._baselines(dataset), row]

    def _bits(self, nll: float) -> float:
        """Bits per dimension from nats of the integers."""
        return float(bits_per_dim(LogLik(jnp.float32(-nll), quantity="pmf"), self.flow.spec.domain))

    def _baselines(self, dataset: Any) -> list[dict[str, Any]]:
        """A Gaussian, and the mixture of Gaussians that suits held-out rows best.

        Without a validation split the last tenth of the training rows is held out from the
        mixtures. Images are dequantised and flattened.
        """

        def rows_of(i: int, split: str) -> np.ndarray:
            x = dataset.examples(split, self.protocol.n_rows)[self.flow.field]
            return np.asarray(self.flow.points(jax.random.key(i), x)).reshape(len(x), -1)

        train, test = rows_of(0, "train"), rows_of(1, "test")
        if dataset.validation is None:
            held = max(2, len(train) // 10)
            fitted, validation = train[:-held], train[-held:]
        else:
            fitted, validation = train, rows_of(2, "validation")
        components = [k for k in self.protocol.components if k <= len(fitted)]
        found = {
            "gaussian": evaluation.gaussian_baseline(train, test),
            "mixture": evaluation.mixture_baseline(fitted, validation, test, components),
        }
        rows, d = [], train.shape[1]
        for name, b in found.items():
            like = self.flow.of_data(jnp.full(1, -b.nll))
            like = dataclasses.replace(like, kind="lower" if self.flow.images else "exact")
            row = _row(name, like, -float(like.value[0])) | {"stderr": b.nll_stderr}
            offset = row["nll_test"] - b.nll
            seen = dataset.validation is not None and not math.isnan(b.validation_nll)
            row["nll_validation"] = b.validation_nll + offset if seen else None
            row["nll_train"] = None
            row["parameters"] = b.components * (1 + d + d * (d + 1) // 2) - 1
            if self.flow.images:
                row["bits_per_dim"] = self._bits(row["nll_test"])
            rows.append(row)
        return rows

    # ---------------------------------------------------------------- pictures

    def figures(self, state: TrainState, dataset: Any, key: Array) -> dict[str, Any]:
        """`Method.figures`: samples, the transport or interpolations."""
        params = eval_params(state, NET)
        x = dataset.examples("test", self.protocol.n_samples)[self.flow.field]
        y = np.asarray(self._sample(params, key, len(x)))
        if self.flow.images:
            few = self.protocol.n_pictures
            drawn = {"samples": reporting.side_by_side({"test data": x[:few], "flow": y[:few]})}
            if self.flow.normal:
                drawn["interpolations"] = self._interpolations(params, x)
        elif x.shape[1] == 2 and self.flow.normal:
            drawn = {"transport": self._transport(params, x, y)}
        else:
            drawn = {"samples": self._marginals(x, y)}
        return drawn

    def _transport(self, params: Any, x: np.ndarray, y: np.ndarray) -> Any:
        """Data, samples, density with the image of a straight latent grid, latents."""
        extent, grid = evaluation.plane(x, PIXELS, margin=0.5)
        values = evaluation.in_batches(lambda v: self._density(params, v), grid, 8000)
        lines = evaluation.latent_grid()
        warped = evaluation.in_batches(
            lambda z: self._decode(params, z), lines.reshape(-1, 2), 8000
        ).reshape(lines.shape)
        latents = np.asarray(self._encode(params, x))
        density = np.exp(values.reshape(PIXELS, PIXELS))
        return reporting.transport_panels(density, extent, warped, x, latents, y)

    def _interpolations(self, params: Any, x: np.ndarray, pairs: int = 8, steps: int = 11) -> Any:
        """From one test image to another on a path of the latents that keeps their length."""
        z = np.asarray(self._encode(params, x[: 2 * pairs]))
        start, end = np.split(z[: len(z) // 2 * 2], 2)
        t = np.linspace(0.0, 1.0, steps, dtype=np.float32)[:, None, None]
        path = (1 - t) * start[None] + t * end[None]
        length = lambda v: np.linalg.norm(v, axis=-1, keepdims=True)
        path *= ((1 - t) * length(start)[None] + t * length(end)[None]) / length(path)
        images = np.stack([self._decode(params, z) for z in path])
        percent = [round(100 * float(v)) for v in t.ravel()]
        return reporting.image_strips(images, percent, "between test images", "% of the way")

    def _marginals(self, x: np.ndarray, y: np.ndarray) -> Any:
        """Data and samples in the two coordinates of the data that are least like a Gaussian."""
        if x.shape[1] == 1:
            return reporting.histograms({"data": x, "flow": y}, xlabel="x")
        normal = np.random.default_rng(0).standard_normal(10_000)
        standard = (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-12)
        far = [evaluation.wasserstein_1d(column, normal) for column in standard.T]
        i, j = sorted(np.argsort(far)[-2:])
        panels = {"data": x[:, [i, j]], "flow": y[:, [i, j]]}
        title = f"coordinates {i} and {j}, the least Gaussian" if x.shape[1] > 2 else None
        # Of the data alone: a far sample must not shrink everything else.
        extent, _ = evaluation.plane(panels["data"], 2)
        return reporting.scatter_panels(panels, extent, title)


def _splits(dataset: Any) -> tuple[str, ...]:
    return ("test", *(() if dataset.validation is None else ("validation",)), "train")


def _in_chunks(
    function: Callable[..., Array], params: Any, key: Array, x: np.ndarray
) -> np.ndarray:
    """`function(params, key, rows)` over all rows, each chunk with its own key, in float64.

    The last chunk is filled up with rows from the start, so that one compilation does.
    """
    found = []
    for i, start in enumerate(range(0, len(x), CHUNK)):
        rows = x[start : start + CHUNK]
        full = np.resize(rows, (CHUNK, *rows.shape[1:]))
        values = function(params, jax.random.fold_in(key, i), full)
        found.append(np.asarray(values, np.float64)[: len(rows)])
    return np.concatenate(found)


def _stderr(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan


def _row(name: str, like: LogLik, nll: float) -> dict[str, Any]:
    return {"model": name, "sign": like.nll_sign, "nll_test": nll}
