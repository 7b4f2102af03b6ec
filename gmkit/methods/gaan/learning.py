"""Autoencoder, discriminator and generator steps."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax

from gmkit import nets, objectives
from gmkit.core import TrainState, create, finish_step, in_turn, step_key, update
from gmkit.core.parallel import batch_mean, mean_over_devices
from gmkit.methods.gaan.model import GAAN

Array = jax.Array
Metrics = dict[str, Array]

CHOICES = {
    "space": ("features", "data"),
    "reconstruction": ("squared", "cross_entropy"),
    "regulariser": ("batch", "sample", "norm"),
    "reconstructions_are": ("real", "fake", "unused"),
    "weights": ("half", "sharp", "annealed"),
    "discriminator_loss": ("log", "hinge"),
}
#: Probabilities are kept this far from 0 and 1 in a cross entropy.
MARGIN = 1e-6


@dataclasses.dataclass(frozen=True)
class Settings:
    """How the three networks are trained.

    Attributes:
      n_critic: discriminator steps per iteration.
      space: where reconstructions and the regulariser are measured: Phi, or the data themselves.
      reconstruction: squared error; cross_entropy for data in [0, 1], in the space of data.
      regulariser: "batch" compares means over batch and components (the official code), "sample"
        means over components for every pair, "norm" norms for every pair.
      regulariser_weight: lambda_r.
      latent_scale: lambda_w; None for `sqrt(d_z / d_x)`.
      reconstructions_are: label of reconstructions in the discriminator's loss (paper: real).
      weights: of real examples and reconstructions there, see `label_weights`; without the
        latter, real examples have weight 1.
      discriminator_loss: log or hinge.
      autoencoder_trains_generator: whether the autoencoder step moves G too, or E alone.
      ema_decay: of the generator's and the encoder's averaged parameters; 0 keeps no average.
      unroll: unroll the discriminator's steps (on CPU a convolution's gradient is slower in a
        loop).

    Raises:
      ValueError: a value that is not one of its choices, or values that do not go together.
    """

    n_critic: int = 1
    space: str = "features"
    reconstruction: str = "squared"
    regulariser: str = "batch"
    regulariser_weight: float = 1.0
    latent_scale: float | None = None
    reconstructions_are: str = "real"
    weights: str = "annealed"
    discriminator_loss: str = "log"
    autoencoder_trains_generator: bool = True
    ema_decay: float = 0.0
    unroll: bool = False

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name}={getattr(self, name)!r}: choose {', '.join(known)}")
        if self.n_critic < 1:
            raise ValueError(f"n_critic={self.n_critic}: take at least 1")
        if self.reconstruction == "cross_entropy" and self.space != "data":
            raise ValueError("reconstruction='cross_entropy' is of data: set space='data'")


def label_weights(kind: str, t: Array) -> tuple[Array, Array]:
    """Weights of real examples and of reconstructions in the discriminator's loss.

    "half" is 1/2 and 1/2, "sharp" 0.95 and 0.05; "annealed" moves `mu = clip(2 (0.1 t - 0.05),
    0, 0.05)` from the second to the first, which drops reconstructions after three quarters.

    Args:
      kind: see above.
      t: fraction of training that is over.
    """
    if kind == "half":
        return jnp.float32(0.5), jnp.float32(0.5)
    mu = jnp.clip(2.0 * (0.1 * t - 0.05), 0.0, 0.05) if kind == "annealed" else 0.0
    return jnp.float32(0.95) + mu, jnp.float32(0.05) - mu


def latent_scale(d_z: int, d_x: int) -> float:
    """`lambda_w = sqrt(d_z / d_x)`, which makes differences of both spaces comparable."""
    return math.sqrt(d_z / d_x)


def latent_data_distance(
    kind: str, phi_rec: Array, phi_fake: Array, z_enc: Array, z: Array, scale: float
) -> Array:
    """The regulariser W: data differences against latent differences.

    With M the mean over components, "batch" is
    `(E M(phi_rec - phi_fake) - scale E M(z_enc - z))^2` and "sample"
    `E (M(phi_rec - phi_fake) - scale M(z_enc - z))^2`; "norm" puts `|.| / d` for M in the latter,
    d the dimension.

    Args:
      kind: see above.
      phi_rec: features of reconstructions `(n, d_x)`.
      phi_fake: features of generated examples `(n, d_x)`.
      z_enc: encoded latents `(n, d_z)`.
      z: sampled latents `(n, d_z)`.
      scale: lambda_w.
    """
    data, latent = phi_rec - phi_fake, z_enc - z
    if kind == "norm":
        size = lambda d: jnp.sqrt(jnp.sum(jnp.square(d), axis=1) + 1e-12) / d.shape[1]
        return batch_mean(jnp.square(size(data) - scale * size(latent)))
    if kind == "batch":
        return jnp.square(batch_mean(data) - scale * batch_mean(latent))
    return batch_mean(jnp.square(jnp.mean(data, axis=1) - scale * jnp.mean(latent, axis=1)))


def learner(
    model: GAAN,
    game: objectives.Game,
    lipschitz: objectives.LipschitzPenalty | None,
    txs: Mapping[str, optax.GradientTransformation],
    s: Settings,
    field: str,
    total_steps: int,
    schedule: optax.Schedule | None = None,
) -> tuple[Callable[..., TrainState], Callable[..., tuple[TrainState, Metrics]]]:
    """`Method.init` and `Method.step`.

    Args:
      model: the three networks.
      game: whose generator loss is used; the score distance in the paper.
      lipschitz: gradient penalty of the discriminator; None for none.
      txs: optimisers of "encoder", "generator" and "discriminator"; the generator has two sets of
        moments, one per loss.
      s: settings.
      field: entry of a batch that holds the data.
      total_steps: length of training, for the annealed weights.
      schedule: factor of all learning rates, as a function of the step.
    """
    encoder, generator = model.encoder, model.generator
    phi = objectives.PHI["log_sigmoid" if s.discriminator_loss == "log" else "hinge"]

    def factor(state: TrainState) -> Array:
        return jnp.asarray(1.0 if schedule is None else schedule(state.step), jnp.float32)

    def init(key: Array, batch: Mapping[str, Array]) -> TrainState:
        keys = jax.random.split(key, 4)
        x = batch[field]
        params, variables = {}, {}
        for name, module, k in (
            ("encoder", encoder, keys[0]),
            ("discriminator", model.discriminator, keys[1]),
        ):
            collections = dict(module.init(k, x, True))
            params[name] = collections.pop("params")
            variables[name] = nets.spectral_warmup(collections, params[name])
        params["generator"], variables["generator"] = generator.init(keys[2], x)
        state = create(
            keys[3],
            params,
            {name: txs[name] for name in ("encoder", "generator", "discriminator")},
            variables=variables,
            ema=("encoder", "generator") if s.ema_decay else (),
            memory={"slopes": {} if lipschitz is None else lipschitz.init(x)},
        )
        if not s.autoencoder_trains_generator:
            return state
        moments = txs["generator"].init(params["generator"])
        return state.replace(opt_state={**state.opt_state, "generator/reconstruction": moments})

    def generate(state: TrainState, z: Array) -> Array:
        """Batch statistics, not remembered."""
        return generator.apply(state.params["generator"], state.variables["generator"], z, True)[0]

    def reconstruct(state: TrainState, x: Array) -> Array:
        variables = state.variables["encoder"]
        return generate(state, model.encode_with(state.params["encoder"], variables, x)[0])

    def reconstruction_error(x: Array, x_rec: Array, phi_x: Array, phi_rec: Array) -> Array:
        if s.space == "features":
            return batch_mean(jnp.square(phi_x - phi_rec))
        if s.reconstruction == "squared":
            return batch_mean(jnp.square(x - x_rec))
        p = jnp.clip(x_rec, MARGIN, 1.0 - MARGIN)
        return -batch_mean(x * jnp.log(p) + (1.0 - x) * jnp.log1p(-p))

    # ------------------------------------------------------------ the three steps

    def update_autoencoder(state: TrainState, x: Array) -> tuple[TrainState, Metrics]:
        """`L_AE = R + lambda_r W`."""
        z = model.latents(step_key(state, "autoencoder"), x.shape[0])
        judge = lambda y: model.judge_with(
            state.params["discriminator"], state.variables["discriminator"], y
        )[1]
        measure = judge if s.space == "features" else lambda y: y.reshape(y.shape[0], -1)

        def loss_fn(params: Any) -> tuple[Array, Any]:
            moved = state.replace(params={**state.params, **params})
            z_enc, variables = model.encode_with(params["encoder"], state.variables["encoder"], x)
            x_rec, x_fake = generate(moved, z_enc), generate(moved, z)
            phi_x, phi_rec, phi_fake = measure(x), measure(x_rec), measure(x_fake)
            scale = s.latent_scale
            if scale is None:
                scale = latent_scale(z.shape[1], phi_x.shape[1])
            error = reconstruction_error(x, x_rec, phi_x, phi_rec)
            distance = latent_data_distance(s.regulariser, phi_rec, phi_fake, z_enc, z, scale)
            return error + s.regulariser_weight * distance, (error, distance, variables)

        names = ("encoder", "generator") if s.autoencoder_trains_generator else ("encoder",)
        trained = {name: state.params[name] for name in names}
        (loss, aux), grads = jax.value_and_grad(loss_fn, has_aux=True)(trained)
        error, distance, variables = aux
        metrics = {"loss/autoencoder": loss, "reconstruction": error, "regulariser": distance}
        for name in names:
            state = update(
                state,
                name,
                grads[name],
                txs[name],
                ema_decay=s.ema_decay,
                average=name == "encoder",
                slot="generator/reconstruction" if name == "generator" else None,
                lr_factor=factor(state),
            )
        state = state.replace(variables={**state.variables, "encoder": variables})
        metrics["norm/autoencoder"] = optax.tree.norm(mean_over_devices(grads))
        return state, metrics

    def update_discriminator(
        state: TrainState, inputs: tuple[Array, Array]
    ) -> tuple[TrainState, Metrics]:
        """`L_D`, in which reconstructions count as real."""
        k, x = inputs
        key = jax.random.fold_in(step_key(state, "discriminator"), k)
        z_key, slope_key = jax.random.split(key)
        fake = jax.lax.stop_gradient(generate(state, model.latents(z_key, x.shape[0])))
        rec = jax.lax.stop_gradient(reconstruct(state, x))
        w_real, w_rec = label_weights(s.weights, state.step / total_steps)
        if s.reconstructions_are == "unused":
            w_real = jnp.float32(1.0)
        old = state.variables["discriminator"]

        def loss_fn(params: Any) -> tuple[Array, Any]:
            # One pass over all, so one power step of spectral normalisation.
            every = jnp.concatenate([x, rec, fake])
            scores, new = cast(
                Any,
                model.discriminator.apply(
                    {"params": params, **old}, every, True, mutable=list(old)
                ),
            )
            variables = {**old, **new}
            f = lambda y: model.judge_with(params, variables, y)[0]
            real_s, rec_s, fake_s = jnp.split(scores, 3)
            loss = w_real * batch_mean(phi(-real_s)) + batch_mean(phi(fake_s))
            if s.reconstructions_are != "unused":
                sign = -1.0 if s.reconstructions_are == "real" else 1.0
                loss += w_rec * batch_mean(phi(sign * rec_s))
            total, memory = loss, state.memory["slopes"]
            means = [batch_mean(jax.nn.sigmoid(v)) for v in (real_s, rec_s, fake_s)]
            metrics = {
                "loss/discriminator": loss,
                "score/real": means[0],
                "score/reconstructed": means[1],
                "score/fake": means[2],
            }
            if lipschitz is not None:
                penalty, memory, slopes = lipschitz.apply(f, x, fake, slope_key, memory)
                total += penalty
                metrics |= {"penalty": penalty, **slopes}
            return total, (variables, memory, metrics)

        grads, (variables, memory, metrics) = jax.grad(loss_fn, has_aux=True)(
            state.params["discriminator"]
        )
        state = update(state, "discriminator", grads, txs["discriminator"], lr_factor=factor(state))
        state = state.replace(
            variables={**state.variables, "discriminator": variables},
            memory={**state.memory, "slopes": memory},
        )
        metrics["norm/discriminator"] = optax.tree.norm(mean_over_devices(grads))
        return state, metrics

    def update_generator(state: TrainState, x: Array) -> tuple[TrainState, Metrics]:
        """`L_G = |E sigmoid(D(x)) - E sigmoid(D(G(z)))|`."""
        z = model.latents(step_key(state, "generator"), x.shape[0])
        d_params, d_variables = state.params["discriminator"], state.variables["discriminator"]
        real = model.judge_with(d_params, d_variables, x)[0]

        def loss_fn(params: Any) -> tuple[Array, Any]:
            fake, variables = generator.apply(params, state.variables["generator"], z, True)
            scores = model.judge_with(d_params, d_variables, fake)[0]
            return game.generator_loss(real, scores), variables

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
        x = batch[field]
        state, metrics = update_autoencoder(state, x[0])
        inputs = (jnp.arange(s.n_critic), x[1:-1])
        state, seen = in_turn(update_discriminator, state, inputs, unroll=s.unroll)
        metrics |= seen
        state, seen = update_generator(state, x[-1])
        metrics |= seen | {"lr_factor": factor(state)}
        return finish_step(state), jax.tree.map(lambda m: m.astype(jnp.float32), metrics)

    return init, step
