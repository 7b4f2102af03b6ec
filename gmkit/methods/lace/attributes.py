"""What an attribute is, and where its labels come from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from gmkit.energies import discrete_log_prob, gaussian_log_prob

Array = jax.Array


def ink(x: Array) -> Array:
    """Mean brightness of images `(n, H, W, C)` in [-1, 1], in [0, 1]."""
    return jnp.mean((jnp.clip(x, -1.0, 1.0) + 1.0) / 2.0, axis=(1, 2, 3))


def lean(x: Array) -> Array:
    """Slope of the bright part: columns to the right per row upwards, `mu_11 / mu_02`."""
    weight = jnp.mean((jnp.clip(x, -1.0, 1.0) + 1.0) / 2.0, axis=-1) + 1e-6
    weight = weight / jnp.sum(weight, axis=(1, 2), keepdims=True)
    rows = -jnp.arange(x.shape[1], dtype=x.dtype)[None, :, None]
    columns = jnp.arange(x.shape[2], dtype=x.dtype)[None, None, :]
    centre = lambda v: v - jnp.sum(weight * v, axis=(1, 2), keepdims=True)
    up, right = centre(rows), centre(columns)
    return jnp.sum(weight * up * right, (1, 2)) / jnp.sum(weight * up * up, (1, 2))


#: Attributes that are computed from images.
MEASURES: Mapping[str, Callable[[Array], Array]] = {"ink": ink, "lean": lean}


@dataclasses.dataclass(frozen=True)
class Attribute:
    """One attribute.

    Attributes:
      name: in expressions.
      n_classes: of a discrete attribute; 0 for a continuous one.
      sigma: how far off a continuous one may be.
      temperature: of a discrete one.
    """

    name: str
    n_classes: int
    sigma: float = 0.1
    temperature: float = 1.0

    @property
    def n_outputs(self) -> int:
        """Of its classifier's head."""
        return max(self.n_classes, 1)

    def read(self, output: Array) -> Array:
        """Logits `(..., K)`, or the prediction `(...)`, from the head's output."""
        return output if self.n_classes else output[..., 0]

    def known(self, label: Any) -> Array:
        """Which labels there are: not -1, or NaN of a continuous attribute."""
        return label >= 0 if self.n_classes else jnp.isfinite(label)

    def log_prob(self, output: Array, target: Array | float) -> Array:
        """`log p(c = target | z)` of what `read` returns (equations 2 and 3)."""
        if self.n_classes:
            label = jnp.asarray(target).astype(jnp.int32)
            return discrete_log_prob(output, label, self.temperature)
        return gaussian_log_prob(output, target, self.sigma)

    def loss(self, output: Array, label: Array) -> Array:
        """Cross-entropy, or half the squared error, of every row."""
        if self.n_classes:
            return -discrete_log_prob(output, label.astype(jnp.int32))
        return 0.5 * jnp.square(output - label)

    def accuracy(self, found: Any, target: Any) -> Array:
        """1 or 0 per row; `1 - |found - target|` where continuous."""
        if self.n_classes:
            return (found == target).astype(jnp.float32)
        return 1.0 - jnp.abs(found - target)
