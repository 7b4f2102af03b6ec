"""What attacks climb: losses of logits `(n, K)` and int32 labels `(n,)`, one number per row.

A loss is large where the label is wrong. An untargeted attack raises it at the true labels, a
targeted attack lowers it at the targets. Margins are of logits, never of probabilities, whose
gradients vanish where the classifier is sure.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

Loss = Callable[[jax.Array, jax.Array], jax.Array]


def _own_and_other(logits: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The label's logit and the largest of all others, `(n,)` each."""
    own = labels[:, None] == jnp.arange(logits.shape[-1])[None]
    other = jnp.max(jnp.where(own, -jnp.inf, logits), axis=-1)
    return jnp.sum(jnp.where(own, logits, 0.0), axis=-1), other


def margin(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """`max_{i != y} f_i - f_y`, `(n,)`: positive where the label does not win."""
    own, other = _own_and_other(logits, labels)
    return other - own


def untargeted_margin(logits: jax.Array, labels: jax.Array, confidence: float = 0.0) -> jax.Array:
    """`max(f_y - max_{i != y} f_i, -confidence)`, `(n,)`, which an untargeted attack lowers.

    Carlini & Wagner (2017). The loss that the attacks of Madry et al. (2018) raise is
    `lambda logits, labels: -untargeted_margin(logits, labels, 50.0)`.
    """
    return jnp.maximum(-margin(logits, labels), -confidence)


def targeted_margin(logits: jax.Array, targets: jax.Array, confidence: float = 0.0) -> jax.Array:
    """`max(max_{i != t} f_i - f_t, -confidence)`, `(n,)`, which a targeted attack lowers."""
    return jnp.maximum(margin(logits, targets), -confidence)


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """`log sum_i exp f_i - f_y` in nats, `(n,)`."""
    return jax.nn.logsumexp(logits, axis=-1) - _own_and_other(logits, labels)[0]


def dlr(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Difference of logits ratio, `(max_{i != y} f_i - f_y) / (f_(1) - f_(3))`, `(n,)`.

    `f_(k)` is the k-th largest logit; invariant to shifts and scales of the logits. Croce & Hein
    (2020), equation 6.

    Raises:
      ValueError: fewer than 3 classes.
    """
    first, _, third = _largest(logits, 3, "dlr")
    return margin(logits, labels) / (first - third + 1e-12)


def targeted_dlr(
    logits: jax.Array, targets: jax.Array, labels: jax.Array | None = None
) -> jax.Array:
    """`(f_t - f_y) / (f_(1) - (f_(3) + f_(4)) / 2)`, `(n,)`, which a targeted attack *raises*.

    Croce & Hein (2020), equation 7. Without `labels`, `y` is the best class beside the target.

    Raises:
      ValueError: fewer than 4 classes.
    """
    first, _, third, fourth = _largest(logits, 4, "targeted_dlr")
    target, other = _own_and_other(logits, targets)
    if labels is not None:
        other, _ = _own_and_other(logits, labels)
    return (target - other) / (first - 0.5 * (third + fourth) + 1e-12)


def _largest(logits: jax.Array, k: int, name: str) -> list[jax.Array]:
    """The `k` largest logits of every row, in falling order."""
    if logits.shape[-1] < k:
        raise ValueError(
            f"loss {name!r} needs {k} classes, the model has {logits.shape[-1]}: use 'margin'"
        )
    top, _ = jax.lax.top_k(logits, k)
    return [top[:, i] for i in range(k)]


LOSSES: dict[str, Loss] = {
    "cross_entropy": cross_entropy,
    "dlr": dlr,
    "margin": margin,
    "targeted_dlr": targeted_dlr,
}


def objective(loss: str | Loss, targeted: bool) -> Loss:
    """What an attack raises: the loss at true labels, or its negative at targets.

    Args:
      loss: a name of `LOSSES`, or a function of (logits, labels) that is large where the label
        is wrong.
      targeted: whether labels are targets.

    Raises:
      ValueError: an unknown name, or "targeted_dlr" for an attack without targets.
    """
    if loss == "targeted_dlr":
        if not targeted:
            raise ValueError("loss='targeted_dlr' needs targeted=True; use 'dlr'")
        return targeted_dlr
    if isinstance(loss, str):
        if loss not in LOSSES:
            raise ValueError(f"loss={loss!r}: choose one of {', '.join(LOSSES)} or give a function")
        loss = LOSSES[loss]
    chosen = loss
    return (lambda logits, labels: -chosen(logits, labels)) if targeted else chosen
