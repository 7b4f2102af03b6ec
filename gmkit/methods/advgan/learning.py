"""Training: distillation of a black box, a discriminator step, a generator step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from gmkit import attacks, objectives
from gmkit.attacks import from_unit, to_unit
from gmkit.core import FinishedStage, TrainState, create, finish_step, step_key, update
from gmkit.core.parallel import batch_mean, example_keys, gather_batch, mean_over_devices
from gmkit.methods.advgan.model import AdversarialLoss, AdvGAN, Goal

Array = jax.Array
Metrics = dict[str, Array]
LOSSES = ("margin", "cross_entropy")
ON = ("logits", "probabilities")


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the generator minimises, `adversarial L_adv + gan L_GAN + hinge L_hinge`.

    Attributes:
      loss: L_adv: "margin" (Carlini & Wagner's) or "cross_entropy".
      confidence: kappa, the margin beyond which an image is adversarial enough.
      margin_on: "logits", or "probabilities" as some reproductions have it (their gradient
        vanishes where the classifier is sure).
      adversarial, gan, hinge: weights of the means of the three losses.
      norm: c, the l2 norm of a perturbation up to which L_hinge is 0.
      ema_decay: of the generator's averaged parameters; 0 keeps no average.
      soft: the black box answers with probabilities, else with its label only.

    Raises:
      ValueError: settings that do not exist.
    """

    loss: str = "margin"
    confidence: float = 0.0
    margin_on: str = "logits"
    adversarial: float = 1.0
    gan: float = 1.0
    hinge: float = 1.0
    norm: float = 0.3
    ema_decay: float = 0.0
    soft: bool = True

    def __post_init__(self) -> None:
        for name, choices in (("loss", LOSSES), ("margin_on", ON)):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}={getattr(self, name)!r}: choose {' or '.join(choices)}")
        for name in ("confidence", "adversarial", "gan", "hinge", "norm", "ema_decay"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)}: must not be negative")


def adversarial_loss(s: Settings, goal: Goal) -> AdversarialLoss:
    """`L_adv` of every image; of labels to leave, or of targets to reach.

    Section 2 of the paper: `max(max_{i != t} f_i - f_t, -kappa)`, and its untargeted form.
    """
    targeted = goal != "untargeted"
    if s.loss == "cross_entropy":
        sign = 1.0 if targeted else -1.0
        return lambda logits, labels: sign * attacks.cross_entropy(logits, labels)
    margin = attacks.targeted_margin if targeted else attacks.untargeted_margin
    scale = jax.nn.softmax if s.margin_on == "probabilities" else lambda logits: logits
    return lambda logits, labels: margin(scale(logits), labels, s.confidence)


def asked_before(source: FinishedStage) -> Array | int:
    """How often a source's teacher was asked, where it was distilled."""
    memory = source.trained.memory
    return memory.get("queries", 0) if isinstance(memory, dict) else 0


def learner(
    model: AdvGAN,
    sources: Mapping[str, FinishedStage],
    black_box: FinishedStage | None,
    game: objectives.Game,
    txs: Mapping[str, optax.GradientTransformation],
    s: Settings,
) -> tuple[Callable[..., TrainState], Callable[..., tuple[TrainState, Metrics]]]:
    """`Method.init` and `Method.step`.

    Args:
      model: the attacker.
      sources: whose gradients are used; `L_adv` is their mean.
      black_box: what the sources imitate while the generator learns (dynamic distillation), or
        None where they stay as they are.
      game: the discriminator's and the generator's.
      txs: optimisers of "generator", "discriminator" and, to imitate, "sources".
      s: settings.
    """
    loss_of = adversarial_loss(s, model.goal)
    frozen = {} if black_box is None else {black_box.name: black_box}
    classifiers = {**sources, **frozen}
    players = {name: txs[name] for name in ("generator", "discriminator")}
    learning = {} if black_box is None else {name: txs["sources"] for name in sources}

    def init(key: Array, batch: Mapping[str, Array]) -> TrainState:
        generator_key, discriminator_key, run_key = jax.random.split(key, 3)
        x = to_unit(batch["image"])
        told = model.condition(batch["label"])
        params = {
            "generator": model.generator.init(generator_key, x, told)["params"],
            "discriminator": model.discriminator.init(discriminator_key, x)["params"],
            **{name: c.params for name, c in classifiers.items()},
        }
        queries = sum(asked_before(source) for source in sources.values())
        return create(
            run_key,
            # Copies: stages may hand on one state twice, and a step donates its own.
            jax.tree.map(jnp.copy, params),
            {**players, **learning},
            variables=jax.tree.map(jnp.copy, {n: c.variables for n, c in classifiers.items()}),
            ema=("generator",) if s.ema_decay else (),
            # What `Method.sample` makes adversarial, and what the black box was asked.
            memory={"image": x, "label": batch["label"], "queries": jnp.int32(queries)},
        )

    def logits(state: TrainState, name: str, x: Array) -> Array:
        return classifiers[name].logits(state.params[name], state.variables[name], from_unit(x))

    def distil(state: TrainState, x: Array, x_adv: Array) -> tuple[TrainState, Metrics]:
        """`E H(f(x), b(x)) + E H(f(x + G(x)), b(x + G(x)))`, one step of every source."""
        assert black_box is not None
        asked = jnp.concatenate([x, x_adv])
        answers = logits(state, black_box.name, asked)
        teach = jax.nn.softmax(answers)
        if not s.soft:
            teach = jax.nn.one_hot(jnp.argmax(answers, axis=-1), answers.shape[-1])

        def loss_fn(params: Any, name: str) -> Array:
            found = sources[name].logits(params, variables[name], from_unit(asked))
            return 2.0 * batch_mean(optax.softmax_cross_entropy(found, teach))

        variables, metrics = state.variables, {}
        for name in sources:
            loss, grads = jax.value_and_grad(loss_fn)(state.params[name], name)
            state = update(state, name, grads, txs["sources"])
            metrics[f"loss/distillation/{name}"] = loss
        queries = state.memory["queries"] + gather_batch(jnp.zeros(asked.shape[0])).shape[0]
        state = state.replace(memory={**state.memory, "queries": queries})
        return state, {**metrics, "queries": queries.astype(jnp.float32)}

    def update_discriminator(
        state: TrainState, x: Array, x_adv: Array
    ) -> tuple[TrainState, Metrics]:
        """`L_GAN`: images against adversarial images."""

        def loss_fn(params: Any) -> tuple[Array, tuple[Array, Array]]:
            # One pass over both: the networks normalise every image by itself.
            both = jnp.concatenate([x, x_adv])
            scores = model.discriminator.apply({"params": params}, both)
            real, fake = jnp.split(scores, 2)
            return game.critic_loss(real, fake), (batch_mean(real), batch_mean(fake))

        (loss, (real, fake)), grads = jax.value_and_grad(loss_fn, has_aux=True)(
            state.params["discriminator"]
        )
        state = update(state, "discriminator", grads, txs["discriminator"])
        return state, {"loss/discriminator": loss, "score/real": real, "score/adversarial": fake}

    def update_generator(state: TrainState, x: Array, targets: Array) -> tuple[TrainState, Metrics]:
        """`L_adv + alpha L_GAN + beta L_hinge` with the discriminator just updated."""

        def loss_fn(params: Any) -> tuple[Array, Metrics]:
            delta = model.perturbation(params, x, targets)
            x_adv = jnp.clip(x + delta, 0.0, 1.0)
            found = [logits(state, name, x_adv) for name in sources]
            adversarial = sum(batch_mean(loss_of(f, targets)) for f in found) / len(found)
            score = lambda v: model.discriminator.apply(
                {"params": state.params["discriminator"]}, v
            )
            gan = game.generator_loss(score(x) if game.needs_real else score(x_adv), score(x_adv))
            # The root's gradient at 0 must not be infinite.
            norms = jnp.sqrt(jnp.sum(jnp.square(delta), axis=(1, 2, 3)) + 1e-12)
            hinge = batch_mean(jax.nn.relu(norms - s.norm))
            hits = [jnp.argmax(f, axis=-1) == targets for f in found]
            success = sum(batch_mean(h.astype(jnp.float32)) for h in hits) / len(hits)
            total = s.adversarial * adversarial + s.gan * gan + s.hinge * hinge
            return total, {
                "loss/adversarial": adversarial,
                "loss/gan": gan,
                "loss/hinge": hinge,
                "perturbation/l2": batch_mean(norms),
                "fooled": 1.0 - success if model.goal == "untargeted" else success,
            }

        grads, metrics = jax.grad(loss_fn, has_aux=True)(state.params["generator"])
        state = update(state, "generator", grads, txs["generator"], ema_decay=s.ema_decay)
        metrics["norm/generator"] = optax.tree.norm(mean_over_devices(grads))
        return state, metrics

    def step(state: TrainState, batch: Mapping[str, Array]) -> tuple[TrainState, Metrics]:
        x, labels = to_unit(batch["image"][0]), batch["label"][0]
        targets = model.targets_of(example_keys(step_key(state, "targets"), len(labels)), labels)
        x_adv = jax.lax.stop_gradient(model.attack(state.params["generator"], x, targets))
        metrics: Metrics = {}
        if black_box is not None:
            state, metrics = distil(state, x, x_adv)
        state, seen = update_discriminator(state, x, x_adv)
        metrics |= seen
        state, seen = update_generator(state, x, targets)
        return finish_step(state), jax.tree.map(
            lambda m: m.astype(jnp.float32), {**metrics, **seen}
        )

    return init, step
