"""The orthonormal two-dimensional discrete cosine transform of images (type II)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np


def cosine_matrix(n: int) -> np.ndarray:
    """The orthonormal DCT-II of `n` samples: `(n, n)` float64, frequencies in rows."""
    k = np.arange(n)
    basis = np.sqrt(2.0 / n) * np.cos(np.pi / (2 * n) * np.outer(k, 2 * k + 1))
    basis[0] /= np.sqrt(2.0)
    return basis


def _bases(x: jax.Array) -> list[jax.Array]:
    # Products with the basis, not an FFT: on a CPU the gradient of the former is 8 times faster
    # for images of 64 x 64 and not slower for 500 x 700; matrix units favour it still more.
    return [jnp.asarray(cosine_matrix(n), jnp.result_type(0.0, x)) for n in x.shape[-3:-1]]


def dct2(x: jax.Array) -> jax.Array:
    """DCT-II along height and width of `(..., H, W, C)`, orthonormal, low frequencies first."""
    rows, columns = _bases(x)
    return jnp.einsum("kh,...hwc,lw->...klc", rows, x, columns, precision="highest")


def idct2(x: jax.Array) -> jax.Array:
    """The inverse of `dct2`, which is its transpose."""
    rows, columns = _bases(x)
    return jnp.einsum("kh,...klc,lw->...hwc", rows, x, columns, precision="highest")
