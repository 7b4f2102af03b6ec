"""A flow and the data that it is a density of."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from gmkit import transforms
from gmkit.core import LogLik, dequantised
from gmkit.distributions import Density

Array = jax.Array
#: The network's name in a training state.
NET = "flow"


@dataclasses.dataclass(frozen=True)
class Flow:
    """A density of vectors, or of dequantised images in the unit cube, and its data.

    Attributes:
      density: of `points`.
      spec: of the data.
      normal: whether decoding standard normal latents samples from it.
    """

    density: Density
    spec: Any
    normal: bool

    @property
    def images(self) -> bool:
        """Whether the data are integers to dequantise."""
        return self.spec.kind == "image"

    @property
    def field(self) -> str:
        """The entry of a batch that holds the data."""
        return "image" if self.images else "x"

    def points(self, key: Array, x: Array) -> Array:
        """What the density sees of decoded data: vectors as they are, images dequantised."""
        return transforms.dequantise(key, x, *self._scale) if self.images else x

    def of_data(self, log_prob: Array) -> LogLik:
        """What log-densities of `points` say about the data: of images' integers a bound."""
        found = LogLik(log_prob, self.density.kind)
        return dequantised(found, self.spec.domain) if self.images else found

    def log_lik(self, params: Any, key: Array, x: Array) -> LogLik:
        """Of decoded data, from one draw of the noise."""
        return self.of_data(self.density.log_prob(params, self.points(key, x)))

    def log_liks(self, params: Any, key: Array, x: Array, n: int) -> Array:
        """Log-likelihoods `(B, n)`, nats, from `n` draws of the noise; one column for vectors."""

        def one(carry: None, i: Array) -> tuple[None, Array]:
            return carry, self.log_lik(params, jax.random.fold_in(key, i), x).value

        return jax.lax.scan(one, None, jnp.arange(n if self.images else 1))[1].T

    def sample(self, params: Any, key: Array, n: int) -> Array:
        """Draws `(n, ...)`; images are quantised."""
        x = self.density.sample(params, key, n)
        return transforms.quantise(x, *self._scale) if self.images else x

    def encode(self, params: Any, x: Array) -> Array:
        """Latents of decoded data, of images at the centres of their bins."""
        assert self.density.encode is not None
        x = transforms.to_unit(x, *self._scale) if self.images else x
        return self.density.encode(params, x)

    def decode(self, params: Any, z: Array) -> Array:
        """The inverse of `encode`; images are not quantised."""
        assert self.density.decode is not None
        x = self.density.decode(params, z)
        return transforms.from_unit(x, *self._scale) if self.images else x

    @property
    def _scale(self) -> tuple[Any, tuple[float, float]]:
        return self.spec.domain, self.spec.value_range
