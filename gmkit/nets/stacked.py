"""Small networks for stacked MNIST (28 x 28 x 3), after Metz et al. 2017 and Lin et al. 2018.

Their sizes are fixed in three strided levels, 28 -> 14 -> 7 -> 4. The encoder is not in the
literature: it mirrors the generator.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gmkit.nets.layers import BatchNorm, SNConv, SNDense, check_latents, leaky_relu

_INIT = nn.initializers.normal(0.02)
_LEVELS = 3


def _sides(height: int, width: int) -> list[tuple[int, int]]:
    """Sizes from the coarsest to the finest, odd sides halved upwards."""
    return [(-(-height // 2**i), -(-width // 2**i)) for i in reversed(range(_LEVELS + 1))]


class StackedGenerator(nn.Module):
    """Dense, three 3 x 3 transposed convolutions, one convolution; BN and ReLU before each.

    287 875 parameters at 28 x 28 x 3 with the defaults and 256 latents.

    Attributes:
      image_shape: (height, width, channels) of an image.
      latent_dim: length of a latent vector.
      width: channels at full resolution; doubled at every coarser one.
    """

    image_shape: tuple[int, int, int]
    latent_dim: int
    width: int = 8

    @nn.compact
    def __call__(self, z: jax.Array, train: bool = False) -> jax.Array:
        """`(n, latent_dim)` -> images `(n, h, w, c)` in [-1, 1]."""
        check_latents(z, self.latent_dim)
        height, width, channels = self.image_shape
        (h, w), *finer = _sides(height, width)
        features = self.width * 2**_LEVELS
        x = nn.Dense(h * w * features, kernel_init=_INIT)(z).reshape(-1, h, w, features)
        for h, w in finer:
            features //= 2
            x = nn.relu(BatchNorm()(x, train))
            x = nn.ConvTranspose(features, (3, 3), (2, 2), padding="SAME", kernel_init=_INIT)(x)
            # The transpose of a strided convolution with odd sides lacks the first row, column.
            x = x[:, x.shape[1] - h :, x.shape[2] - w :]
        x = nn.relu(BatchNorm()(x, train))
        return jnp.tanh(nn.Conv(channels, (3, 3), kernel_init=_INIT)(x))


class StackedEncoder(nn.Module):
    """Three strided 3 x 3 convolutions with BN and ReLU, one dense layer.

    286 208 parameters at 28 x 28 x 3 with the defaults and 256 latents.

    Attributes:
      latent_dim: length of a latent vector.
      width: channels at half resolution; doubled at every coarser one.
      batch_norm: whether there are batch normalisation layers.
    """

    latent_dim: int
    width: int = 16
    batch_norm: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Images `(n, h, w, c)` -> latents `(n, latent_dim)`."""
        for i in range(_LEVELS):
            x = nn.Conv(self.width * 2**i, (3, 3), (2, 2), kernel_init=_INIT)(x)
            x = nn.relu(BatchNorm()(x, train) if self.batch_norm else x)
        return nn.Dense(self.latent_dim, kernel_init=_INIT)(x.reshape(x.shape[0], -1))


class StackedEnergy(nn.Module):
    """Three strided 3 x 3 convolutions with LeakyReLU 0.3, one dense layer: the discriminator.

    The literature scales it by a factor X, with channels 8X, 16X, 32X: X = 1/4 ("K/4") is a width
    of 2, X = 1/2 ("K/2") one of 4. Without batch normalisation 557 parameters and 128 features at
    28 x 28 x 3 with a width of 2; 1 833 and 256 with 4.

    Attributes:
      width: channels at half resolution, 8X; doubled at every coarser one.
      spectral_norm: whether all layers are spectrally normalised.
      batch_norm: batch normalisation before every LeakyReLU, as in the literature. An example's
        value then depends on its batch, which excludes per-example gradient penalties and MCMC
        in training mode.
      trainable_gain: see `SNDense.gain`.
    """

    width: int = 4
    spectral_norm: bool = False
    batch_norm: bool = False
    trainable_gain: bool = False

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Images `(n, h, w, c)` -> values `(n,)`."""
        return self.with_features(x, train)[0]

    @nn.compact
    def with_features(self, x: jax.Array, train: bool = False) -> tuple[jax.Array, jax.Array]:
        """Images -> values `(n,)` and the last hidden layer `(n, d)`."""
        options: dict[str, Any] = {
            "normalise": self.spectral_norm,
            "gain": self.trainable_gain,
            "kernel_init": _INIT,
        }
        for i in range(_LEVELS):
            x = SNConv(self.width * 2**i, 3, 2, **options)(x, train)
            x = leaky_relu(0.3)(BatchNorm()(x, train) if self.batch_norm else x)
        x = x.reshape(x.shape[0], -1)
        return SNDense(1, **options)(x, train)[:, 0], x
