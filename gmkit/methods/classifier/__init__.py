"""Classifiers of images: targets of attacks, defended or not, and copies of black boxes.

| defence | source | here |
| --- | --- | --- |
| half FGSM examples, at the model's own label | Kurakin et al. 2017; Tramer et al. 2018 | "fgsm" |
| examples of a random one of several models | Tramer et al. 2018 | "ensemble" |
| PGD examples only | Madry et al. 2018 | "pgd" |
| half examples of a trained generator | Xiao et al. 2018, their motivation | "generator" |

`teacher` names an earlier stage whose answers replace the labels: static distillation of a black
box (Xiao et al. 2018, section 3.3), with its queries counted.

Logged: `loss` (cross-entropy, nats), `accuracy`, `accuracy/adversarial`, `queries`,
`norm/classifier` (gradient l2).

Deviations: adversarial examples are made without dropout and with the running statistics of batch
normalisation; one pass over both halves then trains on statistics of the mixture.

Run: `python launch/main.py --config=configs/classifier.py`; results are in the README.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gmkit import nets
from gmkit.core import FinishedStage, Method, TrainState, optim
from gmkit.methods.classifier.judging import Judge, Protocol
from gmkit.methods.classifier.learning import DEFENCES, Settings, Stages, learner
from gmkit.methods.classifier.model import Classifier

__all__ = ["DEFENCES", "Classifier", "Judge", "Protocol", "Settings", "Stages", "build"]


def build(
    config: Any, spec: Any, stages: Mapping[str, tuple[Method, TrainState]] | None = None
) -> Method:
    """The method that a config of `configs/classifier.py` describes, for data of `spec`.

    Args:
      config: settings.
      spec: what the images are.
      stages: earlier ones by name, for `teacher`, `sources` and `generator`.

    Raises:
      ValueError: settings that do not exist or do not go together.
    """
    if spec.kind != "image" or not spec.n_classes:
        raise ValueError(f"data.name={spec.name!r}: a classifier needs labelled images")
    module = nets.classifier(config.arch, spec.n_classes, config.width)
    model = Classifier(module, tuple(spec.domain.shape), spec.n_classes)
    earlier = {name: FinishedStage(name, *stage) for name, stage in (stages or {}).items()}

    def stage(field: str, name: str, gives: str) -> FinishedStage:
        if name not in earlier or getattr(earlier[name].method, gives) is None:
            there = [n for n, e in earlier.items() if getattr(e.method, gives) is not None]
            raise ValueError(
                f"{field}={name!r}: none of the stages that give {gives} "
                f"({', '.join(there) or 'there is none'})"
            )
        return earlier[name]

    used = Stages(
        stage("teacher", config.teacher, "logits") if config.teacher else None,
        tuple(stage("sources", name, "logits") for name in config.sources),
        stage("generator", config.generator, "perturb") if config.generator else None,
    )
    settings = Settings(**config.defence, crop=config.crop, ema_decay=config.ema_decay)
    if settings.kind == "generator" and used.generator is None:
        raise ValueError("defence.kind='generator': name a stage in config.generator")
    if settings.kind == "ensemble" and not used.sources:
        raise ValueError("defence.kind='ensemble': name stages in config.sources")
    tx = optim.optimizer(**config.optim.classifier, total_steps=config.training.steps)
    init, step = learner(model, used, tx, settings)
    judge = Judge(model, Protocol(**config.eval))
    return Method(
        name="classifier",
        init=init,
        step=step,
        evaluate=judge.evaluate,
        sample=model.sample,
        figures=judge.figures,
        logits=model.logits,
    )
