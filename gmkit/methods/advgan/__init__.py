"""AdvGAN: adversarial examples from a feed-forward generator.

C. Xiao, B. Li, J.-Y. Zhu, W. He, M. Liu, D. Song, "Generating Adversarial Examples with
Adversarial Networks", IJCAI 2018 (arXiv:1801.02610).

A generator `G` adds at most epsilon to every pixel of an image so that a classifier `f` takes it
for another class, and a discriminator for a real image. One forward pass makes an example; `f` is
needed only while training, and a black box is only asked.

| in the paper | here |
| --- | --- |
| `L_adv`, the margin of Carlini & Wagner | `learning.adversarial_loss`, `attacks.targeted_margin` |
| `L_GAN`, least squares | `update_discriminator`, `objectives.game("lsgan")` |
| `L_hinge = E max(0, |G(x)|_2 - c)` | `update_generator` |
| `L = L_adv + alpha L_GAN + beta L_hinge` | `update_generator`, `Settings` |
| static distillation | a stage of `gmkit.methods.classifier` with a teacher |
| dynamic distillation | `distil` |
| semi-whitebox and black-box success rates | `judging.Judge`, `evaluation.judge_attack` |

A stage is a classifier: `sources` are those whose gradients train the generator (several make an
ensemble), `victims` those that are judged, `black_box` the one that is only asked: with it the
sources imitate its answers on images and adversarial images while the generator learns. Any
method with `logits` can be a stage, a function on the host too (`attacks.host_model`).

Logged: `loss/adversarial`, `loss/gan`, `loss/hinge`, `loss/discriminator`,
`loss/distillation/<source>`, `perturbation/l2`, `fooled` (fraction of the batch, by the sources),
`score/real`, `score/adversarial`, `queries`, `norm/generator` (gradient l2).

Deviations: perturbations are bounded by tanh, so that no pixel's gradient dies (`bound="clip"` is
the published form); networks keep sizes by zero padding; all losses are means over the batch; one
discriminator step precedes every generator step. `goal="all_targets"` and ensembles of sources are
additions. Success rates are of images that the victim classifies rightly.

Run: `python launch/main.py --config=configs/advgan.py`; results are in the README.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import optax

from gmkit import nets, objectives
from gmkit.attacks import from_unit
from gmkit.core import FinishedStage, Method, TrainState, optim
from gmkit.methods.advgan.judging import ATTACKS, Baseline, Judge, Protocol
from gmkit.methods.advgan.learning import Settings, adversarial_loss, learner
from gmkit.methods.advgan.model import AdvGAN

__all__ = [
    "ATTACKS",
    "AdvGAN",
    "Baseline",
    "Judge",
    "Protocol",
    "Settings",
    "adversarial_loss",
    "advgan",
    "build",
    "learner",
]

#: What a config's group of an attack says besides the options of its maker.
_OF_BASELINE = ("kind", "n_images")


def advgan(
    model: AdvGAN,
    sources: Mapping[str, FinishedStage],
    victims: Mapping[str, FinishedStage],
    black_box: FinishedStage | None,
    game: objectives.Game,
    txs: Mapping[str, optax.GradientTransformation],
    settings: Settings,
    protocol: Protocol,
    substitutes: Mapping[str, FinishedStage] | None = None,
) -> Method:
    """The method from its parts.

    Args:
      model: the attacker.
      sources: classifiers whose gradients train it, at least one.
      victims: classifiers that are judged, at least one; the first gives the run's metrics.
      black_box: what the sources imitate as the generator learns, or None.
      game: of discriminator and generator.
      txs: optimisers of "generator", "discriminator" and, with a black box, "sources".
      settings: of training.
      protocol: of evaluation.
      substitutes: classifiers whose gradients the attacks beside it use; None for the sources.
    """
    init, step = learner(model, sources, black_box, game, txs, settings)
    judge = Judge(model, sources, victims, protocol, substitutes)

    def sample(state: TrainState, key: jax.Array, n: int) -> jax.Array:
        """Adversarial versions of images drawn from the first minibatch."""
        row_key, target_key = jax.random.split(key)
        x, labels = state.memory["image"], state.memory["label"]
        rows = jax.random.randint(row_key, (n,), 0, x.shape[0])
        targets = model.targets_of(jax.random.split(target_key, n), labels[rows])
        return model.perturb(state, key, from_unit(x[rows]), targets)

    return Method(
        name="advgan",
        init=init,
        step=step,
        evaluate=judge.evaluate,
        sample=sample,
        figures=judge.figures,
        perturb=model.perturb,
    )


def build(
    config: Any, spec: Any, stages: Mapping[str, tuple[Method, TrainState]] | None = None
) -> Method:
    """The method that a config of `configs/advgan.py` describes, for data of `spec`.

    Args:
      config: settings.
      spec: what the images are.
      stages: classifiers, by name.

    Raises:
      ValueError: settings that do not exist or do not go together, or no classifier.
    """
    if spec.kind != "image" or not spec.n_classes:
        raise ValueError(f"data.name={spec.name!r}: AdvGAN attacks labelled images")
    classifiers = {
        name: FinishedStage(name, *stage)
        for name, stage in (stages or {}).items()
        if stage[0].logits is not None
    }

    def chosen(field: str, names: tuple[str, ...]) -> dict[str, FinishedStage]:
        for name in names:
            if name not in classifiers:
                raise ValueError(
                    f"{field}={names}: {name!r} is none of the stages that classify "
                    f"({', '.join(classifiers) or 'there is none'})"
                )
        return {name: classifiers[name] for name in names}

    for field in ("sources", "victims"):
        if not config[field]:
            raise ValueError(f"{field}=(): name at least one stage")
    sources, victims = (chosen(field, tuple(config[field])) for field in ("sources", "victims"))
    box = config.black_box
    if box and box not in classifiers:
        raise ValueError(f"black_box={box!r}: choose one of the stages {', '.join(classifiers)}")
    if box in sources:
        raise ValueError(f"black_box={box!r} is among sources={tuple(sources)}: it is only asked")
    g, d = config.generator, config.discriminator
    model = AdvGAN(
        nets.AdvGANGenerator(spec.domain.shape[-1], tuple(g.widths), g.blocks),
        nets.AdvGANDiscriminator(tuple(d.widths), d.norm),
        spec.n_classes,
        config.epsilon,
        config.bound,
        config.goal,
        config.target_class,
    )
    steps = config.training.steps
    txs = {name: optim.optimizer(**group) for name, group in _optimisers(config, steps).items()}
    baselines = tuple(_baseline(name, config.attacks) for name in config.eval.attacks)
    return advgan(
        model,
        sources,
        victims,
        classifiers[box] if box else None,
        objectives.game(config.game),
        txs,
        Settings(**config.losses),
        Protocol(config.eval.n_images, baselines),
        chosen("eval.sources", tuple(config.eval.sources)),
    )


def _optimisers(config: Any, steps: int) -> dict[str, dict[str, Any]]:
    return {
        name: {**config.optim[name], "total_steps": steps}
        for name in ("generator", "discriminator", "sources")
    }


def _baseline(name: str, groups: Any) -> Baseline:
    if name not in groups:
        raise ValueError(f"eval.attacks names {name!r}: choose among {', '.join(groups)}")
    group = groups[name]
    options = {k: v for k, v in group.items() if k not in _OF_BASELINE}
    return Baseline(name, group.kind, group.n_images, options)
