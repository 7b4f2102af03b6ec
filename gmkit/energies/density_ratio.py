"""An energy made of two densities, whose log-partition is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from gmkit.distributions import Density

Params = Any


class DensityRatio(nn.Module):
    """`E(x) = -log q(x) + log g(x) + offset`: over the base g it makes the model q itself.

    The log-partition `A = log E_g[exp(-E)] = -offset` is then known exactly, whatever the
    parameters of q, and hidden from a learner that only sees energies (Arbel et al. 2021,
    section 6.2). Called `(x, train)` like every energy network: `(n, d) -> (n,)`.

    Attributes:
      density: q, with a trained `log_prob`; a flow without batch normalisation.
      base_log_prob: `x (n, d) -> log g(x) (n,)`, fixed.
      offset: a number, or "parameters" for the sum over parameter tensors of their mean
        absolute entry (the official code's choice, which moves with the parameters).
    """

    density: Density
    base_log_prob: Callable[[jax.Array], jax.Array]
    offset: float | Literal["parameters"] = 0.0

    def __post_init__(self) -> None:
        if isinstance(self.offset, str) and self.offset != "parameters":
            raise ValueError(f"offset={self.offset!r}: a number, or 'parameters'")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        del train
        params = self.param("density", self.density.init, x)
        log_q = self.density.log_prob(params, x)
        return self.base_log_prob(x) - log_q - self._log_partition(params)

    def log_partition(self, params: Params) -> jax.Array:
        """`A`, exactly, scalar; `params` are this module's."""
        return self._log_partition(params["density"])

    def sample(self, params: Params, key: jax.Array, n: int) -> jax.Array:
        """Exact draws of the model, i.e. of q, `(n, d)`."""
        return self.density.sample(params["density"], key, n)

    def _log_partition(self, params: Params) -> jax.Array:
        if self.offset == "parameters":
            return -sum((jnp.mean(jnp.abs(p)) for p in jax.tree.leaves(params)), jnp.zeros(()))
        return -jnp.asarray(self.offset, jnp.float32)
