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
| density estimation: a flow q as the energy `-log q + log g` | `energies.DensityRatio` |
| a base with a density, `log Q = log g - E - A` | `model.density_base`, `GEBM.log_lik` |
| `A` by importance sampling, annealing, from both sides | `likelihood.LikelihoodJudge` |

Logged: `loss/energy`, `loss/base`, `kale`, `energy/data`, `energy/base`, `energy/clamped_data`
and `energy/clamped_base` (fractions at the floor), `log_z/learned`, `log_z/batch`, `log_z/exact`,
`weights/ess` (fraction), `penalty`, `nll` (nats, where `A` is known), `norm/<network>` (gradient
l2), `base_step`, `lr_factor`, `lr_rule/p_value`, `validation/nll`, `validation/best_nll`.

Deviations from the official code: `c` follows its exact fixed point in log space by default
(Adam, as published, is `log_z.rule="adam"`); the acceptance ratios of MALA and HMC are the
exact ones; the settings sample at `beta = 1`, which is the model, and tempered samples stand
beside; persistent chains draw fresh velocities; KALE on test data uses held-out data; the
learning-rate rule compares 512 samples. By default gradients are clipped by their global norm;
`grad_transform="robust"` is the official code's re-descending transform. Density estimation
evaluates averaged parameters, chosen on validation rows, and moves `c` slowly by the average of
the weights: a fast `c` lets the flow hide mass where the base is rarely drawn.

Run: `python launch/main.py --config=configs/gebm.py`; results are in the README.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from gmkit import cache_dir, distributions, evaluation, nets
from gmkit.core import Method, TrainState, keep_best, optim, selected
from gmkit.energies import DensityRatio
from gmkit.methods.gebm.judging import Judge, Protocol
from gmkit.methods.gebm.learning import LearningRateRule, Settings, learner
from gmkit.methods.gebm.likelihood import Likelihoods
from gmkit.methods.gebm.model import GEBM, density_base, normal_base
from gmkit.samplers import LatentSampler

__all__ = [
    "GEBM",
    "Judge",
    "LearningRateRule",
    "Likelihoods",
    "Protocol",
    "Settings",
    "build",
    "density_base",
    "gebm",
    "normal_base",
    "refine",
]


def gebm(
    model: GEBM,
    txs: Mapping[str, optax.GradientTransformation],
    settings: Settings,
    protocol: Protocol,
    field: str = "image",
    schedules: Mapping[str, optax.Schedule] | None = None,
    lr_rule: LearningRateRule | None = None,
    select_every: int = 0,
) -> Method:
    """The method from its parts.

    Args:
      model: base, energy and floor.
      txs: optimisers of "base", "energy" and "log_z".
      settings: of training.
      protocol: of evaluation; its first sampler is also that of `Method.sample`.
      field: entry of a batch that holds the data.
      schedules: factors of the learning rates, as functions of the base step.
      lr_rule: host-side rule for the learning rates.
      select_every: calls of `step` between looks at validation rows, by whose likelihood the
        final state is chosen; 0 for no choice.

    Raises:
      ValueError: a selection without likelihoods, or settings that do not fit the model.
    """
    init, step = learner(model, txs, settings, field, schedules, lr_rule)
    judge = Judge(model, protocol, field)
    how = protocol.samplers[0]
    method = Method(
        name="gebm",
        init=init,
        step=step,
        evaluate=judge.evaluate,
        sample=lambda state, key, n: model.draw(state, key, n, how)[0],
        figures=judge.figures,
        batches_per_step=settings.n_critic,
        decode=model.decode,
        energy=model.energy,
        encode=model.encode if model.base.encode is not None else None,
        log_lik=model.log_lik if model.has_density else None,
        hooks=() if lr_rule is None else (lr_rule.hook(model, protocol.features, field),),
    )
    if not select_every:
        return method
    if judge.likelihoods is None:
        raise ValueError(
            f"select_every={select_every} selects by likelihood, which needs a base with a "
            "density; set it to 0"
        )
    learned = ("log_z",) if settings.has_log_z else ()
    names = (*settings.trained, *learned)
    return keep_best(method, names, judge.likelihoods.score, select_every, "nll")


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
      tx: optimiser of the energy (and of c, with `log_z_update="adam"`).
      protocol: of evaluation.
      field: entry of a batch that holds the data.
      **settings: of `Settings`, but `train_mode`.
    """
    base = nets.frozen_decoder(lambda _, z: decode(z), {}, latent_dim)
    how = Settings(train_mode="energy", **{"warmup_every": 0, **settings})
    txs = {"energy": tx, "log_z": tx if how.log_z_update == "adam" else optax.sgd(1.0)}
    return gebm(GEBM(base, energy, None), txs, how, protocol, field)


# ---------------------------------------------------------------- from a config


def build(
    config: Any, spec: Any, stages: Mapping[str, tuple[Method, TrainState]] | None = None
) -> Method:
    """The method that a config of `configs/gebm.py` describes, for data of `spec`.

    A stage "generator" is used as the frozen base (`train_mode` must be "energy"); every other
    stage is a model of the same data whose likelihood is set beside this one's.

    Raises:
      ValueError: settings that do not exist or do not go together.
    """
    shape = spec.domain.shape
    stages = dict(stages or {})
    base = _base(config, spec, stages.pop("generator", None))
    energy = _energy(config, shape, base)
    compared = _samplers(config)
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
        chain=LatentSampler(config.cd.sampler, **_chain(config)),
        ema_decay=config.base.ema_decay,
        energy_ema_decay=config.energy.ema_decay,
        unroll=config.unroll,
    )
    e = config.eval
    features = evaluation.feature_space(
        e.features,
        spec,
        e.cache_dir or cache_dir("features"),
        inception_path=e.inception_path,
        seed=e.seed,
    )
    loop = "python" if config.unroll and jax.default_backend() == "cpu" else "scan"
    protocol = Protocol(
        features, config.eval.n_samples, compared, loop, likelihoods=_likelihoods(config, stages)
    )
    rule = LearningRateRule(every=config.lr_rule_every) if config.lr_rule_every else None
    if rule is not None and config.train_mode == "energy":
        raise ValueError("lr_rule_every watches the base: set it to 0 with train_mode='energy'")
    txs, schedules = _optimisers(config, settings)
    field = "image" if spec.kind == "image" else "x"
    model = GEBM(base, energy, config.energy.floor)
    return gebm(
        model, txs, settings, protocol, field, schedules, rule, config.get("select_every", 0)
    )


def _base(config: Any, spec: Any, generator: tuple[Method, TrainState] | None) -> nets.Decoder:
    b, shape = config.base, tuple(spec.domain.shape)
    dim = spec.domain.dim
    if generator is not None:
        return _frozen_base(config, spec, *generator)
    if b.arch not in ("normal", "flow"):
        return nets.network_decoder(
            nets.generator(b.arch, shape, b.latent_dim, b.width), b.latent_dim
        )
    if spec.kind != "vector":
        raise ValueError(f"base.arch={b.arch!r} is a density of vectors; {spec.name} has images")
    if b.latent_dim not in (None, dim):
        raise ValueError(f"base.latent_dim={b.latent_dim}: base.arch={b.arch!r} has {dim}")
    if b.arch == "flow":
        return density_base(_flow(config, shape), dim)
    if config.train_mode != "energy":
        raise ValueError("base.arch='normal' has nothing to train: set train_mode='energy'")
    return normal_base(dim)


def _frozen_base(config: Any, spec: Any, method: Method, state: TrainState) -> nets.Decoder:
    """The base that a trained stage decodes; with its density, where vectors have an exact one."""
    shape = tuple(spec.domain.shape)
    if method.decode is None or config.train_mode != "energy":
        raise ValueError("a stage 'generator' must decode, and needs train_mode='energy'")
    decode, log_lik, encode = method.decode, method.log_lik, method.encode
    state = selected(state).replace(opt_state={}, memory=None)
    invertible = spec.kind == "vector" and log_lik is not None and encode is not None
    latent_dim = config.base.latent_dim or (spec.domain.dim if invertible else None)
    if latent_dim is None:
        raise ValueError("base.latent_dim is not set: give the length of the generator's latents")
    z = jax.ShapeDtypeStruct((2, latent_dim), jnp.float32)
    try:
        decoded = jax.eval_shape(decode, state, z).shape[1:]
    except (TypeError, ValueError) as error:
        raise ValueError(f"base.latent_dim={latent_dim} is not the generator's") from error
    if decoded != shape:
        raise ValueError(f"the generator makes examples {decoded}, the data are {shape}")
    if not invertible:
        return nets.frozen_decoder(decode, state, latent_dim)
    log_prob = lambda state, x: log_lik(state, jax.random.key(0), x).value
    return nets.frozen_decoder(decode, state, latent_dim, log_prob, encode)


def _flow(config: Any, shape: tuple[int, ...]) -> distributions.Density:
    """The flow `config.flow` with its group of options."""
    options = config.flows.get(config.flow)
    options = {} if options is None else options.to_dict()
    density = distributions.named(config.flow, shape, **options)
    if not distributions.has_normal_latents(config.flow):
        raise ValueError(f"flow={config.flow!r} has latents that are not standard normal")
    if options.get("norm") == "batch_norm":
        raise ValueError("flows.norm='batch_norm' ties examples together: take actnorm or none")
    return density


def _energy(config: Any, shape: tuple[int, ...], base: nets.Decoder) -> Any:
    """The energy network, or that of a flow's density over a fixed base."""
    e = config.energy
    if e.arch != "density_ratio":
        return nets.energy(e.arch, shape, e.width, e.spectral_norm)
    if base.log_prob is None:
        raise ValueError("energy.arch='density_ratio' needs a base with a density (base.arch)")
    nothing = jnp.zeros((2, *shape))
    params, variables = base.init(jax.random.key(0), nothing)
    if jax.tree.leaves(params):
        raise ValueError("energy.arch='density_ratio' needs a fixed base: base.arch='normal'")
    log_g = functools.partial(base.log_prob, params, variables)
    return DensityRatio(_flow(config, shape), log_g, e.offset)


def _likelihoods(config: Any, stages: Mapping[str, tuple[Method, TrainState]]) -> Likelihoods:
    rivals = {}
    for name, (method, state) in stages.items():
        if method.log_lik is None:
            raise ValueError(f"stage {name!r} has no likelihood to compare with")
        rivals[name] = functools.partial(method.log_lik, state)
    e = config.eval
    if "ais" not in e:
        return Likelihoods(rivals=rivals)
    return Likelihoods(
        n_importance=e.n_importance,
        n_chains=e.ais.chains,
        n_temperatures=e.ais.temperatures,
        n_leap=e.ais.n_leap,
        step=e.ais.step,
        components=tuple(e.components),
        rivals=rivals,
    )


def _samplers(config: Any) -> tuple[LatentSampler, ...]:
    """The model's sampler, those it is compared with, and itself at other temperatures."""
    known = {name: LatentSampler(name=name, **how) for name, how in config.samplers.items()}
    for name in (config.sampler, *config.eval.samplers):
        if name not in known:
            raise ValueError(f"sampler {name!r} has no settings; choose {', '.join(known)}")
    own = known[config.sampler]
    others = [known[name] for name in config.eval.samplers if name != config.sampler]
    betas = [beta for beta in config.eval.betas if beta != own.beta]
    return (own, *others, *(dataclasses.replace(own, beta=beta) for beta in betas))


def _chain(config: Any) -> dict[str, Any]:
    """Settings of the persistent chains of cd."""
    if config.cd.sampler not in config.samplers:
        known = ", ".join(config.samplers)
        raise ValueError(f"cd.sampler={config.cd.sampler!r} has no settings; choose {known}")
    how = config.samplers[config.cd.sampler].to_dict()
    return how | {"n_steps": config.cd.n_steps, "divide_every": 0, "beta": 1.0}


def _optimisers(
    config: Any, settings: Settings
) -> tuple[dict[str, optax.GradientTransformation], dict[str, optax.Schedule]]:
    """Optimisers of constant rate, and the factors of their rates over base steps."""
    total = settings.base_steps(config.training.steps)
    decay = {"factor": config.lr_decay.factor, "every": config.lr_decay.every}
    txs, schedules = {}, {}
    for name in ("base", "energy"):
        options = config.optim[name].to_dict()
        kind = options.pop("schedule")
        schedules[name] = optim.learning_rate_schedule(kind, 1.0, total, **decay)
        txs[name] = optim.optimizer(**options)
    txs["log_z"] = optax.sgd(1.0)
    if settings.log_z_update == "adam" and settings.criterion == "kale":
        o = config.optim.energy
        txs["log_z"] = optim.optimizer("adam", o.learning_rate, o.b1, o.b2)
        if o.grad_transform == "robust":
            txs["log_z"] = optax.chain(optim.robust_log_partition(), txs["log_z"])
    return txs, schedules
