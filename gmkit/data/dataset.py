"""Splits of raw rows, and the pure function that turns raw rows into what networks see."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from gmkit.core import Domain
from gmkit.core.parallel import example_keys
from gmkit.data.spec import DataError, DataSpec

Raw = Mapping[str, np.ndarray]

#: Rows that are decoded at a time where all of them are asked for.
CHUNK = 4096


class Split(Protocol):
    """Rows that can be fetched by index.

    Attributes:
      arrays: all raw rows, leaves `(N, ...)`; None where the rows are streamed from disk.
    """

    arrays: dict[str, np.ndarray] | None

    def __len__(self) -> int:
        """Number of rows."""
        ...

    def gather(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Raw rows at integer `indices` of any shape; leaves `(*indices.shape, ...)`."""
        ...


class ArraySplit:
    """Rows held in host memory.

    Args:
      arrays: leaves `(N, ...)` with one N >= 1: "image" (uint8 NHWC) or "x" (float32), and
        "label" (int32) where there are labels.

    Raises:
      DataError: no rows, or arrays of different lengths.
    """

    def __init__(self, arrays: Raw):
        self.arrays: dict[str, np.ndarray] | None = dict(arrays)
        lengths = {name: len(array) for name, array in arrays.items()}
        if len(set(lengths.values())) != 1:
            raise DataError(f"arrays of different lengths {lengths}: every row needs every array")
        self._rows = dict(arrays)
        self._length = next(iter(lengths.values()))
        if self._length == 0:
            raise DataError(f"arrays {sorted(lengths)} have no rows: give at least one example")

    def __len__(self) -> int:
        return self._length

    def gather(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Raw rows at integer `indices` of any shape; leaves `(*indices.shape, ...)`."""
        return {name: array[indices] for name, array in self._rows.items()}


class RowsOf:
    """Consecutive rows of a split.

    Args:
      split: the split.
      start, stop: the first row and the one after the last.

    Raises:
      DataError: rows that the split does not have, or none.
    """

    def __init__(self, split: Split, start: int, stop: int):
        if not 0 <= start < stop <= len(split):
            raise DataError(
                f"data.train_rows={start}:{stop}: there are {len(split)} rows; take 0 <= start < "
                f"stop <= {len(split)}"
            )
        self._split, self._start, self._length = split, start, stop - start
        self.arrays: dict[str, np.ndarray] | None = split.arrays and {
            name: array[start:stop] for name, array in split.arrays.items()
        }

    def __len__(self) -> int:
        return self._length

    def gather(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Raw rows at integer `indices` of any shape; leaves `(*indices.shape, ...)`."""
        return self._split.gather(indices + self._start)


Decode = Callable[..., dict[str, jax.Array]]


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Training, validation and test rows with the function that decodes them.

    Attributes:
      train: rows to learn from.
      test: rows to evaluate on.
      spec: what the rows are.
      decode: `(raw rows, key=None) -> batch`, pure and traceable; any number of leading axes.
        "image" becomes float32 in `spec.value_range`, "x" float32, "label" int32. With a key it
        augments (where the data set was loaded so), each example by its own key; without one it
        is deterministic.
      validation: rows to select models by; None where the data set defines none.
    """

    train: Split
    test: Split
    spec: DataSpec
    decode: Decode
    validation: Split | None = None

    def examples(self, split: str, n: int | None = None) -> dict[str, np.ndarray]:
        """The first `n` decoded rows (all, if there are fewer or `n` is None) in stored order.

        Args:
          split: "train", "validation" or "test".
          n: how many rows, at least 1.

        Raises:
          DataError: another split, one that the data set does not have, or `n < 1`.
        """
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        rows = splits.get(split)
        if rows is None:
            there = ", ".join(name for name, part in splits.items() if part is not None)
            raise DataError(f"split={split!r}: {self.spec.name!r} has {there}; choose one of them")
        if n is not None and n < 1:
            raise DataError(f"n={n}: ask for at least one example")
        n = len(rows) if n is None else min(n, len(rows))
        chunks = [np.arange(i, min(i + CHUNK, n)) for i in range(0, n, CHUNK)]
        decoded = [jax.device_get(self.decode(rows.gather(chunk))) for chunk in chunks]
        return {name: np.concatenate([part[name] for part in decoded]) for name in decoded[0]}


def _keys(key: jax.Array, leading: tuple[int, ...]) -> jax.Array:
    """One key per example; the last leading axis is the position in the global batch."""
    if len(leading) == 1:
        return example_keys(key, leading[0])
    outer = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(leading[0], dtype=jnp.int32))
    return jax.vmap(lambda k: _keys(k, leading[1:]))(outer)


def random_flip(key: jax.Array, image: jax.Array) -> jax.Array:
    """Mirrors each image left to right with probability 1/2.

    Args:
      key: typed PRNG key; each example uses its own, by position in the batch.
      image: `(..., H, W, C)` with at least one leading axis.
    """
    keys = _keys(key, image.shape[:-3])
    draw = jax.random.bernoulli
    for _ in keys.shape:
        draw = jax.vmap(draw)
    return jnp.where(draw(keys)[..., None, None, None], image[..., ::-1, :], image)


def _decode_label(raw: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    return {"label": jnp.asarray(raw["label"], jnp.int32)} if "label" in raw else {}


def decode_image(
    raw: Mapping[str, jax.Array],
    key: jax.Array | None = None,
    *,
    high: int = 255,
    flip: bool = False,
) -> dict[str, jax.Array]:
    """Integer images 0..`high` to float32 in [-1, 1], `x / (high / 2) - 1`; labels to int32.

    Args:
      raw: "image" uint8 `(..., H, W, C)`, and "label" `(...)` where there are labels.
      key: augmentation key, or None for no augmentation.
      high: the integer that decodes to 1.
      flip: mirror images at random when a key is given.
    """
    image = jnp.asarray(raw["image"]).astype(jnp.float32) / (high / 2) - 1.0
    if flip and key is not None:
        image = random_flip(key, image)
    return {"image": image, **_decode_label(raw)}


def decode_vector(
    raw: Mapping[str, jax.Array], key: jax.Array | None = None
) -> dict[str, jax.Array]:
    """Vectors as they are, in float32; labels to int32. The key is not used."""
    return {"x": jnp.asarray(raw["x"], jnp.float32), **_decode_label(raw)}


def image_dataset(
    name: str,
    train: Split,
    test: Split,
    shape: tuple[int, ...],
    *,
    n_classes: int = 0,
    nvals: int = 256,
    flip: bool = False,
) -> Dataset:
    """A data set of integer images `shape` (H, W, C) with values 0..`nvals - 1`."""
    domain = Domain("integers", tuple(shape), nvals)
    spec = DataSpec(name, domain, (-1.0, 1.0), n_classes, "image")
    decode = functools.partial(decode_image, high=nvals - 1, flip=flip)
    return Dataset(train, test, spec, decode)


def vector_dataset(
    name: str,
    train: Split,
    test: Split,
    dim: int,
    *,
    n_classes: int = 0,
    validation: Split | None = None,
) -> Dataset:
    """A data set of real vectors of `dim` coordinates."""
    spec = DataSpec(name, Domain("reals", (dim,)), (-math.inf, math.inf), n_classes, "vector")
    return Dataset(train, test, spec, decode_vector, validation)
