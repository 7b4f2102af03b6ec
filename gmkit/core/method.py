"""What a published system looks like to everything that trains, evaluates or draws it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from gmkit.core.generator import LatentGenerator
from gmkit.core.likelihood import LogLik
from gmkit.core.state import TrainState

Batch = Mapping[str, jax.Array]
Metrics = dict[str, jax.Array]


class Evaluation(NamedTuple):
    """Result of `Method.evaluate`.

    Attributes:
      metrics: flat name -> number.
      provenance: what the numbers depend on (feature space and fingerprint, sample counts).
      tables: name -> rows (dicts with the same keys), for CSV files and the report.
    """

    metrics: dict[str, float]
    provenance: dict[str, Any] = {}  # noqa: RUF012 - a NamedTuple default, never written to
    tables: dict[str, list[dict[str, Any]]] = {}  # noqa: RUF012


class Hook(NamedTuple):
    """Host-side work of a method between steps, for rules that cannot live inside `step`.

    Attributes:
      every: called when `step` is a multiple of this.
      run: `(state, dataset) -> (state, metrics)`; must be a function of its arguments alone,
        so that a resumed run repeats it.
      splits: splits of the data set that it reads besides "train" and "test"; a run without
        them is refused before it starts.
    """

    every: int
    run: Callable[[TrainState, Any], tuple[TrainState, Metrics]]
    splits: tuple[str, ...] = ()


class Method(NamedTuple):
    """A generative model and its training, as pure functions (in the manner of optax).

    Attributes:
      name: the method's name, as in `configs/<name>.py`.
      init: `(key, batch) -> TrainState`; shapes come from one minibatch with leaves `(B, ...)`.
      step: `(state, batch) -> (state, metrics)`; one outer iteration of the paper's algorithm.
        Leaves of `batch` are `(batches_per_step, B, ...)`; metrics are float32 scalars.
      evaluate: `(state, dataset, key) -> Evaluation`; the paper's protocol, driven by the host.
      sample: `(state, key, n) -> samples` with static `n`.
      figures: `(state, dataset, key) -> {name: matplotlib Figure}`.
      batches_per_step: minibatches that one `step` consumes.
      log_lik: `(state, key, x) -> LogLik`, where the model has a likelihood.
      encode, decode, energy, score: pure functions of `(state, x)`, present exactly where the
        model defines them.
      logits: `(state, x) -> (n, n_classes)`, where the model classifies.
      perturb: `(state, key, x, labels) -> x_adv`, where the model makes adversarial examples;
        both in the data set's range.
      generator: `state -> LatentGenerator`, where `decode` has an intermediate latent.
      hooks: host-side rules, called by the training loop.
    """

    name: str
    init: Callable[[jax.Array, Batch], TrainState]
    step: Callable[[TrainState, Batch], tuple[TrainState, Metrics]]
    evaluate: Callable[[TrainState, Any, jax.Array], Evaluation]
    sample: Callable[[TrainState, jax.Array, int], jax.Array]
    figures: Callable[[TrainState, Any, jax.Array], dict[str, Any]]
    batches_per_step: int = 1
    log_lik: Callable[[TrainState, jax.Array, jax.Array], LogLik] | None = None
    encode: Callable[[TrainState, jax.Array], jax.Array] | None = None
    decode: Callable[[TrainState, jax.Array], jax.Array] | None = None
    energy: Callable[[TrainState, jax.Array], jax.Array] | None = None
    score: Callable[[TrainState, jax.Array], jax.Array] | None = None
    logits: Callable[[TrainState, jax.Array], jax.Array] | None = None
    perturb: Callable[[TrainState, jax.Array, jax.Array, jax.Array], jax.Array] | None = None
    generator: Callable[[TrainState], LatentGenerator] | None = None
    hooks: tuple[Hook, ...] = ()
