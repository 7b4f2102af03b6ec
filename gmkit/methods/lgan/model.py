"""A generator and a critic that scores real examples high."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from gmkit import nets
from gmkit.core import TrainState, eval_params

Array = jax.Array
#: Field of a batch that holds the fakes, where nothing generates them.
FAKE = "fake"


def pack(x: Array, size: int) -> Array:
    """`size` neighbouring examples as one, joined along the last axis (PacGAN, Lin et al. 2018).

    Args:
      x: `(n, ..., c)`.
      size: divides n.

    Returns:
      `(n / size, ..., size c)`.

    Raises:
      ValueError: a size that does not divide n.
    """
    if len(x) % size:
        raise ValueError(f"packing={size} must divide the {len(x)} examples of a (device's) batch")
    grouped = jnp.moveaxis(x.reshape(-1, size, *x.shape[1:]), 1, -2)
    return grouped.reshape(*grouped.shape[:-2], -1)


@dataclasses.dataclass(frozen=True)
class GAN:
    """What plays the game.

    Attributes:
      critic: module `(x, train) -> (n,)`, high on real examples.
      generator: `z -> x`; None where every batch brings its fakes.
      prior: of the latents, one of `nets.PRIORS`.
      packing: examples that the critic sees as one.
    """

    critic: nn.Module
    generator: nets.Decoder | None
    prior: str = "normal"
    packing: int = 1

    def latents(self, key: Array, n: int) -> Array:
        """Draws of the prior `(n, latent_dim)`."""
        assert self.generator is not None
        return nets.PRIORS[self.prior](key, n, (self.generator.latent_dim,))

    def generate(
        self, params: Any, variables: Any, key: Array, n: int, train: bool = True
    ) -> tuple[Array, Any]:
        """`n` fakes, and the generator's variables after them."""
        assert self.generator is not None
        return self.generator.apply(params, variables, self.latents(key, n), train)

    def scores_with(self, params: Any, variables: Mapping[str, Any], x: Array) -> Array:
        """Scores of (packed) examples, `(n / packing,)`."""
        everything = {"params": params, **variables}
        return cast(Array, self.critic.apply(everything, pack(x, self.packing), False))

    def scores(self, state: TrainState, x: Array) -> Array:
        """The trained critic's scores."""
        return self.scores_with(eval_params(state, "critic"), state.variables["critic"], x)

    def decode(self, state: TrainState, z: Array) -> Array:
        """Samples from latents, by the averaged generator and its running batch statistics."""
        assert self.generator is not None
        params, variables = eval_params(state, "generator"), state.variables["generator"]
        return self.generator.apply(params, variables, z, False)[0]

    def sample(self, state: TrainState, key: Array, n: int) -> Array:
        """`n` samples; where nothing generates, rows of the fakes of the first batch."""
        if self.generator is not None:
            return self.decode(state, self.latents(key, n))
        fakes = state.memory["fakes"]
        return fakes[jax.random.randint(key, (n,), 0, len(fakes))]
