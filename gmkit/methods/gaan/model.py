"""An autoencoder whose decoder is the generator of a GAN."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import flax.linen as nn
import jax

from gmkit import nets
from gmkit.core import TrainState, eval_params

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class GAAN:
    """Encoder `E: x -> z`, generator `G: z -> x`, discriminator `D: x -> logit`.

    Attributes:
      encoder: module `(x, train) -> (n, latent_dim)`.
      generator: `z -> x`.
      discriminator: module `(x, train) -> (n,)` with `with_features`, whose features are Phi.
      prior: of the latents, one of `nets.PRIORS`.
    """

    encoder: nn.Module
    generator: nets.Decoder
    discriminator: nn.Module
    prior: str = "uniform"

    def latents(self, key: Array, n: int) -> Array:
        """Draws of the prior `(n, latent_dim)`."""
        return nets.PRIORS[self.prior](key, n, (self.generator.latent_dim,))

    def encode_with(
        self, params: Any, variables: Any, x: Array, train: bool = True
    ) -> tuple[Array, Any]:
        """`E(x)`, and the encoder's variables after it."""
        everything = {"params": params, **variables}
        if not train:
            return cast(Array, self.encoder.apply(everything, x, False)), variables
        z, new = cast(Any, self.encoder.apply(everything, x, True, mutable=list(variables)))
        return z, {**variables, **new}

    def judge_with(self, params: Any, variables: Any, x: Array) -> tuple[Array, Array]:
        """`D(x)` as logits `(n,)`, and `Phi(x)`, `(n, d_x)`."""
        return cast(
            Any,
            self.discriminator.apply(
                {"params": params, **variables}, x, False, method="with_features"
            ),
        )

    def encode(self, state: TrainState, x: Array) -> Array:
        """Latents of data, by running batch statistics."""
        params = eval_params(state, "encoder")
        return self.encode_with(params, state.variables["encoder"], x, False)[0]

    def decode(self, state: TrainState, z: Array) -> Array:
        """Data from latents, by running batch statistics."""
        params = eval_params(state, "generator")
        return self.generator.apply(params, state.variables["generator"], z, False)[0]

    def sample(self, state: TrainState, key: Array, n: int) -> Array:
        """`n` samples."""
        return self.decode(state, self.latents(key, n))
