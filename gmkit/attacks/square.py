"""The square attack, which only asks: M. Andriushchenko, F. Croce, N. Flammarion, M. Hein, "Square
Attack: a query-efficient black-box adversarial attack via random search", ECCV 2020.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gmkit.attacks.attack import Attack, Bounds, Logits
from gmkit.attacks.losses import objective
from gmkit.attacks.rows import checked_logits, fooled, project, select
from gmkit.core.parallel import example_keys

#: Of 10 000 queries, those after which the share of pixels in a square is halved.
_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


class SquareState(NamedTuple):
    """Inputs, labels, and the best examples with their loss and whether they succeed."""

    key: jax.Array
    x: jax.Array
    labels: jax.Array
    best: jax.Array
    loss: jax.Array
    fooled: jax.Array


def square(
    model: Logits,
    *,
    epsilon: float,
    n_queries: int = 5000,
    share: float = 0.8,
    targeted: bool = False,
    bounds: Bounds = (0.0, 1.0),
) -> Attack:
    """Random search in the largest norm by squares of +-epsilon; needs no gradient.

    It starts from vertical stripes. A square of new signs, one per channel, is kept where it raises
    the margin; images that are fooled already stay as they are.

    Args:
      model: the classifier.
      epsilon: radius of the ball.
      n_queries: examples shown to the model for every image.
      share: of the pixels that lie in the first squares; it falls as published.
      targeted: whether labels are targets.
      bounds: of the inputs.

    Raises:
      ValueError: fewer than 2 queries.
    """
    if n_queries < 2:
        raise ValueError(f"n_queries={n_queries}: take at least 2")
    raised = objective("margin", targeted)
    halvings = np.asarray(_HALVINGS) * n_queries / 10_000

    def judged(x_adv: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits = checked_logits(model, x_adv)
        return raised(logits, labels), fooled(logits, labels, targeted)

    def init(key: jax.Array, x: jax.Array, labels: jax.Array) -> SquareState:
        stripes = jax.vmap(lambda k: _signs(k, (1, *_shape(x)[1:])))(
            example_keys(jax.random.fold_in(key, n_queries), len(x))
        )
        start = x + epsilon * jnp.broadcast_to(stripes, (len(x), *_shape(x))).reshape(x.shape)
        start = project(start, x, epsilon, "linf", bounds)
        return SquareState(key, x, labels, start, *judged(start, labels))

    def step(state: SquareState, t: jax.Array) -> SquareState:
        x, shape = state.x, _shape(state.x)
        p = share / 2.0 ** jnp.sum(t >= jnp.asarray(halvings))
        side = jnp.round(jnp.sqrt(p * shape[0] * shape[1])).astype(jnp.int32)
        side = jnp.clip(side, 1, max(max(shape[:2]) - 1, 1))
        keys = example_keys(jax.random.fold_in(state.key, t), len(x))
        change = jax.vmap(lambda key: _square(key, shape, side))(keys)
        tried = state.best + 2.0 * epsilon * change.reshape(x.shape)
        tried = project(tried, x, epsilon, "linf", bounds)
        loss, hit = judged(tried, state.labels)
        kept = ~state.fooled & ((loss > state.loss) | hit)
        old = (state.best, state.loss, state.fooled)
        return SquareState(state.key, x, state.labels, *select(kept, (tried, loss, hit), old))

    return Attack("square", init, step, lambda state: state.best, n_queries - 1)


def _shape(x: jax.Array) -> tuple[int, ...]:
    """Height, width and channels of a row; vectors are columns of one pixel's width."""
    return x.shape[1:] if x.ndim == 4 else (int(np.prod(x.shape[1:])), 1, 1)


def _signs(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return jnp.where(jax.random.bernoulli(key, 0.5, shape), 1.0, -1.0)


def _square(key: jax.Array, shape: tuple[int, ...], side: Any) -> jax.Array:
    """`+-1` per channel in a random square of the image, 0 elsewhere."""
    row_key, column_key, sign_key = jax.random.split(key, 3)
    masks = []
    for place_key, length in ((row_key, shape[0]), (column_key, shape[1])):
        inside = jnp.minimum(side, length)
        first = jax.random.randint(place_key, (), 0, length - inside + 1)
        at = jnp.arange(length)
        masks.append((at >= first) & (at < first + inside))
    mask = masks[0][:, None] & masks[1][None]
    return mask[..., None] * _signs(sign_key, (1, 1, shape[2]))
