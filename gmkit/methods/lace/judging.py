"""Judging control over a generator: what images show, by classifiers that saw no latent."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gmkit import evaluation, reporting, samplers
from gmkit.core import Evaluation, TrainState
from gmkit.energies import Expression
from gmkit.methods.lace.model import Lace, Weights, draw
from gmkit.samplers import Penalties

Array = jax.Array
#: Images of the prior that a truth by resampling is taken from.
POOL = 20_000


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How control is judged.

    Attributes:
      n_samples: latents per row of a table.
      samplers: name of a row -> (kind of sampler, its settings); the first one makes the pictures.
      expressions: text -> expression.
      edits: attribute and target of every edit, in order.
      edit_samplers: names of the samplers that edit.
      penalties: of the edits.
      tolerance: how far off a continuous attribute may be to count as right in an expression.
      chunk: latents decoded at a time.
    """

    n_samples: int = 1000
    samplers: Mapping[str, tuple[str, Mapping[str, Any]]] = dataclasses.field(default_factory=dict)
    expressions: Mapping[str, Expression] = dataclasses.field(default_factory=dict)
    edits: tuple[tuple[str, float], ...] = ()
    edit_samplers: tuple[str, ...] = ()
    penalties: Penalties = dataclasses.field(default_factory=Penalties)
    tolerance: float = 0.15
    chunk: int = 250


class Judge:
    """Evaluation and figures.

    Args:
      model: what is judged.
      judges: label of images by attribute, `x (n, H, W, C) -> (n,)`.
      protocol: how.
      n_held_out: pairs that the classifiers did not learn from.
    """

    def __init__(
        self,
        model: Lace,
        judges: Mapping[str, Callable[[Array], Array]],
        protocol: Protocol,
        n_held_out: int,
    ):
        self.model, self.protocol, self.n_held_out = model, protocol, n_held_out
        self.names = [a.name for a in model.attributes]
        self._compiled: dict[Any, Any] = {}
        self._judges = jax.jit(lambda x: {name: judge(x) for name, judge in judges.items()})

        def decode(weights: Weights, z: Array) -> Array:
            generator = model.latent_generator(weights.generator)
            return generator.synthesis(generator.mapping(z))

        self._decode = jax.jit(decode)
        self._log_probs = jax.jit(
            lambda weights, z, targets: jax.vmap(
                lambda z, t: model.log_probs(model.outputs(weights, z), t)
            )(z, targets)
        )

    # ------------------------------------------------------------ parts

    def images(self, weights: Weights, z: Any) -> np.ndarray:
        """Images of latents `(n, z_dim)`, as host array."""
        chunk = min(self.protocol.chunk, len(z))
        return evaluation.in_batches(lambda rows: self._decode(weights, rows), np.asarray(z), chunk)

    def labels(self, images: np.ndarray) -> np.ndarray:
        """What the judges see, `(n, A)`."""
        rows = evaluation.in_batches(
            lambda x: jnp.stack([self._judges(x)[n].astype(jnp.float32) for n in self.names], -1),
            images,
            min(self.protocol.chunk, len(images)),
        )
        return np.asarray(rows)

    def accuracy(self, found: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Of every attribute, `(A,)`."""
        return np.array(
            [
                float(np.mean(np.asarray(a.accuracy(found[:, i], targets[:, i]))))
                for i, a in enumerate(self.model.attributes)
            ]
        )

    def _draw(
        self, name: str, log_prob: Any, axes: Any, about: str, z: Array, key: Array, args: Any
    ) -> tuple[samplers.GuidedSample, float]:
        """A sampler's latents and the seconds they took; compiled once per use and shape."""
        kind, settings = self.protocol.samplers[name]
        known = (name, about, z.shape)
        if known not in self._compiled:
            run = jax.jit(lambda z, key, args: draw(kind, log_prob, z, key, args, axes, settings))
            self._compiled[known] = run.lower(z, key, args).compile()
        start = time.perf_counter()
        sample = jax.block_until_ready(self._compiled[known](z, key, args))
        return sample, time.perf_counter() - start

    def conditional(
        self, weights: Weights, name: str, z: Array, key: Array, targets: Any, wanted: Any
    ) -> tuple[samplers.GuidedSample, float]:
        """Latents with the attributes that are wanted, and the seconds without compilation."""
        args = (weights, jnp.asarray(targets, jnp.float32), jnp.asarray(wanted))
        of = self.model.conditional
        return self._draw(name, of, (None, 0, None), "conditional", z, key, args)

    def composed(
        self, weights: Weights, text: str, expression: Expression, z: Array, key: Array
    ) -> Array:
        """Latents for an expression, by the first sampler."""
        name = next(iter(self.protocol.samplers))
        log_prob = self.model.composed(expression)
        return self._draw(name, log_prob, None, text, z, key, weights)[0].latents

    def sample(self, state: TrainState, key: Array, n: int, name: str) -> Array:
        """`Method.sample`: images of combinations of attributes that occur."""
        memory: Any = state.memory
        pick_key, z_key, key = jax.random.split(key, 3)
        targets = jnp.stack([memory["labels"][a][-self.n_held_out :] for a in self.names], axis=1)
        rows = jax.random.randint(pick_key, (n,), 0, self.n_held_out)
        kind, settings = self.protocol.samplers[name]
        weights = self.model.weights(state)
        z = jax.random.normal(z_key, (n, self.model.z_dim))
        args = (weights, targets[rows], jnp.ones(len(self.names), bool))
        axes = (None, 0, None)
        drawn = draw(kind, self.model.conditional, z, key, args, axes, settings)
        generator = self.model.latent_generator(weights.generator)
        return jnp.clip(generator.synthesis(generator.mapping(drawn.latents)), -1.0, 1.0)

    # ------------------------------------------------------------ tables

    def evaluate(self, state: TrainState, dataset: Any, key: Array) -> Evaluation:
        """`Method.evaluate`.

        Metrics: `accuracy/latent/<attribute>`, of the classifiers on held-out pairs;
        `accuracy/<attribute>`, of the first sampler by the judges, each attribute alone, and
        `accuracy/all`, all of them together; `des` of the edits. Tables: "samplers" (with the
        prior, and the truth by resampling it), "expressions", "edits".
        """
        del dataset
        weights = self.model.weights(state)
        keys = iter(jax.random.split(key, 16))
        metrics = self._held_out(state, weights)
        tables: dict[str, list[dict[str, Any]]] = {}
        targets = self._targets(state, next(keys))
        z = jax.random.normal(next(keys), (self.protocol.n_samples, self.model.z_dim))
        tables["samplers"] = self._samplers(weights, z, next(keys), targets)
        first = next(iter(self.protocol.samplers))
        for row in tables["samplers"]:
            if row["sampler"] == first:
                metrics[f"accuracy/{row['wanted']}"] = row["accuracy"]
        if self.protocol.expressions:
            tables["expressions"] = self._expressions(weights, z, next(keys))
            for row in tables["expressions"]:
                metrics[f"true/{row['expression']}"] = row["true"]
        if self.protocol.edits:
            tables["edits"], strength = self._edits(weights, z, next(keys))
            metrics |= strength
        return Evaluation(metrics, {"n_samples": self.protocol.n_samples}, tables)

    def _held_out(self, state: TrainState, weights: Weights) -> dict[str, float]:
        memory: Any = state.memory
        read = memory["read"][-self.n_held_out :]
        outputs = jax.jit(self.model.read)(weights.classifiers, read)
        found = {}
        for a, output in zip(self.model.attributes, outputs, strict=True):
            guess = np.asarray(jnp.argmax(output, -1) if a.n_classes else output)
            label = np.asarray(memory["labels"][a.name][-self.n_held_out :])
            known = np.asarray(a.known(label))
            right = np.asarray(a.accuracy(guess[known], label[known]))
            found[f"accuracy/latent/{a.name}"] = float(right.mean())
        return found

    def _targets(self, state: TrainState, key: Array) -> np.ndarray:
        """Combinations of attributes that occur, `(n, A)`: those of random held-out pairs."""
        labels = state.memory["labels"]  # type: ignore[index]
        rows = np.stack([np.asarray(labels[n][-self.n_held_out :]) for n in self.names], axis=1)
        whole = rows[(rows >= 0).all(axis=1)]
        pick = np.asarray(jax.random.randint(key, (self.protocol.n_samples,), 0, len(whole)))
        return whole[pick]

    def _samplers(
        self, weights: Weights, z: Array, key: Array, targets: np.ndarray
    ) -> list[dict[str, Any]]:
        n = len(self.names)
        wanted = {name: np.arange(n) == i for i, name in enumerate(self.names)}
        if n > 1:
            wanted["all"] = np.ones(n, bool)
        rows = []
        for about, mask in wanted.items():
            rows.append(self._row(weights, "prior", about, mask, np.asarray(z), targets))
            truth = self._resampled(weights, key, targets, mask)
            rows.append(self._row(weights, "resampled prior", about, mask, truth, targets))
            for name in self.protocol.samplers:
                sample, seconds = self.conditional(weights, name, z, key, targets, mask)
                row = self._row(weights, name, about, mask, np.asarray(sample.latents), targets)
                evaluations = np.asarray(sample.evaluations)
                row |= {
                    "evaluations": float(evaluations.mean()),
                    "rejected": float(np.asarray(sample.rejected).mean()),
                    "failed": int(np.asarray(sample.failed).sum()),
                    "latents_per_second": len(z) / seconds,
                }
                rows.append(row)
        return rows

    def _row(
        self, weights: Weights, sampler: str, about: str, mask: Any, z: np.ndarray, targets: Any
    ) -> dict[str, Any]:
        """Accuracy by the judges, log p(c | z), diversity of the images and norm of the latents."""
        images = self.images(weights, z)
        found = self.labels(images)
        each = [
            np.asarray(a.accuracy(found[:, i], targets[:, i]))
            for i, a in enumerate(self.model.attributes)
            if mask[i]
        ]
        log_probs = np.asarray(self._log_probs(weights, jnp.asarray(z), jnp.asarray(targets)))
        whole = targets[:, mask]
        _, groups = np.unique(np.round(whole, 1), axis=0, return_inverse=True)
        return {
            "sampler": sampler,
            "wanted": about,
            # Of several attributes: all right at once.
            "accuracy": float(np.min(each, axis=0).mean()),
            "log_prob": float(log_probs[:, mask].sum(axis=1).mean()),
            "diversity": evaluation.mean_distance(images, groups.reshape(-1)),
            "norm": float(np.mean(z**2)),
            "evaluations": 0.0,
            "rejected": 0.0,
            "failed": 0,
            "latents_per_second": float("nan"),
        }

    def _resampled(
        self, weights: Weights, key: Array, targets: np.ndarray, mask: np.ndarray
    ) -> np.ndarray:
        """Draws of `p(z | c)`: latents of the prior, drawn again by `p(c | z)`."""
        pool_key, key = jax.random.split(key)
        pool = jax.random.normal(pool_key, (POOL, self.model.z_dim))
        outputs = jax.jit(self.model.outputs)(weights, pool)

        @jax.jit
        def pick(key: Array, target: Array) -> Array:
            terms = [
                jnp.where(m, a.log_prob(o, jnp.broadcast_to(t, (POOL,))), 0.0)
                for a, o, t, m in zip(self.model.attributes, outputs, target, mask, strict=True)
            ]
            return pool[jax.random.categorical(key, sum(terms[1:], terms[0]))]

        keys = jax.random.split(key, len(targets))
        return np.asarray(jax.lax.map(lambda a: pick(*a), (keys, jnp.asarray(targets))))

    def _expressions(self, weights: Weights, z: Array, key: Array) -> list[dict[str, Any]]:
        rows = []
        for text, expression in self.protocol.expressions.items():
            row: dict[str, Any] = {"expression": text}
            for label, latents in {"prior": z, "": None}.items():
                if latents is None:
                    latents = self.composed(weights, text, expression, z, key)
                found = self.labels(self.images(weights, latents))
                values = {name: found[:, i] for i, name in enumerate(self.names)}
                true = evaluation.holds(expression, values, self.protocol.tolerance)
                row[f"true_{label}" if label else "true"] = float(true.mean())
            rows.append(row)
        return rows

    # ------------------------------------------------------------ edits

    def edited(self, weights: Weights, name: str, z: Array, key: Array) -> np.ndarray:
        """Latents before and after every edit, `(E + 1, n, z_dim)`."""
        kind, settings = self.protocol.samplers[name]
        model = self.model

        @jax.jit
        def run(weights: Weights, z: Array, key: Array) -> Array:
            generator = model.latent_generator(weights.generator)
            read = lambda z: generator.mapping(z) if model.space == "w" else z
            readout = samplers.Readout(
                read,
                lambda w: model.read(weights.classifiers, w),
                lambda outputs, targets: model.log_probs(tuple(outputs), targets),
            )
            sampler = lambda log_prob, z, key, args, axes: draw(
                kind, log_prob, z, key, args, axes, settings
            )
            found = samplers.edit(
                readout,
                z,
                self.sequence,
                self.edit_targets,
                penalties=self.protocol.penalties,
                sampler=sampler,
                key=key,
            )
            return jnp.concatenate([z[None], found.latents])

        return np.asarray(run(weights, z, key))

    @property
    def sequence(self) -> list[int]:
        return [self.names.index(name) for name, _ in self.protocol.edits]

    @property
    def edit_targets(self) -> Array:
        """A target per attribute; those that are never edited have one that is not used."""
        last = dict(self.protocol.edits)
        return jnp.array([float(last.get(name, 0.0)) for name in self.names])

    def _edits(
        self, weights: Weights, z: Array, key: Array
    ) -> tuple[list[dict[str, Any]], dict[str, float]]:
        rows, metrics = [], {}
        targets = np.broadcast_to(np.asarray(self.edit_targets), (len(z), len(self.names)))
        for name in self.protocol.edit_samplers:
            latents = self.edited(weights, name, z, key)
            found = [self.labels(self.images(weights, step)) for step in latents]
            # Attributes that are never edited should keep what they were.
            fixed = [i not in self.sequence for i in range(len(self.names))]
            wanted = np.where(fixed, found[0], targets)
            accuracy = np.stack([self.accuracy(f, wanted) for f in found])
            mean, terms = evaluation.disentangled_edit_strength(accuracy, self.sequence)
            metrics[f"des/{name}"] = mean
            for k, ((attribute, target), term) in enumerate(
                zip(self.protocol.edits, terms, strict=True)
            ):
                drift = float(np.sqrt(np.mean((latents[k + 1] - latents[k]) ** 2)))
                rows.append(
                    {
                        "sampler": name,
                        "edit": f"{attribute} to {target:g}",
                        "accuracy": float(accuracy[k + 1, self.sequence[k]]),
                        **term,
                        "latent_change": drift,
                    }
                )
        return rows, metrics

    # ------------------------------------------------------------ figures

    def figures(self, state: TrainState, dataset: Any, key: Array) -> dict[str, Any]:
        """`Method.figures`: images by class, by expression, on the way between two, and edits."""
        del dataset
        weights = self.model.weights(state)
        z_key, path_key, key = jax.random.split(key, 3)
        z = jax.random.normal(z_key, (10, self.model.z_dim))
        found = {}
        for i, a in enumerate(self.model.attributes):
            values = np.arange(a.n_classes) if a.n_classes else np.linspace(0.2, 0.8, 7)
            targets = np.zeros((len(values) * len(z), len(self.names)), np.float32)
            targets[:, i] = np.repeat(values, len(z))
            many = jnp.tile(z, (len(values), 1))
            first = next(iter(self.protocol.samplers))
            mask = np.arange(len(self.names)) == i
            sample, _ = self.conditional(weights, first, many, key, targets, mask)
            images = self.images(weights, sample.latents)
            rows = images.reshape(len(values), len(z), *images.shape[1:])
            found[f"conditional_{a.name}"] = reporting.image_strips(
                rows, list(values), title="one latent per row", xlabel=a.name
            )
        panels = {"prior": self.images(weights, z)}
        for text, expression in self.protocol.expressions.items():
            panels[text] = self.images(weights, self.composed(weights, text, expression, z, key))
        if len(panels) > 1:
            found["expressions"] = reporting.side_by_side(panels, columns=5)
        if self.protocol.edits:
            for name in self.protocol.edit_samplers:
                path = self.edited(weights, name, z, key)
                strip = np.stack([self.images(weights, step) for step in path])
                heads = ["start", *(f"{a} {t:g}" for a, t in self.protocol.edits)]
                found[f"edits_{name}"] = reporting.image_strips(
                    strip, heads, title=name, xlabel="edit"
                )
        walk = samplers.traversal(path_key, 10, self.model.z_dim)
        found["traversal"] = reporting.image_grid(
            self.images(weights, walk), columns=10, title="between two latents"
        )
        return found
