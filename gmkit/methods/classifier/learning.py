"""How a classifier learns: labels or a teacher's answers, clean or adversarial images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from gmkit import attacks
from gmkit.attacks import from_unit, to_unit
from gmkit.core import FinishedStage, TrainState, create, finish_step, step_key, update
from gmkit.core.parallel import batch_mean, example_keys, gather_batch, mean_over_devices
from gmkit.methods.classifier.model import Classifier

Array = jax.Array
Metrics = dict[str, Array]
DEFENCES = ("undefended", "fgsm", "ensemble", "pgd", "generator")


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a classifier is trained on.

    Attributes:
      kind: "undefended"; "fgsm": half clean images, half FGSM examples; "ensemble": the same,
        with the examples of a random one of the sources and the model itself; "pgd": PGD examples
        only; "generator": half clean images, half those of an earlier stage.
      epsilon: bound on every pixel's change, images being in [0, 1].
      step_size, n_steps, random_start: of PGD.
      warmup: steps over which epsilon and step size grow from 0; 0 starts with all.
      unroll: no loop over PGD's steps in the compiled program (faster on a CPU, slow to compile).
      crop: zeros around an image, out of which one of its size is cut at random; 0 for none.
      soft: a teacher is imitated in its probabilities, else in its label.
      ema_decay: of the averaged parameters that are evaluated; 0 keeps no average.

    Raises:
      ValueError: settings that do not exist or are out of range.
    """

    kind: str = "undefended"
    epsilon: float = 0.3
    step_size: float = 0.01
    n_steps: int = 40
    random_start: bool = True
    warmup: int = 0
    unroll: bool = False
    crop: int = 0
    soft: bool = True
    ema_decay: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in DEFENCES:
            raise ValueError(f"defence.kind={self.kind!r}: choose {', '.join(DEFENCES)}")
        for name in ("epsilon", "step_size", "n_steps"):
            if not getattr(self, name) > 0:
                raise ValueError(f"defence.{name}={getattr(self, name)}: must be positive")
        for name in ("warmup", "crop", "ema_decay"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)}: must not be negative")


@dataclasses.dataclass(frozen=True)
class Stages:
    """The finished stages that training uses.

    Attributes:
      teacher: whose answers take the place of labels, or None.
      sources: whose FGSM examples "ensemble" takes, besides the model's own.
      generator: whose examples "generator" takes, or None.
    """

    teacher: FinishedStage | None = None
    sources: tuple[FinishedStage, ...] = ()
    generator: FinishedStage | None = None

    @property
    def weights(self) -> dict[str, Any]:
        """Weights of all, by name."""
        chosen = (self.teacher, *self.sources, self.generator)
        return {
            stage.name: {"params": stage.params, "variables": stage.variables}
            for stage in chosen
            if stage is not None
        }


def random_crop(key: Array, x: Array, pad: int) -> Array:
    """Images surrounded by `pad` zeros, cut to their size at a random place each.

    Args:
      key: typed key; every row draws from its own.
      x: images `(n, h, w, c)` in [0, 1].
      pad: pixels, at least 0.
    """
    padded = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))

    def cut(key: Array, image: Array) -> Array:
        top, left = jax.random.randint(key, (2,), 0, 2 * pad + 1)
        return jax.lax.dynamic_slice(image, (top, left, 0), x.shape[1:])

    return jax.vmap(cut)(example_keys(key, len(x)), padded)


def own_label_loss(logits: Array, labels: Array) -> Array:
    """Cross-entropy to the predicted label, `(n,)`.

    An attack that climbs it cannot betray the true label (label leaking; Kurakin et al. 2017).
    """
    del labels
    return attacks.cross_entropy(logits, jnp.argmax(logits, axis=-1))


def interleaved(a: Array, b: Array) -> Array:
    """Rows of both in turn, `(2 n, ...)`, so that a row's place does not depend on the devices."""
    return jnp.stack([a, b], axis=1).reshape(2 * len(a), *a.shape[1:])


def learner(
    model: Classifier, stages: Stages, tx: optax.GradientTransformation, s: Settings
) -> tuple[Callable[..., TrainState], Callable[..., tuple[TrainState, Metrics]]]:
    """`Method.init` and `Method.step`.

    Args:
      model: the classifier.
      stages: what is used of earlier ones.
      tx: optimiser.
      s: settings.
    """
    mixed = s.kind not in ("undefended", "pgd")

    def init(key: Array, batch: Mapping[str, Array]) -> TrainState:
        del batch
        init_key, run_key = jax.random.split(key)
        params, variables = model.init(init_key)
        memory: dict[str, Any] = {}
        if stages.weights:
            # Copies, because a step donates its state, and a stage's is used elsewhere too.
            memory["stages"] = jax.tree.map(jnp.copy, stages.weights)
        if stages.teacher is not None:
            memory["queries"] = jnp.zeros((), jnp.int32)
        return create(
            run_key,
            {"classifier": params},
            {"classifier": tx},
            variables={"classifier": variables},
            ema=("classifier",) if s.ema_decay else (),
            memory=memory or None,
        )

    def weights(state: TrainState, stage: FinishedStage) -> dict[str, Any]:
        return state.memory["stages"][stage.name]

    def targets(
        state: TrainState, batch: Mapping[str, Array], x: Array
    ) -> tuple[TrainState, Array]:
        """Probabilities `(n, K)` to be learned: of the labels, or the teacher's answers."""
        if stages.teacher is None:
            return state, jax.nn.one_hot(batch["label"][0], model.n_classes)
        answers = stages.teacher.logits(**weights(state, stages.teacher), x=from_unit(x))
        queries = state.memory["queries"] + len(gather_batch(jnp.zeros(len(x))))
        state = state.replace(memory={**state.memory, "queries": queries})
        if s.soft:
            return state, jax.nn.softmax(answers)
        return state, jax.nn.one_hot(jnp.argmax(answers, axis=-1), model.n_classes)

    def adversarial(state: TrainState, x: Array, labels: Array) -> Array:
        """Adversarial versions of images in [0, 1], for `s.kind`.

        They are made without dropout and with the running statistics of batch normalisation, as
        the attacks that judge the model are: a row's example depends on no other row.
        """
        key = step_key(state, "attack")
        growth = jnp.minimum(1.0, (state.step + 1) / s.warmup) if s.warmup else 1.0
        epsilon = s.epsilon * growth
        params, variables = state.params["classifier"], state.variables["classifier"]

        def own(x: Array) -> Array:
            return model.apply(params, variables, x)

        def fgsm(logits: attacks.Logits) -> Callable[[Array], Array]:
            attack = attacks.fgsm(logits, epsilon=epsilon, loss=own_label_loss)
            return lambda x: attacks.perturb(attack, key, x, labels)

        def logits_of(source: FinishedStage) -> attacks.Logits:
            return lambda x: source.logits(**weights(state, source), x=from_unit(x))

        if s.kind == "generator":
            assert stages.generator is not None
            of = weights(state, stages.generator)
            made = stages.generator.perturb(**of, key=key, x=from_unit(x), labels=labels)
            return jnp.clip(to_unit(made), 0.0, 1.0)
        if s.kind == "pgd":
            attack = attacks.pgd(
                own,
                epsilon=epsilon,
                step_size=s.step_size * growth,
                n_steps=s.n_steps,
                random_start=s.random_start,
            )
            return attacks.perturb(attack, key, x, labels, unroll=s.unroll)
        if s.kind == "ensemble":
            makers = [fgsm(own), *(fgsm(logits_of(source)) for source in stages.sources)]
            chosen = jax.random.randint(step_key(state, "source"), (), 0, len(makers))
            return jax.lax.switch(chosen, makers, x)
        return fgsm(own)(x)

    def step(state: TrainState, batch: Mapping[str, Array]) -> tuple[TrainState, Metrics]:
        x = to_unit(batch["image"][0])
        x = random_crop(step_key(state, "crop"), x, s.crop) if s.crop else x
        state, wanted = targets(state, batch, x)
        if s.kind != "undefended":
            labels = jnp.argmax(wanted, axis=-1).astype(jnp.int32)
            x_adv = jax.lax.stop_gradient(adversarial(state, x, labels))
            # One pass over both halves: statistics of a batch are those of the mixture.
            x = interleaved(x, x_adv) if mixed else x_adv
            wanted = interleaved(wanted, wanted) if mixed else wanted
        key = step_key(state, "dropout")

        def loss_fn(params: Any) -> tuple[Array, tuple[Array, Any]]:
            variables = state.variables["classifier"]
            logits, variables = model.train(params, variables, key, x)
            return batch_mean(optax.softmax_cross_entropy(logits, wanted)), (logits, variables)

        (loss, (logits, variables)), grads = jax.value_and_grad(loss_fn, has_aux=True)(
            state.params["classifier"]
        )
        state = update(state, "classifier", grads, tx, ema_decay=s.ema_decay)
        state = state.replace(variables={"classifier": variables})
        right = (jnp.argmax(logits, axis=-1) == jnp.argmax(wanted, axis=-1)).astype(jnp.float32)
        metrics = {"loss": loss, "norm/classifier": optax.tree.norm(mean_over_devices(grads))}
        if mixed:
            metrics["accuracy"] = batch_mean(right[::2])
            metrics["accuracy/adversarial"] = batch_mean(right[1::2])
        else:
            name = "accuracy/adversarial" if s.kind == "pgd" else "accuracy"
            metrics[name] = batch_mean(right)
        if stages.teacher is not None:
            metrics["queries"] = state.memory["queries"].astype(jnp.float32)
        return finish_step(state), metrics

    return init, step
