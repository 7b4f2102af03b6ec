"""The look of every gmkit figure, and how a figure becomes a file."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gmkit.reporting.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Pixels per inch of every figure; image panels are laid out in whole pixels of it.
DPI = 150

INK = "#333333"
MUTED = "#80868b"
GRID = "#e8eaed"

#: Fixed meaning of three colours, so that a reader learns them once (from Okabe & Ito's
#: palette, which stays apart under the common colour vision deficiencies).
ROLES = {"data": "#444444", "base": "#e69f00", "model": "#0072b2", "gebm": "#0072b2"}

#: Colours of everything without a role.
CYCLE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#444444")

_RC: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.formatter.limits": (-4, 5),
    "axes.formatter.useoffset": False,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.linewidth": 0.7,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "figure.dpi": DPI,
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "image.interpolation": "nearest",
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "lines.linewidth": 1.5,
    "savefig.facecolor": "white",
    "text.color": INK,
    "text.usetex": False,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 8,
}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """gmkit's matplotlib settings, as a context manager or a decorator (`@style()`).

    Artists read the settings both when they are made and when they are drawn, so drawing code
    and `save_figure` run inside it.
    """
    import matplotlib

    with matplotlib.rc_context(_RC):
        yield


def canvas(width: float, height: float, **options) -> Figure:
    """An empty `Figure` of `width` x `height` inches on an Agg canvas, outside pyplot."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with style():
        fig = Figure(figsize=(width, height), dpi=DPI, **options)
        FigureCanvasAgg(fig)
    return fig


def figure(
    width: float = 5.6, height: float = 3.4, *, rows: int = 1, columns: int = 1, **options
) -> tuple[Figure, np.ndarray]:
    """A figure in gmkit's style with a grid of axes.

    Args:
      width, height: size of the whole figure in inches.
      rows, columns: number of axes.
      **options: passed on to `Figure.subplots`, for example `sharex=True`.

    Returns:
      The figure and an object array of axes, `(rows, columns)`.
    """
    with style():
        fig = canvas(width, height, layout="constrained")
        axes = fig.subplots(rows, columns, squeeze=False, **options)
    return fig, axes


def colours(names: Iterable[str]) -> dict[str, str]:
    """A colour for each name: its role's if a word of the name is one, else the next free one.

    Data are dark grey, the base orange, the model (or GEBM) blue, wherever they appear.
    """
    names = list(names)
    chosen: dict[str, str] = {}
    for name in names:
        words = re.findall(r"[a-z]+", name.lower())
        role = next((ROLES[word] for word in words if word in ROLES), None)
        if role is not None and role not in chosen.values():
            chosen[name] = role
    free = [colour for colour in CYCLE if colour not in chosen.values()] or list(CYCLE)
    rest = (name for name in names if name not in chosen)
    chosen.update({name: free[i % len(free)] for i, name in enumerate(rest)})
    return chosen


def plain(text: object) -> str:
    """`text` for a label, safe from matplotlib's `$...$` mathematics and `_hidden` labels."""
    text = str(text).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def save_figure(fig: Figure, path: str | os.PathLike) -> Path:
    """Writes `fig` as a PNG to `path`, atomically, at the figure's own resolution.

    Raises:
      ValueError: a path that does not end in .png.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"path={path.name!r}: figures are saved as PNG; end the name in .png")
    buffer = io.BytesIO()
    with style():
        fig.savefig(buffer, format="png", dpi=fig.dpi)
    return write_bytes(path, buffer.getvalue())
