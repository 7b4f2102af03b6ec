"""Stacked digits: three random one-channel images as the channels of one, n^3 classes.

The mode-counting test of Metz et al. 2017 ("Unrolled generative adversarial networks"): with ten
digits there are 1000 combinations, and a classifier of single digits tells which were generated.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from gmkit.core import Domain
from gmkit.data.dataset import Dataset, Split
from gmkit.data.shuffle import host_indices
from gmkit.data.spec import DataError

PREFIX = "stacked/"
#: Rows per image of the source: how often an epoch uses each image in each channel.
FACTOR = 10


class StackedSplit:
    """Rows that stack three rows of another split, put together when they are fetched.

    Row i holds, in channel k, the image at position i of an endless shuffling of the source with
    seed k: `host_indices(k, 0, 1, rows, n)`. The channels are independent of each other, and
    each uses every image `factor` times: the first `len(source)` rows each image once.

    Args:
      source: labelled images of one channel.
      n_classes: labels of the source.
      factor: rows per row of the source.
    """

    def __init__(self, source: Split, n_classes: int, factor: int = FACTOR):
        # Single images are kept once, not three times a row, so that rows cannot be resident.
        self.arrays: dict[str, np.ndarray] | None = None
        self.source, self._n_classes = source, n_classes
        n = len(source)
        columns = [host_indices(k, 0, 1, factor * n, n)[0] for k in range(3)]
        #: Rows of the source in each row's channels, int32 `(rows, 3)`.
        self.triples = np.stack(columns, axis=1)

    def __len__(self) -> int:
        return len(self.triples)

    def gather(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Raw rows at integer `indices` of any shape.

        Returns:
          "image" uint8 `(*indices.shape, H, W, 3)` and "label" int32 `indices.shape`,
          `(a n + b) n + c` for the labels a, b, c of the three channels.
        """
        raw = self.source.gather(self.triples[indices])
        n = self._n_classes
        a, b, c = np.moveaxis(raw["label"].astype(np.int32), -1, 0)
        image = np.moveaxis(raw["image"][..., 0], -3, -1)
        return {"image": np.ascontiguousarray(image), "label": (a * n + b) * n + c}


def stacked(source: Dataset) -> Dataset:
    """Stacked images of a data set: `(H, W, 3)`, n^3 classes, decoded as the source is.

    An epoch has `FACTOR` times as many training rows as the source; test rows are as many.

    Args:
      source: labelled images of one channel.

    Raises:
      DataError: not images, no labels, more than one channel, or too many classes for int32.
    """
    spec, problem = source.spec, f"data.name={PREFIX + source.spec.name!r}"
    if spec.kind != "image" or spec.domain.shape[-1] != 1:
        raise DataError(f"{problem}: rows have shape {spec.domain.shape}; stack 1-channel images")
    if spec.n_classes < 1:
        raise DataError(f"{problem}: {spec.name!r} has no labels; stack labelled images")
    n_classes = spec.n_classes**3
    if n_classes >= 2**31:
        raise DataError(f"{problem}: {spec.n_classes} classes are too many; at most 1290")
    domain = Domain("integers", (*spec.domain.shape[:-1], 3), spec.domain.nvals)
    name = PREFIX + spec.name
    return Dataset(
        StackedSplit(source.train, spec.n_classes),
        StackedSplit(source.test, spec.n_classes, factor=1),
        dataclasses.replace(spec, name=name, domain=domain, n_classes=n_classes),
        source.decode,
        source.validation and StackedSplit(source.validation, spec.n_classes, factor=1),
    )
