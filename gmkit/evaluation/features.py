"""Feature functions: the spaces in which samples are compared, named and fingerprinted."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np


@dataclasses.dataclass(frozen=True)
class Features:
    """A feature space; numbers are comparable only under equal `label`.

    Attributes:
      name: short name of the space, such as "clf", "inception" or "pixel".
      fingerprint: short digest of what defines the map (its weights).
      dim: number of features.
      apply: `(n, ...) float -> (n, dim) float32`, on host arrays; images are NHWC in [-1, 1].
      info: what else a reader of the numbers wants to know (such as the test accuracy).
    """

    name: str
    fingerprint: str
    dim: int
    apply: Callable[[np.ndarray], np.ndarray]
    info: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def label(self) -> str:
        """Name and fingerprint, as they stand in the keys of reported numbers: "clf-3fa2c19e"."""
        return f"{self.name}-{self.fingerprint}"


def pixel_features(dim: int) -> Features:
    """The flattened values themselves, for toys and vectors with `dim` coordinates.

    `apply` raises ValueError when an example has another number of coordinates.
    """

    def apply(x: np.ndarray) -> np.ndarray:
        x = np.asarray(x, np.float32)
        if math.prod(x.shape[1:]) != dim:
            raise ValueError(f"samples have shape {x.shape}: expected {dim} values per example")
        return x.reshape(len(x), dim)

    return Features(name="pixel", fingerprint=f"{dim}d", dim=dim, apply=apply)


def in_batches(fn: Callable[[jax.Array], jax.Array], x: np.ndarray, batch_size: int) -> np.ndarray:
    """`fn` over the rows of `x` in batches of one fixed size, so that it compiles once.

    The last batch is padded with zeros and the padding's rows are dropped, so `fn` must treat
    rows independently. Returns host float32 `(n, ...)`, also for n = 0.
    """
    x = np.asarray(x)
    rows = []
    for start in range(0, max(len(x), 1), batch_size):
        batch = x[start : start + batch_size]
        padding = np.zeros((batch_size - len(batch), *x.shape[1:]), x.dtype)
        rows.append(np.asarray(fn(np.concatenate([batch, padding])), np.float32)[: len(batch)])
    return np.concatenate(rows)


def check_images(x: Any, what: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """`x` as float32 NHWC images.

    Args:
      x: images in [-1, 1], `(n, height, width, channels)`.
      what: the argument's name, for the error.
      shape: required (height, width, channels), if any.

    Raises:
      ValueError: not NHWC, not of the required shape, or integers (undecoded pixels).
    """
    x = np.asarray(x)
    if x.ndim != 4 or (shape is not None and x.shape[1:] != shape):
        wanted = "(height, width, channels)" if shape is None else shape
        raise ValueError(f"{what} has shape {x.shape}: expected images (n, *{wanted})")
    if not np.issubdtype(x.dtype, np.floating):
        raise ValueError(f"{what} has dtype {x.dtype}: decode to floats in [-1, 1] first")
    return x.astype(np.float32, copy=False)


def check_features(*arrays: Any, at_least: int = 2) -> list[np.ndarray]:
    """Feature sets as float64 `(n, d)` arrays of one `d`.

    Raises:
      ValueError: not two-dimensional, too few rows, unequal `d`, or values that are not finite.
    """
    checked = [np.asarray(a, np.float64) for a in arrays]
    for a in checked:
        if a.ndim != 2 or a.shape[1] != checked[0].shape[-1]:
            shapes = " and ".join(str(b.shape) for b in checked)
            raise ValueError(f"feature sets have shapes {shapes}: expected (n, d) with one d")
        if len(a) < at_least:
            raise ValueError(f"feature set has {len(a)} rows: at least {at_least} are needed")
        if not np.isfinite(a).all():
            bad = int((~np.isfinite(a).all(axis=1)).sum())
            raise ValueError(f"{bad} of {len(a)} feature rows are not finite: check the samples")
    return checked


def fingerprint(arrays: Mapping[str, np.ndarray]) -> str:
    """First 8 hex digits of the SHA-256 over names, shapes, types and bytes, in name order."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        a = np.ascontiguousarray(arrays[name])
        digest.update(f"{name}|{a.shape}|{a.dtype.str}|".encode())
        digest.update(a.tobytes())
    return digest.hexdigest()[:8]
