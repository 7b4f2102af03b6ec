"""Transition kernels, importance sampling and stochastic differential equations.

Everything acts on rows: a potential is `U: (n, *event) -> (n,)` (`batched` makes one from a
single-row function), the target is `exp(-U)`, a kernel is `(init, step)` and `run` scans it.
"""

from gmkit.samplers.annealed import (
    Annealed,
    Bidirectional,
    PotentialPath,
    annealed_importance_sampling,
    bidirectional,
    geometric_path,
    interpolated_path,
    linear_betas,
    pilot_step_sizes,
    raise_log_density,
    reverse_annealing,
    sigmoid_betas,
)
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
    log_partition_upper,
    resample,
    sir,
)
from gmkit.samplers.kernel import (
    Info,
    Kernel,
    Loop,
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
    "Annealed",
    "Bidirectional",
    "Info",
    "Kernel",
    "LatentSampler",
    "Loop",
    "Path",
    "Potential",
    "PotentialPath",
    "Resampled",
    "State",
    "Trace",
    "aboba",
    "acceptance_rate",
    "annealed_importance_sampling",
    "autocovariance",
    "baoab",
    "batched",
    "bidirectional",
    "constant",
    "divided",
    "draw_latents",
    "effective_draws",
    "effective_sample_size",
    "ess_per_gradient",
    "from_schedule",
    "geometric_path",
    "gradient_descent",
    "hamiltonian",
    "hmc",
    "independent_metropolis",
    "interpolated_path",
    "kinetic_langevin",
    "kinetic_sde",
    "langevin_move",
    "latent_chains",
    "latent_kernel",
    "leapfrog",
    "linear_betas",
    "log_partition",
    "log_partition_upper",
    "mala",
    "mala_log_ratio",
    "max_gradient_norm",
    "metropolis_accept",
    "optimal_transport_descent",
    "overdamped_sde",
    "pilot_step_sizes",
    "raise_log_density",
    "random_walk_metropolis",
    "resample",
    "reverse_annealing",
    "row_value_and_grad",
    "run",
    "sigmoid_betas",
    "sir",
    "split_rhat",
    "ula",
]
