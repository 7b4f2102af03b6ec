"""Images on the host: fitting them to a size, and the digits that need no download."""

from __future__ import annotations

from typing import Any

import numpy as np

from gmkit.data.dataset import ArraySplit, Dataset, image_dataset
from gmkit.data.shuffle import permutation

#: Rows of the digits that train; the other 360 test.
DIGITS_TRAIN = 1437


def centre_crop(images: np.ndarray) -> np.ndarray:
    """The largest centred square of images `(N, H, W, C)`."""
    height, width = images.shape[1:3]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return images[:, top : top + side, left : left + side]


def _pad(images: np.ndarray, size: int) -> np.ndarray:
    """Zeros around images `(N, H, W, C)` up to `size`; the odd row goes to the bottom, right."""
    spare = [size - side for side in images.shape[1:3]]
    return np.pad(images, ((0, 0), *((s // 2, s - s // 2) for s in spare), (0, 0)))


def _resize(image: np.ndarray, size: int) -> np.ndarray:
    from PIL import Image

    grey = image.shape[-1] == 1
    picture = Image.fromarray(image[..., 0] if grey else image)
    # Pillow's bilinear filter widens with the reduction, so it averages over the area.
    resized = np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR))
    return resized[..., None] if grey else resized


def fit_size(images: np.ndarray, size: int | None, pad: bool = False) -> np.ndarray:
    """Images of one size, uint8 `(N, H, W, C)` to `(N, size, size, C)`.

    With `pad`, images that fit inside are surrounded by zeros. All others are cropped to their
    centred square and resized with Pillow's antialiased bilinear filter.

    Args:
      images: uint8 with 1 or 3 channels.
      size: height and width wanted; None leaves the images alone.
      pad: pad rather than enlarge.
    """
    if size is None:
        return images
    if pad and max(images.shape[1:3]) <= size:
        return _pad(images, size)
    images = centre_crop(images)
    if images.shape[1] == size:
        return images
    return np.stack([_resize(image, size) for image in images])


def digits(*, image_size: int | None = None, pad: bool = False, flip: bool = False) -> Dataset:
    """Scikit-learn's 1797 handwritten digits, 8x8x1 with values 0..16 and labels 0..9.

    The split is fixed: rows `permutation(0, 1797)` of scikit-learn's order, the first 1437 to
    train and the last 360 to test.

    Args:
      image_size: see `fit_size`.
      pad: see `fit_size`.
      flip: mirror at random while training.
    """
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    images = fit_size(bunch.images.astype(np.uint8)[..., None], image_size, pad)
    labels = bunch.target.astype(np.int32)
    order = permutation(0, len(images))
    train, test = (
        ArraySplit({"image": images[rows], "label": labels[rows]})
        for rows in (order[:DIGITS_TRAIN], order[DIGITS_TRAIN:])
    )
    return image_dataset("digits", train, test, images.shape[1:], n_classes=10, nvals=17, flip=flip)
