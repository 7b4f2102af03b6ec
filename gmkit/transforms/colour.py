"""Volume-preserving YUV: luma and two chroma channels, of the volume of RGB.

The analogue YUV of BT.470, scaled such that its determinant is one in absolute value: densities
of residuals in RGB and in YUV are then comparable without a correction (Barron 2019, section 3.1).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

_BT470 = np.array(
    [
        [0.299, -0.14714119, 0.61497538],
        [0.587, -0.28886916, -0.51496512],
        [0.114, 0.43601035, -0.10001026],
    ]
)
_TO_YUV = _BT470 / np.cbrt(abs(np.linalg.det(_BT470)))
_TO_RGB = np.linalg.inv(_TO_YUV)


def _mixed(x: jax.Array, matrix: np.ndarray) -> jax.Array:
    if x.shape[-1] != 3:
        raise ValueError(f"x has shape {x.shape}: the last axis must be 3, red, green and blue")
    # Written out: a product with so small a matrix takes ten times longer on a CPU.
    first, second, third = (x[..., i] for i in range(3))
    mixed = (a * first + b * second + c * third for a, b, c in matrix.T.tolist())
    return jnp.stack(list(mixed), -1)


def rgb_to_yuv(x: jax.Array) -> jax.Array:
    """Volume-preserving YUV of RGB, `(..., 3)`, linear: residuals can be mapped too.

    Raises:
      ValueError: the last axis is not RGB.
    """
    return _mixed(x, _TO_YUV)


def yuv_to_rgb(x: jax.Array) -> jax.Array:
    """The inverse of `rgb_to_yuv`. Errors as there."""
    return _mixed(x, _TO_RGB)
