"""Encoder and decoder of the VAE of robust likelihoods (Barron 2019, appendix on the VAE).

The networks of its official code at 64 x 64: six 5 x 5 convolutions of stride 2 take an image to a
single pixel, six transposed ones take a latent back. A smaller image has fewer of them: the
encoder leaves out its first ones, the decoder its last.
"""

from __future__ import annotations

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from gmkit.nets.layers import check_latents, leaky_relu, xavier_uniform

_INIT = xavier_uniform()
#: Channels of the encoder, counted from its end, where a last layer of 4 latent_dim follows.
_ENCODER = (32, 32, 64, 64, 128)
#: Channels of the decoder, counted from its start.
_DECODER = (128, 128, 64, 64, 32, 32)
_KERNEL, _STRIDE = (5, 5), (2, 2)
#: What a softplus makes 1 of.
_ONE = math.log(math.e - 1.0)


def vae_stages(shape: tuple[int, ...]) -> int:
    """How many halvings take images `(H, W, C)` to one pixel: 3 at 8 x 8, 6 at 64 x 64.

    Raises:
      ValueError: not a square of a power of two, at least 4 and at most 64.
    """
    height, width, _ = shape
    n = height.bit_length() - 1
    if height != width or height != 2**n or not 2 <= n <= 6:
        near = min(64, max(4, 2 ** (max(shape[:2]) - 1).bit_length()))
        raise ValueError(
            f"images of {height} x {width}: these networks halve them to one pixel; make them "
            f"squares of 4, 8, .. 64 (data.image_size={near}; smaller ones: data.pad=True)"
        )
    return n


def _scaled(channels: int, width: float) -> int:
    return max(1, round(channels * width))


class RobustVAEEncoder(nn.Module):
    """Images to a diagonal Gaussian over latents.

    Attributes:
      latent_dim: d, length of a latent.
      width: multiplies the channels of all layers but the last.
    """

    latent_dim: int = 16
    width: float = 1.0

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """`(n, h, w, c)` in [0, 1] -> mean and standard deviation, both `(n, d)`."""
        before = vae_stages(x.shape[1:]) - 1
        channels = [_scaled(k, self.width) for k in _ENCODER[len(_ENCODER) - before :]]
        activation = leaky_relu(0.2)
        x = 2.0 * x - 1.0
        for k in (*channels, 4 * self.latent_dim):
            x = activation(nn.Conv(k, _KERNEL, _STRIDE, kernel_init=_INIT)(x))
        x = nn.Dense(2 * self.latent_dim, kernel_init=_INIT)(x.reshape(x.shape[0], -1))
        mean, raw = jnp.split(x, 2, axis=1)
        return mean, nn.softplus(raw + _ONE)


class RobustVAEDecoder(nn.Module):
    """Latents to images: what the likelihood's residuals are measured from.

    Attributes:
      image_shape: (height, width, channels) of an image.
      latent_dim: d, length of a latent.
      width: multiplies the channels of all layers but the last.
    """

    image_shape: tuple[int, int, int]
    latent_dim: int = 16
    width: float = 1.0

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        """`(n, d)` -> `(n, h, w, c)` in [0, 1]."""
        check_latents(z, self.latent_dim)
        activation = leaky_relu(0.2)
        x = z.reshape(-1, 1, 1, self.latent_dim)
        for k in _DECODER[: vae_stages(self.image_shape)]:
            k = _scaled(k, self.width)
            x = activation(nn.ConvTranspose(k, _KERNEL, _STRIDE, kernel_init=_INIT)(x))
        return nn.sigmoid(nn.Conv(self.image_shape[-1], _KERNEL, kernel_init=_INIT)(x))
