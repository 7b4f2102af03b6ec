"""The classifier: a network, and the range of its images."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gmkit import attacks
from gmkit.attacks import from_unit, to_unit
from gmkit.core import TrainState, eval_params
from gmkit.core.parallel import example_uniform

Array = jax.Array
#: Steps of gradient ascent to an impression of a class, and the root mean square of one.
IMPRESSION_STEPS, IMPRESSION_STEP = 30, 0.03


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A network and the images it sees.

    Attributes:
      module: flax module, `(x in [0, 1], train) -> logits`.
      shape: of an image, (height, width, channels).
      n_classes: number of logits.
    """

    module: nn.Module
    shape: tuple[int, ...]
    n_classes: int

    def init(self, key: Array) -> tuple[Any, Any]:
        """Parameters, and what the network carries besides."""
        variables = dict(self.module.init(key, jnp.zeros((1, *self.shape)), False))
        return variables.pop("params"), variables

    def apply(self, params: Any, variables: Any, x: Array) -> Array:
        """Logits `(n, K)` of images in [0, 1]: no dropout, running statistics."""
        return self.module.apply({"params": params, **variables}, x, False)

    def train(self, params: Any, variables: Any, key: Array, x: Array) -> tuple[Array, Any]:
        """Logits with dropout and the batch's own statistics, and new running statistics."""
        logits, carried = self.module.apply(
            {"params": params, **variables},
            x,
            True,
            rngs={"dropout": key},
            mutable=list(variables),
        )
        return logits, dict(carried)

    def logits(self, state: TrainState, x: Array) -> Array:
        """`Method.logits`: `(n, K)`, of images in [-1, 1]."""
        params = eval_params(state, "classifier")
        return self.apply(params, state.variables["classifier"], to_unit(x))

    def sample(self, state: TrainState, key: Array, n: int) -> Array:
        """`Method.sample`: impressions of classes drawn at random, images in [-1, 1].

        A classifier has no distribution to draw from. These are inputs that it is sure of: from
        grey noise, gradient ascent of the class's logit for a fixed number of steps (activation
        maximisation, Simonyan et al. 2014). They show what the network looks for, not data.
        """
        label_key, noise_key, key = jax.random.split(key, 3)
        labels = jax.random.randint(label_key, (n,), 0, self.n_classes)
        start = 0.5 + 0.1 * example_uniform(noise_key, n, self.shape)
        params, variables = eval_params(state, "classifier"), state.variables["classifier"]
        ascent = attacks.pgd(
            lambda x: self.apply(params, variables, x),
            epsilon=float("inf"),
            step_size=IMPRESSION_STEP * jnp.prod(jnp.array(self.shape)) ** 0.5,
            n_steps=IMPRESSION_STEPS,
            loss=lambda logits, labels: jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0],
            norm="l2",
            random_start=False,
        )
        return from_unit(attacks.perturb(ascent, key, start, labels))
