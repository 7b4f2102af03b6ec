"""Multilayer perceptrons: the network itself, and what is made of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from gmkit.nets.layers import Activation, SNDense, check_latents, xavier_uniform

Output = Literal["auto", "linear", "sigmoid", "tanh"]


class MLP(nn.Module):
    """Dense layers with an activation between them.

    Attributes:
      features: outputs of every layer; a single entry gives an affine map.
      activation: applied after every layer but the last.
      output_shape: shape of one output example (default: `(features[-1],)`; `()` for a scalar).
      tanh: whether the output goes through tanh.
      spectral_norm: whether every layer is spectrally normalised.
      kernel_init: initialiser of every kernel; biases start at 0.
      trainable_gain: see `SNDense.gain`.
    """

    features: Sequence[int]
    activation: Activation = nn.silu
    output_shape: tuple[int, ...] | None = None
    tanh: bool = False
    spectral_norm: bool = False
    kernel_init: nn.initializers.Initializer = xavier_uniform()
    trainable_gain: bool = False

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """`(n, ...)`, flattened per example -> `(n, *output_shape)`."""
        return self.with_features(x, train)[0]

    @nn.compact
    def with_features(self, x: jax.Array, train: bool = False) -> tuple[jax.Array, jax.Array]:
        """The output, and what the last layer sees of it, `(n, d)`."""
        x = x.reshape(x.shape[0], -1)
        hidden = x
        for i, width in enumerate(self.features):
            hidden = self.activation(x) if i else x
            x = SNDense(
                width,
                normalise=self.spectral_norm,
                kernel_init=self.kernel_init,
                gain=self.trainable_gain,
            )(hidden, train)
        x = jnp.tanh(x) if self.tanh else x
        if self.output_shape is not None:
            x = x.reshape(x.shape[0], *self.output_shape)
        return x, hidden


class MLPGenerator(nn.Module):
    """Latent vectors to images in [-1, 1] (tanh) or to unbounded vectors.

    Attributes:
      image_shape: shape of one example; three axes make it an image.
      latent_dim: length of a latent vector.
      width: hidden units per layer.
      depth: hidden layers; 0 gives an affine map.
      activation: between the layers.
      output: "tanh", "sigmoid" (for vectors in [0, 1]) or "linear"; "auto" is tanh for images
        and linear for vectors.
      kernel_init: initialiser of every kernel; biases start at 0.
    """

    image_shape: tuple[int, ...]
    latent_dim: int
    width: int = 128
    depth: int = 2
    activation: Activation = nn.silu
    output: Output = "auto"
    kernel_init: nn.initializers.Initializer = xavier_uniform()

    @nn.compact
    def __call__(self, z: jax.Array, train: bool = False) -> jax.Array:
        """`(n, latent_dim)` -> `(n, *image_shape)`."""
        check_latents(z, self.latent_dim)
        if self.output not in ("auto", "linear", "sigmoid", "tanh"):
            raise ValueError(f"output={self.output!r}: choose auto, linear, sigmoid or tanh")
        image = len(self.image_shape) == 3
        x = MLP(
            (self.width,) * self.depth + (math.prod(self.image_shape),),
            self.activation,
            self.image_shape,
            tanh=self.output == "tanh" or (self.output == "auto" and image),
            kernel_init=self.kernel_init,
        )(z, train)
        return nn.sigmoid(x) if self.output == "sigmoid" else x


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


class MLPEncoder(nn.Module):
    """Examples of any shape to one unbounded latent vector each.

    Attributes:
      latent_dim: length of a latent vector.
      width: hidden units per layer.
      depth: hidden layers.
      activation: between the layers.
      kernel_init: initialiser of every kernel; biases start at 0.
    """

    latent_dim: int
    width: int = 128
    depth: int = 2
    activation: Activation = nn.silu
    kernel_init: nn.initializers.Initializer = xavier_uniform()

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """`(n, ...)` -> `(n, latent_dim)`."""
        widths = (self.width,) * self.depth + (self.latent_dim,)
        return MLP(widths, self.activation, kernel_init=self.kernel_init)(x, train)


class MLPEnergy(nn.Module):
    """Examples of any shape to one energy each.

    Attributes:
      width: hidden units per layer.
      depth: hidden layers.
      activation: between the layers; smooth by default, for samplers that follow its gradient.
      spectral_norm: whether every layer is spectrally normalised.
      trainable_gain: see `SNDense.gain`.
      kernel_init: initialiser of every kernel; biases start at 0.
    """

    width: int = 128
    depth: int = 2
    activation: Activation = nn.silu
    spectral_norm: bool = True
    trainable_gain: bool = False
    kernel_init: nn.initializers.Initializer = xavier_uniform()

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """`(n, ...)` -> `(n,)`."""
        return self.with_features(x, train)[0]

    @nn.compact
    def with_features(self, x: jax.Array, train: bool = False) -> tuple[jax.Array, jax.Array]:
        """`(n, ...)` -> energies `(n,)` and the last hidden layer `(n, width)`."""
        return MLP(
            (self.width,) * self.depth + (1,),
            self.activation,
            (),
            spectral_norm=self.spectral_norm,
            kernel_init=self.kernel_init,
            trainable_gain=self.trainable_gain,
        ).with_features(x, train)


class EqualisedEnergy(nn.Module):
    """An MLP with an equalised learning rate (Karras et al. 2018), for Lipschitz critics of toys.

    Kernels start as N(0, 1) and are multiplied at run time by `gain / sqrt(inputs)`, so that an
    optimiser that normalises gradients moves all layers at the same relative rate. With inputs
    of mean square 1 every layer's pre-activations start with variance 1. The defaults are those
    of the two-dimensional experiments of Zhou et al. 2019: 3 152 897 parameters.

    Attributes:
      width: hidden units per layer.
      depth: hidden layers.
      activation: between the layers.
      spectral_norm: whether every layer is spectrally normalised, which undoes the multiplier.
      trainable_gain: see `SNDense.gain`.
      gain: see above, for every layer but the first, which sees no rectified inputs and has 1.
    """

    width: int = 1024
    depth: int = 4
    activation: Activation = nn.relu
    spectral_norm: bool = False
    trainable_gain: bool = False
    gain: float = math.sqrt(2.0)

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """`(n, ...)` -> `(n,)`."""
        return self.with_features(x, train)[0]

    @nn.compact
    def with_features(self, x: jax.Array, train: bool = False) -> tuple[jax.Array, jax.Array]:
        """`(n, ...)` -> energies `(n,)` and the last hidden layer `(n, width)`."""
        x = x.reshape(x.shape[0], -1)
        hidden = x
        for i, width in enumerate([self.width] * self.depth + [1]):
            hidden = self.activation(x) if i else x
            x = SNDense(
                width,
                normalise=self.spectral_norm,
                kernel_init=nn.initializers.normal(1.0),
                gain=self.trainable_gain,
                multiplier=(self.gain if i else 1.0) / math.sqrt(hidden.shape[-1]),
            )(hidden, train)
        return x[:, 0], hidden


class DenseMLPEnergy(nn.Module):
    """Densely connected MLP: every layer sees the input and all layers before it.

    The defaults are those of the critic between images that are atoms (Zhou et al. 2019); at
    32 x 32 x 3 they have 8 133 633 parameters.

    Attributes:
      width: units that every hidden layer adds (the growth).
      depth: hidden layers.
      activation: after every hidden layer.
      spectral_norm: whether every layer is spectrally normalised.
      trainable_gain: see `SNDense.gain`.
      kernel_init: initialiser of every kernel; biases start at 0.
    """

    width: int = 256
    depth: int = 8
    activation: Activation = nn.relu
    spectral_norm: bool = False
    trainable_gain: bool = False
    kernel_init: nn.initializers.Initializer = xavier_uniform()

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """`(n, ...)` -> `(n,)`."""
        return self.with_features(x, train)[0]

    @nn.compact
    def with_features(self, x: jax.Array, train: bool = False) -> tuple[jax.Array, jax.Array]:
        """`(n, ...)` -> energies `(n,)` and what the last layer sees, `(n, d + depth * width)`."""

        def layer(width: int, x: jax.Array) -> jax.Array:
            return SNDense(
                width,
                normalise=self.spectral_norm,
                kernel_init=self.kernel_init,
                gain=self.trainable_gain,
            )(x, train)

        x = x.reshape(x.shape[0], -1)
        for _ in range(self.depth):
            x = jnp.concatenate([x, self.activation(layer(self.width, x))], axis=1)
        return layer(1, x)[:, 0], x
