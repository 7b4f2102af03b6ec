"""Judging the attacker: success and accuracy, beside the attacks that optimise every image."""

from __future__ import annotations

import dataclasses
import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gmkit import attacks, evaluation, reporting
from gmkit.attacks import from_unit, to_unit
from gmkit.core import Evaluation, FinishedStage, TrainState, eval_params
from gmkit.methods.advgan.model import AdvGAN

Array = jax.Array
BATCH = 500
COLUMNS = 12
#: Makers of attacks by the name that settings use.
ATTACKS: Mapping[str, Callable[..., attacks.Attack]] = {
    maker.__name__: maker
    for maker in (
        attacks.fgsm,
        attacks.random_fgsm,
        attacks.bim,
        attacks.pgd,
        attacks.mi_fgsm,
        attacks.carlini_wagner_l2,
        attacks.carlini_wagner_linf,
        attacks.apgd,
        attacks.apgd_targeted,
        attacks.square,
    )
}


@dataclasses.dataclass(frozen=True)
class Baseline:
    """An attack that AdvGAN is compared with.

    Attributes:
      name: in tables.
      kind: of `ATTACKS`.
      n_images: how many test images it gets, the first ones.
      options: of its maker; epsilon is AdvGAN's unless given.

    Raises:
      ValueError: no such attack or option.
    """

    name: str
    kind: str
    n_images: int
    options: Mapping[str, Any]

    def __post_init__(self) -> None:
        field = f"attacks.{self.name}"
        if self.kind not in ATTACKS:
            raise ValueError(f"{field}.kind={self.kind!r}: choose {', '.join(ATTACKS)}")
        known = inspect.signature(ATTACKS[self.kind]).parameters
        for option in self.options:
            if option not in known:
                raise ValueError(
                    f"{field}.{option}: {self.kind} has no such option; it has "
                    f"{', '.join(list(known)[1:])}"
                )
        if self.n_images < 1:
            raise ValueError(f"{field}.n_images={self.n_images}: take at least 1")

    def make(self, logits: attacks.Logits, epsilon: float) -> attacks.Attack:
        """The attack on a classifier."""
        maker, options = ATTACKS[self.kind], dict(self.options)
        if "epsilon" in inspect.signature(maker).parameters:
            options.setdefault("epsilon", epsilon)
        return maker(logits, **options)


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How an attacker is judged.

    Attributes:
      n_images: test images that AdvGAN attacks, at most.
      baselines: what it is compared with.

    Raises:
      ValueError: no images.
    """

    n_images: int = 10_000
    baselines: tuple[Baseline, ...] = ()

    def __post_init__(self) -> None:
        if self.n_images < 1:
            raise ValueError(f"eval.n_images={self.n_images}: take at least 1")


class Judge:
    """Evaluation and figures of one attacker.

    Args:
      model: the attacker.
      sources: whose gradients it used.
      victims: whose decisions are judged.
      protocol: how.
      substitutes: whose gradients the baselines use; None for the sources.
    """

    def __init__(
        self,
        model: AdvGAN,
        sources: Mapping[str, FinishedStage],
        victims: Mapping[str, FinishedStage],
        protocol: Protocol,
        substitutes: Mapping[str, FinishedStage] | None = None,
    ):
        self.model, self.sources, self.victims = model, sources, victims
        self.protocol, self.substitutes = protocol, substitutes or sources
        self._attack = jax.jit(model.attack)
        self._logits = {
            name: jax.jit(classifier.logits) for name, classifier in {**victims, **sources}.items()
        }

    # ---------------------------------------------------------------- numbers

    def evaluate(self, state: TrainState, dataset: Any, key: Array) -> Evaluation:
        """`Method.evaluate`: every attack against every victim.

        Metrics are AdvGAN's against the first victim: `success_rate` (of images that it classifies
        rightly, or of images of other classes than the target), `accuracy` (of all adversarial
        images), `clean_accuracy`, `linf`, `l2`, `bound_excess` (of pixels, beyond epsilon or
        [0, 1]; rounding may leave 1e-7), `images_per_second` and `queries` (images that a black
        box was shown). The table "attacks" has a row per attack, source and victim; "success_rate"
        and "accuracy" have a column per victim, and are never mixed.
        """
        rows = dataset.examples("test", self.protocol.n_images)
        images, labels = to_unit(rows["image"]), rows["label"]
        found = self._advgan(state, images, labels)
        for i, (source, baseline) in enumerate(
            (s, b) for s in self.substitutes for b in self.protocol.baselines
        ):
            attack_key = jax.random.fold_in(key, i)
            found += self._baseline(state, attack_key, source, baseline, images, labels)
        first = found[0]
        names = ("success_rate", "accuracy", "clean_accuracy", "linf", "l2", "bound_excess")
        metrics = {name: first[name] for name in (*names, "images_per_second")}
        metrics["queries"] = float(state.memory["queries"])
        about = {
            "images": len(images),
            "epsilon": self.model.epsilon,
            "goal": self.model.goal,
            "sources": list(self.sources),
            "victims": list(self.victims),
        }
        pivots = {name: pivot(found, name) for name in ("success_rate", "accuracy")}
        return Evaluation(metrics, about, {"attacks": found, **pivots})

    def adversarial(self, state: TrainState, images: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """AdvGAN's versions of images in [0, 1]."""
        params = eval_params(state, "generator")
        return evaluation.in_batches(
            lambda i: self._attack(params, images[i], targets[i]),
            np.arange(len(images)),
            min(BATCH, len(images)),
        )

    def predict(self, state: TrainState, name: str, images: np.ndarray) -> np.ndarray:
        """Logits of a classifier, `(n, K)`."""
        params, variables = self._weights(state, name)
        logits = self._logits[name]
        return evaluation.in_batches(
            lambda x: logits(params, variables, from_unit(x)), images, min(BATCH, len(images))
        )

    def _weights(self, state: TrainState, name: str) -> tuple[Any, Any]:
        """Parameters and variables of a classifier; a source's as the state has trained it."""
        if name in self.sources:
            return state.params[name], state.variables[name]
        own = {**self.victims, **self.substitutes}[name]
        return own.params, own.variables

    def _targets(self, labels: np.ndarray) -> list[np.ndarray]:
        """The classes to be taken for: one array per pass over the images."""
        if self.model.goal == "untargeted":
            return [labels]
        if self.model.goal == "targeted":
            return [np.full_like(labels, self.model.target_class)]
        return [(labels + shift) % self.model.n_classes for shift in range(1, self.model.n_classes)]

    def _advgan(
        self, state: TrainState, images: np.ndarray, labels: np.ndarray
    ) -> list[dict[str, Any]]:
        passes = []
        self.adversarial(state, images[:BATCH], labels[:BATCH])  # compiles
        started = time.perf_counter()
        for targets in self._targets(labels):
            passes.append((self.adversarial(state, images, targets), targets))
        speed = len(images) * len(passes) / (time.perf_counter() - started)
        who = {"attack": "AdvGAN", "source": "+".join(self.sources)}
        return [
            {
                **who,
                "victim": victim,
                **self._judged(state, victim, images, labels, passes),
                "images_per_second": speed,
            }
            for victim in self.victims
        ]

    def _judged(
        self,
        state: TrainState,
        victim: str,
        images: np.ndarray,
        labels: np.ndarray,
        passes: Sequence[tuple[np.ndarray, np.ndarray]],
    ) -> dict[str, float]:
        """Numbers of one attack against one victim, averaged over passes."""
        clean = self.predict(state, victim, images)
        aimed = self.model.goal != "untargeted"
        found = [
            evaluation.judge_attack(
                clean,
                self.predict(state, victim, adversarial),
                images,
                adversarial,
                labels,
                targets=targets if aimed else None,
                epsilon=self.model.epsilon,
            )
            for adversarial, targets in passes
        ]
        return {name: float(np.mean([f[name] for f in found])) for name in found[0]}

    def _baseline(
        self,
        state: TrainState,
        key: Array,
        source: str,
        baseline: Baseline,
        images: np.ndarray,
        labels: np.ndarray,
    ) -> list[dict[str, Any]]:
        """One attack on one source, untargeted, judged on every victim."""
        images, labels = images[: baseline.n_images], labels[: baseline.n_images]
        params, variables = self._weights(state, source)
        logits = lambda x: self.substitutes[source].logits(params, variables, from_unit(x))
        attack = baseline.make(logits, self.model.epsilon)
        size = min(BATCH, len(images))
        attacks.attack_images(attack, key, images[:size], labels[:size], size)  # compiles
        started = time.perf_counter()
        adversarial = attacks.attack_images(attack, key, images, labels, size)
        speed = len(images) / (time.perf_counter() - started)
        rows = []
        for victim in self.victims:
            clean, after = (self.predict(state, victim, x) for x in (images, adversarial))
            numbers = evaluation.judge_attack(
                clean, after, images, adversarial, labels, epsilon=self.model.epsilon
            )
            row = {"attack": baseline.name, "source": source, "victim": victim}
            rows.append({**row, **numbers, "images_per_second": speed})
        return rows

    # ---------------------------------------------------------------- pictures

    def figures(self, state: TrainState, dataset: Any, key: Array) -> dict[str, Any]:
        """`Method.figures`: images, perturbations, and what the adversarial images pass for."""
        rows = dataset.examples("test", 1000)
        chosen = _one_of_each(rows["label"], COLUMNS)
        clean, labels = to_unit(rows["image"][chosen]), rows["label"][chosen]
        targets = np.asarray(
            self.model.targets_of(jax.random.split(key, len(labels)), jnp.asarray(labels))
        )
        adversarial = self.adversarial(state, clean, targets)
        drawn = {}
        for victim in self.victims:
            found = self.predict(state, victim, adversarial).argmax(axis=1)
            drawn[f"adversarial_{victim}"] = reporting.adversarial_grid(
                from_unit(clean),
                from_unit(adversarial),
                labels.tolist(),
                found.tolist(),
                title=f"true label; below, what {victim} sees (at most {self.model.epsilon:.3g})",
            )
        if self.model.goal == "all_targets":
            drawn["every_target"] = self._every_target(state, rows)
        return drawn

    def _every_target(self, state: TrainState, rows: Mapping[str, np.ndarray]) -> Any:
        """A row per true class, a column per target."""
        k = self.model.n_classes
        chosen = _one_of_each(rows["label"], k)
        clean = np.repeat(to_unit(rows["image"][chosen]), k, axis=0)
        images = self.adversarial(state, clean, np.tile(np.arange(k), len(chosen)))
        return reporting.image_grid(from_unit(images), columns=k, title="target: 0, 1, 2, ...")


def pivot(rows: Sequence[Mapping[str, Any]], value: str) -> list[dict[str, Any]]:
    """A row per attack and source with `value` in a column per victim."""
    table: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        own = {"attack": row["attack"], "source": row["source"]}
        table.setdefault((row["attack"], row["source"]), own)[row["victim"]] = row[value]
    return list(table.values())


def _one_of_each(labels: np.ndarray, n: int) -> np.ndarray:
    """Rows of `n` images, class by class in turn, the first of each first."""
    seen = np.zeros(len(labels), int)
    for label in np.unique(labels):
        seen[labels == label] = np.arange(np.sum(labels == label))
    return np.lexsort((labels, seen))[:n]
