"""Losses and divergences as functions of network outputs or callables."""

from gmkit.objectives.adversarial import (
    logistic_base_loss,
    logistic_loss,
    wasserstein_base_loss,
    wasserstein_loss,
)
from gmkit.objectives.generalized_likelihood import (
    EnergyTerms,
    Weighting,
    base_loss,
    contrastive_divergence_loss,
    donsker_varadhan_loss,
    energy_floor,
    generalized_log_likelihood,
    importance_weights,
    kale_loss,
    log_partition,
    log_partition_average,
    log_partition_step,
    safe_exp,
    variational_log_likelihood,
    weight_ess,
)
from gmkit.objectives.lipschitz import (
    gradient_penalty,
    interpolate,
    mean_squared_parameters,
    squared_gradient_norms,
)

__all__ = [
    "EnergyTerms",
    "Weighting",
    "base_loss",
    "contrastive_divergence_loss",
    "donsker_varadhan_loss",
    "energy_floor",
    "generalized_log_likelihood",
    "gradient_penalty",
    "importance_weights",
    "interpolate",
    "kale_loss",
    "log_partition",
    "log_partition_average",
    "log_partition_step",
    "logistic_base_loss",
    "logistic_loss",
    "mean_squared_parameters",
    "safe_exp",
    "squared_gradient_norms",
    "variational_log_likelihood",
    "wasserstein_base_loss",
    "wasserstein_loss",
    "weight_ess",
]
