"""Residual networks whose shortcuts are 1 x 1 convolutions (Gulrajani et al. 2017).

Those of Lipschitz GANs (Zhou et al. 2019) and of Dist-GAN (Tran et al. 2018). Their critics are
`ResNetEnergy` with other settings.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from gmkit.nets.layers import (
    INITIALISERS,
    BatchNorm,
    average_pool,
    check_latents,
    halvings,
    leaky_relu,
    upsample,
    xavier_uniform,
)
from gmkit.nets.resnet import ResNetEnergy

_XAVIER = xavier_uniform()
_HE = INITIALISERS["he_uniform"]


class ProjectedUpBlock(nn.Module):
    """BN, ReLU, upsample, conv, BN, ReLU, conv, plus a 1 x 1 convolution of the upsampled input.

    Attributes:
      features: output channels.
      norm: makes the batch normalisation layers.
    """

    features: int
    norm: Callable[[], BatchNorm] = BatchNorm

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """`(n, h, w, c)` -> `(n, 2h, 2w, features)`."""
        main = upsample(nn.relu(self.norm()(x, train)))
        main = nn.Conv(self.features, (3, 3), kernel_init=_HE)(main)
        main = nn.relu(self.norm()(main, train))
        main = nn.Conv(self.features, (3, 3), kernel_init=_HE)(main)
        # A 1 x 1 convolution commutes with upsampling, and before it costs a quarter.
        return main + upsample(nn.Conv(self.features, (1, 1), kernel_init=_XAVIER)(x))


class LGANGenerator(nn.Module):
    """Dense, up-blocks with projected shortcuts, BN, ReLU, 3 x 3 convolution, tanh.

    1 204 483 parameters at 32 x 32 x 3 with the defaults and 128 latents. Kernels of main
    branches start uniform with variance 2 / fan_in, all others Xavier-uniform.

    Attributes:
      image_shape: (height, width, channels) of an image.
      latent_dim: length of a latent vector.
      width: channels everywhere.
      momentum: of the batch normalisation layers; the official code has TensorFlow's defaults.
      epsilon: likewise.
    """

    image_shape: tuple[int, int, int]
    latent_dim: int
    width: int = 128
    momentum: float = 0.99
    epsilon: float = 1e-3

    @nn.compact
    def __call__(self, z: jax.Array, train: bool = False) -> jax.Array:
        """`(n, latent_dim)` -> images `(n, h, w, c)` in [-1, 1]."""
        check_latents(z, self.latent_dim)
        norm = partial(BatchNorm, self.momentum, self.epsilon)
        height, width, channels = self.image_shape
        n = halvings(height, width)
        h, w = height >> n, width >> n
        x = nn.Dense(h * w * self.width, kernel_init=_XAVIER)(z).reshape(-1, h, w, self.width)
        for _ in range(n):
            x = ProjectedUpBlock(self.width, norm)(x, train)
        x = nn.relu(norm()(x, train))
        return jnp.tanh(nn.Conv(channels, (3, 3), kernel_init=_XAVIER)(x))


class DistResNetGenerator(LGANGenerator):
    """The residual generator of Dist-GAN: `LGANGenerator`, wider and with faster statistics.

    4 276 739 parameters at 32 x 32 x 3 with the defaults and 128 latents. The official sigmoid
    on [0, 1] is tanh on [-1, 1] of half the argument.
    """

    width: int = 256
    momentum: float = 0.9
    epsilon: float = 1e-5


class LGANEnergy(ResNetEnergy):
    """The critic of Lipschitz GANs: `ResNetEnergy` with `he_init` and, unless set, no norm.

    1 053 825 parameters at 32 x 32 x 3 with the defaults.
    """

    spectral_norm: bool = False
    he_init: bool = True


class DistResNetEnergy(ResNetEnergy):
    """The residual discriminator of Dist-GAN: `ResNetEnergy` that sums over pixels.

    1 053 825 parameters and 8192 features at 32 x 32 x 3 with the defaults. Average pooling
    stands for the official code's strided 1 x 1 convolutions.
    """

    spectral_norm: bool = False
    pooling: Literal["mean", "sum"] = "sum"


class ProjectedDownBlock(nn.Module):
    """BN, LeakyReLU, conv, BN, LeakyReLU, conv, pool, plus a 1 x 1 convolution of the pooled input.

    Attributes:
      features: output channels.
      batch_norm: whether there are batch normalisation layers.
    """

    features: int
    batch_norm: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """`(n, h, w, c)` -> `(n, h / 2, w / 2, features)`."""
        main = x
        for _ in range(2):
            main = BatchNorm()(main, train) if self.batch_norm else main
            main = nn.Conv(self.features, (3, 3), kernel_init=_HE)(leaky_relu(0.2)(main))
        skip = nn.Conv(self.features, (1, 1), kernel_init=_XAVIER)
        return average_pool(main) + skip(average_pool(x))


class DistResNetEncoder(nn.Module):
    """The residual encoder of Dist-GAN: convolution, down-blocks, BN, LeakyReLU 0.2, dense.

    4 273 024 parameters at 32 x 32 x 3 with the defaults and 128 latents.

    Attributes:
      latent_dim: length of a latent vector.
      width: channels everywhere.
      batch_norm: batch normalisation before every LeakyReLU.
    """

    latent_dim: int
    width: int = 256
    batch_norm: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Images `(n, h, w, c)` -> latents `(n, latent_dim)`."""
        n = halvings(*x.shape[1:3])
        x = nn.Conv(self.width, (3, 3), kernel_init=_HE)(x)
        for _ in range(n):
            x = ProjectedDownBlock(self.width, self.batch_norm)(x, train)
        x = leaky_relu(0.2)(BatchNorm()(x, train) if self.batch_norm else x)
        return nn.Dense(self.latent_dim, kernel_init=_XAVIER)(x.reshape(x.shape[0], -1))
