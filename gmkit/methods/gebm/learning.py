"""Learning the energy, its log-partition and the base (section 3 of the paper)."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gmkit import evaluation, nets, objectives
from gmkit.core import Hook, TrainState, create, finish_step, in_turn, step_key, update
from gmkit.core.parallel import (
    batch_mean,
    example_normal,
    gather_batch,
    local_index,
    mean_over_devices,
)
from gmkit.methods.gebm.model import GEBM
from gmkit.samplers import LatentSampler, latent_chains

Array = jax.Array
ArrayLike = jax.typing.ArrayLike
Metrics = dict[str, Array]

CHOICES = {
    "criterion": ("kale", "donsker", "cd", "ml", "wasserstein", "logistic"),
    "weighting": ("softmax", "learned_c"),
    "train_mode": ("both", "base", "energy"),
    "log_z_update": ("adam", "fixed_point", "average", "batch"),
}

#: Criteria that make a GAN, whose critic is -E.
GANS = {
    "wasserstein": objectives.game("wasserstein"),
    "logistic": objectives.game("non_saturating"),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a GEBM is trained; the defaults are the paper's but for `log_z_update` (there: adam).

    Attributes:
      criterion: kale, donsker or cd; ml where the energy knows its log-partition; wasserstein
        and logistic are GANs of the same networks.
      weighting: of the base's gradient, softmax or learned_c.
      train_mode: both, base or energy.
      n_critic: energy steps per base step.
      n_critic_warmup: the same for the first two base steps and every `warmup_every`-th.
      warmup_every: see there; 0 switches warm-ups off.
      noise_factor: base samples per data sample.
      penalty_weight: of the zero-centred gradient penalty.
      parameter_penalty: of the mean squared parameter of the energy.
      log_z_update: adam, fixed_point or average (of rate `log_z_rate`, see `objectives`), or
        batch; donsker is always batch.
      log_z_rate: see there; "log_z" then needs plain gradient descent of rate 1.
      log_z_init_batches: batches behind the first value of c.
      buffer_size: persistent chains of cd.
      chain: how cd moves them; its `n_steps` are taken per update, at beta 1.
      ema_decay: of the base's averaged parameters; 0 keeps no average.
      energy_ema_decay: the same of the energy's, and of c.
      unroll: unroll the energy's steps (on CPU a convolution's gradient is slower in a loop).

    Raises:
      ValueError: a value that is not one of its choices, or values that do not go together.
    """

    criterion: str = "kale"
    weighting: str = "softmax"
    train_mode: str = "both"
    n_critic: int = 5
    n_critic_warmup: int = 100
    warmup_every: int = 500
    noise_factor: int = 1
    penalty_weight: float = 1.0
    parameter_penalty: float = 0.0
    log_z_update: str = "fixed_point"
    log_z_rate: float = 0.05
    log_z_init_batches: int = 100
    buffer_size: int = 10_000
    chain: LatentSampler = dataclasses.field(default_factory=lambda: LatentSampler(n_steps=10))
    ema_decay: float = 0.0
    energy_ema_decay: float = 0.0
    unroll: bool = False

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name}={getattr(self, name)!r}: choose {', '.join(known)}")
        if self.weighting == "learned_c" and not self.has_log_z:
            raise ValueError(
                f"weighting='learned_c' needs c; criterion={self.criterion!r} has none"
            )
        if self.n_critic < 1 or (self.warmup_every and self.n_critic_warmup % self.n_critic):
            raise ValueError(
                f"n_critic={self.n_critic} must be positive and divide "
                f"n_critic_warmup={self.n_critic_warmup}"
            )
        if self.criterion == "ml" and (self.train_mode != "energy" or self.penalty_weight):
            raise ValueError(
                "criterion='ml' trains the energy alone and without base samples: set "
                "train_mode='energy' and penalty.weight=0"
            )
        if self.criterion == "cd" and self.chain.name in ("descent", "dot"):
            raise ValueError(f"criterion='cd' needs a sampler: {self.chain.name!r} only descends")

    @property
    def has_log_z(self) -> bool:
        """Whether the criterion has a log-partition to track."""
        return self.criterion in ("kale", "donsker")

    @property
    def trained(self) -> tuple[str, ...]:
        """The networks that are trained."""
        return ("energy", "base") if self.train_mode == "both" else (self.train_mode,)

    def calls_for(self, t: ArrayLike) -> Array:
        """Calls of `step` that base step t = 1, 2, ... takes: more than one in warm-ups."""
        t = jnp.asarray(t)
        if not self.warmup_every or self.train_mode != "both":
            return jnp.ones_like(t)
        warm = (t <= 2) | (t % self.warmup_every == 0)
        return jnp.where(warm, self.n_critic_warmup // self.n_critic, 1)

    def base_steps(self, calls: int) -> int:
        """Base steps completed in so many calls of `step`."""
        return int(
            np.searchsorted(np.cumsum(self.calls_for(np.arange(1, calls + 1))), calls, "right")
        )


def learner(
    model: GEBM,
    txs: Mapping[str, optax.GradientTransformation],
    s: Settings,
    field: str,
    schedules: Mapping[str, optax.Schedule] | None = None,
    lr_rule: LearningRateRule | None = None,
) -> tuple[Callable[..., TrainState], Callable[..., tuple[TrainState, Metrics]]]:
    """`Method.init` and `Method.step`.

    Args:
      model: what is learned.
      txs: optimisers of "energy", "base" and "log_z".
      s: settings.
      field: entry of a batch that holds the data.
      schedules: factors of the learning rates of "energy" and "base", as functions of the
        number of base steps (in train_mode "energy": of calls).
      lr_rule: host-side rule that needs room in the state.
    """
    base, energy = model.base, model.network
    if s.criterion == "ml" and not (model.knows_log_z and model.has_density):
        raise ValueError(
            "criterion='ml' needs a log-partition in closed form: set energy.arch='density_ratio'"
        )
    schedules = {"energy": lambda t: 1.0, "base": lambda t: 1.0, **(schedules or {})}

    decays = {
        "base": s.ema_decay,
        "energy": s.energy_ema_decay,
        "log_z": s.energy_ema_decay,
    }

    def lr_factor(state: TrainState, name: str) -> Array:
        t = state.memory["base_step"] if "base" in s.trained else state.step
        return state.memory["lr_factor"] * schedules[name](t)

    def latest_decode(state: TrainState, z: Array) -> Array:
        return base.apply(state.params["base"], state.variables["base"], z, False)[0]

    def init(key: Array, batch: Mapping[str, Array]) -> TrainState:
        base_key, energy_key, z_key, buffer_key, run_key = jax.random.split(key, 5)
        x = batch[field]
        params, variables = {}, {}
        params["base"], variables["base"] = base.init(base_key, x)
        collections = dict(energy.init(energy_key, x, True))
        params["energy"] = collections.pop("params")
        variables["energy"] = nets.spectral_warmup(collections, params["energy"])
        if s.has_log_z:

            def base_energies(k: Array) -> Array:
                z = jax.random.normal(k, (x.shape[0], base.latent_dim))
                y, _ = base.apply(params["base"], variables["base"], z, False)
                return model.energy_with(params["energy"], variables["energy"], y)

            drawn = jax.lax.map(base_energies, jax.random.split(z_key, s.log_z_init_batches))
            params["log_z"] = objectives.log_partition(drawn)
        memory = {
            "base_step": jnp.zeros((), jnp.int32),
            "calls": jnp.zeros((), jnp.int32),
            "lr_factor": jnp.ones(()),
        }
        if s.criterion == "cd":
            if x.shape[0] * s.noise_factor > s.buffer_size:
                raise ValueError(
                    f"cd.buffer_size={s.buffer_size} is smaller than a batch of "
                    f"{x.shape[0] * s.noise_factor} chains"
                )
            memory["chains"] = jax.random.normal(buffer_key, (s.buffer_size, base.latent_dim))
        if lr_rule is not None:
            memory["lr_rule"] = lr_rule.init(x.shape[1:])
        learns_log_z = s.has_log_z and "energy" in s.trained
        names = (*s.trained, "log_z") if learns_log_z else s.trained
        return create(
            run_key,
            params,
            {name: txs[name] for name in names},
            variables=variables,
            ema=tuple(name for name in names if decays[name]),
            memory=memory,
        )

    # ------------------------------------------------------------ the energy

    def negatives(state: TrainState, key: Array, n: int, k: Array) -> tuple[TrainState, Array]:
        """Latents of what the energy is raised on: base samples, or (cd) persistent chains."""
        if s.criterion != "cd":
            return state, example_normal(key, n, (base.latent_dim,))
        rows = local_index(n)
        all_rows = gather_batch(rows)
        # Every chain has its turn, so the buffer's chains stay equally old.
        first = (state.step * s.n_critic + k) * all_rows.shape[0] % s.buffer_size
        chains = state.memory["chains"]
        trace = latent_chains(
            key,
            lambda z: model.latest_energy(state, latest_decode(state, z)),
            chains[(first + rows) % s.buffer_size],
            s.chain,
            thin=s.chain.n_steps,
            collect=False,
            fresh_velocity=True,
        )
        z = jax.lax.stop_gradient(trace.state.z)
        chains = chains.at[(first + all_rows) % s.buffer_size].set(gather_batch(z))
        return state.replace(memory={**state.memory, "chains": chains}), z

    def criterion(params: Any, e_data: Array, e_base: Array, log_z: Array | None) -> Array:
        """What the energy minimises."""
        if s.criterion == "ml":
            return batch_mean(e_data) + model.exact_log_z_with(params)
        if s.criterion == "kale":
            return objectives.kale_loss(e_data, e_base, log_z).loss
        if s.criterion == "donsker":
            return objectives.donsker_varadhan_loss(e_data, e_base).loss
        if s.criterion == "cd":
            return objectives.contrastive_divergence_loss(e_data, e_base).loss
        return GANS[s.criterion].critic_loss(-e_data, -e_base)

    def update_energy(state: TrainState, inputs: tuple[Array, Array]) -> tuple[TrainState, Metrics]:
        """One step of the energy, and of c, on one minibatch."""
        k, x = inputs
        z_key, mix_key = jax.random.split(jax.random.fold_in(step_key(state, "energy"), k))
        # Maximum likelihood looks at base samples only to log their energies.
        n_base = x.shape[0] * (1 if s.criterion == "ml" else s.noise_factor)
        state, z = negatives(state, z_key, n_base, k)
        y = jax.lax.stop_gradient(latest_decode(state, z))
        old = state.variables["energy"]
        log_z = state.params.get("log_z")

        def loss_fn(params: Any) -> tuple[Array, Any]:
            # Only the pass over data refreshes the spectral vectors: one power step an update.
            raw, new = energy.apply({"params": params, **old}, x, True, mutable=list(old))
            variables = {**old, **new}
            e_data, clamped_data = model.floored(raw)
            e_base, clamped_base = model.floored(
                energy.apply({"params": params, **variables}, y, False)
            )
            loss = criterion(params, e_data, e_base, log_z)
            penalty = jnp.zeros(())
            if s.penalty_weight:
                energy_fn = functools.partial(model.energy_with, params, variables)
                # Every noise_factor-th, so that each view of the devices makes the same pairs.
                partners = y[:: s.noise_factor]
                penalty = objectives.gradient_penalty(energy_fn, x, partners, mix_key)
            total = loss + s.penalty_weight * penalty
            if s.parameter_penalty:
                total += s.parameter_penalty * objectives.mean_squared_parameters(params)
            clamped = {"energy/clamped_data": clamped_data, "energy/clamped_base": clamped_base}
            return total, (loss, penalty, e_data, e_base, clamped, variables)

        grads, aux = jax.grad(loss_fn, has_aux=True)(state.params["energy"])
        loss, penalty, e_data, e_base, clamped, variables = aux
        factor = lr_factor(state, "energy")
        exact = (
            model.exact_log_z_with(state.params["energy"]) if model.knows_log_z else jnp.zeros(())
        )
        state = update(
            state, "energy", grads, txs["energy"], ema_decay=decays["energy"], lr_factor=factor
        )
        state = state.replace(variables={**state.variables, "energy": variables})
        metrics = {
            "loss/energy": loss,
            "energy/data": batch_mean(e_data),
            "energy/base": batch_mean(e_base),
            "penalty": penalty,
            "norm/energy": optax.tree.norm(mean_over_devices(grads)),
            **clamped,
        }
        if model.knows_log_z and model.has_density:
            log_g = batch_mean(model.base_log_prob(state, x))
            metrics |= {"nll": batch_mean(e_data) + exact - log_g, "log_z/exact": exact}
        if s.has_log_z:
            metrics |= {
                # Continued linearly like the loss: a lagging c must not end a run as infinite.
                "kale": -objectives.kale_loss(e_data, e_base, log_z).loss,
                "log_z/learned": log_z,
                "log_z/batch": objectives.log_partition(e_base),
                "weights/ess": objectives.weight_ess(e_base),
            }
            state = update_log_z(state, e_base)
        return state, metrics

    def update_log_z(state: TrainState, e_base: Array) -> TrainState:
        """One step of c towards `A = log E_G exp(-E)`, the minimiser of the KALE loss in c."""
        c = state.params["log_z"]
        if s.criterion == "donsker" or s.log_z_update == "batch":
            grad = c - objectives.log_partition(e_base)
        elif s.log_z_update == "fixed_point":
            # c <- c + rate log m, m = E_G exp(-E - c), written as a gradient step of rate 1.
            grad = c - objectives.log_partition_step(c, e_base, s.log_z_rate)
        elif s.log_z_update == "average":
            grad = c - objectives.log_partition_average(c, e_base, s.log_z_rate)
        else:
            grad = jax.grad(lambda c: objectives.kale_loss(e_base, e_base, c).loss)(c)
        factor = lr_factor(state, "energy")
        return update(
            state, "log_z", grad, txs["log_z"], ema_decay=decays["log_z"], lr_factor=factor
        )

    # ------------------------------------------------------------ the base

    def base_loss(state: TrainState, params: Any, n: int) -> tuple[Array, Any]:
        z = example_normal(step_key(state, "base"), n, (base.latent_dim,))
        y, variables = base.apply(params, state.variables["base"], z, True)
        e_base = model.latest_energy(state, y)
        if s.criterion in GANS:
            return GANS[s.criterion].generator_loss(-e_base, -e_base), variables
        return objectives.base_loss(e_base, s.weighting, state.params.get("log_z")), variables

    def update_base(state: TrainState, n: int) -> tuple[TrainState, Metrics]:
        """One step of the base to lower energy, weighted by the model's density ratio."""
        loss_fn = lambda params: base_loss(state, params, n)
        (loss, variables), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params["base"])
        factor = lr_factor(state, "base")
        state = update(
            state, "base", grads, txs["base"], ema_decay=decays["base"], lr_factor=factor
        )
        base_step = state.memory["base_step"] + 1
        memory = {**state.memory, "base_step": base_step, "calls": jnp.zeros((), jnp.int32)}
        state = state.replace(variables={**state.variables, "base": variables}, memory=memory)
        return state, {"loss/base": loss, "norm/base": optax.tree.norm(mean_over_devices(grads))}

    def wait(state: TrainState, n: int) -> tuple[TrainState, Metrics]:
        """A call that gives the energy more steps: the base only looks."""
        loss, _ = base_loss(state, state.params["base"], n)
        state = state.replace(memory={**state.memory, "calls": state.memory["calls"] + 1})
        return state, {"loss/base": loss, "norm/base": jnp.zeros(())}

    def energy_is_ready(state: TrainState) -> Array:
        """Whether the energy has had its `n_critic` (at times `n_critic_warmup`) steps."""
        return state.memory["calls"] + 1 >= s.calls_for(state.memory["base_step"] + 1)

    def step(state: TrainState, batch: Mapping[str, Array]) -> tuple[TrainState, Metrics]:
        x = batch[field]
        n = x.shape[1] * s.noise_factor
        metrics: Metrics = {"lr_factor": lr_factor(state, s.trained[0])}
        if "energy" in s.trained:
            inputs = (jnp.arange(s.n_critic), x)
            state, seen = in_turn(update_energy, state, inputs, unroll=s.unroll)
            metrics |= seen
        if "base" in s.trained:
            learn, look = functools.partial(update_base, n=n), functools.partial(wait, n=n)
            if s.warmup_every and "energy" in s.trained:
                state, seen = jax.lax.cond(energy_is_ready(state), learn, look, state)
            else:
                state, seen = learn(state)
            metrics |= seen | {"base_step": state.memory["base_step"]}
        return finish_step(state), jax.tree.map(lambda m: m.astype(jnp.float32), metrics)

    return init, step


@dataclasses.dataclass(frozen=True)
class LearningRateRule:
    """Lowers both learning rates when the base has stopped improving.

    Base samples are compared with those of `window` checks ago by a relative MMD test; after
    `patience` checks in a row that do not show the new ones to be closer to the data, the rates
    are multiplied by `factor` and the next `patience` checks only collect samples.

    Attributes:
      every: calls of `step` between checks (about as many base steps, see `calls_for`).
      window: checks between the two sets that are compared.
      patience: see above.
      p_value: above which a check counts as no improvement.
      factor: of the learning rates.
      n_samples: samples of each set, and data.
    """

    every: int = 2000
    window: int = 10
    patience: int = 3
    p_value: float = 0.1
    factor: float = 0.8
    n_samples: int = 512

    def init(self, shape: tuple[int, ...]) -> dict[str, Array]:
        """What the rule remembers: samples of the last checks, newest last."""
        return {
            "samples": jnp.zeros((self.window, self.n_samples, *shape)),
            "filled": jnp.zeros((), jnp.int32),
            "streak": jnp.zeros((), jnp.int32),
            "rest": jnp.zeros((), jnp.int32),
        }

    def hook(self, model: GEBM, features: Callable[[Any], evaluation.Features], field: str) -> Hook:
        """The rule as a hook of the training loop."""
        draw = jax.jit(model.sample_base, static_argnums=2)

        def run(state: TrainState, dataset: Any) -> tuple[TrainState, Metrics]:
            old = state.memory["lr_rule"]
            new = np.asarray(draw(state, step_key(state, "lr_rule"), self.n_samples))
            filled, streak, rest = int(old["filled"]), int(old["streak"]), int(old["rest"])
            factor = float(state.memory["lr_factor"])
            found: Metrics = {}
            if filled >= self.window and rest == 0:
                space = features(dataset)
                real = dataset.examples("train", self.n_samples)[field]
                p_value = evaluation.relative_mmd_test(
                    space.apply(real), space.apply(new), space.apply(np.asarray(old["samples"][0]))
                )
                streak = streak + 1 if p_value > self.p_value else 0
                found = {"lr_rule/p_value": jnp.float32(p_value)}
            rest = max(rest - 1, 0)
            if streak == self.patience:
                factor, streak, rest = factor * self.factor, 0, self.patience
            memory = {
                "samples": jnp.concatenate([old["samples"][1:], new[None]]),
                "filled": jnp.int32(min(filled + 1, self.window)),
                "streak": jnp.int32(streak),
                "rest": jnp.int32(rest),
            }
            memory = {**state.memory, "lr_rule": memory, "lr_factor": jnp.float32(factor)}
            return state.replace(memory=memory), found

        return Hook(self.every, run)
