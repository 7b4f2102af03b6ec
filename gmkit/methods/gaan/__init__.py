"""Generative Adversarial Autoencoder Networks.

N.-T. Tran, T.-A. Bui, N.-M. Cheung, "Generative Adversarial Autoencoder Networks", 2018
(arXiv:1803.08887); later "Dist-GAN", ECCV 2018.

A GAN (generator `G`, discriminator `D` of logits) with an encoder `E` of the data:

- the discriminator counts reconstructions `G(E(x))` as real, so that it cannot win at once;
- the generator matches the mean score of its samples to that of the data,
  `|E sigmoid(D(x)) - E sigmoid(D(G(z)))|`, instead of raising it without limit;
- the autoencoder is regularised so that latents and data differ alike: collapse is penalised.

| in the paper | here |
| --- | --- |
| `L_AE = R + lambda_r W` | `learning.learner`: `update_autoencoder` |
| the latent-data distance `W`, `lambda_w = sqrt(d_z / d_x)` | `learning.latent_data_distance`, `latent_scale` |
| `L_D` with its gradient penalty | `update_discriminator`, `objectives.LipschitzPenalty` |
| the weights of real examples and reconstructions | `learning.label_weights` |
| `L_G`, the score distance | `update_generator`, `objectives.game("score_distance")` |
| covered modes and registered points; stacked MNIST | `evaluation.judge_samples` |
| mode collapse in a latent plane | `judging.Judge`, where `latent_dim=2` |

Logged: `loss/autoencoder`, `reconstruction` (R), `regulariser` (W), `loss/discriminator`,
`loss/generator`, `score/real`, `score/reconstructed`, `score/fake` (mean probabilities),
`slope/max`, `slope/mean`, `penalty`, `norm/<step>` (gradient l2), `lr_factor`.

Deviations from the official code: reconstructions are labelled real on the planar data too, as in
the paper; the hinge is the textbook one; `lambda_w` takes the true size of the features; images
are in [-1, 1] and networks that ended in a sigmoid end in tanh, so that slopes are half and
squared pixel errors four times those of the official scale; discriminators have no batch
normalisation by default; samples are drawn with the running batch statistics; planar data are
reconstructed by squared error; the regulariser on data compares reconstructions, not data, with
samples in one dimension too; faces are cropped to their centre square.

Run: `python launch/main.py --config=configs/gaan.py`; results are in the README.
"""  # noqa: E501 - a table

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optax

from gmkit import cache_dir, evaluation, nets, objectives
from gmkit.core import Method, optim
from gmkit.methods.gaan.judging import Judge
from gmkit.methods.gaan.learning import (
    Settings,
    label_weights,
    latent_data_distance,
    latent_scale,
    learner,
)
from gmkit.methods.gaan.model import GAAN

__all__ = [
    "GAAN",
    "Judge",
    "Settings",
    "build",
    "gaan",
    "label_weights",
    "latent_data_distance",
    "latent_scale",
    "learner",
]

NETWORKS = ("encoder", "generator", "discriminator")


def gaan(
    model: GAAN,
    game: objectives.Game,
    lipschitz: objectives.LipschitzPenalty | None,
    txs: Mapping[str, optax.GradientTransformation],
    settings: Settings,
    protocol: evaluation.SampleProtocol,
    total_steps: int,
    field: str = "image",
    schedule: optax.Schedule | None = None,
) -> Method:
    """The method from its parts; see `learning.learner` for the arguments.

    Args:
      model: encoder, generator and discriminator.
      game: whose generator loss is used.
      lipschitz: the discriminator's gradient penalty, or None.
      txs: optimisers of the three networks.
      settings: of training.
      protocol: how samples are judged.
      total_steps: length of training.
      field: entry of a batch that holds the data.
      schedule: factor of the learning rates.
    """
    init, step = learner(model, game, lipschitz, txs, settings, field, total_steps, schedule)
    judge = Judge(model, protocol, field)
    return Method(
        name="gaan",
        init=init,
        step=step,
        evaluate=judge.evaluate,
        sample=model.sample,
        figures=judge.figures,
        batches_per_step=settings.n_critic + 2,
        encode=model.encode,
        decode=model.decode,
    )


def build(config: Any, spec: Any) -> Method:
    """The method that a config of `configs/gaan.py` describes, for data of `spec`.

    Raises:
      ValueError: settings that do not exist or do not go together.
    """
    shape = tuple(spec.domain.shape)
    g, d, e = config.generator, config.discriminator, config.encoder
    if g.prior not in nets.PRIORS:
        raise ValueError(f"generator.prior={g.prior!r}: choose {', '.join(nets.PRIORS)}")
    if config.reconstruction == "cross_entropy" and g.options.get("output") != "sigmoid":
        raise ValueError(
            "reconstruction='cross_entropy' is of data in [0, 1]: it needs vectors and "
            "generator.options.output='sigmoid'"
        )
    module = nets.generator(g.arch, shape, g.latent_dim, g.width, **g.options)
    model = GAAN(
        nets.encoder(e.arch, shape, g.latent_dim, e.width, **e.options),
        nets.network_decoder(module, g.latent_dim),
        nets.energy(d.arch, shape, d.width, d.spectral_norm, **d.options),
        g.prior,
    )
    penalty = None
    if config.penalty.weight:
        penalty = objectives.LipschitzPenalty(
            kind="one", reduce="mean", weight=config.penalty.weight, norm=config.penalty.norm
        )
    settings = Settings(
        n_critic=config.n_critic,
        space=config.space,
        reconstruction=config.reconstruction,
        regulariser=config.regulariser,
        regulariser_weight=config.regulariser_weight,
        latent_scale=config.latent_scale,
        reconstructions_are=config.reconstructions_are,
        weights=config.weights,
        discriminator_loss=config.discriminator_loss,
        autoencoder_trains_generator=config.autoencoder_trains_generator,
        ema_decay=config.ema_decay,
        unroll=config.unroll,
    )
    v = config.eval
    protocol = evaluation.sample_protocol(
        spec,
        v.n_samples,
        v.features,
        v.cache_dir or cache_dir("features"),
        inception_path=v.inception_path,
        seed=v.seed,
    )
    steps = config.training.steps
    decay = {"factor": config.lr_decay.factor, "every": config.lr_decay.every, "but": steps + 1}
    return gaan(
        model,
        objectives.game(config.generator_loss),
        penalty,
        {name: optim.optimizer(**config.optim[name]) for name in NETWORKS},
        settings,
        protocol,
        steps,
        "image" if spec.kind == "image" else "x",
        optim.learning_rate_schedule(config.schedule, 1.0, steps, **decay),
    )
