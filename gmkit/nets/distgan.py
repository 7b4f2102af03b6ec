"""Convolutional encoder, generator and discriminator of Dist-GAN (Tran, Bui & Cheung 2018).

All kernels are 5 x 5 with stride 2. The official widths are 64 for MNIST (28 x 28) and 128 for
CIFAR-10 (32 x 32) and CelebA (64 x 64); counts below are for 100 latents.
"""

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
    xavier_uniform,
)

_INIT = xavier_uniform()


def _levels(height: int, width: int) -> tuple[int, bool]:
    """Number of strided layers, and whether the last of them starts from odd sides.

    28 -> 14 -> 7 -> 4 (3, True); 32 -> 16 -> 8 -> 4 (3, False); 64 (4, False).
    """
    n = halvings(height, width)
    odd = bool((height >> n) % 2 or (width >> n) % 2)
    return n + odd, odd


def _channels(width: int, levels: int) -> list[int]:
    """Channels from the finest level to the coarsest: doubled at each, at most 8 widths."""
    return [width * min(2**i, 8) for i in range(levels)]


class DistDCGANGenerator(nn.Module):
    """Dense, then 5 x 5 transposed convolutions, the last of which makes the image; BN and ReLU.

    Where halving the image ends at odd sides (28 -> 7), a second dense layer leads from twice
    the coarsest resolution (8 x 8) to them. 52 826 881 parameters at 28 x 28 x 1 with a width of
    64, 4 935 171 at 32 x 32 x 3 and 18 872 323 at 64 x 64 x 3 with 128. The official sigmoid on
    [0, 1] is tanh on [-1, 1] of half the argument.

    Attributes:
      image_shape: (height, width, channels) of an image; both sides even and at least 8.
      latent_dim: length of a latent vector.
      width: channels at half resolution.
      batch_norm: batch normalisation before every ReLU but that of the second dense layer.
    """

    image_shape: tuple[int, int, int]
    latent_dim: int
    width: int = 64
    batch_norm: bool = True

    @nn.compact
    def __call__(self, z: jax.Array, train: bool = False) -> jax.Array:
        """`(n, latent_dim)` -> images `(n, h, w, c)` in [-1, 1]."""
        check_latents(z, self.latent_dim)

        def rectified(y: jax.Array) -> jax.Array:
            return nn.relu(BatchNorm()(y, train) if self.batch_norm else y)

        def dense(y: jax.Array, h: int, w: int, features: int) -> jax.Array:
            y = nn.Dense(h * w * features, kernel_init=_INIT)(y.reshape(y.shape[0], -1))
            return y.reshape(-1, h, w, features)

        height, width, channels = self.image_shape
        levels, odd = _levels(height, width)
        h, w = height >> (levels - odd), width >> (levels - odd)
        *finer, coarsest = _channels(self.width, levels)
        start = ((h + 1) // 2, (w + 1) // 2) if odd else (h, w)
        x = dense(z, *start, coarsest)
        for i, features in enumerate([*reversed(finer), channels]):
            # The second dense layer has made its own ReLU.
            x = x if odd and i == 1 else rectified(x)
            x = nn.ConvTranspose(features, (5, 5), (2, 2), padding="SAME", kernel_init=_INIT)(x)
            if odd and i == 0:
                x = nn.relu(dense(rectified(x), h, w, features))
        return jnp.tanh(x)


class DistDCGANEncoder(nn.Module):
    """Strided 5 x 5 convolutions with BN (but the first) and ReLU, one dense layer.

    1 436 516 parameters at 28 x 28 x 1 with a width of 64, 4 927 332 at 32 x 32 x 3 and
    18 856 804 at 64 x 64 x 3 with 128.

    Attributes:
      latent_dim: length of a latent vector.
      width: channels at half resolution.
      batch_norm: whether there are batch normalisation layers.
    """

    latent_dim: int
    width: int = 64
    batch_norm: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Images `(n, h, w, c)` -> latents `(n, latent_dim)`."""
        levels, _ = _levels(*x.shape[1:3])
        for i, features in enumerate(_channels(self.width, levels)):
            x = nn.Conv(features, (5, 5), (2, 2), kernel_init=_INIT)(x)
            x = nn.relu(BatchNorm()(x, train) if self.batch_norm and i else x)
        return nn.Dense(self.latent_dim, kernel_init=_INIT)(x.reshape(x.shape[0], -1))


class DistDCGANEnergy(nn.Module):
    """Strided 5 x 5 convolutions with LeakyReLU 0.2, one dense layer: the discriminator.

    Without batch normalisation, 1 030 145 parameters and 4096 features at 28 x 28 x 1 with a
    width of 64; 4 114 689 and 8192 at 32 x 32 x 3, 17 231 105 and 16384 at 64 x 64 x 3 with 128.

    Attributes:
      width: channels at half resolution.
      spectral_norm: whether all layers are spectrally normalised.
      batch_norm: batch normalisation after every convolution but the first, as in the official
        code. An example's value then depends on its batch, which excludes per-example gradient
        penalties and MCMC in training mode.
      trainable_gain: see `SNDense.gain`.
    """

    width: int = 64
    spectral_norm: bool = False
    batch_norm: bool = False
    trainable_gain: bool = False

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Images `(n, h, w, c)` -> values `(n,)`."""
        return self.with_features(x, train)[0]

    @nn.compact
    def with_features(self, x: jax.Array, train: bool = False) -> tuple[jax.Array, jax.Array]:
        """Images -> values `(n,)` and the last hidden layer `(n, d)`."""
        options: dict[str, Any] = {"normalise": self.spectral_norm, "gain": self.trainable_gain}
        levels, _ = _levels(*x.shape[1:3])
        for i, features in enumerate(_channels(self.width, levels)):
            x = SNConv(features, 5, 2, **options)(x, train)
            x = BatchNorm()(x, train) if self.batch_norm and i else x
            x = leaky_relu(0.2)(x)
        x = x.reshape(x.shape[0], -1)
        return SNDense(1, **options)(x, train)[:, 0], x
