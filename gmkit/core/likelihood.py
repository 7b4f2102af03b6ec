"""Likelihoods that carry their kind, and the data domains that fix their units."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import flax.struct
import jax
import jax.numpy as jnp

Kind = Literal["exact", "lower", "upper", "ode", "lower_ode", "mixed", "none"]
Quantity = Literal["pmf", "density"]

#: How a negative log-likelihood of each kind is printed.
NLL_SIGN: dict[str, str] = {
    "exact": "=",
    "lower": "<=",
    "upper": ">=",
    "ode": "~",
    "lower_ode": "~<=",
    "mixed": "?",
    "none": "-",
}

_DEQUANTISED: dict[str, Kind] = {
    "exact": "lower",
    "ode": "lower_ode",
    "lower": "lower",
    "lower_ode": "lower_ode",
    "upper": "mixed",
    "mixed": "mixed",
    "none": "none",
}


@flax.struct.dataclass
class LogLik:
    """A log-likelihood that says what it is.

    Attributes:
      value: nats per example, float32 `(B,)`.
      kind: "exact", "lower" (its mean is at most the truth), "upper", "ode" (up to solver
        tolerance), "lower_ode", "mixed" or "none".
      quantity: "pmf" or "density".
      stderr: Monte Carlo standard error, `(B,)` or scalar 0.
      n_samples: Monte Carlo samples behind each value (0: none).
    """

    value: jax.Array
    kind: Kind = flax.struct.field(pytree_node=False, default="exact")
    quantity: Quantity = flax.struct.field(pytree_node=False, default="density")
    stderr: jax.Array | float = 0.0
    n_samples: int = flax.struct.field(pytree_node=False, default=0)

    @property
    def nll_sign(self) -> str:
        """The relation printed before the negative log-likelihood."""
        return NLL_SIGN[self.kind]


@dataclasses.dataclass(frozen=True)
class Domain:
    """What the data are.

    Attributes:
      kind: "binary" ({0, 1}), "integers" ({0 .. nvals-1}) or "reals".
      shape: shape of one example, for images (height, width, channels).
      nvals: number of values of one integer coordinate; 2 for binary, 0 for reals.

    Raises:
      ValueError: a kind that does not exist, or `nvals` that does not fit it.
    """

    kind: Literal["binary", "integers", "reals"]
    shape: tuple[int, ...]
    nvals: int = 0

    def __post_init__(self) -> None:
        if self.kind not in ("binary", "integers", "reals"):
            raise ValueError(f"Domain.kind={self.kind!r}: choose binary, integers or reals")
        wanted = {"binary": self.nvals == 2, "integers": self.nvals >= 2, "reals": self.nvals == 0}
        if not wanted[self.kind]:
            raise ValueError(f"Domain.nvals={self.nvals} does not fit kind={self.kind!r}")

    @property
    def dim(self) -> int:
        """Number of coordinates of one example."""
        return math.prod(self.shape)


def bits_per_dim(
    log_lik: LogLik, domain: Domain, value_range: tuple[float, float] = (0.0, 1.0)
) -> jax.Array:
    """Negative log-likelihood in bits per dimension of the integers, `(B,)`.

    For a pmf, `-value / (D ln 2)`. For a density of dequantised data whose `nvals` bins cover
    `value_range`, the change of variables adds `log2(nvals) - log2(high - low)`.

    Raises:
      ValueError: the domain is not discrete, so that bits per dimension mean nothing.
    """
    if domain.kind == "reals":
        raise ValueError(
            "bits per dimension need an integer or binary domain; report nats for reals"
        )
    bits = -log_lik.value / (domain.dim * jnp.log(2.0))
    if log_lik.quantity == "density":
        low, high = value_range
        bits = bits + math.log2(domain.nvals) - math.log2(high - low)
    return bits


def dequantised(
    log_lik: LogLik, domain: Domain, value_range: tuple[float, float] = (0.0, 1.0)
) -> LogLik:
    """What a density of dequantised data says about the integers' pmf (Jensen): kind and value.

    exact -> lower, ode -> lower_ode, lower -> lower, upper -> mixed.
    """
    if log_lik.quantity != "density" or domain.kind == "reals":
        raise ValueError(
            "only a density over a dequantised discrete domain can be turned into a pmf statement"
        )
    low, high = value_range
    offset = domain.dim * (math.log(domain.nvals) - math.log(high - low))
    kind = _DEQUANTISED[log_lik.kind]
    return dataclasses.replace(log_lik, value=log_lik.value - offset, kind=kind, quantity="pmf")
