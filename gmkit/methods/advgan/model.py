"""The attacker: a generator of bounded perturbations, and its discriminator."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from gmkit.attacks import from_unit, to_unit
from gmkit.core import TrainState, eval_params

Array = jax.Array
Goal = Literal["untargeted", "targeted", "all_targets"]
Bound = Literal["tanh", "clip"]


@dataclasses.dataclass(frozen=True)
class AdvGAN:
    """A generator of adversarial examples.

    Attributes:
      generator: flax module, images in [0, 1] (and one-hot targets) -> raw perturbations.
      discriminator: flax module, images -> scores.
      n_classes: labels there are.
      epsilon: bound on every pixel's change.
      bound: "tanh" is `epsilon tanh(raw)`, whose gradient never dies; "clip" cuts `tanh(raw)` off
        at epsilon, as published.
      goal: "untargeted": any wrong class; "targeted": `target_class`; "all_targets": the class the
        generator is told, drawn at random while training.
      target_class: of "targeted".

    Raises:
      ValueError: settings that do not exist.
    """

    generator: nn.Module
    discriminator: nn.Module
    n_classes: int
    epsilon: float = 0.3
    bound: Bound = "tanh"
    goal: Goal = "untargeted"
    target_class: int = 0

    def __post_init__(self) -> None:
        if not self.epsilon > 0:
            raise ValueError(f"epsilon={self.epsilon}: must be positive")
        for name, choices in (
            ("bound", ("tanh", "clip")),
            ("goal", ("untargeted", "targeted", "all_targets")),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}={getattr(self, name)!r}: choose {', '.join(choices)}")
        if not 0 <= self.target_class < self.n_classes:
            raise ValueError(
                f"target_class={self.target_class}: there are classes 0 to {self.n_classes - 1}"
            )

    def condition(self, targets: Array) -> Array | None:
        """What the generator is told of the targets `(n,)`."""
        return jax.nn.one_hot(targets, self.n_classes) if self.goal == "all_targets" else None

    def perturbation(self, params: Any, x: Array, targets: Array) -> Array:
        """`G(x)`, at most epsilon in every pixel."""
        raw = self.generator.apply({"params": params}, x, self.condition(targets))
        if self.bound == "tanh":
            return self.epsilon * jnp.tanh(raw)
        return jnp.clip(jnp.tanh(raw), -self.epsilon, self.epsilon)

    def attack(self, params: Any, x: Array, targets: Array) -> Array:
        """`x + G(x)`, images in [0, 1]; `targets (n,)` matter to a conditional generator only."""
        return jnp.clip(x + self.perturbation(params, x, targets), 0.0, 1.0)

    def perturb(self, state: TrainState, key: Array, x: Array, labels: Array) -> Array:
        """`Method.perturb`: adversarial versions of images in [-1, 1]; the key is not used.

        Args:
          state: whose generator is used.
          key: typed PRNG key.
          x: images `(n, h, w, c)`.
          labels: `(n,)`; the classes to be taken for, where the generator is conditional.
        """
        del key
        params = eval_params(state, "generator")
        return from_unit(self.attack(params, to_unit(x), labels))

    def targets_of(self, key_per_row: Array, labels: Array) -> Array:
        """The classes `(n,)` to be taken for: random wrong ones, the one aimed at, or `labels`."""
        if self.goal == "targeted":
            return jnp.full_like(labels, self.target_class)
        if self.goal == "untargeted":
            return labels
        draw = lambda key: jax.random.randint(key, (), 1, self.n_classes, labels.dtype)
        return (labels + jax.vmap(draw)(key_per_row)) % self.n_classes


#: `(logits (n, K), labels or targets (n,)) -> (n,)`, small where the attack succeeds.
AdversarialLoss = Callable[[Array, Array], Array]
