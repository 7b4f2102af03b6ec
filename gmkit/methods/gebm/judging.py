"""Judging a GEBM: base against model, sampler by sampler (section 5 of the paper)."""

from __future__ import annotations

import dataclasses
import functools
import logging
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gmkit import evaluation, objectives, reporting, samplers
from gmkit.core import Evaluation, TrainState
from gmkit.core.parallel import example_normal
from gmkit.methods.gebm.likelihood import LikelihoodJudge, Likelihoods
from gmkit.methods.gebm.model import GEBM
from gmkit.samplers import LatentSampler

Array = jax.Array
_logger = logging.getLogger(__name__)
#: Fewest samples that the statistics are defined on.
MIN_SAMPLES = 16
#: Rows of a split behind KALE, at most.
MAX_ROWS = 50_000
#: Samples behind the histograms, at most.
MAX_DRAWN = 1000
#: Effective fraction of the base samples below which importance weights mean little.
LOW_ESS = 0.05


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How a trained model is judged.

    Attributes:
      features: `dataset -> Features`; called when an evaluation needs it.
      n_samples: samples of the base and of every sampler, and data they are compared with.
      samplers: the first one is the model's own, the others are compared with it.
      loop: how chains are run, see `samplers.run`.
      n_chains: chains behind the mixing diagnostics.
      n_pictures: samples in a picture.
      likelihoods: how likelihoods are judged, where the base has a density; None for not at all.
    """

    features: Callable[[Any], evaluation.Features]
    n_samples: int = 2000
    samplers: tuple[LatentSampler, ...] = (LatentSampler(),)
    loop: samplers.Loop = "scan"
    n_chains: int = 64
    n_pictures: int = 64
    likelihoods: Likelihoods | None = None

    def __post_init__(self) -> None:
        if self.n_samples < MIN_SAMPLES:
            raise ValueError(f"eval.n_samples={self.n_samples}: take at least {MIN_SAMPLES}")


class Judge:
    """Evaluation and figures of one model.

    Args:
      model: what is judged.
      protocol: how.
      field: entry of a batch that holds the data.
    """

    def __init__(self, model: GEBM, protocol: Protocol, field: str):
        self.model, self.protocol, self.field = model, protocol, field
        self._energy = jax.jit(model.energy)
        self._base = jax.jit(model.sample_base, static_argnums=2)
        self._compiled_draw = jax.jit(model.draw, static_argnums=(2, 3))
        judged = model.has_density and protocol.likelihoods is not None
        self.likelihoods = LikelihoodJudge(model, protocol.likelihoods, field) if judged else None

    def energies(self, state: TrainState, x: np.ndarray) -> np.ndarray:
        """E(x) of host arrays, `(n,)`."""
        return evaluation.in_batches(lambda v: self._energy(state, v), x, 1000)

    def draw(
        self, state: TrainState, key: Array, n: int, how: LatentSampler
    ) -> tuple[np.ndarray, dict[str, float]]:
        """Samples of the model, diagnostics, and the seconds it took (without compilation where
        the chains run in one program)."""
        if self.protocol.loop == "scan" or how.name not in samplers.CHAINS:
            program = self._compiled_draw.lower(state, key, n, how).compile()
            draw = lambda: program(state, key)
        else:
            draw = lambda: self.model.draw(state, key, n, how, self.protocol.loop)
        start = time.perf_counter()
        x, info = jax.block_until_ready(draw())
        seconds = {"seconds": time.perf_counter() - start}
        return np.asarray(x), seconds | {name: float(v) for name, v in info.items()}

    # ------------------------------------------------------------ numbers

    def kale(self, state: TrainState, dataset: Any, y: np.ndarray) -> dict[str, float]:
        """KALE on training and held-out data, with the same base samples `y` and the same c."""
        e_base = self.energies(state, y)
        log_z_batch = float(objectives.log_partition(jnp.asarray(e_base)))
        c = float(self.model.log_z(state, log_z_batch))
        e_data = {
            split: self.energies(state, dataset.examples(split, MAX_ROWS)[self.field])
            for split in ("train", "test")
        }
        values = {
            f"kale_{split}": float(objectives.variational_log_likelihood(e, e_base, c))
            for split, e in e_data.items()
        }
        values["log_z"] = c
        values["log_z_batch"] = log_z_batch
        values["weight_ess"] = float(objectives.weight_ess(jnp.asarray(e_base)))
        if values["weight_ess"] < LOW_ESS:
            _logger.warning(
                "only %.1f %% of the base samples carry weight: importance resampling and KALE "
                "are unreliable; a larger penalty or fewer energy steps help",
                100.0 * values["weight_ess"],
            )
        for split, e in e_data.items():
            values[f"generalized_log_likelihood_{split}"] = float(
                objectives.generalized_log_likelihood(e, e_base)
            )
        values |= {f"energy_{name}": float(e.mean()) for name, e in e_data.items()}
        return values | {"energy_base": float(e_base.mean())}

    def mixing(self, state: TrainState, key: Array, how: LatentSampler) -> dict[str, float]:
        """Effective sample size per gradient and R-hat of the chains' second half."""
        if how.name not in samplers.CHAINS or how.n_steps < 40:
            return {}
        thin = max(how.n_steps // 100, 1)
        how = dataclasses.replace(how, n_steps=how.n_steps // thin * thin)
        latent_energy = lambda z: self.model.latent_energy(state, z)
        z_key, chain_key = jax.random.split(key)
        z0 = example_normal(z_key, self.protocol.n_chains, (self.model.base.latent_dim,))
        trace = samplers.latent_chains(
            chain_key, latent_energy, z0, how, thin=thin, loop=self.protocol.loop
        )
        half = trace.samples.shape[0] // 2
        late = trace._replace(
            samples=trace.samples[half:], info=jax.tree.map(lambda v: v[half:], trace.info)
        )
        found = {"rhat": float(jnp.max(samplers.split_rhat(late.samples)))}
        if jnp.sum(late.info.n_grad) > 0:
            found["ess_per_grad"] = float(samplers.ess_per_gradient(late))
        return found

    def evaluate(self, state: TrainState, dataset: Any, key: Array) -> Evaluation:
        """`Method.evaluate`: the base and every sampler against data, KALE, the log-partition.

        Numbers about samples are keyed by feature space and counts, such as
        "fd_gebm[clf-50f17e52;1437x2000]" (data x samples); `fd_base`, `fd_gebm` and, for
        vectors, `w1_base`, `w1_gebm` (first coordinate) stand for the base and the model.
        """
        n, field = self.protocol.n_samples, self.field
        features = self.protocol.features(dataset)
        real = dataset.examples("train", n)[field]
        real_features = features.apply(real)
        keyed: dict[str, float] = {}
        rows: list[dict[str, Any]] = []

        def judged(name: str, x: np.ndarray, **about: Any) -> evaluation.QualityReport:
            finite = np.isfinite(x).reshape(len(x), -1).all(axis=1)
            about["invalid"] = float(1.0 - finite.mean())
            x = x[finite]
            if len(x) < MIN_SAMPLES:
                # Chains that diverged say nothing about the others.
                rows.append({"samples": name, "counts": f"{len(real)}x{len(x)}", **about})
                return evaluation.QualityReport({}, {}, {})
            report = evaluation.quality(features, real_features, features.apply(x), name)
            label = lambda k: f"{k.removesuffix(f'_{name}')}[{features.label}]"
            row = {label(k): v for k, v in report.values.items()}
            if x.ndim == 2:
                row["w1"] = evaluation.wasserstein_1d(real[:, 0], x[:, 0])
                report.values[f"w1_{name}"] = row["w1"]
                keyed[f"w1_{name}[{len(real)}x{len(x)}]"] = row["w1"]
            if self.model.floor is not None:
                about["clamped"] = float((self.energies(state, x) <= self.model.floor).mean())
            keyed.update(report.keyed)
            rows.append({"samples": name, "counts": f"{len(real)}x{len(x)}", **row, **about})
            return report

        base_key, *keys = jax.random.split(key, 1 + len(self.protocol.samplers))
        y = np.asarray(self._base(state, base_key, n))
        judged("test_data", dataset.examples("test", n)[field])
        base = judged("base", y)
        values = dict(base.values)
        for i, (how, sampler_key) in enumerate(zip(self.protocol.samplers, keys, strict=True)):
            x, about = self.draw(state, sampler_key, n, how)
            about |= {"beta": how.beta} | self.mixing(state, sampler_key, how)
            name = "gebm" if i == 0 else _label(how)
            values |= judged(name, x, sampler=how.name, **about).values
        if self.model.knows_log_z:
            exact = jax.jit(self.model.exact_draws, static_argnums=2)
            values |= judged("exact", np.asarray(exact(state, base_key, n))).values
        names = [f"{m}_{who}" for m in ("fd", "w1") for who in ("base", "gebm")]
        metrics = {name: values[name] for name in names if name in values}
        if {"fd_base", "fd_gebm"} <= set(metrics):
            metrics["fd_change"] = metrics["fd_gebm"] / metrics["fd_base"] - 1.0
        metrics |= self.kale(state, dataset, y) | keyed
        provenance = base.provenance | {"sampler": dataclasses.asdict(self.protocol.samplers[0])}
        tables = {"samplers": rows}
        if self.likelihoods is not None:
            found, more = self.likelihoods.evaluate(state, dataset, jax.random.fold_in(key, 1))
            metrics, tables = found | metrics, more | tables
        return Evaluation(metrics, provenance, tables)

    # ------------------------------------------------------------ pictures

    def figures(self, state: TrainState, dataset: Any, key: Array) -> dict[str, Any]:
        """`Method.figures`: samples, energies, chains in image space or the energy's landscape."""
        n = min(self.protocol.n_samples, MAX_DRAWN)
        base_key, model_key, chain_key = jax.random.split(key, 3)
        panels = {
            "data": dataset.examples("test", n)[self.field],
            "base": np.asarray(self._base(state, base_key, n)),
            "GEBM": self.draw(state, model_key, n, self.protocol.samplers[0])[0],
        }
        drawn = {}
        if self.field == "image":
            few = {name: x[: self.protocol.n_pictures] for name, x in panels.items()}
            drawn["samples"] = reporting.side_by_side(few)
            drawn["chains"] = self._chains(state, chain_key)
        elif panels["data"].shape[1] == 2:
            drawn["samples"] = reporting.scatter_panels(panels)
            drawn["landscape"] = self._landscape(state, panels["data"])
            if self.likelihoods is not None:
                drawn["density"] = self.likelihoods.picture(state, panels["data"], panels["GEBM"])
        else:
            pairs = {name: x[:, :2] for name, x in panels.items()}
            drawn["samples"] = reporting.scatter_panels(pairs, title="first two coordinates")
        values = {name: self.energies(state, x) for name, x in panels.items()}
        drawn["energies"] = reporting.histograms(values, xlabel="energy E(x)")
        return drawn

    def _chains(self, state: TrainState, key: Array) -> Any:
        """Chains of the model's sampler in image space, from samples of the base on."""
        how = next(
            (h for h in self.protocol.samplers if h.name in samplers.CHAINS), LatentSampler()
        )
        thin = max(how.n_steps // 10, 1)
        how = dataclasses.replace(how, n_steps=how.n_steps // thin * thin)
        z_key, chain_key = jax.random.split(key)
        z0 = example_normal(z_key, 8, (self.model.base.latent_dim,))

        latent_energy = functools.partial(self.model.latent_energy, state)
        trace = samplers.latent_chains(
            chain_key, latent_energy, z0, how, thin=thin, loop=self.protocol.loop
        )
        decode = jax.jit(self.model.decode)
        images = np.stack([decode(state, z) for z in (z0, *trace.samples)])
        times = [i * thin for i in range(len(images))]
        title = f"chains of {how.name}, beta {how.beta:g}, from the base"
        return reporting.image_strips(images, times, title=title)

    def _landscape(self, state: TrainState, data: np.ndarray) -> Any:
        """The energy on the plane, with data on it."""
        extent, grid = evaluation.plane(data, 100)
        values = self.energies(state, grid).reshape(100, 100)
        return reporting.landscape(values, extent, points=data[:500], title="energy, and data")


def _label(how: LatentSampler) -> str:
    """Name of a sampler's numbers: "mala", or "kla_beta5" for a tempered one."""
    return how.name if how.beta == 1 else f"{how.name}_beta{how.beta:g}"
