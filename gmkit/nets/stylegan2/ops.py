"""StyleGAN2's primitive operations, NHWC: resampling by FIR filters, modulated convolutions.

Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN"; numbers equal those
of its official PyTorch implementation. On accelerators, TF32 and bfloat16 passes put convolutions
off by 1e-3: compare under `jax.default_matmul_precision("highest")`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gmkit.core import parallel

Array = jax.Array
#: "phase": a doubling convolution as four dense ones, for CPUs; "matmul": the same with every
#: convolution as one product of matrices, which a CPU differentiates fast inside loops and
#: conditionals too, for more memory; "dilated": an input-dilated convolution.
ConvImpl = Literal["phase", "matmul", "dilated"]
#: The binomial filter that all published networks resample with.
TAPS = (1.0, 3.0, 3.0, 1.0)
#: Activation and its default gain by name.
ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], float]] = {
    "linear": (lambda x: x, 1.0),
    "relu": (jax.nn.relu, math.sqrt(2.0)),
    # The slope at 0 is 1, which second derivatives need to be defined.
    "lrelu": (lambda x: jnp.where(x >= 0, x, 0.2 * x), math.sqrt(2.0)),
    "tanh": (jnp.tanh, 1.0),
    "sigmoid": (jax.nn.sigmoid, 1.0),
    "elu": (jax.nn.elu, 1.0),
    "selu": (jax.nn.selu, 1.0),
    "softplus": (jax.nn.softplus, 1.0),
    "swish": (jax.nn.swish, math.sqrt(2.0)),
}


def bias_act(
    x: Array,
    bias: Array | None = None,
    activation: str = "linear",
    gain: float | None = None,
    clamp: float | None = None,
) -> Array:
    """`clip(gain * activation(x + bias), -clamp, clamp)` with `bias` on the last axis.

    Args:
      x: any shape `(..., c)`.
      bias: `(c,)` or None.
      activation: one of `ACTIVATIONS`.
      gain: replaces the activation's default one.
      clamp: None does not clip.

    Raises:
      ValueError: unknown activation.
    """
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation={activation!r}: choose {', '.join(ACTIVATIONS)}")
    function, default = ACTIVATIONS[activation]
    if bias is not None:
        x = x + bias.reshape((1,) * (x.ndim - 1) + bias.shape)
    gain = default if gain is None else gain
    x = function(x)
    x = x if gain == 1.0 else x * gain
    return x if clamp is None else jnp.clip(x, -clamp, clamp)


def normalize_2nd_moment(x: Array) -> Array:
    """`x / sqrt(mean(x^2) + 1e-8)` over the last axis."""
    return x * lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + 1e-8)


# ---------------------------------------------------------------- FIR resampling


def setup_filter(taps: Sequence[float] = TAPS) -> np.ndarray:
    """The 2-D filter of separable taps: their outer product over its sum, float32 `(k, k)`."""
    f = np.asarray(taps, np.float32)
    f = np.outer(f, f)
    return f / f.sum()


def _axis(x: Array, axis: int, lo: int, hi: int) -> Array:
    """Zero padding (negative: cropping) of one axis."""
    config = [(0, 0, 0)] * x.ndim
    config[axis] = (lo, hi, 0)
    return lax.pad(x, jnp.zeros((), x.dtype), config) if lo or hi else x


def _fir_axis(
    x: Array, taps: Sequence[float], axis: int, up: int, down: int, pad: tuple[int, int]
) -> Array:
    """One axis of `upfirdn2d`: shifted additions, no zero that is inserted is ever multiplied."""
    n, k = x.shape[axis], len(taps)
    length = n * up + pad[0] + pad[1] - k + 1
    if length < 1:
        raise ValueError(f"a filter of {k} taps does not fit {n} samples with pad={pad}")

    def phase(r: int) -> Array:
        """Outputs r, r + up, r + 2 up, ..."""
        count = -(-(length - r) // up)
        total = None
        for i, tap in enumerate(reversed(taps)):
            offset = r + i - pad[0]
            if offset % up:
                continue
            start = offset // up
            shifted = _axis(x, axis, -start, start + count - n)
            term = shifted * jnp.asarray(tap, x.dtype)
            total = term if total is None else total + term
        if total is None:
            shape = list(x.shape)
            shape[axis] = count
            total = jnp.zeros(shape, x.dtype)
        return total

    if up == 1:
        y = phase(0)
    else:
        phases = [phase(r) for r in range(up)]
        most = phases[0].shape[axis]
        phases = [_axis(p, axis, 0, most - p.shape[axis]) for p in phases]
        y = jnp.stack(phases, axis + 1)
        shape = list(x.shape)
        shape[axis] = most * up
        y = lax.slice_in_dim(y.reshape(shape), 0, length, axis=axis)
    return lax.slice_in_dim(y, 0, length, stride=down, axis=axis) if down > 1 else y


def upfirdn2d(
    x: Array,
    taps: Sequence[float] = TAPS,
    up: int = 1,
    down: int = 1,
    pad: tuple[int, int] | tuple[int, int, int, int] = (0, 0),
    gain: float = 1.0,
    flip: bool = False,
) -> Array:
    """Zero-insertion by `up`, padding, true convolution with a separable filter, decimation.

    Args:
      x: images `(n, h, w, c)`.
      taps: 1-D filter of both axes; it is normalised to sum 1.
      up: every sample is followed by `up - 1` zeros.
      down: every `down`-th output is kept, from the first.
      pad: zeros (before, after) on both axes, or (x before, x after, y before, y after); a
        negative number crops.
      gain: factor of the result.
      flip: correlation instead of convolution.
    """
    px, py = (pad[:2], pad[2:]) if len(pad) == 4 else (pad, pad)
    total = sum(taps)
    scaled = [t * math.sqrt(gain) / total for t in (reversed(taps) if flip else taps)]
    x = _fir_axis(x, scaled, 1, up, down, (py[0], py[1]))
    return _fir_axis(x, scaled, 2, up, down, (px[0], px[1]))


def upsample2d(x: Array, taps: Sequence[float] = TAPS, up: int = 2) -> Array:
    """`(n, h, w, c)` -> `(n, up h, up w, c)`, interpolated; a constant stays one inside."""
    n = len(taps)
    return upfirdn2d(x, taps, up=up, pad=((n + up - 1) // 2, (n - up) // 2), gain=up**2)


def downsample2d(x: Array, taps: Sequence[float] = TAPS, down: int = 2) -> Array:
    """`(n, h, w, c)` -> `(n, h / down, w / down, c)`, low-pass filtered."""
    n = len(taps)
    return upfirdn2d(x, taps, down=down, pad=((n - down + 1) // 2, (n - down) // 2))


def filter2d(x: Array, taps: Sequence[float] = TAPS) -> Array:
    """Filtered images of the same size."""
    n = len(taps)
    return upfirdn2d(x, taps, pad=(n // 2, (n - 1) // 2))


# ---------------------------------------------------------------- convolutions


def _conv(
    x: Array,
    w: Array,
    stride: int = 1,
    padding: tuple[int, int] = (0, 0),
    dilation: int = 1,
    impl: ConvImpl = "phase",
) -> Array:
    if impl == "matmul":
        return _matmul_conv(x, w, stride, padding)
    return lax.conv_general_dilated(
        x,
        w,
        (stride, stride),
        (padding, padding),
        lhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _matmul_conv(x: Array, w: Array, stride: int, padding: tuple[int, int]) -> Array:
    """Every window of the image as one row, times the kernel as a matrix."""
    border = (*padding, 0)
    x = lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), border, border, (0, 0, 0)))
    rows, columns = ((x.shape[1 + i] - w.shape[i]) // stride + 1 for i in (0, 1))
    windows = [
        x[:, i : i + (rows - 1) * stride + 1 : stride, j : j + (columns - 1) * stride + 1 : stride]
        for i in range(w.shape[0])
        for j in range(w.shape[1])
    ]
    return jnp.concatenate(windows, axis=-1) @ w.reshape(-1, w.shape[3])


def _interleave(even: Array, odd: Array, axis: int) -> Array:
    """`e0 o0 e1 o1 ... e_h`: one more of the even than of the odd."""
    y = jnp.stack([even, _axis(odd, axis, 0, 1)], axis + 1)
    length = 2 * odd.shape[axis] + 1
    y = y.reshape(*even.shape[:axis], length + 1, *even.shape[axis + 1 :])
    return lax.slice_in_dim(y, 0, length, axis=axis)


def _stuffed_conv(x: Array, w: Array, impl: ConvImpl) -> Array:
    """Full 3 x 3 correlation of `x` with zeros between its samples, `(2h + 1, 2w + 1)`.

    "phase" computes the four parities of the output by dense convolutions: the CPU's gradients of
    input-dilated ones are many times slower.
    """
    if impl == "dilated":
        return _conv(x, w, padding=(2, 2), dilation=2)
    padded = lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), (1, 1, 0), (1, 1, 0), (0, 0, 0)))
    conv = lambda y, kernel: _conv(y, kernel, impl=impl)
    even_even = conv(padded, w[0::2, 0::2])
    even_odd = conv(padded[:, :, 1:-1], w[0::2, 1:2])
    odd_even = conv(padded[:, 1:-1], w[1:2, 0::2])
    odd_odd = conv(x, w[1:2, 1:2])
    return _interleave(_interleave(even_even, even_odd, 2), _interleave(odd_even, odd_odd, 2), 1)


def conv2d_resample(
    x: Array,
    w: Array,
    taps: Sequence[float] = TAPS,
    up: int = 1,
    down: int = 1,
    flip_weight: bool = True,
    impl: ConvImpl = "phase",
) -> Array:
    """A 1 x 1 or 3 x 3 convolution with doubling or halving of the size.

    Args:
      x: `(n, h, w, i)`.
      w: kernel `(k, k, i, o)`, k = 1 or 3.
      taps: filter of the resampling.
      up: 1 or 2.
      down: 1 or 2; not both may be 2.
      flip_weight: True correlates; False is true convolution (reversed kernel).
      impl: how convolutions are computed.

    Raises:
      ValueError: a combination that does not exist.
    """
    k, n = w.shape[0], len(taps)
    if k not in (1, 3) or w.shape[1] != k or (up, down) not in ((1, 1), (2, 1), (1, 2)):
        raise ValueError(f"kernel {w.shape[:2]}, up={up}, down={down}: no such convolution")
    if impl not in get_args(ConvImpl):
        raise ValueError(f"conv_impl={impl!r}: choose {', '.join(get_args(ConvImpl))}")
    w = w if flip_weight else w[::-1, ::-1]
    padding = k // 2
    if (up, down) == (1, 1):
        return _conv(x, w, padding=(padding, padding), impl=impl)
    if up == 2 and k == 1:
        return upsample2d(_conv(x, w, impl=impl), taps)
    if up == 2:
        pad = ((n + 1) // 2 - 1, (n - 2) // 2)
        return upfirdn2d(_stuffed_conv(x, w, impl), taps, pad=pad, gain=4.0)
    if k == 1:
        return _conv(downsample2d(x, taps), w, impl=impl)
    pad = (padding + (n - 1) // 2, padding + (n - 2) // 2)
    return _conv(upfirdn2d(x, taps, pad=pad), w, stride=2, impl=impl)


def modulated_conv2d(
    x: Array,
    w: Array,
    styles: Array,
    noise: Array | None = None,
    taps: Sequence[float] = TAPS,
    up: int = 1,
    demodulate: bool = True,
    impl: ConvImpl = "phase",
) -> Array:
    """Convolution of `x * styles`, with outputs scaled to unit variance, plus noise.

    Section 2.2 of Karras et al. 2020. The activations are scaled before and after one shared
    kernel: no kernels per sample, and `vmap` and second derivatives stay cheap. In float16, kernel
    and styles are first scaled by their maxima, which demodulation cancels.

    Args:
      x: `(n, h, w, i)`.
      w: kernel `(k, k, i, o)`, float32.
      styles: `(n, i)`, float32.
      noise: added after demodulation, of a shape that broadcasts with the output.
      taps: filter of the doubling.
      up: 1 or 2.
      demodulate: divide output o by `|w[..., o] * styles|`.
      impl: see `conv2d_resample`.
    """
    if demodulate and x.dtype == jnp.float16:
        fan_in = math.prod(w.shape[:3])
        w = w / (math.sqrt(fan_in) * jnp.max(jnp.abs(w), axis=(0, 1, 2), keepdims=True))
        styles = styles / jnp.max(jnp.abs(styles), axis=1, keepdims=True)
    y = x * styles.astype(x.dtype)[:, None, None, :]
    y = conv2d_resample(y, w.astype(x.dtype), taps, up=up, flip_weight=up == 1, impl=impl)
    if demodulate:
        energy = jnp.square(styles) @ jnp.sum(jnp.square(w), axis=(0, 1))
        y = y * lax.rsqrt(energy + 1e-8).astype(x.dtype)[:, None, None, :]
    return y if noise is None else y + noise.astype(x.dtype)


def minibatch_std(x: Array, group_size: int | None, channels: int = 1) -> Array:
    """Appends the standard deviation of features within groups of the batch, as channels.

    The groups are those of the whole batch, on any number of devices: group `j` of `m` holds the
    examples `j, j + m, j + 2m, ...` (the official code has groups per device).

    Args:
      x: `(n, h, w, c)`.
      group_size: examples of a group, at most the batch; None takes the batch.
      channels: F, statistics per group, each of `c / F` channels.

    Returns:
      `(n, h, w, c + F)`.

    Raises:
      ValueError: groups that do not divide the batch, or F that does not divide c.
    """
    whole = parallel.gather_batch(x)
    n, h, width, c = whole.shape
    group = n if group_size is None else min(group_size, n)
    if n % group or c % channels:
        raise ValueError(
            f"minibatch_std: group_size={group} must divide the batch of {n}, and "
            f"channels={channels} the {c} features"
        )
    y = whole.reshape(group, n // group, h, width, channels, c // channels)
    y = jnp.sqrt(jnp.mean(jnp.square(y - jnp.mean(y, axis=0, keepdims=True)), axis=0) + 1e-8)
    y = jnp.mean(y, axis=(1, 2, 4))
    rows = parallel.local_index(x.shape[0]) % (n // group)
    y = jnp.broadcast_to(y[rows][:, None, None, :], (*x.shape[:3], channels))
    return jnp.concatenate([x, y], axis=-1)
