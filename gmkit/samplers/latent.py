"""Drawing latents of a model that re-weights a Gaussian prior by an energy of its decoded latents.

The target is `nu_beta(z) = N(z; 0, I) exp(-beta E(B(z))) / Z`, with potential
`U(z) = |z|^2 / 2 + beta E(B(z))`: the latent posterior of a generalized energy-based model
(Arbel et al. 2021, section 4), or the refinement of any generator by a critic.
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp

from gmkit.core.parallel import example_normal
from gmkit.samplers.descent import gradient_descent, max_gradient_norm, optimal_transport_descent
from gmkit.samplers.hmc import hmc
from gmkit.samplers.importance import sir
from gmkit.samplers.kernel import Kernel, Loop, Potential, Trace, row_normal, row_sum, run
from gmkit.samplers.langevin import kinetic_langevin, mala, ula
from gmkit.samplers.metropolis import independent_metropolis, random_walk_metropolis
from gmkit.samplers.schedules import constant, divided
from gmkit.samplers.sde import kinetic_sde, overdamped_sde

CHAINS = ("ula", "mala", "kla", "baoab", "hmc", "imh", "rwmh", "descent", "dot")
NAMES = (*CHAINS, "sir", "sde", "kinetic_sde")
#: Prior draws behind the Lipschitz constant of "dot".
LIPSCHITZ_DRAWS = 500


@dataclasses.dataclass(frozen=True)
class LatentSampler:
    """How latents are drawn.

    Attributes:
      name: ula, mala, kla (kinetic Langevin, ABOBA), baoab (the same, BAOAB), hmc, imh
        (independent Metropolis from the prior), rwmh (random walk), sir (importance
        resampling), sde and kinetic_sde (through diffrax), descent (zero temperature), dot
        (optimal-transport descent).
      beta: inverse temperature of the energy; 1 is the model itself ("dot" has none).
      step: step size (rwmh: standard deviation of the proposal; imh, sir: not used).
      n_steps: length of a chain.
      divide_by, divide_every: the step is divided by the one after every so many steps
        (0: constant).
      friction: of kinetic dynamics, in inverse time.
      n_leap: leapfrog steps of hmc.
      pool: prior draws per wanted sample, for sir.

    Raises:
      ValueError: a name that does not exist, or a number that cannot be.
    """

    name: str = "kla"
    beta: float = 1.0
    step: float = 0.1
    n_steps: int = 100
    divide_by: float = 10.0
    divide_every: int = 0
    friction: float = 1.0
    n_leap: int = 2
    pool: int = 10

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise ValueError(f"sampler name={self.name!r}: choose {', '.join(NAMES)}")
        if self.n_steps < 1 or self.pool < 1 or not self.step > 0:
            raise ValueError(
                f"sampler {self.name}: n_steps={self.n_steps}, pool={self.pool} and "
                f"step={self.step} must be positive"
            )
        if not math.isfinite(self.beta) or not self.friction >= 0 or self.n_leap < 1:
            raise ValueError(
                f"sampler {self.name}: beta={self.beta} must be finite, friction={self.friction} "
                f"at least 0, n_leap={self.n_leap} at least 1"
            )
        if self.divide_every > 0 and (not self.divide_by > 0 or self.name.endswith("sde")):
            raise ValueError(
                f"sampler {self.name}: divide_by={self.divide_by} must be positive, and solves "
                "through diffrax keep their step (divide_every=0)"
            )

    @property
    def step_sizes(self) -> jax.Array:
        """Step size of every step, `(n_steps,)`."""
        if self.divide_every < 1:
            return constant(self.step, self.n_steps)
        return divided(self.step, self.n_steps, self.divide_every, self.divide_by)


def _posterior(latent_energy: Potential, beta: float) -> Potential:
    """`|z|^2 / 2 + beta E(B(z))`."""
    return lambda z: row_sum(z**2) / 2.0 + beta * latent_energy(z)


def latent_kernel(
    how: LatentSampler, latent_energy: Potential, lipschitz: jax.Array | float = 1.0
) -> Kernel:
    """The Markov kernel on latents that `how` names.

    Args:
      how: settings; one of `CHAINS`.
      latent_energy: `z (n, d) -> E(B(z)) (n,)`.
      lipschitz: of the latent energy, for "dot".
    """
    tempered: Potential = lambda z: how.beta * latent_energy(z)
    potential = _posterior(latent_energy, how.beta)
    builders = {
        "ula": lambda: ula(potential),
        "mala": lambda: mala(potential),
        "kla": lambda: kinetic_langevin(potential, how.friction),
        "baoab": lambda: kinetic_langevin(potential, how.friction, "baoab"),
        "hmc": lambda: hmc(potential, how.n_leap),
        "imh": lambda: independent_metropolis(tempered),
        "rwmh": lambda: random_walk_metropolis(potential),
        "descent": lambda: gradient_descent(potential),
        "dot": lambda: optimal_transport_descent(latent_energy, lipschitz),
    }
    return builders[how.name]()


def latent_chains(
    key: jax.Array,
    latent_energy: Potential,
    z0: jax.Array,
    how: LatentSampler,
    *,
    thin: int = 1,
    collect: bool = True,
    fresh_velocity: bool = False,
    loop: Loop = "scan",
) -> Trace:
    """Chains from `z0 (n, d)`; see `run`.

    Args:
      key, latent_energy, z0, how: as in `draw_latents`.
      thin, collect, loop: as in `run`.
      fresh_velocity: kinetic chains start with velocities of the stationary law, which keeps
        chains that are continued again and again unbiased; otherwise at rest.
    """
    chain_key, lipschitz_key, velocity_key = jax.random.split(key, 3)
    lipschitz: jax.Array | float = 1.0
    if how.name == "dot":
        draws = example_normal(lipschitz_key, LIPSCHITZ_DRAWS, z0.shape[1:])
        lipschitz = max_gradient_norm(latent_energy, draws)
    kernel = latent_kernel(how, latent_energy, lipschitz)
    state = kernel.init(z0)
    if fresh_velocity and state.velocity is not None:
        state = state._replace(velocity=row_normal(velocity_key, z0))
    return run(chain_key, kernel, state, how.step_sizes, thin=thin, collect=collect, loop=loop)


def draw_latents(
    key: jax.Array,
    latent_energy: Potential,
    latent_dim: int,
    n: int,
    how: LatentSampler,
    loop: Loop = "scan",
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """`n` latents of `nu_beta`, started from the prior.

    Args:
      key: typed key.
      latent_energy: `z (n, d) -> E(B(z)) (n,)`.
      latent_dim: d.
      n: how many.
      how: sampler and its settings.
      loop: of chains, as in `run`.

    Returns:
      Latents `(n, d)` and scalars where they mean something: `acceptance` and `diverged`
      (fractions), `n_grad` per sample, `ess` (fraction of effective draws, "sir" only).
    """
    prior_key, run_key = jax.random.split(key)
    if how.name == "sir":
        pool = example_normal(prior_key, n * how.pool, (latent_dim,))
        drawn = sir(run_key, latent_energy, pool, n, beta=how.beta, batch_size=min(len(pool), 4096))
        ess = drawn.ess / len(pool)
        return drawn.z, {"ess": ess}
    z0 = example_normal(prior_key, n, (latent_dim,))
    if how.name in ("sde", "kinetic_sde"):
        potential = _posterior(latent_energy, how.beta)
        times = jnp.array([how.step * how.n_steps])
        limit = 2 * how.n_steps + 2
        if how.name == "sde":
            path = overdamped_sde(run_key, potential, z0, times, how.step, max_steps=limit)
        else:
            path = kinetic_sde(
                run_key, potential, z0, times, how.step, how.friction, max_steps=limit
            )
        failed = jnp.mean((~path.success).astype(jnp.float32))
        n_grad = jnp.mean(path.n_steps.astype(jnp.float32))
        return path.samples[-1], {"diverged": failed, "n_grad": n_grad}
    trace = latent_chains(
        run_key, latent_energy, z0, how, thin=how.n_steps, collect=False, loop=loop
    )
    info = trace.info
    return trace.state.z, {
        "acceptance": jnp.mean(info.acceptance),
        "diverged": jnp.mean(info.diverged),
        "n_grad": jnp.sum(info.n_grad).astype(jnp.float32),
    }
