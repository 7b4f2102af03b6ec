"""The game: critic steps under Lipschitz control, then a generator step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax

from gmkit import nets, objectives
from gmkit.core import TrainState, create, finish_step, in_turn, step_key, update
from gmkit.core.parallel import batch_mean, mean_over_devices
from gmkit.methods.lgan.model import FAKE, GAN, pack

Array = jax.Array
Metrics = dict[str, Array]


@dataclasses.dataclass(frozen=True)
class Settings:
    """How the game is played.

    Attributes:
      n_critic: critic steps per generator step.
      generator_factor: latents of a generator step per example of a critic step.
      ema_decay: of the generator's averaged parameters; 0 keeps no average.
      gain_weight: of the squared product of the critic's trainable gains (spectral
        normalisation to a learned Lipschitz constant); 0 where there are none.
      unroll: unroll the critic steps (on CPU a convolution's gradient is slower in a loop).

    Raises:
      ValueError: a count below 1.
    """

    n_critic: int = 5
    generator_factor: int = 2
    ema_decay: float = 0.99
    gain_weight: float = 0.0
    unroll: bool = False

    def __post_init__(self) -> None:
        for name in ("n_critic", "generator_factor"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: take at least 1")
        if self.gain_weight < 0:
            raise ValueError(f"gain_weight={self.gain_weight}: must not be negative")


def learner(
    model: GAN,
    game: objectives.Game,
    lipschitz: objectives.LipschitzPenalty | None,
    txs: Mapping[str, optax.GradientTransformation],
    s: Settings,
    field: str,
    schedule: optax.Schedule | None = None,
) -> tuple[Callable[..., TrainState], Callable[..., tuple[TrainState, Metrics]]]:
    """`Method.init` and `Method.step`.

    Args:
      model: what plays.
      game: what the players minimise.
      lipschitz: what controls the critic's slope, `lambda k(f)^2` of the paper; None for nothing.
      txs: optimisers of "critic" and "generator".
      s: settings.
      field: entry of a batch that holds the data.
      schedule: factor of both learning rates, as a function of the step.
    """
    critic, generator = model.critic, model.generator
    players = ("critic",) if generator is None else ("critic", "generator")

    def factor(state: TrainState) -> Array:
        return jnp.asarray(1.0 if schedule is None else schedule(state.step), jnp.float32)

    def init(key: Array, batch: Mapping[str, Array]) -> TrainState:
        generator_key, critic_key, run_key = jax.random.split(key, 3)
        x = batch[field]
        packed = pack(x, model.packing)
        collections = dict(critic.init(critic_key, packed, True))
        params = {"critic": collections.pop("params")}
        variables = {"critic": nets.spectral_warmup(collections, params["critic"])}
        memory: dict[str, Any] = {"slopes": {} if lipschitz is None else lipschitz.init(packed)}
        if generator is None:
            memory["fakes"] = batch[FAKE]
        else:
            params["generator"], variables["generator"] = generator.init(generator_key, x)
        return create(
            run_key,
            params,
            {name: txs[name] for name in players},
            variables=variables,
            ema=("generator",) if generator is not None and s.ema_decay else (),
            memory=memory,
        )

    def fakes(state: TrainState, key: Array, batch: Mapping[str, Array]) -> Array:
        if generator is None:
            return batch[FAKE]
        params, variables = state.params["generator"], state.variables["generator"]
        return jax.lax.stop_gradient(
            model.generate(params, variables, key, batch[field].shape[0])[0]
        )

    def update_critic(
        state: TrainState, inputs: tuple[Array, Mapping[str, Array]]
    ) -> tuple[TrainState, Metrics]:
        """`min_f E phi(f(fake)) + E varphi(f(real)) + lambda k(f)^2` on one minibatch."""
        k, batch = inputs
        key = jax.random.fold_in(step_key(state, "critic"), k)
        z_key, slope_key = jax.random.split(key)
        real = pack(batch[field], model.packing)
        fake = pack(fakes(state, z_key, batch), model.packing)
        old = state.variables["critic"]

        def loss_fn(params: Any) -> tuple[Array, Any]:
            # One pass over both, so one power step of spectral normalisation.
            both = jnp.concatenate([real, fake])
            scores, new = cast(
                Any, critic.apply({"params": params, **old}, both, True, mutable=list(old))
            )
            variables = {**old, **new}
            real_scores, fake_scores = jnp.split(scores, [real.shape[0]])
            loss = game.critic_loss(real_scores, fake_scores)
            total, memory = loss, state.memory["slopes"]
            metrics = {
                "loss/critic": loss,
                "score/real": batch_mean(real_scores),
                "score/fake": batch_mean(fake_scores),
            }
            if lipschitz is not None:
                f = lambda x: critic.apply({"params": params, **variables}, x, False)
                penalty, memory, slopes = lipschitz.apply(f, real, fake, slope_key, memory)
                total += penalty
                metrics |= {"penalty": penalty, **slopes}
            if s.gain_weight:
                gains = nets.gains(params)
                total += objectives.lipschitz_bound_penalty(gains, s.gain_weight)
                metrics["slope/gains"] = objectives.product_of_gains(gains)
            return total, (variables, memory, metrics)

        grads, (variables, memory, metrics) = jax.grad(loss_fn, has_aux=True)(
            state.params["critic"]
        )
        state = update(state, "critic", grads, txs["critic"], lr_factor=factor(state))
        metrics["norm/critic"] = optax.tree.norm(mean_over_devices(grads))
        state = state.replace(
            variables={**state.variables, "critic": variables},
            memory={**state.memory, "slopes": memory},
        )
        return state, metrics

    def update_generator(state: TrainState, real: Array) -> tuple[TrainState, Metrics]:
        """`min_g E psi(f(g(z)))`."""
        n = real.shape[0] * s.generator_factor
        key, old = step_key(state, "generator"), state.variables["generator"]
        score = lambda x: model.scores_with(state.params["critic"], state.variables["critic"], x)
        # Relative games compare fakes with as many real examples, the same in every view.
        real_scores = jnp.repeat(score(real), s.generator_factor) if game.needs_real else None

        def loss_fn(params: Any) -> tuple[Array, Any]:
            fake, variables = model.generate(params, old, key, n)
            fake_scores = score(fake)
            compared = fake_scores if real_scores is None else real_scores
            return game.generator_loss(compared, fake_scores), variables

        (loss, variables), grads = jax.value_and_grad(loss_fn, has_aux=True)(
            state.params["generator"]
        )
        state = update(
            state,
            "generator",
            grads,
            txs["generator"],
            ema_decay=s.ema_decay,
            lr_factor=factor(state),
        )
        state = state.replace(variables={**state.variables, "generator": variables})
        norm = optax.tree.norm(mean_over_devices(grads))
        return state, {"loss/generator": loss, "norm/generator": norm}

    def step(state: TrainState, batch: Mapping[str, Array]) -> tuple[TrainState, Metrics]:
        inputs = (jnp.arange(s.n_critic), dict(batch))
        state, metrics = in_turn(update_critic, state, inputs, unroll=s.unroll)
        if generator is not None:
            state, seen = update_generator(state, batch[field][-1])
            metrics |= seen
        metrics["lr_factor"] = factor(state)
        return finish_step(state), jax.tree.map(lambda m: m.astype(jnp.float32), metrics)

    return init, step
