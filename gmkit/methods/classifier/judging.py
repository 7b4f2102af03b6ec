"""Judging a classifier: accuracy, by class and under attack, and what it confuses."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from gmkit import attacks, evaluation, reporting
from gmkit.attacks import from_unit, to_unit
from gmkit.core import Evaluation, TrainState
from gmkit.methods.classifier.model import Classifier

Array = jax.Array
BATCH = 500
SHOWN = 24


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How a classifier is judged.

    Attributes:
      n_images: test images, at most.
      n_attacked: those that are attacked, the first ones; 0 attacks none.
      epsilon, step_size, n_steps: of FGSM and PGD, images being in [0, 1].

    Raises:
      ValueError: numbers out of range.
    """

    n_images: int = 10_000
    n_attacked: int = 1000
    epsilon: float = 0.3
    step_size: float = 0.01
    n_steps: int = 40

    def __post_init__(self) -> None:
        for name, least in (("n_images", 1), ("n_attacked", 0), ("n_steps", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"eval.{name}={getattr(self, name)}: take at least {least}")


class Judge:
    """Evaluation and figures of one classifier.

    Args:
      model: what is judged.
      protocol: how.
    """

    def __init__(self, model: Classifier, protocol: Protocol):
        self.model, self.protocol = model, protocol
        self._logits = jax.jit(model.logits)

    def predict(self, state: TrainState, images: np.ndarray) -> np.ndarray:
        """Logits `(n, K)` of images in [-1, 1]."""
        return evaluation.in_batches(
            lambda x: self._logits(state, x), images, min(BATCH, len(images))
        )

    def evaluate(self, state: TrainState, dataset: Any, key: Array) -> Evaluation:
        """`Method.evaluate`.

        Metrics: `accuracy` and `cross_entropy` (nats) of the test images; under attack
        `accuracy_fgsm`, `accuracy_pgd` (of all attacked images) and `success_fgsm`, `success_pgd`
        (of those that are classified rightly); `queries` where a teacher was asked. The table
        "classes" has a row per class.
        """
        rows = dataset.examples("test", self.protocol.n_images)
        images, labels = rows["image"], rows["label"]
        logits = self.predict(state, images)
        right = logits.argmax(axis=1) == labels
        nats = np.asarray(attacks.cross_entropy(logits, labels), np.float64)
        metrics = {"accuracy": float(right.mean()), "cross_entropy": float(nats.mean())}
        if self.protocol.n_attacked:
            metrics |= self._under_attack(state, key, images, labels)
        if isinstance(state.memory, dict) and "queries" in state.memory:
            metrics["queries"] = float(state.memory["queries"])
        classes = [
            {"class": int(c), "images": int(of.sum()), "accuracy": float(right[of].mean())}
            for c in np.unique(labels)
            for of in [labels == c]
        ]
        return Evaluation(metrics, dataclasses.asdict(self.protocol), {"classes": classes})

    def _under_attack(
        self, state: TrainState, key: Array, images: np.ndarray, labels: np.ndarray
    ) -> dict[str, float]:
        p = self.protocol
        x, labels = np.asarray(to_unit(images[: p.n_attacked])), labels[: p.n_attacked]
        logits = lambda x: self.model.logits(state, from_unit(x))
        found = {}
        for name, attack in (
            ("fgsm", attacks.fgsm(logits, epsilon=p.epsilon)),
            (
                "pgd",
                attacks.pgd(logits, epsilon=p.epsilon, step_size=p.step_size, n_steps=p.n_steps),
            ),
        ):
            x_adv = attacks.attack_images(attack, key, x, labels, min(BATCH, len(x)))
            before, after = (self.predict(state, from_unit(v)) for v in (x, x_adv))
            numbers = evaluation.judge_attack(before, after, x, x_adv, labels, epsilon=p.epsilon)
            found[f"accuracy_{name}"] = numbers["accuracy"]
            found[f"success_{name}"] = numbers["success_rate"]
        return found

    def figures(self, state: TrainState, dataset: Any, key: Array) -> dict[str, Any]:
        """`Method.figures`: the confusion matrix, and the mistakes it is surest of."""
        del key
        rows = dataset.examples("test", self.protocol.n_images)
        images, labels = rows["image"], rows["label"]
        logits = self.predict(state, images)
        found = logits.argmax(axis=1)
        counts = np.zeros((self.model.n_classes,) * 2, int)
        np.add.at(counts, (labels, found), 1)
        accuracy = float(np.mean(found == labels))
        drawn = {
            "confusion": reporting.confusion_matrix(counts, title=f"test accuracy {accuracy:.2%}")
        }
        margins = np.asarray(attacks.margin(logits, labels))
        worst = np.argsort(-margins)[: min(SHOWN, int(np.sum(found != labels)))]
        if len(worst):
            captions = [f"{labels[i]} taken for {found[i]}" for i in worst]
            drawn["mistakes"] = reporting.captioned_images(
                images[worst], captions, title="surest mistakes"
            )
        return drawn
