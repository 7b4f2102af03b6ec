"""Log-probabilities of attributes, given what a classifier or regressor says of one latent.

An attribute `c` of a latent z has the energy `-log p(c | z)` (Nie et al. 2021).
All functions act elementwise on leading axes, so they serve one latent and many alike.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

TemperatureMode = Literal["normalised", "unnormalised"]


def discrete_log_prob(
    logits: jax.Array,
    label: jax.Array | int,
    temperature: float = 1.0,
    temperature_mode: TemperatureMode = "normalised",
) -> jax.Array:
    """`log softmax(logits / T)[label]`, at most 0.

    Args:
      logits: one per class, `(..., K)`.
      label: class, int `(...)`; the result is NaN where it is not in 0 .. K - 1.
      temperature: T > 0; below 1 the classifier becomes more sure of itself.
      temperature_mode: "unnormalised" leaves T out of the normaliser, as the official code
        does: `logits[label] / T - logsumexp(logits)`.

    Returns:
      `(...)`, nats.

    Raises:
      ValueError: another mode, or a temperature that is not positive.
    """
    if not temperature > 0:
        raise ValueError(f"temperature={temperature}: must be positive")
    if temperature_mode == "normalised":
        scores = jax.nn.log_softmax(logits / temperature)
    elif temperature_mode == "unnormalised":
        scores = logits / temperature - jax.nn.logsumexp(logits, axis=-1, keepdims=True)
    else:
        raise ValueError(
            f"temperature_mode={temperature_mode!r}: choose normalised or unnormalised"
        )
    label = jnp.asarray(label)
    # Negative indices would count from the end.
    index = jnp.where(label < 0, logits.shape[-1], label)[..., None]
    return jnp.take_along_axis(scores, index, axis=-1, mode="fill", fill_value=jnp.nan)[..., 0]


def gaussian_log_prob(
    prediction: jax.Array, target: jax.Array | float, sigma: float = 0.1
) -> jax.Array:
    """`-(prediction - target)^2 / (2 sigma^2)`, elementwise: a Gaussian without its constant.

    Args:
      prediction: of a continuous attribute, `(...)`, in the units of the target.
      target: wanted value, `(...)` or a number.
      sigma: how far off is still good; 0.1 for attributes scaled to [0, 1].

    Raises:
      ValueError: a sigma that is not positive.
    """
    if not sigma > 0:
        raise ValueError(f"sigma={sigma}: must be positive")
    return -0.5 * jnp.square((prediction - target) / sigma)
