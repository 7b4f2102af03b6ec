"""Biorthogonal wavelets of images, for all sizes.

One level splits an axis of `n` samples into `ceil(n / 2)` lows and `floor(n / 2)` highs by
lifting: even and odd samples are corrected by each other in turn, then scaled (Daubechies &
Sweldens 1998, section 7.7 for CDF 9/7; Le Gall & Tabatabai 1988 for the 5/3 filters). The signal
is continued beyond its ends by reflection that does not repeat the ends. Every step is undone by
one subtraction, hence the inverse is exact for even and odd lengths.

Of an image, both axes are split and the splitting goes on with the lows of both. Coefficients fill
an array of the image's own size,

    [[ rest,          high columns ],
     [ high rows,     high in both ]],

where `rest` is laid out in the same way, level by level.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array


class Lifting(NamedTuple):
    """A wavelet: coefficients of the steps, and the factor of lows, which divides highs.

    Steps take turns: the first corrects odd samples by their even neighbours, the next even ones
    by their odd neighbours.
    """

    steps: tuple[float, ...]
    gain: float


WAVELETS = {
    "cdf97": Lifting(
        (-1.586134342059924, -0.052980118572961, 0.882911075530934, 0.443506852043971),
        1.1496043988602418,
    ),
    "legall53": Lifting((-0.5, 0.25), math.sqrt(2.0)),
}


def wavelet_levels(shape: Sequence[int]) -> int:
    """The most levels that images `(..., H, W, C)` have: `ceil(log2(min(H, W)))`.

    After so many, the shorter side of the rest is one sample.
    """
    return (min(shape[-3:-1]) - 1).bit_length()


def _chosen(shape: Sequence[int], levels: int, name: str, base: float) -> Lifting:
    """The wavelet, if it and the other settings make sense for `shape`."""
    if name not in WAVELETS:
        raise ValueError(f"wavelet={name!r} is not known; choose {', '.join(WAVELETS)}")
    if not (math.isfinite(base) and base > 0):
        raise ValueError(f"base={base}: must be positive and finite")
    most = wavelet_levels(shape)
    if not 0 <= levels <= most:
        h, w = shape[-3:-1]
        raise ValueError(f"levels={levels}: images of {h} x {w} take 0 to {most} levels")
    return WAVELETS[name]


# ---------------------------------------------------------------- one axis, as matrices


def _around(x: np.ndarray, start: int, size: int) -> np.ndarray:
    """Sums of neighbours in `x` between its reflected ends, `size` of them from `start` on."""
    # Reflection at a sample of one parity repeats the last sample of the other parity.
    x = np.concatenate([x[:1], x, x[-1:]])
    return x[start : start + size] + x[start + 1 : start + 1 + size]


def _lifted(
    even: np.ndarray, odd: np.ndarray, steps: Iterable[tuple[int, float]]
) -> tuple[np.ndarray, np.ndarray]:
    for i, factor in steps:
        if i % 2:
            even = even + factor * _around(odd, 0, len(even))
        else:
            odd = odd + factor * _around(even, 1, len(odd))
    return even, odd


def _analysis(n: int, lifting: Lifting) -> np.ndarray:
    """`(n, n)`: lows, then highs, of `n >= 2` samples."""
    x = np.eye(n)
    even, odd = _lifted(x[0::2], x[1::2], enumerate(lifting.steps))
    return np.concatenate([even * lifting.gain, odd / lifting.gain])


def _synthesis(n: int, lifting: Lifting) -> np.ndarray:
    """The inverse of `_analysis`."""
    low, high = np.split(np.eye(n), [(n + 1) // 2])
    steps = [(i, -factor) for i, factor in enumerate(lifting.steps)]
    x = np.empty((n, n))
    x[0::2], x[1::2] = _lifted(low / lifting.gain, high * lifting.gain, reversed(steps))
    return x


def _along_both(x: Array, matrix: Callable[[int, Lifting], np.ndarray], lifting: Lifting) -> Array:
    # Lifting the images themselves multiplies less, but in many small operations: on a CPU and
    # images of 64 x 64 they run 5 times and compile 10 times longer than two products; only near
    # 500 x 700 the run times meet. Matrix units favour products still more.
    dtype = jnp.result_type(0.0, x)
    rows, columns = (jnp.asarray(matrix(n, lifting), dtype) for n in x.shape[-3:-1])
    return jnp.einsum("kh,...hwc,lw->...klc", rows, x, columns, precision="highest")


# ---------------------------------------------------------------- images


def _with_rest(x: Array, function: Callable[[Array], Array]) -> Array:
    """`x` with a function applied to the corner of the lows of both axes."""
    h, w = ((n + 1) // 2 for n in x.shape[-3:-1])
    above = jnp.concatenate([function(x[..., :h, :w, :]), x[..., :h, w:, :]], -2)
    return jnp.concatenate([above, x[..., h:, :, :]], -3)


def _forward(x: Array, lifting: Lifting, levels: int, base: float) -> Array:
    if levels == 0:
        return x
    x = _along_both(x, _analysis, lifting)
    return _with_rest(x, lambda rest: _forward(base * rest, lifting, levels - 1, base))


def _backward(x: Array, lifting: Lifting, levels: int, base: float) -> Array:
    if levels == 0:
        return x
    x = _with_rest(x, lambda rest: _backward(rest, lifting, levels - 1, base) / base)
    return _along_both(x, _synthesis, lifting)


def wavelet(x: Array, levels: int, name: str = "cdf97", base: float = 1.0) -> Array:
    """Wavelet coefficients of images, in an array of their shape (Barron 2019, section 3.1).

    Linear in `x`, and of determinant one when all levels split even sizes and `base` is one; see
    `wavelet_log_det`.

    Args:
      x: `(..., H, W, C)`.
      levels: how often the lows are split; 0 leaves images as they are, `wavelet_levels` is most.
      name: "cdf97" or "legall53".
      base: coefficients of level `i`, the finest being 0, are multiplied by `base ** i`, and the
        rest by `base ** levels`.

    Raises:
      ValueError: a wavelet that is not known, a `base` that is not positive, or `levels` beyond
        `wavelet_levels`.
    """
    return _forward(x, _chosen(x.shape, levels, name, base), levels, base)


def inverse_wavelet(x: Array, levels: int, name: str = "cdf97", base: float = 1.0) -> Array:
    """Images of wavelet coefficients: the inverse of `wavelet`. Arguments and errors as there."""
    return _backward(x, _chosen(x.shape, levels, name, base), levels, base)


def wavelet_log_det(
    shape: Sequence[int], levels: int, name: str = "cdf97", base: float = 1.0
) -> float:
    """`log |det|` of `wavelet` for one image of `shape (H, W, C)`. Arguments and errors as there.

    Lifting steps have determinant one. What is left is the gain of each low over that of each
    high, which cancel but for the last low of an odd length, and the powers of `base`.
    """
    lifting = _chosen(shape, levels, name, base)
    h, w = shape[-3:-1]
    total = 0.0
    for _ in range(levels):
        total += math.log(lifting.gain) * (w * (h % 2) + h * (w % 2))
        h, w = (h + 1) // 2, (w + 1) // 2
        total += math.log(base) * h * w
    return total * shape[-1]
