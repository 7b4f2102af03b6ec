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


def alternating_coupling(
    parity: int | jax.Array, function: Elementwise, conditioner: Conditioner
) -> Bijector:
    """`coupling(checker_mask(d, parity), ...)` of vectors, without work for what stays.

    The conditioner sees the `ceil(d / 2)` features that stay and gives parameters for as many,
    which is half of what a masked layer computes. Features are taken in pairs, so that layers
    of both parities have equal shapes and can be scanned; an odd `d` gets a last feature 0 that
    is dropped again.

    Args:
      parity: 0 or 1, or a layer's number, which may be traced.
      function: applied to the features where `position + parity` is even.
      conditioner: sees the others.

    Raises:
      ValueError: an input that is not `(n, d)`.
    """
    swap = jnp.asarray(parity) % 2 == 1

    def split(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The features that move and those that stay, `(n, ceil(d / 2))` each."""
        if x.ndim != 2:
            raise ValueError(f"this coupling takes vectors (n, d), got shape {x.shape}")
        x = jnp.pad(x, ((0, 0), (0, x.shape[1] % 2)))
        even, odd = x[:, 0::2], x[:, 1::2]
        return jnp.where(swap, odd, even), jnp.where(swap, even, odd)

    def join(moved: jax.Array, kept: jax.Array, d: int) -> jax.Array:
        even, odd = jnp.where(swap, kept, moved), jnp.where(swap, moved, kept)
        return jnp.stack([even, odd], axis=-1).reshape(moved.shape[0], -1)[:, :d]

    def total(log_slope: jax.Array, d: int) -> jax.Array:
        dropped = swap & (2 * jnp.arange(log_slope.shape[1]) + 1 == d)
        return row_sum(jnp.where(dropped[None, :], 0.0, log_slope))

    def init(key: jax.Array, x: jax.Array, cond: Cond) -> Params:
        return conditioner.init(key, split(x)[1], function.n_params, cond)

    def forward(params: Params, x: jax.Array, cond: Cond) -> tuple[jax.Array, jax.Array]:
        moved, kept = split(x)
        z, log_slope = function.forward(moved, conditioner.apply(params, kept, cond))
        return join(z, kept, x.shape[1]), total(log_slope, x.shape[1])

    def inverse(params: Params, z: jax.Array, cond: Cond) -> tuple[jax.Array, jax.Array]:
        moved, kept = split(z)
        x, log_slope = function.inverse(moved, conditioner.apply(params, kept, cond))
        return join(x, kept, z.shape[1]), total(log_slope, z.shape[1])

    return closed_form(init, forward, inverse)
