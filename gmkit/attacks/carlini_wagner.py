"""Attacks of least perturbation by N. Carlini and D. Wagner, "Towards evaluating the robustness of
neural networks", IEEE S&P 2017: in the Euclidean and in the largest norm.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gmkit.attacks.attack import Attack, Bounds, Logits
from gmkit.attacks.losses import targeted_margin, untargeted_margin
from gmkit.attacks.rows import checked_logits, per_row, row_norm, select

_UNIT: Bounds = (0.0, 1.0)
#: Above this an upper end of the search for c has not been found yet.
_UNKNOWN = 1e10


class SearchState(NamedTuple):
    """State of both attacks; rows `(n,)` unless said.

    Attributes:
      x, labels: inputs and true labels or targets.
      z: what Adam moves, `(n, ...)`.
      adam: its moments.
      const: weight of the margin.
      low, high: ends of the search for `const`; in the largest norm `high` is the bound tau.
      hit: whether the round has succeeded.
      best: the smallest successful example, `(n, ...)`; the input where there is none.
      size: its norm, infinite where there is none.
    """

    x: jax.Array
    labels: jax.Array
    z: jax.Array
    adam: Any
    const: jax.Array
    low: jax.Array
    high: jax.Array
    hit: jax.Array
    best: jax.Array
    size: jax.Array


def carlini_wagner_l2(
    model: Logits,
    *,
    targeted: bool = False,
    confidence: float = 0.0,
    n_steps: int = 1000,
    n_searches: int = 9,
    learning_rate: float = 1e-2,
    initial_const: float = 1e-3,
    bounds: Bounds = _UNIT,
) -> Attack:
    """Smallest perturbations in the Euclidean norm, `min |x' - x|^2 + c max(margin, -confidence)`.

    `x'` is the tanh of a free variable, so it stays in the box; Adam moves it, and `c` is found by
    bisection for every image by itself (section V and the official code, without its early end).
    The smallest example on the way counts; images without one are returned as they were.

    Args:
      model: the classifier.
      targeted: whether labels are targets.
      confidence: margin by which an example must be misclassified.
      n_steps: iterations for every `c`.
      n_searches: values of `c`.
      learning_rate: of Adam.
      initial_const: the first `c`.
      bounds: of the inputs.

    Raises:
      ValueError: counts below 1.
    """
    _check(n_steps=n_steps, n_searches=n_searches)
    margin = targeted_margin if targeted else untargeted_margin
    tx = optax.adam(learning_rate)

    def loss_fn(z: jax.Array, state: SearchState) -> tuple[jax.Array, Any]:
        x_adv = _to_box(z, bounds)
        m = margin(checked_logits(model, x_adv), state.labels, jnp.inf)
        squared = jnp.sum(jnp.square(x_adv - state.x), axis=_axes(z))
        return jnp.sum(squared + state.const * jnp.maximum(m, -confidence)), (x_adv, m, squared)

    def init(key: jax.Array, x: jax.Array, labels: jax.Array) -> SearchState:
        del key
        z, n = _from_box(x, bounds), x.shape[:1]
        filled = lambda value: jnp.full(n, value, x.dtype)
        ends = (filled(initial_const), filled(0.0), filled(_UNKNOWN))
        return SearchState(x, labels, z, tx.init(z), *ends, jnp.zeros(n, bool), x, filled(jnp.inf))

    def step(state: SearchState, t: jax.Array) -> SearchState:
        grad, (x_adv, m, squared) = jax.grad(loss_fn, has_aux=True)(state.z, state)
        state = _remember(state, x_adv, m < -confidence, jnp.sqrt(squared))
        state = _adam_step(tx, state, grad)
        ends = t % n_steps == n_steps - 1
        return jax.lax.cond(ends, next_const, lambda state: state, state)

    def next_const(state: SearchState) -> SearchState:
        high = jnp.where(state.hit, jnp.minimum(state.high, state.const), state.high)
        low = jnp.where(state.hit, state.low, jnp.maximum(state.low, state.const))
        const = jnp.where(high < _UNKNOWN, 0.5 * (low + high), 10.0 * state.const)
        z = _from_box(state.x, bounds)
        hit = jnp.zeros_like(state.hit)
        return state._replace(z=z, adam=tx.init(z), const=const, low=low, high=high, hit=hit)

    return Attack("carlini_wagner_l2", init, step, lambda state: state.best, n_steps * n_searches)


def carlini_wagner_linf(
    model: Logits,
    *,
    targeted: bool = False,
    confidence: float = 0.0,
    n_steps: int = 100,
    n_rounds: int = 30,
    learning_rate: float = 5e-2,
    initial_const: float = 1e-3,
    const_factor: float = 10.0,
    largest_const: float = 20.0,
    tau_decay: float = 0.9,
    bounds: Bounds = _UNIT,
) -> Attack:
    """Smallest perturbations in the largest norm, `min c margin + sum max(0, |x' - x| - tau)`.

    Every image has its own `tau` and `c`. After a round of Adam that succeeds, `tau` falls to
    `tau_decay` times the perturbation found; after one that does not, `c` grows until
    `largest_const`, where the image is done (section VI-C). The smallest example counts; images
    without one are returned as they were.

    Args: as `carlini_wagner_l2`, and
      n_steps: iterations of a round.
      n_rounds: rounds.
      learning_rate: of Adam; the official code's 5e-3 needs its 1000 iterations a round to lift
        pixels at the ends of the box, where tanh is flat.
      const_factor: growth of `c`.
      largest_const: where it ends.
      tau_decay: of tau.

    Raises:
      ValueError: counts below 1.
    """
    _check(n_steps=n_steps, n_rounds=n_rounds)
    margin = targeted_margin if targeted else untargeted_margin
    tx = optax.adam(learning_rate)

    def loss_fn(z: jax.Array, state: SearchState) -> tuple[jax.Array, Any]:
        x_adv = _to_box(z, bounds)
        m = margin(checked_logits(model, x_adv), state.labels, jnp.inf)
        delta = x_adv - state.x
        # The root of the square has a gradient at 0 that points nowhere.
        excess = jax.nn.relu(jnp.abs(delta) - per_row(state.high, delta))
        loss = state.const * jnp.maximum(m, -confidence) + jnp.sum(excess, axis=_axes(z))
        return jnp.sum(loss), (x_adv, m, row_norm(delta, "linf"))

    def init(key: jax.Array, x: jax.Array, labels: jax.Array) -> SearchState:
        del key
        z, n = _from_box(x, bounds), x.shape[:1]
        filled = lambda value: jnp.full(n, value, x.dtype)
        ends = (filled(initial_const), filled(0.0), filled(bounds[1] - bounds[0]))
        return SearchState(x, labels, z, tx.init(z), *ends, jnp.zeros(n, bool), x, filled(jnp.inf))

    def step(state: SearchState, t: jax.Array) -> SearchState:
        grad, (x_adv, m, size) = jax.grad(loss_fn, has_aux=True)(state.z, state)
        state = _remember(state, x_adv, m < -confidence, size)
        done = state.const > largest_const
        state = _adam_step(tx, state, jnp.where(per_row(done, grad), 0.0, grad))
        ends = t % n_steps == n_steps - 1
        return jax.lax.cond(ends, next_round, lambda state: state, state)

    def next_round(state: SearchState) -> SearchState:
        # From the best example on, or from the image where there is none yet.
        z = _from_box(state.best, bounds)
        tau = jnp.where(state.hit, tau_decay * jnp.minimum(state.size, state.high), state.high)
        const = jnp.where(state.hit, state.const, const_factor * state.const)
        hit = jnp.zeros_like(state.hit)
        return state._replace(z=z, adam=tx.init(z), const=const, high=tau, hit=hit)

    return Attack("carlini_wagner_linf", init, step, lambda state: state.best, n_steps * n_rounds)


def _remember(
    state: SearchState, x_adv: jax.Array, succeeds: jax.Array, size: jax.Array
) -> SearchState:
    """The state with examples that succeed by less than any before."""
    smaller = succeeds & (size < state.size)
    best, least = select(smaller, (x_adv, size), (state.best, state.size))
    return state._replace(best=best, size=least, hit=state.hit | succeeds)


def _adam_step(
    tx: optax.GradientTransformation, state: SearchState, grad: jax.Array
) -> SearchState:
    updates, adam = tx.update(jnp.where(jnp.isfinite(grad), grad, 0.0), state.adam)
    return state._replace(z=optax.apply_updates(state.z, updates), adam=adam)


def _to_box(z: jax.Array, bounds: Bounds) -> jax.Array:
    low, high = bounds
    return low + 0.5 * (high - low) * (jnp.tanh(z) + 1.0)


def _from_box(x: jax.Array, bounds: Bounds) -> jax.Array:
    low, high = bounds
    # Short of the corners, where the inverse is infinite.
    return jnp.arctanh(0.999999 * (2.0 * (x - low) / (high - low) - 1.0))


def _axes(z: jax.Array) -> tuple[int, ...]:
    return tuple(range(1, z.ndim))


def _check(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name}={count}: must be positive")
