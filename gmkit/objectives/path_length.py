"""Path lengths of a generator, and the penalty on their spread (Karras et al. 2020, section 3.2).

A generator whose Jacobian has the same length everywhere is easy to invert and smooth to walk in.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from gmkit.core import parallel

Array = jax.Array


def path_lengths(synthesis: Callable[[Array], Array], ws: Array, noise: Array) -> Array:
    """`|J' y|` per example for images' random directions y, `(n,)`.

    `J' y` is the gradient of `sum(images * y)`, with `y = noise / sqrt(height * width)`; the
    squares are summed over an intermediate latent and averaged over a sample's rows of them.

    Args:
      synthesis: `(n, rows, w_dim)` -> images `(n, h, w, c)`, each from its own rows.
      ws: intermediate latents `(n, rows, w_dim)`.
      noise: standard normal, of the images' shape.
    """
    scale = 1.0 / math.sqrt(noise.shape[1] * noise.shape[2])
    products = jax.grad(lambda v: jnp.sum(synthesis(v) * noise) * scale)(ws)
    return jnp.sqrt(jnp.mean(jnp.sum(jnp.square(products), axis=2), axis=1))


def path_length_penalty(lengths: Array, average: Array, decay: float = 0.01) -> tuple[Array, Array]:
    """`(L - a)^2` per example, and the running average a that they are compared with.

    Gradients pass through the share that these lengths have in the new average, as in the
    official code.

    Args:
      lengths: `(n,)` of this device's share of the batch.
      average: a before them, scalar.
      decay: share of a that the batch's mean replaces.

    Returns:
      Penalties `(n,)` and the new average, to be stored without its gradient.
    """
    new = average + decay * (parallel.batch_mean(lengths) - average)
    return jnp.square(lengths - new), new
