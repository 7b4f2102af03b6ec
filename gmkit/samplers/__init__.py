"""Transition kernels, importance sampling and stochastic differential equations.

Everything acts on rows: a potential is `U: (n, *event) -> (n,)` (`batched` makes one from a
single-row function), the target is `exp(-U)`, a kernel is `(init, step)` and `run` scans it.
"""

from gmkit.samplers.descent import (
    gradient_descent,
    max_gradient_norm,
    optimal_transport_descent,
)
from gmkit.samplers.diagnostics import (
    acceptance_rate,
    autocovariance,
    effective_sample_size,
    ess_per_gradient,
    split_rhat,
)
from gmkit.samplers.hmc import hamiltonian, hmc, leapfrog
from gmkit.samplers.importance import (
    Resampled,
    effective_draws,
    log_partition,
    resample,
    sir,
)
from gmkit.samplers.kernel import (
    Info,
    Kernel,
    Potential,
    State,
    Trace,
    batched,
    row_value_and_grad,
    run,
)
from gmkit.samplers.langevin import (
    aboba,
    baoab,
    kinetic_langevin,
    langevin_move,
    mala,
    mala_log_ratio,
    ula,
)
from gmkit.samplers.latent import (
    CHAINS,
    LatentSampler,
    draw_latents,
    latent_chains,
    latent_kernel,
)
from gmkit.samplers.metropolis import (
    independent_metropolis,
    metropolis_accept,
    random_walk_metropolis,
)
from gmkit.samplers.schedules import constant, divided, from_schedule
from gmkit.samplers.sde import Path, kinetic_sde, overdamped_sde

__all__ = [
    "CHAINS",
    "Info",
    "Kernel",
    "LatentSampler",
    "Path",
    "Potential",
    "Resampled",
    "State",
    "Trace",
    "aboba",
    "acceptance_rate",
    "autocovariance",
    "baoab",
    "batched",
    "constant",
    "divided",
    "draw_latents",
    "effective_draws",
    "effective_sample_size",
    "ess_per_gradient",
    "from_schedule",
    "gradient_descent",
    "hamiltonian",
    "hmc",
    "independent_metropolis",
    "kinetic_langevin",
    "kinetic_sde",
    "langevin_move",
    "latent_chains",
    "latent_kernel",
    "leapfrog",
    "log_partition",
    "mala",
    "mala_log_ratio",
    "max_gradient_norm",
    "metropolis_accept",
    "optimal_transport_descent",
    "overdamped_sde",
    "random_walk_metropolis",
    "resample",
    "row_value_and_grad",
    "run",
    "sir",
    "split_rhat",
    "ula",
]
