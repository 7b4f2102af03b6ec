"""Pictures of images: tiles, grids, panels side by side and chains over time."""

from __future__ import annotations

import io
import math
import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gmkit.reporting.figures import DPI, canvas, plain, style
from gmkit.reporting.files import write_bytes
from gmkit.reporting.tables import format_value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MARGIN = 12  # pixels around the panels
_GUTTER = 40  # pixels between panels, wider than the gaps between images
_TITLE_SIZE = 10  # points
_LABEL_SIZE = 8
_WHITE = 255


def to_uint8(images: Any) -> np.ndarray:
    """Images as uint8, channels kept.

    Args:
      images: `(n, H, W, C)` with C = 1 (grey) or 3 (RGB); floats in [-1, 1] (clipped, rounded
        so that `x / 127.5 - 1` inverts it; NaN becomes black) or uint8 (returned as it is).

    Raises:
      ValueError: another rank, number of channels or dtype, or no image at all.
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise ValueError(
            f"images.shape={images.shape}: pass (n, height, width, channels) with 1 or 3 channels"
        )
    if 0 in images.shape:
        raise ValueError(f"images.shape={images.shape}: no image to draw; pass at least one")
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind not in "fV":  # V: bfloat16 as NumPy sees it
        raise ValueError(f"images.dtype={images.dtype}: pass floats in [-1, 1] or uint8")
    unit = np.nan_to_num(images.astype(np.float32), nan=-1.0, posinf=1.0, neginf=-1.0)
    return np.rint((np.clip(unit, -1.0, 1.0) + 1.0) * 127.5).astype(np.uint8)


def tile(images: Any, columns: int | None = None, pad: int = 1) -> np.ndarray:
    """Images laid out row by row in one array, `(h, w, C)` uint8, gaps and empty cells white.

    Args:
      images: as for `to_uint8`.
      columns: images per row; None for about a square. Fewer images than columns make one
        row without empty cells.
      pad: white pixels between neighbours (none at the border).

    Returns:
      h = rows * (H + pad) - pad, w = columns * (W + pad) - pad.

    Raises:
      ValueError: as for `to_uint8`; columns < 1; pad < 0.
    """
    images = to_uint8(images)
    n, height, width, channels = images.shape
    if columns is not None and columns < 1:
        raise ValueError(f"columns={columns}: pass at least 1, or None to choose")
    if pad < 0:
        raise ValueError(f"pad={pad}: pass 0 or more pixels")
    per_row = min(n, columns or math.ceil(math.sqrt(n)))
    rows = math.ceil(n / per_row)
    shape = (rows * per_row, height + pad, width + pad, channels)
    cells = np.full(shape, _WHITE, np.uint8)
    cells[:n, :height, :width] = images
    cells = cells.reshape(rows, per_row, *shape[1:])
    sheet = cells.transpose(0, 2, 1, 3, 4).reshape(rows * shape[1], per_row * shape[2], channels)
    return sheet[: sheet.shape[0] - pad, : sheet.shape[1] - pad]


def save_png(array: Any, path: str | os.PathLike) -> Path:
    """Writes a uint8 array `(h, w)`, `(h, w, 1)` or `(h, w, 3)` as a PNG, atomically.

    Raises:
      ValueError: another dtype or shape.
    """
    from PIL import Image

    array = np.asarray(array)
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    drawable = array.ndim == 2 or (array.ndim == 3 and array.shape[-1] == 3)
    if array.dtype != np.uint8 or not drawable:
        raise ValueError(
            f"array of dtype {array.dtype} and shape {array.shape}: pass uint8 (h, w), (h, w, 1) "
            "or (h, w, 3), for example from tile()"
        )
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(buffer, format="PNG")
    return write_bytes(path, buffer.getvalue())


def image_grid(
    images: Any, columns: int | None = None, title: str | None = None, pad: int = 1
) -> Figure:
    """A grid of images; tiny ones are enlarged by whole factors so that pixels stay crisp.

    Args:
      images: `(n, H, W, C)`, floats in [-1, 1] or uint8.
      columns: images per row; None for about a square.
      title: a line above the grid.
      pad: gap between images, in pixels of the images.

    Raises:
      ValueError: as for `tile`.
    """
    sheet = tile(images, columns, pad)
    return _panels([(title, sheet)], _scale(sheet, np.shape(images), 800), 1)


def side_by_side(
    panels: Mapping[str, Any], columns: int | None = None, pad: int = 1, per_row: int = 4
) -> Figure:
    """Several grids of images next to each other, for example data | base | GEBM.

    Args:
      panels: title -> images `(n, H, W, C)`, floats in [-1, 1] or uint8.
      columns: images per row within a panel; None for about a square.
      pad: gap between images, in pixels of the images.
      per_row: panels per row of the figure.

    Raises:
      ValueError: no panels; per_row < 1; else as for `tile`.
    """
    if not panels:
        raise ValueError("panels is empty: pass at least one title -> images")
    if per_row < 1:
        raise ValueError(f"per_row={per_row}: pass at least 1")
    sheets = [(title, tile(images, columns, pad)) for title, images in panels.items()]
    budget = max(300, 1300 // min(len(sheets), per_row))
    scale = min(
        _scale(sheet, np.shape(images), budget)
        for (_, sheet), images in zip(sheets, panels.values(), strict=True)
    )
    return _panels(sheets, scale, per_row)


@style()
def image_strips(
    trajectory: Any,
    times: Sequence[Any],
    title: str | None = None,
    xlabel: str = "step",
    max_columns: int = 12,
) -> Figure:
    """Chains in image space: one row per chain, time from left to right.

    Args:
      trajectory: `(T, n, H, W, C)`, floats in [-1, 1] or uint8.
      times: `T` numbers written above the columns.
      title: a line above the figure.
      xlabel: what the times count.
      max_columns: more time points than this are thinned evenly, keeping the first and last.

    Raises:
      ValueError: shapes that do not fit; else as for `to_uint8`.
    """
    trajectory = np.asarray(trajectory)
    times = list(times)
    if trajectory.ndim != 5 or len(times) != len(trajectory):
        raise ValueError(
            f"trajectory.shape={trajectory.shape}, len(times)={len(times)}: pass (T, n, height, "
            "width, channels) and T times"
        )
    if len(times) > max_columns:
        last = len(times) - 1
        # Fewer columns where that makes their spacing exactly even.
        gaps = range(max_columns - 1, max_columns // 2, -1)
        count = next((g for g in gaps if last % g == 0), max_columns - 1)
        keep = np.rint(np.linspace(0, last, count + 1)).astype(int)
        trajectory, times = trajectory[keep], [times[i] for i in keep]
    steps, chains = trajectory.shape[:2]
    images = np.swapaxes(trajectory, 0, 1).reshape(chains * steps, *trajectory.shape[2:])
    sheet = tile(images, steps)
    scale = _scale(sheet, images.shape, 1000)
    labels = [plain(format_value(t)) for t in times]
    heading = f"{title}   ({xlabel} above each column)" if title else f"{xlabel}:"
    pitch = (images.shape[2] + 1) * scale
    label_width = max(_text_size(label, _LABEL_SIZE)[0] for label in labels) + 8
    every = math.ceil(label_width / pitch)
    label_height = _text_size("0", _LABEL_SIZE)[1] + 8
    fig = _panels([(heading, sheet)], scale, 1, gap=label_height)
    ax = fig.axes[0]
    for i in range(0, steps, every):
        centre = i * (images.shape[2] + 1) + (images.shape[2] - 1) / 2
        ax.annotate(
            labels[i],
            (centre, -0.5),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=_LABEL_SIZE,
            annotation_clip=False,
        )
    return fig


def _scale(sheet: np.ndarray, shape: tuple[int, ...], budget: int) -> int:
    """Whole enlargement that keeps the sheet within `budget` pixels and one image within 256."""
    return max(1, min(256 // max(shape[1:3]), budget // max(sheet.shape[:2])))


def _text_size(text: str, size: float) -> tuple[int, int]:
    """Width and height of `text` in pixels at `size` points."""
    fig = canvas(1, 1)
    box = fig.text(0, 0, text, fontsize=size).get_window_extent()
    return math.ceil(box.width), math.ceil(box.height)


@style()
def _panels(
    sheets: Sequence[tuple[str | None, np.ndarray]], scale: int, per_row: int, gap: int = 0
) -> Figure:
    """Titled image arrays on whole pixels of a grid; `gap` pixels between title and image."""
    titles = [textwrap.fill(plain(title), 60) if title else "" for title, _ in sheets]
    sizes = [_text_size(title, _TITLE_SIZE) if title else (0, 0) for title in titles]
    arrays = [sheet for _, sheet in sheets]
    columns = min(per_row, len(sheets))
    rows = math.ceil(len(sheets) / columns)
    cell_w = max(max(a.shape[1] * scale, w) for a, (w, _) in zip(arrays, sizes, strict=True))
    title_h = max(h for _, h in sizes)
    head = gap + (title_h + 8 if title_h else 0)
    cell_h = head + max(a.shape[0] for a in arrays) * scale
    width = 2 * _MARGIN + columns * (cell_w + _GUTTER) - _GUTTER
    height = 2 * _MARGIN + rows * (cell_h + _GUTTER) - _GUTTER
    # A hundredth of a pixel, because the canvas truncates inches * DPI to whole pixels.
    fig = canvas((width + 0.01) / DPI, (height + 0.01) / DPI)
    for i, (title, array) in enumerate(zip(titles, arrays, strict=True)):
        h, w = array.shape[0] * scale, array.shape[1] * scale
        left = _MARGIN + (i % columns) * (cell_w + _GUTTER)
        top = height - _MARGIN - (i // columns) * (cell_h + _GUTTER)
        bottom = top - head - h
        ax = fig.add_axes((left / width, bottom / height, w / width, h / height))
        # As RGB, because a colour map would round grey values.
        ax.imshow(np.broadcast_to(array, (*array.shape[:2], 3)))
        ax.set_axis_off()
        fig.text(left / width, top / height, title, fontsize=_TITLE_SIZE, va="top", linespacing=1.2)
    return fig
