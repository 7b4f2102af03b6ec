"""Coupling layers: a fixed part of every example parametrises the map of the rest."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from gmkit.distributions.bijector import Bijector, Cond, Params, closed_form
from gmkit.distributions.conditioners import Conditioner
from gmkit.distributions.elementwise import Elementwise
from gmkit.distributions.rows import per_event, row_sum


def checker_mask(shape: int | tuple[int, ...], parity: int | jax.Array = 0) -> jax.Array:
    """Alternating mask, True where the sum of the positions plus `parity` is odd.

    Over features `(d,)`, or over height and width of images, `(h, w, 1)`.

    Args:
      shape: `d`, or the shape of one example.
      parity: 0 or 1, or a layer's number, which may be traced.
    """
    if isinstance(shape, int) or len(shape) == 1:
        d = shape if isinstance(shape, int) else shape[0]
        return (jnp.arange(d) + parity) % 2 == 1
    rows, columns = jnp.arange(shape[0])[:, None], jnp.arange(shape[1])[None, :]
    return ((rows + columns + parity) % 2 == 1)[..., None]


def channel_mask(channels: int, parity: int | jax.Array = 0) -> jax.Array:
    """Mask `(1, 1, c)`: the first half of the channels (even parity) or the second one."""
    first = jnp.arange(channels) < channels // 2
    return (first ^ (jnp.asarray(parity) % 2 == 1)).reshape(1, 1, channels)


def coupling(mask: jax.Array, function: Elementwise, conditioner: Conditioner) -> Bijector:
    """Coordinates where `mask` holds stay and parametrise the map of the others.

    The masks multiply instead of selecting, so that layers that differ only in them can be
    scanned (Dinh et al. 2017, eq. 9).

    Args:
      mask: bool, broadcastable to one example; may be traced.
      function: applied to the other coordinates.
      conditioner: sees the example with those coordinates set to zero.
    """

    def raw_of(params: Params, x: jax.Array, cond: Cond, kept: jax.Array) -> jax.Array:
        return conditioner.apply(params, jnp.where(kept, x, 0.0), cond)

    def init(key: jax.Array, x: jax.Array, cond: Cond) -> Params:
        return conditioner.init(key, x, function.n_params, cond)

    def forward(params: Params, x: jax.Array, cond: Cond) -> tuple[jax.Array, jax.Array]:
        kept = per_event(mask, x)
        z, log_slope = function.forward(x, raw_of(params, x, cond, kept))
        return jnp.where(kept, x, z), row_sum(jnp.where(kept, 0.0, log_slope))

    def inverse(params: Params, z: jax.Array, cond: Cond) -> tuple[jax.Array, jax.Array]:
        kept = per_event(mask, z)
        x, log_slope = function.inverse(z, raw_of(params, z, cond, kept))
        return jnp.where(kept, z, x), row_sum(jnp.where(kept, 0.0, log_slope))

    return closed_form(init, forward, inverse)
