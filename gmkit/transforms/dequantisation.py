"""Uniform dequantisation: integers as points of the unit interval, and back.

The integer `k` of `nvals` owns the bin `[k / nvals, (k + 1) / nvals)`. A density `q` of points of
the unit cube then bounds the integers' probabilities (Theis et al. 2016, section 3.1),

    log P(k) >= E_{U ~ [0, 1)^D} log q((k + U) / nvals) - D log nvals,

which is what `core.dequantised` does with a log-likelihood of such points.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from gmkit.core import Domain
from gmkit.core.parallel import example_keys

Range = tuple[float, float]


def _check(domain: Domain, value_range: Range) -> None:
    if domain.kind == "reals":
        raise ValueError(f"Domain.kind={domain.kind!r}: only integers have bins to spread over")
    if not value_range[0] < value_range[1]:
        raise ValueError(f"value_range={value_range}: must be (low, high) with low < high")


def _integers(x: jax.Array, domain: Domain, value_range: Range) -> jax.Array:
    """The integers, as floats, that decoded values stand for."""
    low, high = value_range
    return jnp.round((x - low) * ((domain.nvals - 1) / (high - low)))


def dequantise(
    key: jax.Array, x: jax.Array, domain: Domain, value_range: Range = (0.0, 1.0)
) -> jax.Array:
    """`u = (k + U) / nvals` with `U` uniform on [0, 1), keyed per example.

    Args:
      key: typed PRNG key; every row draws from its own, by position in the global batch.
      x: decoded integers, `(n, *domain.shape)` float32.
      domain: how many values an entry has.
      value_range: what the integers 0 and `nvals - 1` are decoded to.

    Returns:
      float32 like `x`, inside the bin of its integer also after rounding: `quantise` inverts it.

    Raises:
      ValueError: a domain of reals, or an empty range.
    """
    _check(domain, value_range)
    keys = example_keys(key, x.shape[0])
    noise = jax.vmap(lambda k: jax.random.uniform(k, x.shape[1:], x.dtype))(keys)
    # Rounding must not carry the sum or the quotient over to the next bin.
    noise = jnp.minimum(noise, 1.0 - domain.nvals * 2.0**-22)
    return (_integers(x, domain, value_range) + noise) / domain.nvals


def quantise(u: jax.Array, domain: Domain, value_range: Range = (0.0, 1.0)) -> jax.Array:
    """Decoded integers of the bins that `u` lies in; outside [0, 1] the nearest bin's.

    Arguments and errors as for `dequantise`.
    """
    _check(domain, value_range)
    low, high = value_range
    k = jnp.clip(jnp.floor(u * domain.nvals), 0, domain.nvals - 1)
    return low + k * ((high - low) / (domain.nvals - 1))


def to_unit(x: jax.Array, domain: Domain, value_range: Range = (0.0, 1.0)) -> jax.Array:
    """Decoded integers at the centres of their bins, `(k + 1/2) / nvals`.

    The affine map that does so, which is defined between the integers too. Arguments and errors
    as for `dequantise`.
    """
    _check(domain, value_range)
    low, high = value_range
    return ((x - low) * ((domain.nvals - 1) / (high - low)) + 0.5) / domain.nvals


def from_unit(u: jax.Array, domain: Domain, value_range: Range = (0.0, 1.0)) -> jax.Array:
    """The inverse of `to_unit`: points of the unit interval on the scale of decoded values.

    The unit interval's ends lie half a bin beyond the range. Errors as for `dequantise`.
    """
    _check(domain, value_range)
    low, high = value_range
    return low + (u * domain.nvals - 0.5) * ((high - low) / (domain.nvals - 1))
