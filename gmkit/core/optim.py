"""Optimisers by name, the schedules they follow, and gradient transformations."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, cast, get_args

import jax
import jax.numpy as jnp
import optax

ScheduleName = Literal["constant", "cosine", "late_cosine", "linear", "exponential_steps"]
GradTransform = Literal["none", "clip", "robust"]


# ---------------------------------------------------------------- gradient transformations


def robust() -> optax.GradientTransformation:
    """Entry-wise `g -> 2 g / (1 + g^2)`; a tensor with a non-finite entry becomes zero.

    Odd, bounded by 1 and re-descending: very large entries are sent towards 0 (official code of
    Arbel et al. 2021).
    """

    def transform(g: jax.Array) -> jax.Array:
        finite = jnp.all(jnp.isfinite(g))
        return jnp.where(finite, 2.0 * g / (1.0 + jnp.square(g)), 0.0)

    return optax.stateless(lambda grads, _: jax.tree.map(transform, grads))


def robust_log_partition(smallest_mass: float = 1e-6) -> optax.GradientTransformation:
    """`g -> g / (1 - g)` for the gradient of a log-partition c in the KALE loss.

    That gradient is `g = 1 - m`, `m = mean exp(-(E_fake + c))`, so the result is `1/m - 1`: of
    order one where m is huge. A non-finite tensor becomes zero (official code of Arbel et al.
    2021).

    Args:
      smallest_mass: m is taken to be at least this, which bounds the result.
    """

    def transform(g: jax.Array) -> jax.Array:
        finite = jnp.all(jnp.isfinite(g))
        return jnp.where(finite, g / jnp.maximum(1.0 - g, smallest_mass), 0.0)

    return optax.stateless(lambda grads, _: jax.tree.map(transform, grads))


def scale_by_factor() -> optax.GradientTransformationExtraArgs:
    """Multiplies updates by the extra argument `lr_factor`, where one is given.

    It lets a rule that runs outside the optimiser (on the step of another player, or on the host)
    decay the learning rate through `core.state.update(..., lr_factor=...)`.
    """

    def update(
        updates: optax.Updates,
        state: optax.OptState,
        params: optax.Params | None = None,
        *,
        lr_factor: jax.Array | float | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, optax.OptState]:
        if lr_factor is not None:
            updates = jax.tree.map(lambda u: u * jnp.asarray(lr_factor, u.dtype), updates)
        return updates, state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


class AdaShiftState(NamedTuple):
    """What `scale_by_adashift` remembers.

    Attributes:
      previous: the gradient of the update before.
      second: one running second moment per tensor, float32 scalars.
    """

    previous: optax.Updates
    second: optax.Updates


def scale_by_adashift(b2: float = 0.999, eps: float = 1e-8) -> optax.GradientTransformation:
    """AdaShift without a first moment: `g_t / (sqrt(v_t) + eps)` with one `v` per tensor.

    `v_t = max(b2 v_{t-1}, mean(g_{t-1}^2))` sees gradients up to the one before, so that the
    scale of an update is independent of its direction (Zhou et al. 2019, "AdaShift"; its form
    with beta_1 = 0 in the official code of Lipschitz GANs). While `v` is 0 the update is 0: the
    first one always, and later ones as long as all gradients before were 0.

    Args:
      b2: decay of the second moment.
      eps: added to its root.
    """

    def init(params: optax.Params) -> AdaShiftState:
        return AdaShiftState(
            jax.tree.map(jnp.zeros_like, params),
            jax.tree.map(lambda p: jnp.zeros((), jnp.float32), params),
        )

    def update(
        updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, AdaShiftState]:
        del params
        memory = cast(AdaShiftState, state)

        def moment(v: jax.Array, g: jax.Array) -> jax.Array:
            return jnp.maximum(b2 * v, jnp.mean(jnp.square(g.astype(jnp.float32))))

        def scale(g: jax.Array, v: jax.Array) -> jax.Array:
            factor = jnp.where(v > 0.0, 1.0 / (jnp.sqrt(v) + eps), 0.0)
            return g * factor.astype(g.dtype)

        second = jax.tree.map(moment, memory.second, memory.previous)
        return jax.tree.map(scale, updates, second), AdaShiftState(updates, second)

    return optax.GradientTransformation(init, update)


# ---------------------------------------------------------------- schedules


def decay_boundaries(total_steps: int, every: int = 5000, but: int = 2000) -> tuple[int, ...]:
    """Steps up to `total_steps` divisible by `every` and not by `but`.

    With the defaults, at 5k, 15k, 25k, ...: where the official code of Arbel et al. 2021 decays
    its learning rates.
    """
    return tuple(t for t in range(every, total_steps + 1, every) if t % but)


def learning_rate_schedule(
    name: ScheduleName,
    value: float,
    total_steps: int | None = None,
    *,
    factor: float = 0.8,
    every: int = 5000,
    but: int = 2000,
) -> optax.Schedule:
    """A learning rate as a function of the number of steps.

    Args:
      name: "constant"; "cosine" or "linear", both to 0 at `total_steps`; "late_cosine", constant
        but for a cosine to 0 over the last fifth; "exponential_steps", multiplied by `factor` at
        every one of `decay_boundaries(total_steps, every, but)`.
      value: rate at the start.
      total_steps: horizon, needed by all but "constant".
      factor: see "exponential_steps".
      every: see `decay_boundaries`.
      but: see `decay_boundaries`.

    Raises:
      ValueError: unknown name, or a schedule that needs `total_steps` without one.
    """
    if name == "constant":
        return optax.constant_schedule(value)
    if name not in get_args(ScheduleName):
        raise ValueError(f"schedule={name!r}: choose {', '.join(get_args(ScheduleName))}")
    if not total_steps or total_steps < 1:
        raise ValueError(f"schedule={name!r} needs total_steps >= 1, got {total_steps}")
    if name == "cosine":
        return optax.cosine_decay_schedule(value, total_steps)
    if name == "late_cosine":
        start = total_steps * 4 // 5
        tail = optax.cosine_decay_schedule(value, total_steps - start)
        return optax.join_schedules([optax.constant_schedule(value), tail], [start])
    if name == "linear":
        return optax.linear_schedule(value, 0.0, total_steps)
    boundaries = decay_boundaries(total_steps, every, but)
    return optax.piecewise_constant_schedule(value, dict.fromkeys(boundaries, factor))


# ---------------------------------------------------------------- optimisers


def optimizer(
    name: Literal["adam", "adashift", "rmsprop", "sgd"] = "adam",
    learning_rate: float | optax.Schedule = 1e-4,
    b1: float = 0.9,
    b2: float = 0.999,
    schedule: ScheduleName = "constant",
    total_steps: int | None = None,
    clip: float | None = None,
    grad_transform: GradTransform = "none",
    weight_decay: float = 0.0,
    eps: float = 1e-8,
) -> optax.GradientTransformationExtraArgs:
    """An optimiser: gradient transformation, direction, decoupled weight decay, learning rate.

    Its `update` takes an optional `lr_factor` (`scale_by_factor`).

    Args:
      name: "adam"; "adashift" (`scale_by_adashift`; `b1` is not used); "rmsprop" (decay `b2`);
        "sgd" (no momentum; `b1` and `b2` are not used).
      learning_rate: rate at the start, or a schedule of the optimiser's own update count.
      b1: decay of Adam's first moment.
      b2: decay of the second moment.
      schedule: see `learning_rate_schedule`; counts this optimiser's updates.
      total_steps: number of updates the schedule runs over.
      clip: largest global norm of the gradient, for `grad_transform="clip"` only.
      grad_transform: "none", "clip" (by global norm) or "robust" (`robust`).
      weight_decay: decoupled decay per update, relative to the learning rate (AdamW).
      eps: added to the root of the second moment.

    Raises:
      ValueError: an unknown name, or a combination that has no meaning.
    """
    directions = {
        "adam": lambda: optax.scale_by_adam(b1=b1, b2=b2, eps=eps),
        "adashift": lambda: scale_by_adashift(b2=b2, eps=eps),
        "rmsprop": lambda: optax.scale_by_rms(decay=b2, eps=eps),
        "sgd": optax.identity,
    }
    if name not in directions:
        raise ValueError(f"optimizer name={name!r}: choose {', '.join(directions)}")
    if callable(learning_rate) and schedule != "constant":
        raise ValueError(f"learning_rate is a schedule already; drop schedule={schedule!r}")
    rate = (
        learning_rate
        if callable(learning_rate)
        else learning_rate_schedule(schedule, learning_rate, total_steps)
    )
    decay = optax.add_decayed_weights(weight_decay) if weight_decay else optax.identity()
    return optax.chain(
        _transform(grad_transform, clip),
        directions[name](),
        decay,
        optax.scale_by_learning_rate(rate),
        scale_by_factor(),
    )


def _transform(name: GradTransform, clip: float | None) -> optax.GradientTransformation:
    if name == "none":
        return optax.identity()
    if name == "robust":
        return robust()
    if name != "clip":
        raise ValueError(f"grad_transform={name!r}: choose none, clip or robust")
    if clip is None or clip <= 0:
        raise ValueError(f"grad_transform='clip' needs clip > 0, got clip={clip}")
    return optax.clip_by_global_norm(clip)
