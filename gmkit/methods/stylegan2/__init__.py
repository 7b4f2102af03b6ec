"""StyleGAN2, with adaptive augmentation: a generator whose intermediate latents are its controls.

T. Karras, S. Laine, M. Aittala, J. Hellsten, J. Lehtinen, T. Aila, "Analyzing and Improving the
Image Quality of StyleGAN", CVPR 2020; T. Karras, M. Aittala, J. Hellsten, S. Laine, J. Lehtinen,
T. Aila, "Training Generative Adversarial Networks with Limited Data", NeurIPS 2020.

A generator `G(w)`, `w = f(z)`, and a discriminator `D`, high on data, play

    min_G  E softplus(-D(G)) + w E (|J' y| - a)^2
    min_D  E softplus(D(G)) + E softplus(-D(x)) + gamma / 2 E |grad_x D(x)|^2,

with `J` the generator's Jacobian, `y` random images and `a` the running mean of `|J' y|`. The last
term of each is taken in steps of its own, every 4th and every 16th time, with that weight.

| in the papers | here |
| --- | --- |
| networks, weights of other programs | `nets.stylegan2` |
| non-saturating losses, lazy regularisation, R1 | `learning.learner`, `learning.optimizer` |
| path length regularisation | `objectives.path_length` |
| style mixing, truncation | `model.StyleGAN2` |
| adaptive discriminator augmentation | `transforms.augment`, `augment` in the config |
| averaged generator | `learning.ema_decay` |

Logged: `loss/generator`, `loss/discriminator`, `score/real`, `score/fake` (mean D), `sign/real`
(mean sign of D on data, what augmentation is adapted to), `penalty/r1` and `penalty/path` (without
their weights, of the last step that had one), `path/average`, `augment/p`, `norm/<network>`
(gradient l2).

Deviations from the official code: groups of the minibatch statistics are of the whole batch, not of
a device's share; labels of fakes are uniform over the classes; half precision is bfloat16;
samples are clipped to [-1, 1].

Run: `python launch/main.py --config=configs/stylegan2.py`; results are in the README.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import optax

from gmkit import cache_dir, evaluation
from gmkit.core import Method
from gmkit.methods.stylegan2.judging import Judge
from gmkit.methods.stylegan2.learning import NETWORKS, Settings, ema_decay, learner, optimizer
from gmkit.methods.stylegan2.model import StyleGAN2
from gmkit.nets import stylegan2 as networks

__all__ = ["Judge", "Settings", "StyleGAN2", "build", "ema_decay", "learner", "optimizer"]


def stylegan2(
    model: StyleGAN2,
    txs: Mapping[str, optax.GradientTransformation],
    settings: Settings,
    protocol: evaluation.SampleProtocol,
    field: str = "image",
) -> Method:
    """The method from its parts; see `learning.learner` for the arguments.

    Args:
      model: generator and discriminator.
      txs: optimisers of "generator" and "discriminator".
      settings: of training.
      protocol: how samples are judged.
      field: entry of a batch that holds the images.
    """
    init, step = learner(model, txs, settings, field)
    judge = Judge(model, protocol, field)
    return Method(
        name="stylegan2",
        init=init,
        step=step,
        evaluate=judge.evaluate,
        # Compiled: one operation after another would be slow, on the first call above all.
        sample=jax.jit(model.sample, static_argnums=2),
        figures=judge.figures,
        decode=model.decode,
        generator=model.functions,
    )


def build(config: Any, spec: Any) -> Method:
    """The method that a config of `configs/stylegan2.py` describes, for data of `spec`.

    Raises:
      ValueError: settings that do not exist or do not go together.
    """
    shape = tuple(spec.domain.shape)
    if spec.kind != "image" or shape[0] != shape[1] or shape[0] < 8 or shape[0] & (shape[0] - 1):
        raise ValueError(
            f"{spec.name} has examples of shape {shape}; StyleGAN2 makes square images whose side "
            "is a power of two from 8 on (data.image_size, data.pad)"
        )
    if config.conditional and not spec.n_classes:
        raise ValueError(f"conditional=True: {spec.name} has no labels; set it to False")
    both = {
        "img_channels": shape[2],
        "c_dim": spec.n_classes if config.conditional else 0,
        **config.networks,
    }
    model = StyleGAN2(
        networks.Generator(shape[0], **both, **config.generator),
        networks.Discriminator(shape[0], **both, **config.discriminator),
    )
    every = {
        "generator": config.game.generator_every,
        "discriminator": config.game.discriminator_every,
    }
    e = config.eval
    protocol = evaluation.sample_protocol(
        spec,
        e.n_samples,
        e.features,
        e.cache_dir or cache_dir("features"),
        inception_path=e.inception_path,
        seed=e.seed,
    )
    return stylegan2(
        model,
        {name: optimizer(every[name], **config.optim[name]) for name in NETWORKS},
        Settings(batch_size=config.training.batch_size, **config.game, **config.augment),
        protocol,
    )
