"""Images at several scales: what is done at a fine scale goes to the latents at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from gmkit.distributions.bijector import Bijector, Cond, Key, Params, joint_kind, layer_key


def level_shapes(shape: tuple[int, int, int], n: int) -> list[tuple[int, int, int]]:
    """Output shape of every level: each squeezes, and all but the last give up half."""
    if len(shape) != 3 or shape[0] % 2**n or shape[1] % 2**n:
        raise ValueError(
            f"{n} levels need (height, width, channels) with sides divisible by {2**n}, got {shape}"
        )
    h, w, c = shape
    shapes = []
    for _ in range(n):
        h, w, c = h // 2, w // 2, 4 * c
        shapes.append((h, w, c))
        c //= 2
    return shapes


def multi_scale(levels: Sequence[Bijector], shape: tuple[int, int, int]) -> Bijector:
    """Images through levels that each give half of their channels to the latents at once.

    Latents are vectors `(n, h * w * c)`: the second halves of the levels' channels, the coarsest
    level last (Dinh et al. 2017, section 3.6).

    Args:
      levels: bijectors of images, each with exactly one `squeeze`.
      shape: (height, width, channels) of the images.

    Raises:
      ValueError: the sides are not divisible by `2**len(levels)`.
    """
    names = [f"level_{i}" for i in range(len(levels))]
    shapes = level_shapes(shape, len(levels))
    last = len(levels) - 1

    def split(i: int, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """What goes on to the next level, and what is done, flattened."""
        half = x.shape[-1] // 2 if i < last else 0
        return x[..., :half], x[..., half:].reshape(x.shape[0], -1)

    def parts(z: jax.Array) -> list[jax.Array]:
        sizes = [math.prod(s) // (2 if i < last else 1) for i, s in enumerate(shapes)]
        bounds = [sum(sizes[: i + 1]) for i in range(last)]
        return jnp.split(z, bounds, axis=1)

    def join(i: int, x: jax.Array | None, part: jax.Array) -> jax.Array:
        h, w, c = shapes[i]
        if x is None:
            return part.reshape(-1, h, w, c)
        return jnp.concatenate([x, part.reshape(-1, h, w, c - x.shape[-1])], axis=-1)

    def init(key: jax.Array, x: jax.Array, cond: Cond = None) -> Params:
        params = {}
        for i, (name, level) in enumerate(zip(names, levels, strict=True)):
            params[name] = level.init(jax.random.fold_in(key, i), x, cond)
            x, _ = split(i, level.forward(params[name], x, cond))
        return params

    def forward_and_log_det(
        params: Params, x: jax.Array, cond: Cond = None, key: Key = None
    ) -> tuple[jax.Array, jax.Array]:
        done, total = [], jnp.zeros(x.shape[:1], x.dtype)
        for i, (name, level) in enumerate(zip(names, levels, strict=True)):
            x, log_det = level.forward_and_log_det(params[name], x, cond, layer_key(key, i))
            x, part = split(i, x)
            done.append(part)
            total = total + log_det
        return jnp.concatenate(done, axis=1), total

    def inverse_and_log_det(
        params: Params, z: jax.Array, cond: Cond = None, key: Key = None
    ) -> tuple[jax.Array, jax.Array]:
        x, total = None, jnp.zeros(z.shape[:1], z.dtype)
        latents = parts(z)
        for i in reversed(range(len(levels))):
            x = join(i, x, latents[i])
            x, log_det = levels[i].inverse_and_log_det(params[names[i]], x, cond, layer_key(key, i))
            total = total + log_det
        assert x is not None
        return x, total

    def renew(
        params: Params, x: jax.Array, cond: Cond = None, momentum: float = 0.0
    ) -> tuple[Params, jax.Array]:
        renewed, done = {}, []
        for i, (name, level) in enumerate(zip(names, levels, strict=True)):
            if level.renew is None:
                renewed[name], x = params[name], level.forward(params[name], x, cond)
            else:
                renewed[name], x = level.renew(params[name], x, cond, momentum)
            x, part = split(i, x)
            done.append(part)
        return renewed, jnp.concatenate(done, axis=1)

    return Bijector(
        init,
        forward_and_log_det,
        inverse_and_log_det,
        lambda params, x, cond=None: forward_and_log_det(params, x, cond)[0],
        lambda params, z, cond=None: inverse_and_log_det(params, z, cond)[0],
        None if all(level.renew is None for level in levels) else renew,
        joint_kind([level.kind for level in levels]),
    )
