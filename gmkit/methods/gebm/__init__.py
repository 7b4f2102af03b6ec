"""Generalized Energy Based Models.

M. Arbel, L. Zhou, A. Gretton, "Generalized Energy Based Models", ICLR 2021.

A base `G` (a generator: `x = B(z)`, `z ~ N(0, I)`) finds the support of the data, an energy `E`
re-weights the mass on it, and together they are one model (section 2)

    Q(dx) = exp(-E(x) - A) G(dx),      A = log E_{x~G}[exp(-E(x))].

| in the paper | here |
| --- | --- |
| the model `Q`, and `x ~ Q` iff `x = B(z)`, `z ~ exp(-|z|^2/2 - E(B(z)))` | `model.GEBM` |
| generalized likelihood `-E_P[E] - log E_G[exp(-E)]` | `objectives.donsker_varadhan_loss` |
| KALE, with the variational log-partition `c` | `objectives.kale_loss` |
| learning the energy and `c` | `learning.learner`: `update_energy`, `update_log_z` |
| learning the base, weights `exp(-E - c)` or softmax | `learning.learner`: `update_base` |
| latent samplers | `gmkit.samplers.draw_latents` |
| base against model | `judging.Judge` |

Logged: `loss/energy`, `loss/base`, `kale`, `energy/data`, `energy/base`, `energy/clamped`
(fraction at the floor), `log_z/learned`, `log_z/batch`, `weights/ess` (fraction), `penalty`,
`norm/<network>` (gradient l2), `base_step`, `lr_factor`.

Deviations from the official code: `c` follows its exact fixed point in log space by default
(Adam, as published, is `log_z.rule="adam"`); the acceptance ratios of MALA and HMC are the
exact ones; samples are reported at `beta = 1`, which is the model, with tempered ones beside
them; KALE on test data uses held-out data. Gradients are clipped by their global norm;
`grad_transform="robust"` is the official code's re-descending transform.

Run: `python launch/main.py --config=configs/gebm.py`; results are in the README.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import optax

from gmkit import evaluation, nets, samplers
from gmkit.core import Method, TrainState, optim
from gmkit.methods.gebm.judging import Judge, Protocol
from gmkit.methods.gebm.learning import LearningRateRule, Settings, learner
from gmkit.methods.gebm.model import GEBM
from gmkit.samplers import LatentSampler

FEATURES = ("auto", "classifier", "pixels", "inception")

__all__ = ["GEBM", "Judge", "LearningRateRule", "Protocol", "Settings", "build", "gebm", "refine"]


def gebm(
    model: GEBM,
    txs: Mapping[str, optax.GradientTransformation],
    settings: Settings,
    protocol: Protocol,
    field: str = "image",
    lr_rule: LearningRateRule | None = None,
) -> Method:
    """The method from its parts.

    Args:
      model: base, energy and floor.
      txs: optimisers of "base", "energy" and "log_z".
      settings: of training.
      protocol: of evaluation; its first sampler is also that of `Method.sample`.
      field: entry of a batch that holds the data.
      lr_rule: host-side rule for the learning rates.
    """
    init, step = learner(model, txs, settings, field, lr_rule)
    judge = Judge(model, protocol, field)
    how = protocol.samplers[0]
    return Method(
        name="gebm",
        init=init,
        step=step,
        evaluate=judge.evaluate,
        sample=lambda state, key, n: model.draw(state, key, n, how)[0],
        figures=judge.figures,
        batches_per_step=settings.n_critic,
        decode=model.decode,
        energy=model.energy,
        hooks=() if lr_rule is None else (lr_rule.hook(model, protocol.features, field),),
    )


def refine(
    decode: Callable[[jax.Array], jax.Array],
    latent_dim: int,
    energy: Any,
    tx: optax.GradientTransformation,
    protocol: Protocol,
    field: str = "image",
    **settings: Any,
) -> Method:
    """An energy on any frozen generator: `z (n, d) -> x (n, ...)`, from wherever it comes.

    Args:
      decode: the generator; rows must not depend on each other.
      latent_dim: d, of `z ~ N(0, I)`.
      energy: flax module `(x, train) -> (n,)`.
      tx: optimiser of the energy.
      protocol: of evaluation.
      field: entry of a batch that holds the data.
      **settings: of `Settings`, but `train_mode`.
    """
    base = nets.frozen_decoder(lambda _, z: decode(z), {}, latent_dim)
    how = Settings(train_mode="energy", **{"warmup_every": 0, **settings})
    txs = {"energy": tx, "log_z": optax.sgd(1.0)}
    return gebm(GEBM(base, energy, None), txs, how, protocol, field)


# ---------------------------------------------------------------- from a config


def build(
    config: Any, spec: Any, stages: Mapping[str, tuple[Method, TrainState]] | None = None
) -> Method:
    """The method that a config of `configs/gebm.py` describes, for data of `spec`.

    A stage "generator" is used as the frozen base (`train_mode` must be "energy").

    Raises:
      ValueError: settings that do not exist or do not go together.
    """
    shape = spec.domain.shape
    options = config.base.get("options", {})
    latent_dim = config.base.latent_dim
    if "generator" in (stages or {}):
        method, state = stages["generator"]
        if method.decode is None or config.train_mode != "energy":
            raise ValueError("a stage 'generator' must decode, and needs train_mode='energy'")
        kept = state.replace(opt_state={}, memory=None)
        base = nets.frozen_decoder(method.decode, kept, latent_dim)
    else:
        network = nets.generator(config.base.arch, shape, latent_dim, config.base.width, **options)
        base = nets.network_decoder(network, latent_dim)
    energy = nets.energy(
        config.energy.arch, shape, config.energy.width, config.energy.spectral_norm
    )
    known = {name: LatentSampler(name=name, **how) for name, how in config.samplers.items()}
    for name in (config.sampler, *config.eval.samplers):
        if name not in known:
            raise ValueError(f"sampler {name!r} has no settings; choose {', '.join(known)}")
    own = known[config.sampler]
    compared = [known[name] for name in config.eval.samplers if name != config.sampler]
    tempered = [
        dataclasses.replace(own, beta=beta) for beta in config.eval.betas if beta != own.beta
    ]
    chain = own if own.name in samplers.CHAINS else LatentSampler()
    settings = Settings(
        criterion=config.criterion,
        weighting=config.weighting,
        train_mode=config.train_mode,
        n_critic=config.n_critic,
        n_critic_warmup=config.n_critic_warmup,
        warmup_every=config.warmup_every,
        noise_factor=config.noise_factor,
        penalty_weight=config.penalty.weight,
        parameter_penalty=config.penalty.parameters,
        log_z_update=config.log_z.rule,
        log_z_rate=config.log_z.rate,
        log_z_init_batches=config.log_z.init_batches,
        buffer_size=config.cd.buffer_size,
        chain=dataclasses.replace(chain, n_steps=config.cd.n_steps, divide_every=0),
        ema_decay=config.base.ema_decay,
        unroll=config.unroll,
    )
    e = config.eval
    if e.features not in FEATURES:
        raise ValueError(f"eval.features={e.features!r}: choose {', '.join(FEATURES)}")
    if e.features == "inception" and not e.inception_path:
        raise ValueError("eval.features='inception' needs eval.inception_path=<weights>.npz")
    cache_dir = e.cache_dir or Path.home() / ".cache" / "gmkit" / "features"
    protocol = Protocol(
        features=functools.partial(_features, e.features, cache_dir, e.inception_path, e.seed),
        n_samples=e.n_samples,
        samplers=(own, *compared, *tempered),
    )
    rule = LearningRateRule(every=config.lr_rule_every) if config.lr_rule_every else None
    field = "image" if spec.kind == "image" else "x"
    model = GEBM(base, energy, config.energy.floor)
    return gebm(model, _optimisers(config), settings, protocol, field, rule)


def _optimisers(config: Any) -> dict[str, optax.GradientTransformation]:
    """Optimisers of the networks; schedules run over base steps, for the energy too."""
    steps = config.training.steps
    txs = {}
    for name, repeats in (("base", 1), ("energy", config.n_critic)):
        o = config.optim[name].to_dict()
        rate = optim.learning_rate_schedule(o.pop("schedule"), o.pop("learning_rate"), steps)
        txs[name] = optim.optimizer(learning_rate=_slowed(rate, repeats), **o)
    if config.log_z.rule == "adam":
        o = config.optim.energy
        robust = o.grad_transform == "robust"
        adam = optim.optimizer("adam", o.learning_rate, o.b1, o.b2)
        txs["log_z"] = optax.chain(optim.robust_log_partition(), adam) if robust else adam
    else:
        txs["log_z"] = optax.sgd(1.0)
    return txs


def _slowed(schedule: optax.Schedule, repeats: int) -> optax.Schedule:
    return lambda count: schedule(count // repeats)


def _features(kind: str, cache_dir: str, path: str, seed: int, dataset: Any) -> evaluation.Features:
    """The feature space of an evaluation, trained or loaded when it is first needed."""
    if kind == "auto":
        kind = "classifier" if dataset.spec.kind == "image" and dataset.spec.n_classes else "pixels"
    if kind == "classifier":
        train, test = dataset.examples("train"), dataset.examples("test")
        return evaluation.classifier_features(train, test, dataset.spec.n_classes, cache_dir, seed)
    if kind == "pixels":
        return evaluation.pixel_features(dataset.spec.domain.dim)
    return evaluation.inception_features(path)
