"""Data sets from the user's own `.npz` files."""

from __future__ import annotations

import lzma
import zipfile
import zlib
from pathlib import Path

import numpy as np

from gmkit.data.dataset import ArraySplit, Dataset, image_dataset, vector_dataset
from gmkit.data.images import fit_size
from gmkit.data.shuffle import permutation
from gmkit.data.spec import DataError

KEYS = ("x_train", "y_train", "x_test", "y_test")
LAYOUT = (
    "x_train (N, H, W) or (N, H, W, 1 or 3) uint8 images, or (N, D) float vectors; "
    "optionally y_train (N,) integer labels, x_test, y_test"
)

# What NumPy hands on from the zip reader, the decompressors and its own parser.
UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)


def _read(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise DataError(f"data.name={str(path)!r}: there is no such file")
    if not zipfile.is_zipfile(path):
        raise DataError(f"data.name={str(path)!r} is not an .npz file; write it with numpy.savez")
    try:
        with np.load(path, allow_pickle=False) as stored:
            found = list(stored.files)
            arrays = {key: stored[key] for key in KEYS if key in found}
    except UNREADABLE as error:
        raise DataError(
            f"data.name={str(path)!r} is damaged or holds other things than arrays: {error}"
        ) from error
    if "x_train" not in arrays:
        raise DataError(f"data.name={str(path)!r} has keys {found}; needed: {LAYOUT}")
    return arrays


def _check_rows(path: Path, key: str, x: np.ndarray) -> np.ndarray:
    """Images as uint8 NHWC, vectors as float32 `(N, D)`."""
    problem = f"data.name={str(path)!r}: {key} is {x.dtype} {x.shape}"
    if x.size == 0:
        raise DataError(f"{problem}, which is empty; give at least one example")
    if x.dtype == np.uint8 and x.ndim in (3, 4):
        x = x[..., None] if x.ndim == 3 else x
        if x.shape[-1] not in (1, 3):
            raise DataError(f"{problem}; put 1 or 3 channels last")
        return x
    if np.issubdtype(x.dtype, np.floating) and x.ndim == 2:
        if not np.isfinite(x).all():
            raise DataError(f"{problem} with values that are not finite; remove those rows")
        return x.astype(np.float32)
    raise DataError(f"{problem}; needed: {LAYOUT}")


def _check_labels(path: Path, key: str, y: np.ndarray, n: int) -> np.ndarray:
    problem = f"data.name={str(path)!r}: {key} is {y.dtype} {y.shape}"
    if y.shape != (n,):
        raise DataError(f"{problem}, but there are {n} examples; give one label each, ({n},)")
    if not np.issubdtype(y.dtype, np.integer) or y.min() < 0:
        raise DataError(f"{problem}; labels must be integers from 0 on")
    return y.astype(np.int32)


def _splits(path: Path, arrays: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """Checked raw rows to train and test on, images and vectors alike under "x"."""
    parts = []
    for split in ("train", "test"):
        if f"x_{split}" in arrays:
            x = _check_rows(path, f"x_{split}", arrays[f"x_{split}"])
            part = {"x": x}
            if f"y_{split}" in arrays:
                key = f"y_{split}"
                part["label"] = _check_labels(path, key, arrays[key], len(x))
            parts.append(part)
        elif f"y_{split}" in arrays:
            raise DataError(f"data.name={str(path)!r} has y_{split} without x_{split}; add it")
    if len(parts) == 1:
        return _hold_out(path, parts[0])
    train, test = parts
    if set(train) != set(test):
        raise DataError(
            f"data.name={str(path)!r} labels one split only; give both of y_train and y_test"
        )
    if train["x"].shape[1:] != test["x"].shape[1:] or train["x"].dtype != test["x"].dtype:
        raise DataError(
            f"data.name={str(path)!r}: examples of x_train are {train['x'].dtype} "
            f"{train['x'].shape[1:]}, of x_test {test['x'].dtype} {test['x'].shape[1:]}; "
            "they must agree"
        )
    return parts


def _hold_out(path: Path, rows: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """The last tenth of `permutation(0, N)` to test on, the rest to train on."""
    n = len(rows["x"])
    if n < 2:
        raise DataError(f"data.name={str(path)!r} has 1 row and no x_test; give at least 2 rows")
    order = permutation(0, n)
    n_test = max(1, n // 10)
    return [{k: v[part] for k, v in rows.items()} for part in (order[:-n_test], order[-n_test:])]


def npz(
    path: str | Path, *, image_size: int | None = None, pad: bool = False, flip: bool = False
) -> Dataset:
    """A data set from an `.npz` file (stored, deflated or LZMA-compressed members).

    Keys: `x_train`, uint8 images `(N, H, W)` or `(N, H, W, C)` with C in {1, 3}, or float
    vectors `(N, D)`; optional `y_train`, integer labels `(N,)` from 0 on; optional `x_test`,
    `y_test` alike. Without `x_test` a fixed random tenth of the rows is held out. Other keys
    are ignored.

    Args:
      path: the file.
      image_size: see `images.fit_size`.
      pad: see `images.fit_size`.
      flip: mirror images at random while training.

    Raises:
      DataError: no such file, keys or arrays of another form, or image options for vectors.
    """
    path = Path(path).expanduser()
    parts = _splits(path, _read(path))
    labels = [part["label"] for part in parts if "label" in part]
    n_classes = 1 + max((int(y.max()) for y in labels), default=-1)
    if parts[0]["x"].dtype == np.uint8:
        raw = [{**part, "image": fit_size(part["x"], image_size, pad)} for part in parts]
        train, test = (ArraySplit({k: v for k, v in r.items() if k != "x"}) for r in raw)
        shape = raw[0]["image"].shape[1:]
        return image_dataset(path.stem, train, test, shape, n_classes=n_classes, flip=flip)
    for option, value in (("image_size", image_size), ("pad", pad), ("flip", flip)):
        if value:
            raise DataError(f"data.{option}={value}: {str(path)!r} holds vectors, not images")
    train, test = (ArraySplit(part) for part in parts)
    return vector_dataset(path.stem, train, test, parts[0]["x"].shape[1], n_classes=n_classes)
