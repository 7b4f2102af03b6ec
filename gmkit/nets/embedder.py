"""Classifiers of latents."""

from __future__ import annotations

import flax.linen as nn
import jax
import numpy as np


class DenseEmbedder(nn.Module):
    """Dense layers from the latent's size down, or up, to `width`, and one head.

    Widths are evenly spaced and cut off to integers, 512, 384, 256, 128 for a latent of 512
    (Nie et al. 2021, official code); leaky rectifiers of slope 0.2, weights and biases uniform
    within `1 / sqrt(fan_in)`.

    Attributes:
      n_outputs: of the head.
      width: of the last hidden layer.
      depth: hidden layers.
    """

    n_outputs: int
    width: int = 128
    depth: int = 3

    @nn.compact
    def __call__(self, w: jax.Array) -> jax.Array:
        """Latents `(..., d)` -> `(..., n_outputs)`."""
        widths = np.linspace(w.shape[-1], self.width, self.depth + 1).astype(int)[1:]
        for width in widths:
            w = nn.leaky_relu(self._dense(w, int(width)), 0.2)
        return self._dense(w, self.n_outputs)

    def _dense(self, x: jax.Array, features: int) -> jax.Array:
        # A third of the variance 1 / fan_in is that of the uniform law within 1 / sqrt(fan_in).
        kernel = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
        bound = x.shape[-1] ** -0.5

        def bias(key: jax.Array, shape: tuple[int, ...], dtype: jax.typing.DTypeLike) -> jax.Array:
            return jax.random.uniform(key, shape, dtype, -bound, bound)

        return nn.Dense(features, kernel_init=kernel, bias_init=bias)(x)
