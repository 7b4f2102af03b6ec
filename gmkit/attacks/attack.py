"""Attacks as groups of pure functions, in the manner of optax, and what runs them.

An attack is made for one classifier, any function `x (n, ...) -> logits (n, K)`::

    attack = pgd(model, epsilon=0.3, step_size=0.01, n_steps=40)
    x_adv = perturb(attack, key, x, labels)                  # traceable: one scan
    x_adv = attack_images(attack, key, images, labels)       # a whole test set of host arrays

Labels are int32 `(n,)`; those given to a targeted attack are the targets. Rows are independent.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Logits = Callable[[jax.Array], jax.Array]
Bounds = tuple[float, float]


def to_unit(x: Any) -> Any:
    """Images from [-1, 1], as data sets decode them, to [0, 1], where attacks are measured."""
    return 0.5 * (x + 1.0)


def from_unit(x: Any) -> Any:
    """Images from [0, 1] to [-1, 1]."""
    return 2.0 * x - 1.0


class Attack(NamedTuple):
    """An iterative attack on one classifier.

    Attributes:
      name: for tables.
      init: `(key, x (n, ...), labels (n,)) -> carry`, a pytree that holds `x` and the labels.
      step: `(carry, t) -> carry`, with the number of the iteration, int32.
      result: `carry -> x_adv (n, ...)`.
      n_steps: iterations that the attack is made for; 0 where `init` does all.
    """

    name: str
    init: Callable[[jax.Array, jax.Array, jax.Array], Any]
    step: Callable[[Any, jax.Array], Any]
    result: Callable[[Any], jax.Array]
    n_steps: int


def perturb(
    attack: Attack, key: jax.Array, x: jax.Array, labels: jax.Array, unroll: bool | int = 1
) -> jax.Array:
    """Adversarial examples of one batch, `(n, ...)`; traceable, a `lax.scan` over the steps.

    Args:
      attack: from one of the makers.
      key: typed key.
      x: inputs within the attack's bounds, float32 `(n, ...)`.
      labels: true labels or targets, int `(n,)`.
      unroll: iterations of the scan's body that are compiled one after another; True for all.
        On a CPU a convolution's gradient runs several times faster outside of a loop.
    """

    def body(carry: Any, t: jax.Array) -> tuple[Any, None]:
        return attack.step(carry, t), None

    carry = attack.init(key, x, labels)
    if attack.n_steps:
        carry, _ = jax.lax.scan(body, carry, jnp.arange(attack.n_steps), unroll=unroll)
    return attack.result(carry)


def attack_images(
    attack: Attack,
    key: jax.Array,
    images: np.ndarray,
    labels: np.ndarray,
    batch_size: int = 256,
    stepwise: bool | None = None,
) -> np.ndarray:
    """Adversarial examples of a host array, in padded batches of one size: compiled once.

    Args:
      attack: from one of the makers.
      key: typed key; batch `b` draws from `fold_in(key, b)`.
      images: inputs within the attack's bounds, floats `(n, ...)`.
      labels: true labels or targets, integers `(n,)`.
      batch_size: rows of a batch.
      stepwise: call the compiled step from Python, instead of one program with a loop. On a CPU
        this is several times faster for convolutions. Default: exactly where the backend is a
        CPU.

    Returns:
      Host float32, of the shape of `images`.

    Raises:
      ValueError: images that are not floats, labels that are not one integer per image, or a
        batch size below 1.
    """
    images, labels = _checked(images, labels)
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size}: must be positive")
    if stepwise is None:
        stepwise = jax.default_backend() == "cpu"
    run = functools.partial(_steps, attack) if stepwise else _program(attack)
    size = min(batch_size, len(images))
    rows = [np.zeros_like(images[:0])]
    for b, start in enumerate(range(0, len(images), max(size, 1))):
        x, y = images[start : start + size], labels[start : start + size]
        n = len(x)
        x = np.pad(x, [(0, size - n)] + [(0, 0)] * (x.ndim - 1), mode="edge")
        y = np.pad(y, (0, size - n), mode="edge")
        rows.append(np.asarray(run(jax.random.fold_in(key, b), x, y))[:n])
    return np.concatenate(rows)


def _checked(images: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """Float32 images and int32 labels."""
    images, labels = np.asarray(images), np.asarray(labels)
    if not np.issubdtype(images.dtype, np.floating):
        raise ValueError(f"images have dtype {images.dtype}: decode to floats in [0, 1] first")
    if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"labels are {labels.dtype} {labels.shape} for {len(images)} images: expected one "
            "integer per image"
        )
    return images.astype(np.float32, copy=False), labels.astype(np.int32)


def _steps(attack: Attack, key: jax.Array, x: np.ndarray, labels: np.ndarray) -> jax.Array:
    """`perturb`, driven from Python."""
    step = jax.jit(attack.step)  # one program for equal functions, however often they are wrapped
    carry = jax.jit(attack.init)(key, x, labels)
    for t in range(attack.n_steps):
        carry = step(carry, np.int32(t))
    return jax.jit(attack.result)(carry)


# A program keeps the classifier it attacks alive, so few are remembered.
@functools.lru_cache(maxsize=4)
def _program(attack: Attack) -> Callable[..., jax.Array]:
    """`perturb`, compiled."""
    return jax.jit(functools.partial(perturb, attack))


def no_step(carry: Any, t: jax.Array) -> Any:
    """The step of an attack without iterations."""
    del t
    return carry


def host_model(function: Callable[[np.ndarray], Any], n_classes: int) -> Logits:
    """A classifier of host arrays as a traceable one, for attacks that need no gradient (`square`).

    Args:
      function: float32 numpy `(n, ...)` to `(n, n_classes)`, logits or probabilities: whatever
        grows with the score of a class.
      n_classes: number of classes.

    Returns:
      The classifier. Calling it raises what JAX makes of an error in a callback, whose text says
      what is wrong, when `function` returns another shape; its gradient raises ValueError.
    """

    def call(x: np.ndarray) -> np.ndarray:
        scores = np.asarray(function(np.asarray(x)), np.float32)
        if scores.shape != (len(x), n_classes):
            raise ValueError(
                f"host model returned shape {scores.shape} for inputs {x.shape}: expected "
                f"{(len(x), n_classes)}, (n, n_classes)"
            )
        return scores

    @jax.custom_jvp
    def logits(x: jax.Array) -> jax.Array:
        shape = jax.ShapeDtypeStruct((x.shape[0], n_classes), jnp.float32)
        return jax.pure_callback(call, shape, x, vmap_method="sequential")

    @logits.defjvp
    def _(primals: Any, tangents: Any) -> Any:
        raise ValueError("a host model has no gradient: attack it with square")

    return logits
