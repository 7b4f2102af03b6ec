"""Attacks by steps along the gradient's sign: FGSM, RAND+FGSM, BIM, PGD and MI-FGSM."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gmkit.attacks.attack import Attack, Bounds, Logits, no_step
from gmkit.attacks.losses import Loss, objective
from gmkit.attacks.rows import (
    Best,
    Norm,
    better,
    direction,
    fooled,
    nothing_yet,
    per_row,
    project,
    random_start,
    with_gradient,
)
from gmkit.core.parallel import example_normal

_UNIT: Bounds = (0.0, 1.0)


def fgsm(
    model: Logits,
    *,
    epsilon: float,
    targeted: bool = False,
    loss: str | Loss = "cross_entropy",
    bounds: Bounds = _UNIT,
) -> Attack:
    """Fast gradient sign method, `x + epsilon sign(grad)`, cut to the box; Goodfellow et al. 2015.

    Args:
      model: the classifier.
      epsilon: size of the perturbation, in units of the input.
      targeted: whether labels are targets.
      loss: see `losses.objective`.
      bounds: of the inputs.

    Raises:
      ValueError: an unknown loss.
    """
    evaluate = with_gradient(model, objective(loss, targeted))

    def init(key: jax.Array, x: jax.Array, labels: jax.Array) -> jax.Array:
        del key
        return _sign_step(evaluate, x, x, labels, epsilon, epsilon, bounds)

    return Attack("fgsm", init, no_step, lambda x_adv: x_adv, 0)


def random_fgsm(
    model: Logits,
    *,
    epsilon: float,
    alpha: float,
    targeted: bool = False,
    loss: str | Loss = "cross_entropy",
    bounds: Bounds = _UNIT,
) -> Attack:
    """A step `alpha` of random signs, then one of `epsilon - alpha`; Tramer et al. 2018.

    Args: as `fgsm`, and
      alpha: size of the random step, at most `epsilon`.

    Raises:
      ValueError: an unknown loss, or `alpha` outside [0, epsilon].
    """
    if not 0 <= alpha <= epsilon:
        raise ValueError(f"alpha={alpha} must lie between 0 and epsilon={epsilon}")
    evaluate = with_gradient(model, objective(loss, targeted))

    def init(key: jax.Array, x: jax.Array, labels: jax.Array) -> jax.Array:
        signs = jnp.sign(example_normal(key, x.shape[0], x.shape[1:]))
        start = project(x + alpha * signs, x, epsilon, "linf", bounds)
        return _sign_step(evaluate, start, x, labels, epsilon - alpha, epsilon, bounds)

    return Attack("random_fgsm", init, no_step, lambda x_adv: x_adv, 0)


def _sign_step(
    evaluate: Any,
    start: jax.Array,
    x: jax.Array,
    labels: jax.Array,
    step_size: float,
    epsilon: float,
    bounds: Bounds,
) -> jax.Array:
    grad = evaluate(start, labels)[-1]
    return project(start + step_size * jnp.sign(grad), x, epsilon, "linf", bounds)


class DescentState(NamedTuple):
    """State of `pgd`: inputs, labels, the current examples, and the best of earlier runs."""

    key: jax.Array
    x: jax.Array
    labels: jax.Array
    x_adv: jax.Array
    best: Best | None


def pgd(
    model: Logits,
    *,
    epsilon: float,
    step_size: float,
    n_steps: int,
    loss: str | Loss = "cross_entropy",
    norm: Norm = "linf",
    targeted: bool = False,
    random_start: bool = True,
    restarts: int = 1,
    bounds: Bounds = _UNIT,
) -> Attack:
    """Projected gradient descent; Madry et al. 2018.

    Every step goes `step_size` along the gradient's sign (its direction for "l2"), then back
    into the ball and the box. The last point counts, not the best one on the way.

    Args:
      model: the classifier.
      epsilon: radius of the ball.
      step_size: length of a step, in `norm`.
      n_steps: steps of one run.
      loss: see `losses.objective`.
      norm: of the ball, "linf" or "l2".
      targeted: whether labels are targets.
      random_start: start uniformly in the ball; else at the input.
      restarts: runs, of which each image keeps the worst: one that succeeds, then larger loss.
      bounds: of the inputs.

    Raises:
      ValueError: an unknown loss or norm, counts below 1, or restarts that all start alike.
    """
    _check(norm, n_steps=n_steps, restarts=restarts)
    if restarts > 1 and not random_start:
        raise ValueError(f"restarts={restarts} repeat themselves: set random_start=True")
    evaluate = with_gradient(model, objective(loss, targeted))
    # With restarts a run ends by an evaluation of its last point.
    period = n_steps + (restarts > 1)

    def start(key: jax.Array, x: jax.Array, run: Any) -> jax.Array:
        return _start(jax.random.fold_in(key, run), x, epsilon, norm, bounds, random_start)

    def init(key: jax.Array, x: jax.Array, labels: jax.Array) -> DescentState:
        best = nothing_yet(x) if restarts > 1 else None
        return DescentState(key, x, labels, start(key, x, 0), best)

    def step(state: DescentState, t: jax.Array) -> DescentState:
        key, x, labels, x_adv, best = state
        values, logits, grad = evaluate(x_adv, labels)
        moved = project(x_adv + step_size * direction(grad, norm), x, epsilon, norm, bounds)
        if best is None:
            return state._replace(x_adv=moved)
        ends = t % period == period - 1
        won = better(Best(x_adv, fooled(logits, labels, targeted), values), best)
        best = jax.tree.map(lambda a, b: jnp.where(ends, a, b), won, best)
        x_adv = jax.lax.cond(ends, lambda: start(key, x, t // period + 1), lambda: moved)
        return DescentState(key, x, labels, x_adv, best)

    def result(state: DescentState) -> jax.Array:
        return state.x_adv if state.best is None else state.best.x

    return Attack("pgd", init, step, result, restarts * period)


def bim(
    model: Logits,
    *,
    epsilon: float,
    step_size: float,
    n_steps: int,
    loss: str | Loss = "cross_entropy",
    targeted: bool = False,
    bounds: Bounds = _UNIT,
) -> Attack:
    """Basic iterative method: `pgd` in the largest norm from the input; Kurakin et al. 2017."""
    attack = pgd(
        model,
        epsilon=epsilon,
        step_size=step_size,
        n_steps=n_steps,
        loss=loss,
        targeted=targeted,
        random_start=False,
        bounds=bounds,
    )
    return attack._replace(name="bim")


class MomentumState(NamedTuple):
    """State of `mi_fgsm`: inputs, labels, the current examples and the sum of gradients."""

    x: jax.Array
    labels: jax.Array
    x_adv: jax.Array
    momentum: jax.Array


def mi_fgsm(
    model: Logits,
    *,
    epsilon: float,
    n_steps: int = 10,
    step_size: float | None = None,
    decay: float = 1.0,
    loss: str | Loss = "cross_entropy",
    targeted: bool = False,
    bounds: Bounds = _UNIT,
) -> Attack:
    """Momentum iterative FGSM, whose examples transfer better; Dong et al. 2018, algorithm 1.

    `g' = decay g + grad / |grad|_1`, then a step along the sign of `g'`.

    Args: as `pgd`, and
      step_size: `epsilon / n_steps` if not given.
      decay: of the sum of gradients.

    Raises:
      ValueError: an unknown loss, or `n_steps` below 1.
    """
    _check("linf", n_steps=n_steps)
    length = epsilon / n_steps if step_size is None else step_size
    evaluate = with_gradient(model, objective(loss, targeted))

    def init(key: jax.Array, x: jax.Array, labels: jax.Array) -> MomentumState:
        del key
        return MomentumState(x, labels, x, jnp.zeros_like(x))

    def step(state: MomentumState, t: jax.Array) -> MomentumState:
        del t
        x, labels, x_adv, momentum = state
        grad = evaluate(x_adv, labels)[-1]
        size = jnp.sum(jnp.abs(grad), axis=tuple(range(1, grad.ndim)))
        momentum = decay * momentum + grad / per_row(jnp.where(size > 0, size, 1.0), grad)
        x_adv = project(x_adv + length * jnp.sign(momentum), x, epsilon, "linf", bounds)
        return MomentumState(x, labels, x_adv, momentum)

    return Attack("mi_fgsm", init, step, lambda state: state.x_adv, n_steps)


def _start(
    key: jax.Array, x: jax.Array, epsilon: float, norm: Norm, bounds: Bounds, random: bool
) -> jax.Array:
    return random_start(key, x, epsilon, norm, bounds) if random else x


def _check(norm: str, **counts: int) -> None:
    if norm not in ("linf", "l2"):
        raise ValueError(f"norm={norm!r}: choose linf or l2")
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name}={count}: must be positive")
