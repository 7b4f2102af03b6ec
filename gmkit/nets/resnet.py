"""Residual pair of the generalized energy based model (Arbel et al. 2021), after SNGAN."""

from __future__ import annotations

import math
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from gmkit.nets.layers import (
    INITIALISERS,
    BatchNorm,
    SNConv,
    SNDense,
    average_pool,
    check_latents,
    halvings,
    upsample,
    xavier_uniform,
)

Kind = Literal["first", "down", "same"]

_INIT = xavier_uniform()


class UpBlock(nn.Module):
    """BN, ReLU, upsample, conv, BN, ReLU, conv, plus the upsampled input.

    Attributes:
      features: channels of input and output.
    """

    features: int

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """`(n, h, w, features)` -> `(n, 2h, 2w, features)`."""
        main = upsample(nn.relu(BatchNorm()(x, train)))
        main = nn.Conv(self.features, (3, 3), kernel_init=_INIT)(main)
        main = nn.relu(BatchNorm()(main, train))
        return nn.Conv(self.features, (3, 3), kernel_init=_INIT)(main) + upsample(x)


class ResNetGenerator(nn.Module):
    """Dense, residual up-blocks, BN, ReLU, 3 x 3 convolution, tanh.

    1 097 603 parameters at 32 x 32 x 3 with the defaults and 100 latents.

    Attributes:
      image_shape: (height, width, channels) of an image.
      latent_dim: length of a latent vector.
      width: channels everywhere.
    """

    image_shape: tuple[int, int, int]
    latent_dim: int
    width: int = 128

    @nn.compact
    def __call__(self, z: jax.Array, train: bool = False) -> jax.Array:
        """`(n, latent_dim)` -> images `(n, h, w, c)` in [-1, 1]."""
        check_latents(z, self.latent_dim)
        height, width, channels = self.image_shape
        n = halvings(height, width)
        h, w = height >> n, width >> n
        x = nn.Dense(h * w * self.width, kernel_init=_INIT)(z).reshape(-1, h, w, self.width)
        for _ in range(n):
            x = UpBlock(self.width)(x, train)
        x = nn.relu(BatchNorm()(x, train))
        return jnp.tanh(nn.Conv(channels, (3, 3), kernel_init=_INIT)(x))


class EnergyBlock(nn.Module):
    """Residual block of the energy: ReLU, conv, ReLU, conv, plus a skip connection.

    Attributes:
      features: output channels.
      kind: "first" (no leading ReLU, halves the size), "down" (halves the size) or "same".
      spectral_norm: whether convolutions are spectrally normalised.
      batch_norm: batch normalisation before every ReLU.
      skip_init: the main branch is multiplied by a learnt scalar that starts at 0, plus a learnt
        scalar (De & Smith 2020), so that the block starts as its skip connection.
      he_init: see `ResNetEnergy`.
      trainable_gain: see `SNDense.gain`.
    """

    features: int
    kind: Kind
    spectral_norm: bool = True
    batch_norm: bool = False
    skip_init: bool = False
    he_init: bool = False
    trainable_gain: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """`(n, h, w, c)` -> `(n, h', w', features)`."""
        options: dict[str, Any] = {"normalise": self.spectral_norm, "gain": self.trainable_gain}
        init = INITIALISERS["he_uniform"] if self.he_init else _INIT

        def rectified(y: jax.Array) -> jax.Array:
            return nn.relu(BatchNorm()(y, train) if self.batch_norm else y)

        main = x if self.kind == "first" else rectified(x)
        main = SNConv(self.features, kernel_init=init, **options)(main, train)
        main = SNConv(self.features, kernel_init=init, **options)(rectified(main), train)
        if self.skip_init:
            scale = self.param("skip_scale", nn.initializers.zeros, ())
            main = scale * main + self.param("skip_bias", nn.initializers.zeros, ())
        if self.kind == "same":
            return main + x
        # Pooling commutes with the 1 x 1 convolution and leaves it a quarter of the work.
        init = xavier_uniform(1.0 if self.he_init else math.sqrt(2.0))
        skip = SNConv(self.features, 1, kernel_init=init, **options)
        return average_pool(main) + skip(average_pool(x), train)


class ResNetEnergy(nn.Module):
    """First block, down-blocks to at most 8 pixels, two blocks, ReLU, average, dense.

    1 053 825 parameters at 32 x 32 x 3 with the defaults (one down-block).

    Attributes:
      width: channels everywhere.
      spectral_norm: whether all layers are spectrally normalised.
      batch_norm: see `EnergyBlock`. An example's energy then depends on its batch, which
        excludes gradient penalties and MCMC in training mode.
      skip_init: see `EnergyBlock`.
      he_init: 3 x 3 kernels uniform with variance 2 / fan_in and shortcuts Xavier-uniform, rather
        than Xavier-uniform with gains 1 and sqrt(2).
      pooling: whether the last hidden layer is averaged or summed over pixels.
      trainable_gain: see `SNDense.gain`.
    """

    width: int = 128
    spectral_norm: bool = True
    batch_norm: bool = False
    skip_init: bool = False
    he_init: bool = False
    pooling: Literal["mean", "sum"] = "mean"
    trainable_gain: bool = False

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Images `(n, h, w, c)` of at least 4 x 4 pixels -> energies `(n,)`."""
        return self.with_features(x, train)[0]

    @nn.compact
    def with_features(self, x: jax.Array, train: bool = False) -> tuple[jax.Array, jax.Array]:
        """Images -> energies `(n,)` and the last hidden layer before pooling.

        8192 features at 32 x 32 with a width of 128.
        """
        if self.pooling not in ("mean", "sum"):
            raise ValueError(f"pooling={self.pooling!r}: choose mean or sum")
        n = max(1, math.ceil(math.log2(min(x.shape[1:3]) / 8)) - 1)
        downs: list[Kind] = ["down"] * n
        kinds: list[Kind] = ["first", *downs, "same", "same"]
        for kind in kinds:
            x = EnergyBlock(
                self.width,
                kind,
                spectral_norm=self.spectral_norm,
                batch_norm=self.batch_norm,
                skip_init=self.skip_init,
                he_init=self.he_init,
                trainable_gain=self.trainable_gain,
            )(x, train)
        x = nn.relu(x)
        pool = jnp.mean if self.pooling == "mean" else jnp.sum
        last = SNDense(1, normalise=self.spectral_norm, gain=self.trainable_gain)
        return last(pool(x, axis=(1, 2)), train)[:, 0], x.reshape(x.shape[0], -1)
