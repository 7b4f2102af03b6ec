"""Latents with wanted attributes, by chains: the baselines of Nie et al. (2021).

Both chains follow the energy `|z|^2 / 2 - log p(c | z)`, prior included, where the differential
equations of `probability_flow` need the classifier alone. `log_prob` is the same function here.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import jax
import jax.numpy as jnp

from gmkit.core.parallel import batch_mean
from gmkit.samplers.kernel import (
    Kernel,
    Potential,
    State,
    moved,
    positions,
    row_finite,
    row_normal,
    row_value_and_grad,
    run,
)
from gmkit.samplers.langevin import langevin_move
from gmkit.samplers.probability_flow import GuidedSample, LogProb
from gmkit.samplers.schedules import constant

#: Standard deviation of the noise in the official runs, whose step size is 0.01 too.
PAPER_NOISE = 1e-2


def guided_langevin(
    log_prob: LogProb,
    z_init: jax.Array,
    key: jax.Array,
    args: Any = None,
    *,
    args_axis: Any = None,
    n_steps: int = 100,
    step_size: float = 1e-2,
    noise: Literal["paper", "langevin"] | float = "paper",
) -> GuidedSample:
    """`z - step_size grad E(z) + s xi`, with `E = |z|^2 / 2 - log p(c | z)`, `n_steps` times.

    Args:
      log_prob: `(z (d,), args) -> log p(c | z) ()`.
      z_init: `(n, d)`.
      key: of the noise.
      args, args_axis: as in `guided_ode`.
      n_steps, step_size: of the chain.
      noise: the standard deviation s; "paper" for 0.01, with which the chain is close to
        gradient descent and `|z|` collapses; "langevin" for `sqrt(2 step_size)`, with which
        `exp(-E)` is stationary up to the discretisation.

    Raises:
      ValueError: numbers that cannot be, or another word.
    """
    if n_steps < 1 or not step_size > 0:
        raise ValueError(f"n_steps={n_steps} and step_size={step_size} must be positive")
    correct = math.sqrt(2.0 * step_size)
    scales = {"paper": PAPER_NOISE, "langevin": correct}
    if isinstance(noise, str) and noise not in scales:
        raise ValueError(f"noise={noise!r}: choose paper, langevin or a standard deviation")
    scale = scales[noise] if isinstance(noise, str) else noise
    value_and_grad = row_value_and_grad(_energy(log_prob, args, args_axis))

    def step(key: jax.Array, state: State, step_size: jax.Array) -> Any:
        xi = scale / correct * row_normal(key, state.z)
        z = langevin_move(state.z, state.grad, xi, step_size)
        state = State(z, *value_and_grad(z))
        return state, moved(state, n_grad=1)

    kernel = Kernel(lambda z: State(z, *value_and_grad(z)), step)
    steps = constant(step_size, n_steps)
    trace = run(key, kernel, positions(z_init), steps, thin=n_steps, collect=False)
    return _sample(trace.state.z, n_steps, n_steps + 1)


def predictor_corrector(
    log_prob: LogProb,
    z_init: jax.Array,
    key: jax.Array,
    args: Any = None,
    *,
    args_axis: Any = None,
    n_steps: int = 1000,
    snr: float = 0.16,
    n_corrector: int = 2,
    stale_score: bool = False,
    beta_min: float = 0.1,
    beta_max: float = 20.0,
) -> GuidedSample:
    """Reverse variance-preserving diffusion from t = 1 to 0.001, corrected by Langevin steps.

    With `s = -grad E(z)`, `b = beta(t) / n_steps` and `a = 1 - b`, a step predicts
    `z <- (2 - sqrt(a)) z + b s + sqrt(b) xi` and corrects `n_corrector` times by
    `z <- z + e s + sqrt(2 e) xi`, where `e = 2 a (snr mean|xi| / mean|s|)^2` has means over the
    batch.

    Args:
      log_prob, z_init, key, args, args_axis: as in `guided_langevin`.
      n_steps: of the predictor.
      snr: signal-to-noise ratio that sets the corrector's step.
      n_corrector: corrections per step.
      stale_score: correct with the score from before the prediction, as the official code does;
        by default it is computed anew for every correction.
      beta_min, beta_max: as in `guided_ode`.

    Raises:
      ValueError: numbers that cannot be.
    """
    if n_steps < 2 or n_corrector < 0 or not snr > 0:
        raise ValueError(
            f"n_steps={n_steps} must be at least 2, n_corrector={n_corrector} at least 0 and "
            f"snr={snr} positive"
        )
    value_and_grad = row_value_and_grad(_energy(log_prob, args, args_axis))
    score = lambda z: -value_and_grad(z)[1]
    betas = jnp.linspace(beta_min / n_steps, beta_max / n_steps, n_steps)
    times = jnp.linspace(1.0, 1e-3, n_steps)
    betas = betas[jnp.floor(times * (n_steps - 1)).astype(jnp.int32)]
    length = lambda x: batch_mean(jnp.linalg.norm(x, axis=-1))

    def step(z: jax.Array, inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        t, beta = inputs
        keys = jax.random.split(jax.random.fold_in(key, t), n_corrector + 1)
        s = score(z)
        z = (2.0 - jnp.sqrt(1.0 - beta)) * z + beta * s
        z = z + jnp.sqrt(beta) * row_normal(keys[0], z)

        def correct(z: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
            direction, xi = s if stale_score else score(z), row_normal(key, z)
            size = 2.0 * (1.0 - beta) * jnp.square(snr * length(xi) / length(direction))
            return z + size * direction + jnp.sqrt(2.0 * size) * xi, None

        return jax.lax.scan(correct, z, keys[1:])[0], None

    z, _ = jax.lax.scan(step, positions(z_init), (jnp.arange(n_steps), betas))
    return _sample(z, n_steps, n_steps * (1 if stale_score else 1 + n_corrector))


def _energy(log_prob: LogProb, args: Any, args_axis: Any) -> Potential:
    """`|z|^2 / 2 - log p(c | z)` of rows."""
    rows = jax.vmap(log_prob, in_axes=(0, args_axis))
    return lambda z: 0.5 * jnp.sum(jnp.square(z), axis=-1) - rows(z, args)


def _sample(z: jax.Array, n_steps: int, evaluations: int) -> GuidedSample:
    steps = jnp.full(z.shape[:1], n_steps, jnp.int32)
    none, spent = jnp.zeros_like(steps), jnp.full_like(steps, evaluations)
    return GuidedSample(z, steps, steps, none, spent, ~row_finite(z))
