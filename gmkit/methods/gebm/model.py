"""What a generalized energy-based model is (section 2 of the paper), apart from learning it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gmkit import nets, objectives
from gmkit.core import LogLik, TrainState, eval_params
from gmkit.core.parallel import example_normal
from gmkit.distributions import Density, standard_normal
from gmkit.samplers import (
    LatentSampler,
    Loop,
    draw_latents,
    log_partition,
    log_partition_upper,
)

Array = jax.Array
ArrayLike = jax.typing.ArrayLike
#: Samples that go through the networks at a time.
CHUNK = 2000
#: Draws of the base behind an estimated log-partition.
LOG_Z_DRAWS = 20_000


class GEBM:
    """`Q(dx) = exp(-E(x) - A) G(dx)`: pure functions of a `TrainState`, closed over two networks.

    Args:
      base: decoder of the base distribution `G`.
      energy: flax module `(x, train) -> (n,)`; one whose log-partition over the base is known
        has `log_partition(params)` and `sample(params, key, n)`, as `energies.DensityRatio`.
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

    def latest_energy(self, state: TrainState, x: Array) -> Array:
        """E(x), `(n,)`, of the parameters in training."""
        return self.energy_with(state.params["energy"], state.variables["energy"], x)

    def energy(self, state: TrainState, x: Array) -> Array:
        """E(x), `(n,)`, of averaged parameters if there are."""
        return self.energy_with(eval_params(state, "energy"), state.variables["energy"], x)

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

    # -------------------------------------------------- where the base has a density

    @property
    def has_density(self) -> bool:
        """Whether `log_prob` is defined."""
        return self.base.log_prob is not None

    @property
    def knows_log_z(self) -> bool:
        """Whether the log-partition is known in closed form."""
        return hasattr(self.network, "log_partition")

    def exact_log_z_with(self, params: Any) -> Array:
        """The log-partition of an energy that knows it, from the energy's parameters."""
        return getattr(self.network, "log_partition")(params)  # noqa: B009

    def exact_log_z(self, state: TrainState) -> Array:
        """The log-partition of an energy that knows it, scalar."""
        return self.exact_log_z_with(eval_params(state, "energy"))

    def base_log_prob(self, state: TrainState, x: Array) -> Array:
        """log g(x), `(n,)`."""
        assert self.base.log_prob is not None
        return self.base.log_prob(eval_params(state, "base"), state.variables["base"], x)

    def unnormalised_log_prob(self, state: TrainState, x: Array) -> Array:
        """`log g(x) - E(x)`, `(n,)`: the model's log-density plus the log-partition."""
        return self.base_log_prob(state, x) - self.energy(state, x)

    def exact_draws(self, state: TrainState, key: Array, n: int) -> Array:
        """n independent draws of a model that knows its log-partition."""
        return getattr(self.network, "sample")(eval_params(state, "energy"), key, n)  # noqa: B009

    def encode(self, state: TrainState, x: Array) -> Array:
        """The latents `z` with `B(z) = x`."""
        assert self.base.encode is not None
        return self.base.encode(eval_params(state, "base"), state.variables["base"], x)

    def log_lik(self, state: TrainState, key: Array, x: Array) -> LogLik:
        """`log Q(x) = log g(x) - E(x) - A`, nats.

        Exact where A is known. Elsewhere A is replaced by an estimate from draws of the base
        that is too large on average, which makes the values lower bounds; their standard error
        is that of the estimate.
        """
        values = self.unnormalised_log_prob(state, x)
        if self.knows_log_z:
            return LogLik(values - self.exact_log_z(state))
        log_weights = -self.energy(state, self.sample_base(state, key, LOG_Z_DRAWS))
        guess, _ = log_partition(log_weights[: LOG_Z_DRAWS // 2])
        log_z, stderr = log_partition_upper(log_weights[LOG_Z_DRAWS // 2 :], guess)
        return LogLik(values - log_z, "lower", "density", stderr, LOG_Z_DRAWS)

    def log_z(self, state: TrainState, default: ArrayLike) -> ArrayLike:
        """The learned log-partition, or `default` where the criterion learns none."""
        return eval_params(state, "log_z") if "log_z" in state.params else default


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


def density_base(density: Density, dim: int) -> nets.Decoder:
    """The base that samples a flow whose latents are standard normal.

    Args:
      density: with `encode` and `decode`.
      dim: of examples and latents.
    """
    assert density.encode is not None and density.decode is not None
    encode, decode = density.encode, density.decode
    return nets.Decoder(
        dim,
        init=lambda key, x: (density.init(key, x), {}),
        apply=lambda params, variables, z, train: (decode(params, z), variables),
        log_prob=lambda params, variables, x: density.log_prob(params, x),
        encode=lambda params, variables, x: encode(params, x),
    )


def normal_base(dim: int) -> nets.Decoder:
    """`x = z`: the standard normal, which has nothing to train."""
    return nets.Decoder(
        dim,
        init=lambda key, x: ({}, {}),
        apply=lambda params, variables, z, train: (z, variables),
        log_prob=lambda params, variables, x: standard_normal(dim).log_prob({}, x),
        encode=lambda params, variables, x: x,
    )
