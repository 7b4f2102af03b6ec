"""Augmentations that do not leak into a generator, and the rule for their probability (ADA).

Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data", appendix B. Every
transformation is drawn per image and used with probability p. The geometric ones are composed into
one matrix, the colour ones into another, so that an image is resampled once. All shapes are
static: the reflected margin is the widest that can be needed.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from gmkit.core import parallel

Array = jax.Array
#: "blit": flips, turns by 90 degrees, shifts by whole pixels, all exact; "bg": those and general
#: geometry; "bgc": and colour, the paper's choice.
Augmentations = Literal["blit", "bg", "bgc"]
AUGMENTATIONS: tuple[str, ...] = get_args(Augmentations)
#: Orthogonal low-pass filter of the symlet with six vanishing moments, sum sqrt(2).
_SYM6 = (
    0.015404109327027373,
    0.0034907120842174702,
    -0.11799011114819057,
    -0.048311742585633,
    0.4910559419267466,
    0.787641141030194,
    0.3379294217276218,
    -0.07263752278646252,
    -0.021060292512300564,
    0.04472490177066578,
    0.0017677118642428036,
    -0.007800708325034148,
)
_PAD = len(_SYM6) // 4


def augmented(images: Array, key: Array, p: Array | float, kind: str = "bgc") -> Array:
    """Randomly transformed images; gradients flow to the images.

    Args:
      images: `(n, h, h, c)` in [-1, 1], 1 or 3 channels.
      key: PRNG key; image i of the whole batch has its own.
      p: probability of every transformation, in [0, 1]; traced.
      kind: which transformations.

    Raises:
      ValueError: unknown kind, or images that are not square or have other channels.
    """
    if kind not in AUGMENTATIONS:
        raise ValueError(f"augmentations {kind!r}: choose {', '.join(AUGMENTATIONS)}")
    n, height, width, channels = images.shape
    if height != width or channels not in (1, 3):
        raise ValueError(f"images {images.shape[1:]}: augmentations take square grey or RGB ones")
    keys = jax.vmap(lambda k: jax.random.split(k, 3))(parallel.example_keys(key, n))
    inverse = jax.vmap(lambda k: _blit(k, p, height))(keys[:, 0])
    if kind == "blit":
        return jax.vmap(_moved)(images, inverse)
    general = jax.vmap(lambda k: _geometry(k, p, height))(keys[:, 1])
    images = _resampled(images, inverse @ general)
    if kind == "bgc":
        images = jax.vmap(_recoloured)(images, jax.vmap(lambda k: _colour(k, p))(keys[:, 2]))
    return images


def updated_probability(
    p: Array, sign: Array, n_images: int, target: float = 0.6, kimg: float = 500.0
) -> Array:
    """The next p: up where the discriminator is too sure of real images, else down, never below 0.

    Args:
      p: the current one.
      sign: mean sign of the discriminator's logits on real images since the last change.
      n_images: real images since then.
      target: of the mean sign.
      kimg: thousands of images in which p could go from 0 to 1.
    """
    return jnp.maximum(p + jnp.sign(sign - target) * n_images / (kimg * 1000.0), 0.0)


# ---------------------------------------------------------------- matrices


def _shift(x: Array | float, y: Array | float) -> Array:
    return jnp.asarray([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def _scale(x: Array | float, y: Array | float) -> Array:
    return jnp.diag(jnp.asarray([x, y, 1.0]))


def _turn(angle: Array) -> Array:
    c, s = jnp.cos(angle), jnp.sin(angle)
    return jnp.asarray([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def _drawn(key: Array, p: Array | float, draw: Callable[[Array], Array], neutral: float) -> Array:
    """A draw, or the neutral value with probability 1 - p."""
    value_key, coin_key = jax.random.split(key)
    return jnp.where(jax.random.uniform(coin_key) < p, draw(value_key), neutral)


def _blit(key: Array, p: Array | float, size: int) -> Array:
    """Maps centred output pixels to input pixels: flip, turn by 90 degrees, whole shift."""
    flip_key, turn_key, shift_key = jax.random.split(key, 3)
    flip = _drawn(flip_key, p, lambda k: jax.random.randint(k, (), 0, 2).astype(jnp.float32), 0.0)
    turns = _drawn(turn_key, p, lambda k: jax.random.randint(k, (), 0, 4).astype(jnp.float32), 0.0)
    draw = lambda k: jax.random.uniform(k, (2,), minval=-1.0)
    shift = jnp.round(_drawn(shift_key, p, draw, 0.0) * (0.125 * size))
    # Entries of the turn are 0 and +-1; rounding makes them exactly so.
    turn = jnp.round(_turn(0.5 * math.pi * turns))
    return _scale(1.0 - 2.0 * flip, 1.0) @ turn @ _shift(-shift[0], -shift[1])


def _geometry(key: Array, p: Array | float, size: int) -> Array:
    """Maps centred output pixels to input pixels: scale, turn, stretch, turn, shift."""
    keys = jax.random.split(key, 5)
    log_normal = lambda k: jnp.exp2(0.2 * jax.random.normal(k))
    angle = lambda k: jax.random.uniform(k, minval=-math.pi, maxval=math.pi)
    # So that one of the two turns happens with probability p.
    p_turn = 1.0 - jnp.sqrt(jnp.clip(1.0 - p, 0.0, 1.0))
    scale = _drawn(keys[0], p, log_normal, 1.0)
    before = _drawn(keys[1], p_turn, angle, 0.0)
    stretch = _drawn(keys[2], p, log_normal, 1.0)
    after = _drawn(keys[3], p_turn, angle, 0.0)
    shift = _drawn(keys[4], p, lambda k: 0.125 * size * jax.random.normal(k, (2,)), 0.0)
    return (
        _scale(1.0 / scale, 1.0 / scale)
        @ _turn(before)
        @ _scale(1.0 / stretch, stretch)
        @ _turn(after)
        @ _shift(-shift[0], -shift[1])
    )


def _colour(key: Array, p: Array | float) -> Array:
    """Maps homogeneous colours `(4,)`: brightness, contrast, luma flip, hue, saturation."""
    keys = jax.random.split(key, 5)
    brightness = _drawn(keys[0], p, lambda k: 0.2 * jax.random.normal(k), 0.0)
    contrast = _drawn(keys[1], p, lambda k: jnp.exp2(0.5 * jax.random.normal(k)), 1.0)
    coin = lambda k: jax.random.randint(k, (), 0, 2).astype(jnp.float32)
    flip = _drawn(keys[2], p, coin, 0.0)
    hue = _drawn(keys[3], p, lambda k: jax.random.uniform(k, minval=-math.pi, maxval=math.pi), 0.0)
    saturation = _drawn(keys[4], p, lambda k: jnp.exp2(jax.random.normal(k)), 1.0)
    eye, grey = jnp.eye(3), jnp.full((3, 3), 1.0 / 3.0)
    cross = jnp.asarray([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3.0)
    # About the grey axis (Rodrigues).
    turn = grey + jnp.cos(hue) * (eye - grey) + jnp.sin(hue) * cross
    linear = (grey + saturation * (eye - grey)) @ turn @ (eye - 2.0 * flip * grey) * contrast
    offset = linear @ jnp.full(3, brightness)
    return jnp.concatenate([linear, offset[:, None]], axis=1)


def _recoloured(image: Array, colour: Array) -> Array:
    if image.shape[-1] == 3:
        return image @ colour[:, :3].T + colour[None, None, :, 3]
    row = jnp.mean(colour, axis=0)
    return image * jnp.sum(row[:3]) + row[3]


# ---------------------------------------------------------------- resampling


def _source(inverse: Array, size: int, source_size: int) -> tuple[Array, Array]:
    """Columns and rows of the source that the pixels of a `size` square come from."""
    axis = jnp.arange(size) - (size - 1) / 2
    x, y = jnp.meshgrid(axis, axis)
    points = jnp.stack([x, y, jnp.ones_like(x)], axis=-1) @ inverse.T
    centre = (source_size - 1) / 2
    return points[..., 0] + centre, points[..., 1] + centre


def _moved(image: Array, inverse: Array) -> Array:
    """Pixels moved by a matrix of whole numbers, from beyond the borders by reflection."""
    size = image.shape[0]
    period = max(2 * size - 2, 1)

    def index(v: Array) -> Array:
        i = jnp.round(v).astype(jnp.int32) % period
        return jnp.minimum(i, period - i) if size > 1 else jnp.zeros_like(i)

    x, y = _source(inverse, size, size)
    return image[index(y), index(x)]


@functools.cache
def _matrices(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Along one axis: reflected and doubled `(2 (3 size - 2), size)`; halved and cropped."""
    taps = np.asarray(_SYM6) / np.sum(_SYM6)
    margin = size - 1
    padded = size + 2 * margin
    reflect = np.eye(size)[
        np.abs((np.arange(padded) - margin + size - 1) % (2 * size - 2) - size + 1)
    ]
    up = np.zeros((2 * padded, padded))
    down_from = 2 * (size + 2 * _PAD)
    down = np.zeros((size, down_from))
    k = len(taps)
    for row in range(2 * padded):
        for i in range(k):
            # Zeros between samples, six before the first; true convolution.
            at = row + i - (k + 1) // 2
            if at % 2 == 0 and 0 <= at // 2 < padded:
                up[row, at // 2] += 2.0 * taps[k - 1 - i]
    first = 2 * _PAD - (k - 1) // 2
    for row in range(size):
        for i in range(k):
            down[row, first + 2 * row + i] += taps[i]
    return (up @ reflect).astype(np.float32), down.astype(np.float32)


def _along_both(matrix: np.ndarray, images: Array) -> Array:
    images = jnp.einsum("yh,nhwc->nywc", matrix, images)
    return jnp.einsum("xw,nywc->nyxc", matrix, images)


def _resampled(images: Array, inverse: Array) -> Array:
    """Images under `(n, 3, 3)` matrices: doubled, sampled bilinearly, halved."""
    up, down = _matrices(images.shape[1])
    doubled = _along_both(up, images)
    # The same map between pixels of half the size, and between the centres of both grids.
    half, back = _shift(-0.5, -0.5), _shift(0.5, 0.5)
    finer = half @ _scale(2.0, 2.0) @ inverse @ _scale(0.5, 0.5) @ back
    sampled = jax.vmap(lambda image, m: _bilinear(image, m, down.shape[1]))(doubled, finer)
    return _along_both(down, sampled)


def _bilinear(image: Array, inverse: Array, size: int) -> Array:
    """A `size` square of an image under a matrix; 0 outside of it."""
    last = image.shape[0] - 1
    x, y = _source(inverse, size, image.shape[0])
    x0, y0 = jnp.floor(x), jnp.floor(y)

    def corner(i: Array, j: Array, weight: Array) -> Array:
        inside = (i >= 0) & (i <= last) & (j >= 0) & (j <= last)
        clipped = [jnp.clip(v, 0, last).astype(jnp.int32) for v in (i, j)]
        return image[clipped[0], clipped[1]] * jnp.where(inside, weight, 0.0)[..., None]

    fx, fy = x - x0, y - y0
    return (
        corner(y0, x0, (1 - fy) * (1 - fx))
        + corner(y0, x0 + 1, (1 - fy) * fx)
        + corner(y0 + 1, x0, fy * (1 - fx))
        + corner(y0 + 1, x0 + 1, fy * fx)
    )


def taps() -> Sequence[float]:
    """The resampling filter, which sums to sqrt(2) and is orthogonal to its even shifts."""
    return _SYM6
