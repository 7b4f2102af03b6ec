"""Linear spaces to measure images and their residuals in (Barron 2019, section 3.1).

A loss, or a density, that treats every coefficient of an image by itself depends on the basis:

    space = image_space("cdf97", (H, W, 3), colour="yuv")
    log_prob = sum(elementwise_log_prob(space.forward(x - mean))) + space.log_det
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax

from gmkit.transforms.colour import rgb_to_yuv, yuv_to_rgb
from gmkit.transforms.cosine import dct2, idct2
from gmkit.transforms.wavelets import (
    WAVELETS,
    inverse_wavelet,
    wavelet,
    wavelet_levels,
    wavelet_log_det,
)

Map = Callable[[jax.Array], jax.Array]
Shape = tuple[int, int, int]

SPACES = ("pixels", "dct", *WAVELETS)


class ImageSpace(NamedTuple):
    """A linear map of images and its inverse, `(..., H, W, C)` to the same shape and dtype.

    `log_det` is the log of the absolute determinant of `forward` for one image.
    """

    forward: Map
    inverse: Map
    log_det: float


def _same(x: jax.Array) -> jax.Array:
    return x


def _spatial(name: str, shape: Shape, levels: int | None, base: float) -> ImageSpace:
    if name == "pixels":
        return ImageSpace(_same, _same, 0.0)
    if name == "dct":
        return ImageSpace(dct2, idct2, 0.0)
    settings = (min(5, wavelet_levels(shape)) if levels is None else levels, name, base)
    return ImageSpace(
        lambda x: wavelet(x, *settings),
        lambda x: inverse_wavelet(x, *settings),
        wavelet_log_det(shape, *settings),
    )


def image_space(
    name: str,
    shape: Shape,
    *,
    colour: str = "rgb",
    levels: int | None = None,
    base: float = 1.0,
) -> ImageSpace:
    """The space called `name`.

    Args:
      name: "pixels", "dct" (orthonormal type II), "cdf97" or "legall53" (wavelets).
      shape: of one image, `(H, W, C)`.
      colour: "rgb" leaves the channels as they are, "yuv" makes volume-preserving YUV of three.
      levels: of the wavelets, as for `wavelet`; None for 5, or all there are if fewer. The other
        spaces have no levels.
      base: of the wavelets, as for `wavelet`.

    Raises:
      ValueError: a name, colour, `levels` or `base` that does not exist or does not fit `shape`,
        and, from `forward` and `inverse`, images of another shape.
    """
    if name not in SPACES:
        raise ValueError(f"space={name!r} is not known; choose {', '.join(SPACES)}")
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(f"shape={shape}: must be (height, width, channels), each at least 1")
    if colour not in ("rgb", "yuv"):
        raise ValueError(f"colour={colour!r} is not known; choose rgb or yuv")
    if colour == "yuv" and shape[-1] != 3:
        raise ValueError(f"colour='yuv' needs 3 channels, shape={shape} has {shape[-1]}: use rgb")
    to_colour, from_colour = (rgb_to_yuv, yuv_to_rgb) if colour == "yuv" else (_same, _same)
    spatial = _spatial(name, shape, levels, base)

    def checked(x: jax.Array) -> jax.Array:
        if x.shape[-3:] != tuple(shape):
            raise ValueError(f"x has shape {x.shape}: this space is one of images {shape}")
        return x

    return ImageSpace(
        lambda x: spatial.forward(to_colour(checked(x))),
        lambda x: from_colour(spatial.inverse(checked(x))),
        spatial.log_det,
    )
