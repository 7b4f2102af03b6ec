"""Likelihoods of a photometric residual, and the descent on a disparity."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gmkit import distributions, transforms
from gmkit.core import TrainState, create, finish_step, update
from gmkit.core.parallel import batch_mean
from gmkit.distributions import robust
from gmkit.methods.robust_stereo.geometry import disparity_at, residuals, resize, roughness

Array = jax.Array
PyTree = Any
#: alpha at the first and at the last step.
SCHEDULES = {
    "normal": (2.0, 2.0),
    "charbonnier": (1.0, 1.0),
    "cauchy": (0.0, 0.0),
    "annealed": (2.0, 0.0),
}
LEARNED = ("adaptive", "student_t")


# ---------------------------------------------------------------- likelihoods


class Likelihood(NamedTuple):
    """A density of transformed residuals, entry by entry.

    Attributes:
      init: `() -> params`; {} where nothing is learned.
      log_prob: `(params, z (B, H, W, C), step) -> nats`, of the same shape.
      sample: `(params, key, n, step) -> (n, H, W, C)`.
      alpha: `params -> (H, W, C)`; None where it is not learned.
    """

    init: Callable[[], PyTree]
    log_prob: Callable[[PyTree, Array, Array], Array]
    sample: Callable[[PyTree, Array, int, Array], Array]
    alpha: Callable[[PyTree], Array] | None = None


def likelihood(
    name: str,
    shape: tuple[int, int, int],
    *,
    scale: float,
    steps: int,
    alpha: tuple[float, float] = (0.001, 1.999),
    shared: bool = False,
) -> Likelihood:
    """A likelihood by name, with its scale held fixed.

    Args:
      name: one of `SCHEDULES`, or of `LEARNED`, which learn their shape.
      shape: (H, W, C) of the residuals.
      scale: c.
      steps: of the run, over which a schedule extends.
      alpha: interval of the shapes of "adaptive".
      shared: one learned shape for all entries.

    Raises:
      ValueError: another name, or values outside their range.
    """
    if name in SCHEDULES:
        if not scale > 0.0:
            raise ValueError(f"likelihood.scale={scale}: must be positive")
        first, last = SCHEDULES[name]
        now = lambda step: first + (last - first) * jnp.minimum(step / steps, 1.0)
        return Likelihood(
            dict,
            lambda params, z, step: robust.log_prob(z, now(step), scale),
            lambda params, key, n, step: robust.sample(key, now(step), scale, (n, *shape)),
        )
    if name not in LEARNED:
        raise ValueError(f"likelihood.name={name!r}: choose {', '.join((*SCHEDULES, *LEARNED))}")
    options: dict[str, Any] = {"scale_lo": scale, "scale_init": scale, "shared": shared}
    if name == "adaptive":
        options["alpha"] = tuple(alpha)
    learned = distributions.RESIDUALS[name](shape, **options)
    return Likelihood(
        learned.init,
        lambda params, z, step: learned.log_prob(params, z),
        lambda params, key, n, step: learned.sample(params, key, n),
        (lambda params: learned.parameters(params)["alpha"]) if name == "adaptive" else None,
    )


# ---------------------------------------------------------------- optimisation


class Level(NamedTuple):
    """One size of the images: (H, W), and the space and likelihood of its residuals."""

    shape: tuple[int, int]
    space: transforms.ImageSpace
    likelihood: Likelihood


class Settings(NamedTuple):
    """How a disparity is found.

    Attributes:
      coarse_steps: steps at each level but the finest.
      smoothness: weight of `roughness`.
      edge, bend: see `roughness`.
    """

    coarse_steps: int
    smoothness: float
    edge: float
    bend: float


def learner(
    levels: tuple[Level, ...],
    txs: Mapping[str, optax.GradientTransformation],
    settings: Settings,
) -> tuple[Callable[..., TrainState], Callable[..., Any]]:
    """`Method.init` and `Method.step`.

    Args:
      levels: the finest first.
      txs: optimisers of "disparity" and "likelihood".
      settings: of the loss.
    """

    def init(key: Array, batch: Any) -> TrainState:
        params: dict[str, PyTree] = {
            "disparity": tuple(jnp.zeros(level.shape, jnp.float32) for level in levels)
        }
        learned = tuple(level.likelihood.init() for level in levels)
        if jax.tree.leaves(learned):
            params["likelihood"] = learned
        return create(key, params, {name: txs[name] for name in params})

    def loss_at(k: int, params: PyTree, left: Array, right: Array, step: Array) -> Any:
        level = levels[k]
        left, right = resize(left, level.shape), resize(right, level.shape)
        disparity = disparity_at(params["disparity"], k)
        residual, inside = residuals(left, right, disparity)
        density = params["likelihood"][k] if "likelihood" in params else {}
        log_prob = level.likelihood.log_prob(density, level.space.forward(residual), step)
        photometric = -batch_mean(jnp.sum(log_prob, axis=(1, 2, 3))) / disparity.size
        smoothness = batch_mean(roughness(disparity, left, settings.edge, settings.bend))
        metrics = {
            "loss/photometric": photometric,
            "loss/smoothness": smoothness,
            "residual": batch_mean(jnp.abs(residual)),
            "outside": 1.0 - jnp.mean(inside, dtype=jnp.float32),
            "level": jnp.float32(k),
        }
        if level.likelihood.alpha is not None:
            alpha = level.likelihood.alpha(density)
            metrics |= {"alpha/mean": jnp.mean(alpha), "alpha/min": jnp.min(alpha)}
            metrics["alpha/max"] = jnp.max(alpha)
        return photometric + settings.smoothness * smoothness, metrics

    grads_at = [jax.grad(functools.partial(loss_at, k), has_aux=True) for k in range(len(levels))]

    def step(state: TrainState, batch: Any) -> tuple[TrainState, dict[str, Array]]:
        left, right = batch["left"][0], batch["right"][0]
        done = state.step // max(settings.coarse_steps, 1)
        finest_first = jnp.maximum(len(levels) - 1 - done, 0)
        k = finest_first if settings.coarse_steps else 0
        grads, metrics = jax.lax.switch(k, grads_at, state.params, left, right, state.step)
        for name in state.params:
            state = update(state, name, grads[name], txs[name])
        return finish_step(state), metrics

    return init, step
