"""Attacks without settings, by F. Croce and M. Hein, "Reliable evaluation of adversarial robustness
with an ensemble of diverse parameter-free attacks", ICML 2020: APGD, and the ensemble.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gmkit.attacks.attack import Attack, Bounds, Logits, attack_images
from gmkit.attacks.losses import Loss, objective, targeted_dlr
from gmkit.attacks.rows import (
    Best,
    Norm,
    better,
    checked_logits,
    direction,
    fooled,
    nothing_yet,
    per_row,
    project,
    random_start,
    select,
    with_gradient,
)
from gmkit.attacks.square import square

_UNIT: Bounds = (0.0, 1.0)
_MOMENTUM, _ENOUGH = 0.75, 0.75


class APGDState(NamedTuple):
    """State of APGD; rows `(n,)` unless said.

    Attributes:
      key, x, labels: what `init` was given.
      ranks: classes by falling clean logit, the true one left out, `(n, runs)`; or None.
      now, before: the current points and those before, `(n, ...)`.
      value: the loss at `before`.
      rate: step sizes.
      rises: steps since the last checkpoint that raised the loss.
      at_check: the run's best loss at the last checkpoint.
      halved: whether that checkpoint halved the step.
      run_best: the run's point of largest loss.
      best: the strongest example of all runs.
    """

    key: jax.Array
    x: jax.Array
    labels: jax.Array
    ranks: Any
    now: jax.Array
    before: jax.Array
    value: jax.Array
    rate: jax.Array
    rises: jax.Array
    at_check: jax.Array
    halved: jax.Array
    run_best: Best
    best: Best


def checkpoints(n_steps: int) -> np.ndarray:
    """Iterations at which the step size may be halved, increasing, up to `n_steps`.

    `p_1 = 0.22, p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06)`, times `n_steps`, rounded up.
    """
    p = [0.0, 0.22]
    while p[-1] < 1.0:
        p.append(p[-1] + max(p[-1] - p[-2] - 0.03, 0.06))
    # Rounded, because sums of decimals are not exact.
    return np.unique([math.ceil(round(v * n_steps, 6)) for v in p[1:] if v <= 1.0])


def apgd(
    model: Logits,
    *,
    epsilon: float,
    n_steps: int = 100,
    loss: str | Loss = "cross_entropy",
    norm: Norm = "linf",
    targeted: bool = False,
    restarts: int = 1,
    bounds: Bounds = _UNIT,
) -> Attack:
    """Auto-PGD: momentum, and a step size that halves where the loss stalls (algorithm 1).

    Args:
      model: the classifier.
      epsilon: radius of the ball.
      n_steps: steps of one run.
      loss: "cross_entropy", "dlr" or another of `losses.objective`.
      norm: of the ball, "linf" or "l2".
      targeted: whether labels are targets.
      restarts: runs from random points, of which each image keeps the worst.
      bounds: of the inputs.

    Raises:
      ValueError: an unknown loss, or counts below 1.
    """
    raised = objective(loss, targeted)
    success = lambda logits, labels: fooled(logits, labels, targeted)
    return _apgd("apgd", model, raised, success, epsilon, n_steps, norm, restarts, False, bounds)


def apgd_targeted(
    model: Logits,
    *,
    epsilon: float,
    n_steps: int = 100,
    n_targets: int = 9,
    norm: Norm = "linf",
    bounds: Bounds = _UNIT,
) -> Attack:
    """Untargeted, by APGD towards each of the `n_targets` likeliest wrong classes in turn.

    It climbs `targeted_dlr`; labels are the true ones.

    Args: as `apgd`, and
      n_targets: at most the number of classes less one.

    Raises:
      ValueError: counts below 1; fewer than 4 classes, or than there are targets.
    """
    raised = lambda logits, labels: targeted_dlr(logits, labels[1], labels[0])
    success = lambda logits, labels: fooled(logits, labels[0], False)
    return _apgd(
        "apgd_targeted", model, raised, success, epsilon, n_steps, norm, n_targets, True, bounds
    )


def _apgd(
    name: str,
    model: Logits,
    raised: Callable[[jax.Array, Any], jax.Array],
    success: Callable[[jax.Array, Any], jax.Array],
    epsilon: float,
    n_steps: int,
    norm: Norm,
    runs: int,
    by_rank: bool,
    bounds: Bounds,
) -> Attack:
    for field, count in (("n_steps", n_steps), ("restarts or n_targets", runs)):
        if count < 1:
            raise ValueError(f"{field}={count}: must be positive")
    evaluate = with_gradient(model, raised)
    checks = checkpoints(n_steps)
    is_check = np.isin(np.arange(n_steps + 1), checks)
    # Steps since the checkpoint before, at every iteration.
    since = np.arange(n_steps + 1) - np.array(
        [max([0, *checks[checks < i]]) for i in range(n_steps + 1)]
    )
    # A run ends by an evaluation of its last point.
    period = n_steps + 1

    def started(state: APGDState, run: Any) -> APGDState:
        x, n = state.x, state.x.shape[:1]
        start = random_start(jax.random.fold_in(state.key, run), x, epsilon, norm, bounds)
        return state._replace(
            now=start,
            before=start,
            value=jnp.full(n, -jnp.inf),
            rate=jnp.full(n, 2.0 * epsilon),
            rises=jnp.zeros(n),
            at_check=jnp.full(n, -jnp.inf),
            halved=jnp.ones(n, bool),
            run_best=nothing_yet(x),
        )

    def init(key: jax.Array, x: jax.Array, labels: jax.Array) -> APGDState:
        ranks = None
        if by_rank:
            logits = checked_logits(model, x)
            if logits.shape[-1] <= runs:
                raise ValueError(
                    f"n_targets={runs}: the model has {logits.shape[-1]} classes; take fewer"
                )
            own = labels[:, None] == jnp.arange(logits.shape[-1])[None]
            ranks = jax.lax.top_k(jnp.where(own, -jnp.inf, logits), runs)[1]
        nothing = jnp.zeros(x.shape[:1])
        empty = APGDState(
            *(key, x, labels, ranks, x, x, nothing, nothing, nothing, nothing),
            *(nothing > 0, nothing_yet(x), nothing_yet(x)),
        )
        return started(empty, 0)

    def step(state: APGDState, t: jax.Array) -> APGDState:
        run, i = t // period, t % period
        labels = state.labels
        if by_rank:
            labels = (labels, jnp.take(state.ranks, run, axis=1).astype(labels.dtype))
        values, logits, grad = evaluate(state.now, labels)
        found = Best(state.now, success(logits, labels), values)
        higher = values > state.run_best.loss
        state = state._replace(
            best=better(found, state.best),
            run_best=select(higher, found, state.run_best),
            rises=state.rises + (values > state.value),
            value=values,
        )
        state, grad_point = check(state, i)
        moved = advance(state, jnp.where(per_row(grad_point, grad), 0.0, grad), i)
        return jax.lax.cond(i == period - 1, lambda: started(state, run + 1), lambda: moved)

    def check(state: APGDState, i: jax.Array) -> tuple[APGDState, jax.Array]:
        """Halves steps at checkpoints where the loss stalls, and goes back to the best point."""
        stalled = state.rises < _ENOUGH * jnp.asarray(since, jnp.float32)[i]
        stuck = ~state.halved & (state.at_check >= state.run_best.loss)
        here = jnp.asarray(is_check)[i]
        halve = here & (stalled | stuck)
        back = select(halve, state.run_best.x, state.now)
        return state._replace(
            now=back,
            before=select(halve, back, state.before),
            value=select(halve, state.run_best.loss, state.value),
            rate=jnp.where(halve, 0.5 * state.rate, state.rate),
            rises=jnp.where(here, 0.0, state.rises),
            at_check=jnp.where(here, state.run_best.loss, state.at_check),
            halved=jnp.where(here, halve, state.halved),
        ), halve

    def advance(state: APGDState, grad: jax.Array, i: jax.Array) -> APGDState:
        x, now = state.x, state.now
        inside = lambda z: project(z, x, epsilon, norm, bounds)
        z = inside(now + per_row(state.rate, now) * direction(grad, norm))
        share = jnp.where(i == 0, 1.0, _MOMENTUM)
        after = inside(now + share * (z - now) + (1.0 - share) * (now - state.before))
        return state._replace(now=after, before=now)

    return Attack(name, init, step, lambda state: state.best.x, runs * period)


def auto_attack(
    model: Logits,
    key: jax.Array,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    epsilon: float,
    n_steps: int = 100,
    n_targets: int = 9,
    n_queries: int = 5000,
    bounds: Bounds = _UNIT,
    batch_size: int = 256,
) -> np.ndarray:
    """The worst of APGD on the cross-entropy, targeted APGD on the DLR, and Square.

    The published ensemble without FAB; every attack sees what the ones before have left.

    Args:
      model: the classifier, of at least 4 classes.
      key: typed key.
      images: inputs within `bounds`, host array `(n, ...)`.
      labels: true labels `(n,)`.
      epsilon: radius of the ball in the largest norm.
      n_steps: of each APGD.
      n_targets: of the targeted one.
      n_queries: of Square.
      bounds: of the inputs.
      batch_size: rows of a batch.

    Returns:
      Examples, host float32; images that withstand all attacks are those of the last one.
    """
    ensemble = (
        apgd(model, epsilon=epsilon, n_steps=n_steps, bounds=bounds),
        apgd_targeted(model, epsilon=epsilon, n_steps=n_steps, n_targets=n_targets, bounds=bounds),
        square(model, epsilon=epsilon, n_queries=n_queries, bounds=bounds),
    )
    predict = jax.jit(lambda x: jnp.argmax(model(x), axis=-1))
    found = np.array(images, np.float32)
    labels = np.asarray(labels)

    def right(rows: np.ndarray) -> np.ndarray:
        return rows[
            np.concatenate([np.asarray(predict(found[r])) for r in _chunks(rows)]) == labels[rows]
        ]

    left = right(np.arange(len(found))) if len(found) else np.arange(0)
    for i, attack in enumerate(ensemble):
        if not len(left):
            break
        attack_key = jax.random.fold_in(key, i)
        found[left] = attack_images(
            attack, attack_key, np.asarray(images, np.float32)[left], labels[left], batch_size
        )
        left = right(left)
    return found


def _chunks(rows: np.ndarray, size: int = 1000) -> list[np.ndarray]:
    return [rows[i : i + size] for i in range(0, len(rows), size)]
