"""Draws from a model as files."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gmkit.reporting.figures import save_figure
from gmkit.reporting.files import write_bytes
from gmkit.reporting.images import image_grid
from gmkit.reporting.plots import histograms, scatter_panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Images in the picture of a set of samples; the .npz holds all of them.
MAX_IMAGES = 100


def save_samples(
    directory: str | os.PathLike, samples: Any, name: str = "samples"
) -> dict[str, Path]:
    """Writes samples to `directory`, as numbers and, where they can be drawn, as a picture.

    Args:
      directory: folder, created where missing.
      samples: one array (stored under the key "samples") or a dict of arrays (stored under its
        keys; "image" or "x" is what gets drawn). Images `(n, H, W, 1 or 3)` give a grid of the
        first 100, `(n, 2)` vectors a scatter plot, `(n,)` and `(n, 1)` values a histogram;
        anything else, and no samples at all, only the numbers.
      name: file name without its ending.

    Returns:
      {"npz": path} and, where there is a picture, {"png": path}.
    """
    given = samples if isinstance(samples, Mapping) else {"samples": samples}
    arrays: dict[str, Any] = {key: _storable(value) for key, value in given.items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    folder = Path(directory)
    paths = {"npz": write_bytes(folder / f"{name}.npz", buffer.getvalue())}
    key = next((key for key in ("samples", "image", "x") if key in arrays), None)
    fig = _picture(arrays[key], name) if key else None
    if fig is not None:
        paths["png"] = save_figure(fig, folder / f"{name}.png")
    return paths


def _storable(value: Any) -> np.ndarray:
    array = np.asarray(value)
    # NumPy would store bfloat16 as raw bytes without a type.
    return array.astype(np.float32) if array.dtype.kind == "V" else array


def _picture(array: np.ndarray, name: str) -> Figure | None:
    if array.size == 0 or array.dtype.kind not in "biuf":
        return None
    drawable = array.dtype.kind == "f" or array.dtype == np.uint8
    if array.ndim == 4 and array.shape[-1] in (1, 3) and drawable:
        return image_grid(array[:MAX_IMAGES])
    if array.ndim == 2 and array.shape[1] == 2:
        return scatter_panels({name: array})
    if array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1):
        return histograms({name: array})
    return None
