"""Multilayer perceptrons: the network itself, and the generators and energies made of it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from gmkit.nets.layers import Activation, SNDense, check_latents


class MLP(nn.Module):
    """Dense layers with an activation between them.

    Attributes:
      features: outputs of every layer; a single entry gives an affine map.
      activation: applied after every layer but the last.
      output_shape: shape of one output example (default: `(features[-1],)`; `()` for a scalar).
      tanh: whether the output goes through tanh.
      spectral_norm: whether every layer is spectrally normalised.
    """

    features: Sequence[int]
    activation: Activation = nn.silu
    output_shape: tuple[int, ...] | None = None
    tanh: bool = False
    spectral_norm: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """`(n, ...)`, flattened per example -> `(n, *output_shape)`."""
        x = x.reshape(x.shape[0], -1)
        for i, width in enumerate(self.features):
            x = self.activation(x) if i else x
            x = SNDense(width, normalise=self.spectral_norm)(x, train)
        x = jnp.tanh(x) if self.tanh else x
        return x if self.output_shape is None else x.reshape(x.shape[0], *self.output_shape)


class MLPGenerator(nn.Module):
    """Latent vectors to images in [-1, 1] (tanh) or to unbounded vectors.

    Attributes:
      image_shape: shape of one example; three axes make it an image.
      latent_dim: length of a latent vector.
      width: hidden units per layer.
      depth: hidden layers; 0 gives an affine map.
      activation: between the layers.
    """

    image_shape: tuple[int, ...]
    latent_dim: int
    width: int = 128
    depth: int = 2
    activation: Activation = nn.silu

    @nn.compact
    def __call__(self, z: jax.Array, train: bool = False) -> jax.Array:
        """`(n, latent_dim)` -> `(n, *image_shape)`."""
        check_latents(z, self.latent_dim)
        return MLP(
            (self.width,) * self.depth + (math.prod(self.image_shape),),
            self.activation,
            self.image_shape,
            tanh=len(self.image_shape) == 3,
        )(z, train)


class AffineGenerator(nn.Module):
    """One dense layer without an activation, R^latent_dim -> R^d.

    Attributes:
      image_shape: shape of one example.
      latent_dim: length of a latent vector.
    """

    image_shape: tuple[int, ...]
    latent_dim: int

    @nn.compact
    def __call__(self, z: jax.Array, train: bool = False) -> jax.Array:
        """`(n, latent_dim)` -> `(n, *image_shape)`."""
        check_latents(z, self.latent_dim)
        return MLP((math.prod(self.image_shape),), output_shape=self.image_shape)(z, train)


class MLPEnergy(nn.Module):
    """Examples of any shape to one energy each.

    Attributes:
      width: hidden units per layer.
      depth: hidden layers.
      activation: between the layers; smooth by default, for samplers that follow its gradient.
      spectral_norm: whether every layer is spectrally normalised.
    """

    width: int = 128
    depth: int = 2
    activation: Activation = nn.silu
    spectral_norm: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """`(n, ...)` -> `(n,)`."""
        widths = (self.width,) * self.depth + (1,)
        return MLP(widths, self.activation, (), spectral_norm=self.spectral_norm)(x, train)
