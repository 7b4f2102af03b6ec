"""StyleGAN2's mapping network, and truncation."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from gmkit.core import parallel
from gmkit.nets.stylegan2 import layers
from gmkit.nets.stylegan2.ops import normalize_2nd_moment

Array = jax.Array


class MappingNetwork(nn.Module):
    """Normalised latents and label embeddings through dense layers (Karras et al. 2019).

    Keeps the running mean of its outputs as "w_avg" in the collection "stats".

    Attributes:
      z_dim: length of a latent; 0 for none.
      c_dim: length of a label vector; 0 for none.
      w_dim: length of an output.
      num_layers: dense layers.
      embed_features: length of the labels' embedding, `w_dim` by default.
      layer_features: width of the hidden layers, `w_dim` by default.
      activation: of the layers.
      lr_multiplier: of the layers, not of the embedding.
      w_avg_beta: decay of the running mean; None keeps none.
    """

    z_dim: int
    c_dim: int
    w_dim: int
    num_layers: int = 8
    embed_features: int | None = None
    layer_features: int | None = None
    activation: str = "lrelu"
    lr_multiplier: float = 0.01
    w_avg_beta: float | None = 0.995

    @nn.compact
    def __call__(
        self, z: Array | None, c: Array | None = None, update_average: bool = False
    ) -> Array:
        """Latents and labels -> `(..., w_dim)`.

        Args:
          z: `(..., z_dim)`; None where `z_dim` is 0.
          c: `(..., c_dim)`, one-hot or any other vectors; None where `c_dim` is 0.
          update_average: move w_avg towards the batch's mean, where "stats" is mutable.

        Raises:
          ValueError: an input that is missing or of another length.
        """
        inputs = []
        for name, x, size in (("z", z, self.z_dim), ("c", c, self.c_dim)):
            if size == 0:
                continue
            if x is None or x.shape[-1] != size:
                got = None if x is None else x.shape
                raise ValueError(f"{name} is {got}; this network takes (..., {size})")
            x = x.astype(jnp.float32)
            if name == "c":
                features = self.w_dim if self.embed_features is None else self.embed_features
                x = layers.FullyConnected(features, name="embed")(x)
            inputs.append(normalize_2nd_moment(x))
        x = jnp.concatenate(inputs, axis=-1)
        hidden = self.w_dim if self.layer_features is None else self.layer_features
        for i in range(self.num_layers):
            x = layers.FullyConnected(
                self.w_dim if i == self.num_layers - 1 else hidden,
                self.activation,
                self.lr_multiplier,
                name=f"fc{i}",
            )(x)
        if self.w_avg_beta is not None:
            average = self.variable("stats", "w_avg", jnp.zeros, (self.w_dim,))
            if update_average and not self.is_initializing():
                mean = parallel.batch_mean(x.reshape(-1, self.w_dim), 0)
                mean = jax.lax.stop_gradient(mean)
                average.value = mean + self.w_avg_beta * (average.value - mean)
        return x


def truncated(w: Array, w_avg: Array, psi: float | Array, cutoff: int | None = None) -> Array:
    """`w_avg + psi (w - w_avg)` (Karras et al. 2019, appendix B).

    Args:
      w: `(..., w_dim)`, or with a cutoff `(..., rows, w_dim)`.
      w_avg: `(w_dim,)`.
      psi: 1 changes nothing, 0 gives the average.
      cutoff: only so many rows, from the first.
    """
    average = w_avg.reshape((1,) * (w.ndim - 1) + w_avg.shape)
    moved = average + psi * (w - average)
    if cutoff is None:
        return moved
    return jnp.concatenate([moved[..., :cutoff, :], w[..., cutoff:, :]], axis=-2)
