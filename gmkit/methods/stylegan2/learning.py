"""The game: generator, path lengths, discriminator, R1, each on its own beat."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from gmkit import objectives
from gmkit.core import TrainState, create, finish_step, optim, step_key, update
from gmkit.core.parallel import batch_mean, example_normal, mean_over_devices
from gmkit.methods.stylegan2.model import StyleGAN2
from gmkit.objectives.path_length import path_length_penalty, path_lengths
from gmkit.transforms.augment import AUGMENTATIONS, augmented, updated_probability

Array = jax.Array
Metrics = dict[str, Array]
NETWORKS = ("generator", "discriminator")


@dataclasses.dataclass(frozen=True)
class Settings:
    """How the game is played.

    Attributes:
      batch_size: of the whole batch, over all devices.
      r1_gamma: weight of R1; 0 for none.
      path_weight: weight of the path lengths' spread; 0 for none.
      path_decay: share of the running mean of path lengths that one step replaces.
      path_shrink: the path lengths are those of a batch so many times smaller.
      style_mixing: probability that a batch mixes styles.
      generator_every, discriminator_every: steps between regularisations of a network.
      ema_kimg: half-life of the averaged generator, in thousands of images.
      ema_rampup: the half-life is at most this share of the images so far; None for no bound.
      lazy_conv_impl: how the networks compute convolutions in steps that regularise, "" for as in
        the others. Those steps are conditional, and in a conditional a CPU takes many times longer
        for a convolution's gradient, unless it is a product of matrices ("matmul").
      augment: "none" or one of `AUGMENTATIONS`.
      augment_p: probability of augmentations at the start.
      augment_target: of the mean sign of real logits; None keeps the probability as it is.
      augment_every: steps between changes of the probability.
      augment_kimg: thousands of images in which the probability could go from 0 to 1.

    Raises:
      ValueError: a count below 1, or a negative weight.
    """

    batch_size: int
    r1_gamma: float = 10.0
    path_weight: float = 2.0
    path_decay: float = 0.01
    path_shrink: int = 2
    style_mixing: float = 0.9
    generator_every: int = 4
    discriminator_every: int = 16
    ema_kimg: float = 10.0
    ema_rampup: float | None = None
    lazy_conv_impl: str = ""
    augment: str = "none"
    augment_p: float = 0.0
    augment_target: float | None = None
    augment_every: int = 4
    augment_kimg: float = 500.0

    def __post_init__(self) -> None:
        counts = ("batch_size", "path_shrink", "generator_every", "discriminator_every")
        for name in (*counts, "augment_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: take at least 1")
        for name in ("r1_gamma", "path_weight", "ema_kimg"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)}: must not be negative")
        if self.augment != "none" and self.augment not in AUGMENTATIONS:
            known = ", ".join(("none", *AUGMENTATIONS))
            raise ValueError(f"augment={self.augment!r}: choose {known}")


def ema_decay(
    batch_size: int, kimg: float, rampup: float | None = None, images: Array | float = 0.0
) -> Array:
    """Decay of the averaged generator: a half-life of `kimg` thousand images.

    Args:
      batch_size: images of a step.
      kimg: the half-life.
      rampup: it is at most this share of `images`.
      images: shown before this step.
    """
    half_life = jnp.asarray(kimg * 1000.0, jnp.float32)
    if rampup is not None:
        half_life = jnp.minimum(half_life, images * rampup)
    return jnp.exp2(-batch_size / jnp.maximum(half_life, 1e-8))


def optimizer(every: int, **settings: Any) -> optax.GradientTransformationExtraArgs:
    """Adam for losses of which one comes every `every` steps, each in an update of its own.

    The learning rate becomes `lr * c` and the decays `beta^c` with `c = every / (every + 1)`, so
    that a round of updates moves as far as without them (Karras et al. 2020, appendix B).
    Gradients that are not finite become 0 (NaN) or +-1e5.

    Args:
      every: steps between regularisations.
      **settings: of `optim.optimizer`.
    """
    c = every / (every + 1)
    corrected = {
        **settings,
        "learning_rate": settings["learning_rate"] * c,
        "b1": settings["b1"] ** c,
        "b2": settings["b2"] ** c,
    }
    finite = lambda g: jnp.nan_to_num(g, nan=0.0, posinf=1e5, neginf=-1e5)
    clean = optax.stateless(lambda grads, _: jax.tree.map(finite, grads))
    return optax.with_extra_args_support(optax.chain(clean, optim.optimizer(**corrected)))


def learner(
    model: StyleGAN2,
    txs: Mapping[str, optax.GradientTransformation],
    s: Settings,
    field: str = "image",
) -> tuple[Callable[..., TrainState], Callable[..., tuple[TrainState, Metrics]]]:
    """`Method.init` and `Method.step`.

    Args:
      model: what plays.
      txs: optimisers of "generator" and "discriminator".
      s: settings.
      field: entry of a batch that holds the images.
    """
    classes = model.generator.c_dim
    lazy = model.with_conv_impl(s.lazy_conv_impl) if s.lazy_conv_impl else model

    def init(key: Array, batch: Mapping[str, Array]) -> TrainState:
        del batch
        net_key, run_key = jax.random.split(key)
        params, variables = model.init(net_key)
        zero = lambda: jnp.zeros((), jnp.float32)
        memory = {"path_average": zero(), "r1": zero(), "path_penalty": zero()}
        memory |= {"augment_p": jnp.asarray(s.augment_p, jnp.float32), "signs": zero()}
        return create(run_key, params, txs, variables=variables, ema=("generator",), memory=memory)

    def varied(state: TrainState, x: Array, key: Array) -> Array:
        if s.augment == "none":
            return x
        return augmented(x, key, state.memory["augment_p"], s.augment)

    def judged(
        state: TrainState,
        params: Any,
        x: Array,
        label: Array | None,
        key: Array,
        by: StyleGAN2 = model,
    ) -> Array:
        """Logits of augmented images."""
        variables = state.variables["discriminator"]
        return by.logits(params, variables, varied(state, x, key), label)

    def generated(
        state: TrainState, params: Any, key: Array, n: int
    ) -> tuple[Array, Array | None, Any]:
        w_key, noise_key, label_key = jax.random.split(key, 3)
        label = model.labels(label_key, n)
        variables = state.variables["generator"]
        ws, variables = model.mixed(params, variables, w_key, n, s.style_mixing, label)
        return model.synthesise(params, variables, ws, noise_key), label, variables

    def remembering(state: TrainState, variables: Any = None, **memory: Array) -> TrainState:
        """The state with a new w_avg and memory."""
        everything = state.variables
        if variables is not None:
            everything = {**everything, "generator": variables}
        return state.replace(variables=everything, memory={**state.memory, **memory})

    # ------------------------------------------------------------ the four updates

    def update_generator(state: TrainState, n: int) -> tuple[TrainState, Metrics]:
        """`min_G E softplus(-D(G(z)))`."""
        key, d_key = jax.random.split(step_key(state, "generator"))

        def loss_fn(params: Any) -> tuple[Array, Any]:
            x, label, variables = generated(state, params, key, n)
            logits = judged(state, state.params["discriminator"], x, label, d_key)
            return batch_mean(jax.nn.softplus(-logits)), variables

        (loss, variables), grads = jax.value_and_grad(loss_fn, has_aux=True)(
            state.params["generator"]
        )
        norm = optax.tree.norm(mean_over_devices(grads))
        state = update(state, "generator", grads, txs["generator"], average=False)
        metrics = {"loss/generator": loss, "norm/generator": norm}
        return remembering(state, variables), metrics

    def regularise_generator(state: TrainState, n: int) -> TrainState:
        """`min_G k w E (|J' y| - a)^2`, k the steps between such updates."""
        m = max(n // s.path_shrink, 1)
        keys = jax.random.split(step_key(state, "paths"), 4)

        def loss_fn(params: Any) -> tuple[Array, Any]:
            label = model.labels(keys[2], m)
            variables = state.variables["generator"]
            ws, variables = model.mixed(params, variables, keys[0], m, s.style_mixing, label)
            synthesis = lambda v: lazy.synthesise(params, variables, v, keys[1])
            g = model.generator
            shape = (g.img_resolution, g.img_resolution, g.img_channels)
            lengths = path_lengths(synthesis, ws, example_normal(keys[3], m, shape))
            penalty, average = path_length_penalty(
                lengths, state.memory["path_average"], s.path_decay
            )
            mean = batch_mean(penalty)
            return s.generator_every * s.path_weight * mean, (variables, average, mean)

        grads, (variables, average, mean) = jax.grad(loss_fn, has_aux=True)(
            state.params["generator"]
        )
        state = update(state, "generator", grads, txs["generator"], average=False)
        return remembering(state, variables, path_average=average, path_penalty=mean)

    def update_discriminator(
        state: TrainState, real: Array, label: Array | None
    ) -> tuple[TrainState, Metrics]:
        """`min_D E softplus(D(G(z))) + E softplus(-D(x))`."""
        keys = jax.random.split(step_key(state, "discriminator"), 3)
        fake, fake_label, variables = generated(
            state, state.params["generator"], keys[0], real.shape[0]
        )
        fake = jax.lax.stop_gradient(fake)

        def loss_fn(params: Any) -> tuple[Array, Any]:
            of_fake = judged(state, params, fake, fake_label, keys[1])
            of_real = judged(state, params, real, label, keys[2])
            loss = batch_mean(jax.nn.softplus(of_fake)) + batch_mean(jax.nn.softplus(-of_real))
            return loss, (of_fake, of_real)

        (loss, (of_fake, of_real)), grads = jax.value_and_grad(loss_fn, has_aux=True)(
            state.params["discriminator"]
        )
        sign = batch_mean(jnp.sign(of_real))
        metrics = {
            "loss/discriminator": loss,
            "score/real": batch_mean(of_real),
            "score/fake": batch_mean(of_fake),
            "sign/real": sign,
            "norm/discriminator": optax.tree.norm(mean_over_devices(grads)),
        }
        state = update(state, "discriminator", grads, txs["discriminator"])
        return remembering(state, variables, signs=state.memory["signs"] + sign), metrics

    def regularise_discriminator(state: TrainState, real: Array, label: Array | None) -> TrainState:
        """`min_D k gamma / 2 E |grad_x D(x)|^2`, k the steps between such updates."""
        key = step_key(state, "r1")

        def loss_fn(params: Any) -> tuple[Array, Array]:
            f = lambda x: judged(state, params, x, label, key, lazy)
            penalty = batch_mean(objectives.squared_gradient_norms(f, real))
            return s.discriminator_every * 0.5 * s.r1_gamma * penalty, penalty

        grads, penalty = jax.grad(loss_fn, has_aux=True)(state.params["discriminator"])
        state = update(state, "discriminator", grads, txs["discriminator"])
        return remembering(state, r1=penalty)

    # ------------------------------------------------------------ the step

    def every(period: int, do: Callable[[TrainState], TrainState], state: TrainState) -> TrainState:
        return jax.lax.cond(state.step % period == 0, do, lambda same: same, state)

    def averaged(state: TrainState) -> TrainState:
        shown = state.step.astype(jnp.float32) * s.batch_size
        decay = ema_decay(s.batch_size, s.ema_kimg, s.ema_rampup, shown)
        mix = lambda old, new: new + decay * (old - new)
        ema = jax.tree.map(mix, state.ema["generator"], state.params["generator"])
        return state.replace(ema={**state.ema, "generator": ema})

    def adapted(state: TrainState) -> TrainState:
        """The next probability of augmentations, after `augment_every` steps."""
        if s.augment == "none" or s.augment_target is None:
            return remembering(state, signs=jnp.zeros_like(state.memory["signs"]))
        k, memory = s.augment_every, state.memory
        p = updated_probability(
            memory["augment_p"],
            memory["signs"] / k,
            k * s.batch_size,
            s.augment_target,
            s.augment_kimg,
        )
        due = (state.step + 1) % k == 0
        return remembering(
            state,
            augment_p=jnp.where(due, p, memory["augment_p"]),
            signs=jnp.where(due, 0.0, memory["signs"]),
        )

    def step(state: TrainState, batch: Mapping[str, Array]) -> tuple[TrainState, Metrics]:
        real = batch[field][0]
        label = jax.nn.one_hot(batch["label"][0], classes) if classes else None
        state, metrics = update_generator(state, real.shape[0])
        if s.path_weight:
            do = lambda state: regularise_generator(state, real.shape[0])
            state = every(s.generator_every, do, state)
        state, seen = update_discriminator(state, real, label)
        if s.r1_gamma:
            do = lambda state: regularise_discriminator(state, real, label)
            state = every(s.discriminator_every, do, state)
        state = adapted(averaged(state))
        metrics |= seen | {
            "penalty/r1": state.memory["r1"],
            "penalty/path": state.memory["path_penalty"],
            "path/average": state.memory["path_average"],
        }
        if s.augment != "none":
            metrics["augment/p"] = state.memory["augment_p"]
        return finish_step(state), jax.tree.map(lambda m: m.astype(jnp.float32), metrics)

    return init, step
