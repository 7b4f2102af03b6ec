"""A small convolutional pair for small images, cheap enough for a CPU."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gmkit.nets.layers import (
    BatchNorm,
    SNConv,
    SNDense,
    check_latents,
    halvings,
    leaky_relu,
    upsample,
    xavier_uniform,
)

_INIT = xavier_uniform()


class SmallGenerator(nn.Module):
    """Dense, then ReLU, upsample, 3 x 3 convolution per resolution, tanh.

    Attributes:
      image_shape: (height, width, channels) of an image.
      latent_dim: length of a latent vector.
      width: channels at full resolution; doubled at every coarser one, at most 4 widths.
      batch_norm: batch normalisation before every ReLU.
    """

    image_shape: tuple[int, int, int]
    latent_dim: int
    width: int = 32
    batch_norm: bool = True

    @nn.compact
    def __call__(self, z: jax.Array, train: bool = False) -> jax.Array:
        """`(n, latent_dim)` -> images `(n, h, w, c)` in [-1, 1]."""
        check_latents(z, self.latent_dim)

        def rectified(y: jax.Array) -> jax.Array:
            return nn.relu(BatchNorm()(y, train) if self.batch_norm else y)

        height, width, channels = self.image_shape
        n = halvings(height, width)
        h, w, coarsest = height >> n, width >> n, self.width * min(2**n, 4)
        x = nn.Dense(h * w * coarsest, kernel_init=_INIT)(z).reshape(-1, h, w, coarsest)
        for i in reversed(range(n)):
            x = upsample(rectified(x))
            x = nn.Conv(self.width * min(2**i, 4), (3, 3), kernel_init=_INIT)(x)
        return jnp.tanh(nn.Conv(channels, (3, 3), kernel_init=_INIT)(rectified(x)))


class SmallEnergy(nn.Module):
    """Strided 4 x 4 convolutions, one per resolution, LeakyReLU 0.2, two dense layers.

    Attributes:
      width: channels at half resolution; doubled at every coarser one, at most 4 widths.
      spectral_norm: whether all layers are spectrally normalised.
      trainable_gain: see `SNDense.gain`.
    """

    width: int = 32
    spectral_norm: bool = True
    trainable_gain: bool = False

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Images `(n, h, w, c)` -> energies `(n,)`."""
        return self.with_features(x, train)[0]

    @nn.compact
    def with_features(self, x: jax.Array, train: bool = False) -> tuple[jax.Array, jax.Array]:
        """Images -> energies `(n,)` and the last hidden layer `(n, 4 width)`."""
        options: dict[str, Any] = {"normalise": self.spectral_norm, "gain": self.trainable_gain}
        activation = leaky_relu(0.2)
        for i in range(halvings(*x.shape[1:3])):
            features = self.width * min(2**i, 4)
            x = activation(SNConv(features, 4, 2, **options)(x, train))
        x = x.reshape(x.shape[0], -1)
        x = activation(SNDense(4 * self.width, **options)(x, train))
        return SNDense(1, **options)(x, train)[:, 0], x
