"""Judging a GEBM whose base has a density: its normalised likelihood, and others beside it."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gmkit import evaluation, reporting, samplers
from gmkit.core import LogLik, TrainState
from gmkit.methods.gebm.model import CHUNK, GEBM

Array = jax.Array
Rows = list[dict[str, Any]]
SPLITS = ("train", "validation", "test")
#: Rows of the training split that likelihoods are computed on, at most.
MAX_ROWS = 10_000
#: Half the width of a 95 % interval in standard errors.
CONFIDENCE = 1.96


@dataclasses.dataclass(frozen=True)
class Likelihoods:
    """How likelihoods are computed and compared.

    Attributes:
      n_importance: draws of the base behind the importance estimates of the log-partition.
      n_chains: annealed chains, 0 for none.
      n_temperatures: of annealing.
      n_leap: leapfrog steps of HMC at every temperature.
      step: HMC's step size where its search starts.
      components: numbers of Gaussians of the mixture baseline; none for no baselines.
      rivals: other models of the same data, name -> `(key, x) -> LogLik`.
    """

    n_importance: int = 100_000
    n_chains: int = 128
    n_temperatures: int = 200
    n_leap: int = 5
    step: float = 0.2
    components: tuple[int, ...] = (1, 2, 5, 10, 20, 40)
    rivals: Mapping[str, Callable[[Array, Array], LogLik]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.n_importance < 100:
            raise ValueError(f"eval.n_importance={self.n_importance}: take at least 100")
        if self.n_chains and (self.n_chains < 2 or self.n_temperatures < 2):
            raise ValueError(
                f"eval.ais: chains={self.n_chains} and temperatures={self.n_temperatures} must be "
                "at least 2 (chains=0 for no annealing)"
            )


class LikelihoodJudge:
    """Likelihoods of one model and of its rivals.

    Args:
      model: with a density.
      how: see there.
      field: entry of a batch that holds the data.
    """

    def __init__(self, model: GEBM, how: Likelihoods, field: str):
        self.model, self.how, self.field = model, how, field
        self._unnormalised = jax.jit(model.unnormalised_log_prob)
        self._base = jax.jit(model.base_log_prob)
        self._anneal = jax.jit(self._annealed)

        def log_weights(state: TrainState, key: Array) -> Array:
            return -model.energy(state, model.sample_base(state, key, CHUNK))

        self._log_weights = jax.jit(log_weights)

    # ---------------------------------------------------------------- the log-partition

    def log_weights(self, state: TrainState, key: Array, n: int) -> np.ndarray:
        """`-E(y)` of at least n draws of the base."""
        keys = jax.random.split(key, math.ceil(n / CHUNK))
        return np.concatenate([self._log_weights(state, k) for k in keys])

    def log_partition(self, state: TrainState, key: Array) -> Rows:
        """Every estimate of `A = log E_G[exp(-E)]`, one row each.

        Columns: estimate, value, low and high (95 % interval), kind ("exact", "low" or "high"
        on average, or "learned"), draws, ess (fraction).
        """
        model, rows = self.model, []

        def row(name: str, kind: str, value: Any, stderr: Any = 0.0, **about: Any) -> None:
            value, half = float(value), CONFIDENCE * float(stderr)
            about = {"draws": float("nan"), "ess": float("nan"), **about}
            ends = {"low": value - half, "high": value + half}
            rows.append({"estimate": name, "value": value, **ends, "kind": kind, **about})

        if model.knows_log_z:
            row("exact", "exact", model.exact_log_z(state))
        if "log_z" in state.params:
            row("learned c", "learned", model.log_z(state, 0.0))
        importance_key, anneal_key = jax.random.split(key)
        weights = self.log_weights(state, importance_key, self.how.n_importance)
        ess = float(samplers.effective_draws(jnp.asarray(weights))) / len(weights)
        about = {"draws": len(weights), "ess": ess}
        row("importance sampling", "low", *samplers.log_partition(jnp.asarray(weights)), **about)
        first, second = np.array_split(weights, 2)
        guess, _ = samplers.log_partition(jnp.asarray(first))
        upper = samplers.log_partition_upper(jnp.asarray(second), guess)
        row("tangent bound", "high", *upper, draws=len(second), ess=ess)
        if self.how.n_chains:
            runs = self._anneal(state, anneal_key)
            for (name, kind), run in zip(
                (("annealing", "low"), ("reverse annealing", "high")), runs, strict=False
            ):
                about = {"draws": self.how.n_chains, "ess": float(run.ess) / self.how.n_chains}
                row(name, kind, run.log_z, run.log_z_stderr, **about)
        return rows

    def _annealed(self, state: TrainState, key: Array) -> tuple[samplers.Annealed, ...]:
        """Annealing in the latent space from `N(0, I)` to the posterior; also backwards where
        the model can be drawn exactly (bidirectional Monte Carlo)."""
        model, how = self.model, self.how
        dim = model.base.latent_dim
        prior: samplers.Potential = lambda z: 0.5 * jnp.sum(z**2, axis=-1)
        path = samplers.geometric_path(prior, lambda z: prior(z) + model.latent_energy(state, z))
        betas = samplers.sigmoid_betas(how.n_temperatures)
        kernel = functools.partial(samplers.hmc, n_leap=how.n_leap)
        pilot_key, start_key, run_key, exact_key = jax.random.split(key, 4)
        starts = jax.random.normal(start_key, (2, how.n_chains, dim))
        steps = samplers.pilot_step_sizes(
            pilot_key, path, starts[0], betas, how.step, kernel=kernel
        )
        if not model.knows_log_z:
            run = samplers.annealed_importance_sampling
            return (run(run_key, path, starts[1], betas, steps, kernel=kernel),)
        z1 = model.encode(state, model.exact_draws(state, exact_key, how.n_chains))
        both = samplers.bidirectional(run_key, path, starts[1], z1, betas, steps, kernel=kernel)
        return both.forward, both.reverse

    # ---------------------------------------------------------------- likelihoods

    def score(self, state: TrainState, dataset: Any) -> float:
        """Negative log-likelihood of the validation rows, nats, to select by.

        Where the log-partition is not known it is estimated from the same draws every time.
        """
        mean = self._means(self._unnormalised, state, dataset, ("validation",))["validation"][0]
        if self.model.knows_log_z:
            return float(self.model.exact_log_z(state)) - mean
        weights = self.log_weights(state, jax.random.key(0), 20_000)
        return float(samplers.log_partition(jnp.asarray(weights))[0]) - mean

    def evaluate(
        self, state: TrainState, dataset: Any, key: Array
    ) -> tuple[dict[str, float], dict[str, Rows]]:
        """Metrics, and the tables "likelihood" and "log_partition".

        `nll_test` is exact where the log-partition is known and an upper bound on average where
        it is not; nats per example.
        """
        z_key, rival_key = jax.random.split(key)
        partitions = self.log_partition(state, z_key)
        splits = [s for s in SPLITS if s != "validation" or dataset.validation is not None]
        own = self._means(self._unnormalised, state, dataset, splits)
        base = self._means(self._base, state, dataset, splits)
        rows = self._baselines(dataset)
        rows.append(_row("base", "=", base))
        for name, log_lik in self.how.rivals.items():
            rows.append(self._rival(name, log_lik, dataset, splits, rival_key))
        signs = {"exact": "=", "low": ">=", "high": "<=", "learned": "?"}
        for part in partitions:
            if part["estimate"] in ("exact", "learned c", "importance sampling", "tangent bound"):
                name = f"gebm, {part['estimate']}"
                rows.append(_row(name, signs[part["kind"]], own, part["value"]))
        z = {part["estimate"]: part for part in partitions}
        best = z["exact" if self.model.knows_log_z else "tangent bound"]["value"]
        metrics = {f"nll_{split}": best - own[split][0] for split in splits}
        metrics["nll_stderr"] = own["test"][1]
        metrics |= {f"nll_{r['model']}": r["nll_test"] for r in rows if "gebm" not in r["model"]}
        for name, part in z.items():
            label = name.replace(" ", "_").removeprefix("learned_")
            metrics[f"log_z_{label}"] = part["value"]
        if self.model.knows_log_z and "learned c" in z:
            metrics["log_z_error"] = abs(z["learned c"]["value"] - z["exact"]["value"])
        metrics["ess_importance"] = z["importance sampling"]["ess"]
        return metrics, {"likelihood": rows, "log_partition": partitions}

    def _means(
        self, function: Callable[..., Array], state: TrainState, dataset: Any, splits: Any
    ) -> dict[str, tuple[float, float]]:
        """Mean and standard error of `function(state, x)` over the rows of splits."""
        apply = lambda x: function(state, x)
        return {split: _mean(apply, self._rows(dataset, split)) for split in splits}

    def _rows(self, dataset: Any, split: str) -> np.ndarray:
        return dataset.examples(split, MAX_ROWS)[self.field]

    def _baselines(self, dataset: Any) -> Rows:
        """A Gaussian, and the mixture of Gaussians that suits the validation rows best."""
        if not self.how.components:
            return []
        train, test = self._rows(dataset, "train"), self._rows(dataset, "test")
        found = {"gaussian": evaluation.gaussian_baseline(train, test)}
        if dataset.validation is not None:
            validation = self._rows(dataset, "validation")
            components = [k for k in self.how.components if k <= len(train)]
            found["mixture"] = evaluation.mixture_baseline(train, validation, test, components)
        nan = (float("nan"), 0.0)
        return [
            {
                **_row(name, "=", {"test": nan}),
                "nll_test": b.nll,
                "stderr": b.nll_stderr,
                "nll_validation": b.validation_nll,
                "components": b.components,
            }
            for name, b in found.items()
        ]

    def _rival(
        self,
        name: str,
        log_lik: Callable[[Array, Array], LogLik],
        dataset: Any,
        splits: list[str],
        key: Array,
    ) -> dict[str, Any]:
        compiled = jax.jit(log_lik)
        means = {
            split: _mean(lambda x: compiled(key, x).value, self._rows(dataset, split))
            for split in splits
        }
        x = self._rows(dataset, "test")[:1]
        return _row(name, jax.eval_shape(log_lik, key, x).nll_sign, means)

    # ---------------------------------------------------------------- a picture

    def picture(self, state: TrainState, data: np.ndarray, samples: np.ndarray) -> Any:
        """The model's density on the plane, and the grid of the base's transport."""
        extent, grid = evaluation.plane(data, 200)
        values = evaluation.in_batches(lambda x: self._unnormalised(state, x), grid, 8000)
        # Normalised on the picture, whose scale is the density's up to the mass outside.
        area = (extent[1] - extent[0]) * (extent[3] - extent[2]) / len(grid)
        density = np.exp(values - np.logaddexp.reduce(values)) / area
        lines = np.stack([self.model.decode(state, z) for z in evaluation.latent_grid()])
        latents = np.asarray(self.model.encode(state, jnp.asarray(data)))
        return reporting.transport_panels(
            density.reshape(200, 200), extent, lines, data, latents, samples
        )


def _mean(function: Callable[[Array], Array], x: np.ndarray) -> tuple[float, float]:
    """Mean and standard error of a function of rows."""
    values = evaluation.in_batches(function, x, 1000).astype(np.float64)
    error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else float("nan")
    return float(values.mean()), float(error)


def _row(
    name: str, sign: str, means: Mapping[str, tuple[float, float]], log_z: float = 0.0
) -> dict[str, Any]:
    """One line of the likelihood table from means of log-likelihoods."""
    nll = {f"nll_{s}": log_z - means[s][0] if s in means else float("nan") for s in SPLITS}
    columns = ("nll_test", "nll_validation", "nll_train")
    return {
        "model": name,
        "sign": sign,
        **{c: nll[c] for c in columns},
        "stderr": means["test"][1],
    }
