"""Lipschitz Generative Adversarial Nets, and the adversarial nets beside them.

Z. Zhou, J. Liang, Y. Song, L. Yu, H. Wang, W. Zhang, Y. Yu, Z. Zhang, "Lipschitz Generative
Adversarial Nets", ICML 2019.

A critic `f`, high on data, and a generator `g` play

    min_f  E_{g(z)} phi(f) + E_data varphi(f) + lambda k(f)^2,      min_g  E psi(f(g(z))),

with `k(f)` the Lipschitz constant of `f`. Without the last term the optimal `f` at a fake point
knows the densities at that point alone, and its gradient need not lead to any data; with it,
every fake has a partner that `f`'s gradient points at, and the gradient vanishes only where the
two laws are equal.

| in the paper | here |
| --- | --- |
| phi, varphi, psi, and the condition on them | `objectives.game`, `objectives.condition` |
| MaxGP: `lambda max |grad f|^2` over interpolates, and its buffer | `objectives.LipschitzPenalty` |
| training | `learning.learner`: `update_critic`, `update_generator` |
| closed forms: `k = W1 / (2 lambda)`; two atoms | `theory` |
| gradients that point at the optimal-transport partner | `judging.Judge`, for data with "fake" |
| spectral normalisation to a learned constant | `critic.options.trainable_gain`, `gain_weight` |

Baselines are settings: WGAN-GP, LSGAN, hinge with spectral normalisation, DRAGAN, R1, relativistic
GANs, PacGAN's packing.

Logged: `loss/critic`, `loss/generator`, `score/real`, `score/fake` (mean f), `slope/max` and
`slope/mean` (|grad f| at the penalty's points), `slope/searched`, `slope/gap`,
`slope/multiplier`, `slope/gains` (their product), `penalty`, `norm/<network>` (gradient l2),
`lr_factor`.

Deviations from the official code: evaluation goes by steps, not by the clock; samples are drawn
with the generator's running batch statistics; reals and fakes go through the critic together.

Run: `python launch/main.py --config=configs/lgan.py`; results are in the README.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import optax

from gmkit import cache_dir, data, evaluation, nets, objectives
from gmkit.core import Method, optim
from gmkit.methods.lgan.judging import Judge
from gmkit.methods.lgan.learning import Settings, learner
from gmkit.methods.lgan.model import GAN, pack

__all__ = ["GAN", "Judge", "Settings", "build", "learner", "lgan", "pack"]


def lgan(
    model: GAN,
    game: objectives.Game,
    lipschitz: objectives.LipschitzPenalty | None,
    txs: Mapping[str, optax.GradientTransformation],
    settings: Settings,
    protocol: evaluation.SampleProtocol,
    field: str = "image",
    schedule: optax.Schedule | None = None,
) -> Method:
    """The method from its parts; see `learning.learner` for the arguments.

    Args:
      model: generator and critic.
      game: objectives of both.
      lipschitz: control of the critic's slope, or None.
      txs: optimisers of "critic" and "generator".
      settings: of training.
      protocol: how samples are judged.
      field: entry of a batch that holds the data.
      schedule: factor of the learning rates.
    """
    init, step = learner(model, game, lipschitz, txs, settings, field, schedule)
    judge = Judge(model, game, lipschitz, protocol, field)
    return Method(
        name="lgan",
        init=init,
        step=step,
        evaluate=judge.evaluate,
        sample=model.sample,
        figures=judge.figures,
        batches_per_step=settings.n_critic,
        decode=None if model.generator is None else model.decode,
    )


def build(config: Any, spec: Any) -> Method:
    """The method that a config of `configs/lgan.py` describes, for data of `spec`.

    Raises:
      ValueError: settings that do not exist or do not go together.
    """
    shape = tuple(spec.domain.shape)
    g, c, e = config.generator, config.critic, config.eval
    if config.packing < 1 or config.training.batch_size % config.packing:
        raise ValueError(
            f"packing={config.packing}: must divide training.batch_size="
            f"{config.training.batch_size}; 1 shows the critic single examples"
        )
    if g.arch == "data" and spec.name not in data.CASES:
        known = ", ".join(data.CASES)
        raise ValueError(
            f"generator.arch='data': {spec.name} has no fakes; data.name may be {known}"
        )
    if g.arch == "data" and config.packing != 1:
        raise ValueError(
            f"packing={config.packing}: between given points the critic sees one; set 1"
        )
    if config.gain_weight and (c.arch == "sngan" or not c.options.get("trainable_gain")):
        raise ValueError(
            f"gain_weight={config.gain_weight} needs critic.options.trainable_gain=True and a "
            f"critic whose every layer is normalised, got critic.arch={c.arch!r}"
        )
    packed = (*shape[:-1], config.packing * shape[-1])
    critic = nets.energy(c.arch, packed, c.width, c.spectral_norm, **c.options)
    generator = None
    if g.arch != "data":
        module = nets.generator(g.arch, shape, g.latent_dim, g.width, **g.options)
        generator = nets.network_decoder(module, g.latent_dim)
    if g.prior not in nets.PRIORS:
        raise ValueError(f"generator.prior={g.prior!r}: choose {', '.join(nets.PRIORS)}")
    game = objectives.game(config.objective, alpha=config.alpha, psi=config.psi)
    lipschitz = None
    # The augmented Lagrangians have lip.rho for a weight.
    if config.lip.weight or config.lip.kind in ("al", "ali"):
        lipschitz = objectives.LipschitzPenalty(**config.lip)
        # Refuses a buffer of no points.
        lipschitz.init(jnp.zeros((config.training.batch_size // config.packing, 1)))
    settings = Settings(
        n_critic=config.n_critic,
        generator_factor=config.generator_factor,
        ema_decay=g.ema_decay,
        gain_weight=config.gain_weight,
        unroll=config.unroll,
    )
    protocol = evaluation.sample_protocol(
        spec,
        e.n_samples,
        e.features,
        e.cache_dir or cache_dir("features"),
        inception_path=e.inception_path,
        seed=e.seed,
    )
    steps = config.training.steps
    decay = {"factor": config.lr_decay.factor, "every": config.lr_decay.every, "but": steps + 1}
    return lgan(
        GAN(critic, generator, g.prior, config.packing),
        game,
        lipschitz,
        {name: optim.optimizer(**config.optim[name]) for name in ("critic", "generator")},
        settings,
        protocol,
        "image" if spec.kind == "image" else "x",
        optim.learning_rate_schedule(config.schedule, 1.0, steps, **decay),
    )
