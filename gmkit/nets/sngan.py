"""Convolutional pairs: SNGAN (Miyato et al. 2018) and DCGAN (Radford et al. 2016).

Layer by layer those of the generalized energy based model (Arbel et al. 2021) at 32 x 32; at
other sizes the number of resolutions follows from the image (`layers.halvings`).
"""

from __future__ import annotations

from itertools import pairwise
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
    xavier_uniform,
)

_INIT = xavier_uniform()


def _channels(width: int, resolutions: int) -> list[int]:
    """Channels from the finest resolution to the coarsest: doubled at each, at most 8 widths."""
    return [width * min(2**i, 8) for i in range(resolutions + 1)]


def _deconvolution(features: int) -> nn.ConvTranspose:
    return nn.ConvTranspose(features, (4, 4), (2, 2), padding="SAME", kernel_init=_INIT)


class SNGANGenerator(nn.Module):
    """Dense, then 4 x 4 transposed convolutions that double the size; BN and ReLU before each.

    3 584 003 parameters at 32 x 32 x 3 with the defaults and 100 latents.

    Attributes:
      image_shape: (height, width, channels) of an image.
      latent_dim: length of a latent vector.
      width: channels at full resolution.
      dense_norm: batch normalisation after the dense layer too; without it and with a width of
        128 this is the convolutional generator of Dist-GAN (Tran et al. 2018), 13 129 731
        parameters at 32 x 32 x 3 and 128 latents.
    """

    image_shape: tuple[int, int, int]
    latent_dim: int
    width: int = 64
    dense_norm: bool = True

    @nn.compact
    def __call__(self, z: jax.Array, train: bool = False) -> jax.Array:
        """`(n, latent_dim)` -> images `(n, h, w, c)` in [-1, 1]."""
        check_latents(z, self.latent_dim)
        height, width, channels = self.image_shape
        n = halvings(height, width)
        h, w = height >> n, width >> n
        *finer, coarsest = _channels(self.width, n)
        x = nn.Dense(h * w * coarsest, kernel_init=_INIT)(z).reshape(-1, h, w, coarsest)
        for i, features in enumerate(reversed(finer)):
            x = BatchNorm()(x, train) if i or self.dense_norm else x
            x = _deconvolution(features)(nn.relu(x))
        x = nn.relu(BatchNorm()(x, train))
        return jnp.tanh(nn.Conv(channels, (3, 3), kernel_init=_INIT)(x))


class SNGANEnergy(nn.Module):
    """3 x 3 and strided 4 x 4 convolutions in turn, LeakyReLU 0.1, one dense layer.

    The last layer is not normalised, as in the official code of Arbel et al. 2021.
    5 860 865 parameters at 32 x 32 x 3 with the defaults.

    Attributes:
      width: channels at full resolution.
      spectral_norm: whether the convolutions are spectrally normalised.
      trainable_gain: see `SNDense.gain`.
      narrow_strides: the strided convolutions keep the channels of the finer resolution, as in
        Dist-GAN (Tran et al. 2018): 2 935 873 parameters.
    """

    width: int = 64
    spectral_norm: bool = True
    trainable_gain: bool = False
    narrow_strides: bool = False

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Images `(n, h, w, c)` -> energies `(n,)`."""
        return self.with_features(x, train)[0]

    @nn.compact
    def with_features(self, x: jax.Array, train: bool = False) -> tuple[jax.Array, jax.Array]:
        """Images -> energies `(n,)` and the last hidden layer: 8192 at 32 x 32, width 64."""
        options: dict[str, Any] = {"normalise": self.spectral_norm, "gain": self.trainable_gain}
        widths = _channels(self.width, halvings(*x.shape[1:3]))
        layers = [(3, 1, widths[0])]
        for finer, coarser in pairwise(widths):
            layers += [(4, 2, finer if self.narrow_strides else coarser), (3, 1, coarser)]
        for size, stride, features in layers:
            x = SNConv(features, size, stride, **options)(x, train)
            x = nn.leaky_relu(x, 0.1)
        x = x.reshape(x.shape[0], -1)
        return nn.Dense(1, kernel_init=_INIT)(x)[:, 0], x


class DCGANGenerator(nn.Module):
    """Dense, then 4 x 4 transposed convolutions, the last of which makes the image.

    Attributes:
      image_shape: (height, width, channels) of an image; both sides even and at least 8.
      latent_dim: length of a latent vector.
      width: channels at half resolution.
    """

    image_shape: tuple[int, int, int]
    latent_dim: int
    width: int = 64

    @nn.compact
    def __call__(self, z: jax.Array, train: bool = False) -> jax.Array:
        """`(n, latent_dim)` -> images `(n, h, w, c)` in [-1, 1]."""
        check_latents(z, self.latent_dim)
        height, width, channels = self.image_shape
        n = halvings(height, width)
        h, w = height >> n, width >> n
        *finer, coarsest = _channels(self.width, n - 1)
        x = nn.Dense(h * w * coarsest, kernel_init=_INIT)(z).reshape(-1, h, w, coarsest)
        for features in [*reversed(finer), channels]:
            x = _deconvolution(features)(nn.relu(BatchNorm()(x, train)))
        return jnp.tanh(x)


class DCGANEnergy(nn.Module):
    """Strided 4 x 4 convolutions with LeakyReLU 0.2, one dense layer.

    Attributes:
      width: channels at half resolution.
      spectral_norm: whether all layers are spectrally normalised.
      batch_norm: batch normalisation after every convolution but the first. An example's energy
        then depends on its batch, which excludes gradient penalties and MCMC in training mode.
      trainable_gain: see `SNDense.gain`.
    """

    width: int = 64
    spectral_norm: bool = True
    batch_norm: bool = False
    trainable_gain: bool = False

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Images `(n, h, w, c)` -> energies `(n,)`."""
        return self.with_features(x, train)[0]

    @nn.compact
    def with_features(self, x: jax.Array, train: bool = False) -> tuple[jax.Array, jax.Array]:
        """Images -> energies `(n,)` and the last hidden layer: 4096 at 32 x 32, width 64."""
        options: dict[str, Any] = {"normalise": self.spectral_norm, "gain": self.trainable_gain}
        for i, features in enumerate(_channels(self.width, halvings(*x.shape[1:3]) - 1)):
            x = SNConv(features, 4, 2, **options)(x, train)
            x = BatchNorm()(x, train) if self.batch_norm and i else x
            x = leaky_relu(0.2)(x)
        x = x.reshape(x.shape[0], -1)
        return SNDense(1, **options)(x, train)[:, 0], x
