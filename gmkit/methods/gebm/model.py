"""What a generalized energy-based model is (section 2 of the paper), apart from learning it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gmkit import nets, objectives
from gmkit.core import TrainState, eval_params
from gmkit.core.parallel import example_normal
from gmkit.samplers import LatentSampler, Loop, draw_latents

Array = jax.Array
ArrayLike = jax.typing.ArrayLike
#: Samples that go through the networks at a time.
CHUNK = 2000


class GEBM:
    """`Q(dx) = exp(-E(x) - A) G(dx)`: pure functions of a `TrainState`, closed over two networks.

    Args:
      base: decoder of the base distribution `G`.
      energy: flax module `(x, train) -> (n,)`.
      floor: the energy is `max(E, floor)`; None for no floor.
    """

    def __init__(self, base: nets.Decoder, energy: nn.Module, floor: float | None):
        self.base, self.network, self.floor = base, energy, floor

    def floored(self, raw: Array) -> tuple[Array, Array]:
        """Energies, and the fraction of them at the floor."""
        return objectives.energy_floor(raw, self.floor)

    def energy_with(self, params: Any, variables: Any, x: Array) -> Array:
        """E(x) `(n,)` with the spectral vectors as they are."""
        return self.floored(self.network.apply({"params": params, **variables}, x, False))[0]

    def energy(self, state: TrainState, x: Array) -> Array:
        """E(x), `(n,)`."""
        return self.energy_with(state.params["energy"], state.variables["energy"], x)

    def decode(self, state: TrainState, z: Array) -> Array:
        """B(z), each row by itself (running statistics, averaged parameters if there are)."""
        return self.base.apply(eval_params(state, "base"), state.variables["base"], z, False)[0]

    def latent_energy(self, state: TrainState, z: Array) -> Array:
        """E(B(z)), `(n,)`."""
        return self.energy(state, self.decode(state, z))

    def sample_base(self, state: TrainState, key: Array, n: int) -> Array:
        """n samples of the base alone."""
        draw = lambda key, n: (
            self.decode(state, example_normal(key, n, (self.base.latent_dim,))),
            {},
        )
        return _in_chunks(draw, key, n)[0]

    def draw(
        self, state: TrainState, key: Array, n: int, how: LatentSampler, loop: Loop = "scan"
    ) -> tuple[Array, dict[str, Array]]:
        """n samples `x = B(z)`, z from the latent posterior (section 4), and diagnostics.

        More than `CHUNK` samples are drawn chunk by chunk, each by its own chains (or its own
        pool, for importance resampling), so that memory does not grow with n.
        """

        def draw(key: Array, n: int) -> tuple[Array, dict[str, Array]]:
            latent_energy = lambda z: self.latent_energy(state, z)
            z, info = draw_latents(key, latent_energy, self.base.latent_dim, n, how, loop)
            return self.decode(state, z), info

        return _in_chunks(draw, key, n, loop)

    def log_z(self, state: TrainState, default: ArrayLike) -> ArrayLike:
        """The learned log-partition, or `default` where the criterion learns none."""
        return state.params.get("log_z", default)


def _in_chunks(
    draw: Callable[[Array, int], tuple[Array, dict[str, Array]]],
    key: Array,
    n: int,
    loop: Loop = "scan",
) -> tuple[Array, dict[str, Array]]:
    """`draw(key, n)` in pieces of at most `CHUNK` rows; diagnostics are averaged."""
    if n <= CHUNK:
        return draw(key, n)
    pieces = -(-n // CHUNK)
    keys = jax.random.split(key, pieces)
    one = lambda k: draw(k, -(-n // pieces))
    if loop == "scan":
        x, info = jax.lax.map(one, keys)
    else:
        x, info = jax.tree.map(lambda *parts: jnp.stack(parts), *map(one, keys))
    x = x.reshape(-1, *x.shape[2:])[:n]
    return x, {name: jnp.mean(v) for name, v in info.items()}
