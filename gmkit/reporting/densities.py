"""Pictures for density models: the transport of a plane, tables of values."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gmkit.reporting.figures import DPI, GRID, INK, MUTED, ROLES, canvas, figure, plain, style
from gmkit.reporting.plots import Extent, draw_points, framed, plane_points, robust_range
from gmkit.reporting.tables import Rows, column_names, format_value, is_number, plain_scalar

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

_PANEL = 2.35  # inches, height of a panel
_FAR = 100.0  # extents
_PITCH = 0.235  # inches from one row of a table to the next
_TITLE_PITCH = 0.18
_MARGIN = 0.12  # inches around a table
_COLUMN_GAP = 0.3  # inches


@style()
def transport_panels(
    density: Any,
    extent: Extent,
    grid_lines: Any,
    points: Any,
    latents: Any,
    samples: Any | None = None,
    title: str | None = None,
) -> Figure:
    """What an invertible model of the plane has learned, from the data to the latents.

    The panels are the data; the samples, if given; the density under the transport grid; and the
    data's latents with the circles of radius 1, 2 and 3 around the origin.

    Args:
      density: `(G, G')` values >= 0; row i is the i-th y from below, column j the j-th x from the
        left. The colours go from 0 to where 98 % of the mass have less density; non-finite values
        are grey.
      extent: (x low, x high, y low, y high) of the panels in data space and of the density.
      grid_lines: polylines `(L, P, 2)`, or a sequence of `(P_i, 2)`: a regular grid of the latent
        space, mapped into data space. Cut at the extent; a non-finite vertex leaves a gap, and
        so does one a hundred extents away.
      points: `(n, 2)` data.
      latents: `(m, 2)` images of the data in the latent space.
      samples: `(k, 2)` draws from the model.
      title: a line above the figure.

    Raises:
      ValueError: arrays of other shapes, a negative density, or an extent without an area.
    """
    from matplotlib.collections import LineCollection

    values = _density(density, extent)
    clouds = {"data": plane_points("points", points)}
    if samples is not None:
        clouds["samples"] = plane_points("samples", samples)
    curves = [plane_points(f"grid_lines[{i}]", line) for i, line in enumerate(grid_lines)]
    latents = plane_points("latents", latents)
    # Long planes would make panels that are mostly margin.
    wide = float(np.clip((extent[1] - extent[0]) / (extent[3] - extent[2]), 0.5, 2.5))
    widths = [wide] * (len(clouds) + 1) + [1.0]
    size = _PANEL * sum(widths) + 0.35 * len(widths) + 0.5, _PANEL + (0.75 if title else 0.5)
    fig, axes = figure(*size, columns=len(widths), width_ratios=widths)
    for ax, (name, cloud) in zip(axes.flat, clouds.items(), strict=False):
        draw_points(ax, cloud, extent, ROLES["data" if name == "data" else "model"])
        ax.set_title(name)
    _draw_density(axes.flat[-2], values, extent)
    grid = LineCollection(
        [_near(curve, extent) for curve in curves], colors=INK, linewidths=0.55, alpha=0.55
    )
    axes.flat[-2].add_collection(grid, autolim=False)
    _draw_latents(axes.flat[-1], latents)
    if title:
        fig.suptitle(plain(title), x=0.01, ha="left")
    return fig


def _near(curve: np.ndarray, extent: Extent) -> np.ndarray:
    """The curve with NaN for vertices so far away that the renderer would run out of memory."""
    low, high = np.array(extent[0::2]), np.array(extent[1::2])
    reach = _FAR * (high - low)
    near = (curve > low - reach) & (curve < high + reach)
    return np.where(near.all(axis=1, keepdims=True), curve, np.nan)


def _density(density: Any, extent: Extent) -> np.ma.MaskedArray:
    if not (np.isfinite(extent).all() and extent[0] < extent[1] and extent[2] < extent[3]):
        raise ValueError(f"extent={extent}: pass (x low, x high, y low, y high), each low < high")
    values = np.asarray(density, dtype=float)
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(f"density.shape={values.shape}: pass values on a grid, (rows, columns)")
    if (values < 0).any():
        raise ValueError(
            f"density has values down to {np.nanmin(values):.4g}: pass densities, not logarithms"
        )
    return np.ma.masked_invalid(values)


def _brightest(values: np.ma.MaskedArray) -> float:
    """The density that 98 % of the mass do not exceed; 1 where there is no mass.

    By mass, because a quantile over the plane is 0 for a density that lives on little of it.
    """
    ordered = np.sort(values.compressed())
    if not ordered.size or ordered[-1] <= 0:
        return 1.0
    mass = np.cumsum(ordered / ordered[-1])
    return float(ordered[np.searchsorted(mass, 0.98 * mass[-1])])


def _draw_density(ax: Axes, values: np.ma.MaskedArray, extent: Extent) -> None:
    import matplotlib

    high = _brightest(values)
    blues = matplotlib.colormaps["Blues"].with_extremes(bad=GRID)
    place = {"extent": extent, "origin": "lower", "aspect": "equal"}
    heat = ax.imshow(values, cmap=blues, vmin=0.0, vmax=high, **place)
    framed(ax, extent)
    ax.set_title("density and grid")
    above = values.count() and values.max() > high
    # Inside the axes' own coordinates, where it keeps their height at any aspect.
    wide = max(1.0, (extent[1] - extent[0]) / (extent[3] - extent[2]))
    bar = ax.inset_axes((1 + 0.04 / wide, 0.0, 0.045 / wide, 1.0))
    extend = "max" if above else "neither"
    ax.figure.colorbar(heat, cax=bar, label="density", extend=extend, extendfrac=0.04)
    bar.locator_params(nbins=5)


def _draw_latents(ax: Axes, latents: np.ndarray) -> None:
    from matplotlib.patches import Circle

    far = np.abs(latents[np.isfinite(latents).all(axis=1)]).max(axis=1, initial=0.0)
    half = max(3.8, 1.06 * (robust_range([far]) or (0.0, 0.0))[1])
    draw_points(ax, latents, (-half, half, -half, half), ROLES["data"])
    for radius in (1, 2, 3):
        ax.add_patch(Circle((0, 0), radius, fill=False, edgecolor=ROLES["base"], linewidth=1.2))
    ax.set_title("latents of the data")


@style()
def value_table(
    rows: Rows,
    columns: Sequence[str] | Mapping[str, str] | None = None,
    title: str | None = None,
    highlight: Mapping[str, str] | None = None,
) -> Figure:
    """A table as a picture that is as large as its content.

    Columns of numbers are aligned right and others left; None, NaN and a missing key are a dash.

    Args:
      rows: one mapping per row, column -> value; numbers as `format_value` writes them.
      columns: which columns in which order, or column -> its header; None for all.
      title: a line above the table.
      highlight: column -> "min" or "max": its best finite number is bold, and so is what cannot
        be told from it in print.

    Raises:
      ValueError: no rows, no columns, a column that no row has, or another word than min or max.
    """
    headers = _headers(rows, columns)
    cells = {name: [_cell(row.get(name)) for row in rows] for name in headers}
    bold = _best_cells(rows, cells, highlight or {})
    fig = canvas(1.0, 1.0)
    texts = {
        name: [_write(fig, header, MUTED)]
        + [
            _write(fig, cell, weight="bold" if (i, name) in bold else "normal")
            for i, cell in enumerate(cells[name])
        ]
        for name, header in headers.items()
    }
    widths = {name: max(map(_width, column)) for name, column in texts.items()}
    inner = sum(widths.values()) + _COLUMN_GAP * (len(widths) - 1)
    heading = [_write(fig, line, size=10) for line in _heading(fig, title, max(inner, 3.5))]
    width = max(inner, *map(_width, heading), 0.0) + 2 * _MARGIN
    above = _TITLE_PITCH * len(heading) + 0.05 * bool(heading)
    height = 2 * _MARGIN + _PITCH * (1 + len(rows)) + 0.1 + above
    fig.set_size_inches(width, height)
    for i, text in enumerate(heading):
        text.set_position((_MARGIN, height - _MARGIN - 0.13 - _TITLE_PITCH * i))
    top = height - _MARGIN - above
    left = _MARGIN
    for name, column in texts.items():
        right_aligned = _numeric([row.get(name) for row in rows])
        x, side = (left + widths[name], "right") if right_aligned else (left, "left")
        for i, text in enumerate(column):
            text.set(x=x, y=top - _PITCH * (i + 0.72) - 0.06 * bool(i), ha=side)
        left += widths[name] + _COLUMN_GAP
    bottom = top - _PITCH * (len(rows) + 1) - 0.1
    for y, thick in ((top, 1.1), (top - _PITCH - 0.02, 0.6), (bottom, 1.1)):
        _rule(fig, _MARGIN, _MARGIN + inner, y, thick)
    return fig


def _headers(rows: Rows, columns: Sequence[str] | Mapping[str, str] | None) -> dict[str, str]:
    """Column -> header of the columns to show."""
    if not len(rows):
        raise ValueError("rows is empty: pass at least one")
    known = column_names(rows)
    chosen = known if columns is None else columns
    headers = dict(chosen) if isinstance(chosen, Mapping) else {name: str(name) for name in chosen}
    if not headers:
        raise ValueError("no columns to show: pass rows with keys, or columns=None for all")
    _need_columns("columns", headers, known)
    return headers


def _need_columns(what: str, names: Mapping[str, str], known: Sequence[str]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        there = ", ".join(map(str, known))
        raise ValueError(f"{what} {unknown}: no such column; there are {there}")


def _numeric(values: Sequence[Any]) -> bool:
    present = [value for value in map(plain_scalar, values) if value is not None]
    return bool(present) and all(map(is_number, present))


def _cell(value: Any) -> str:
    value = plain_scalar(value)
    missing = is_number(value) and math.isnan(value)
    return " ".join(format_value(None if missing else value).split())


def _best_cells(
    rows: Rows, cells: Mapping[str, Sequence[str]], highlight: Mapping[str, str]
) -> set[tuple[int, str]]:
    """(row, column) of the cells to stand out."""
    _need_columns("highlight", highlight, list(cells))
    best = set()
    for name, sense in highlight.items():
        if sense not in ("min", "max"):
            raise ValueError(f"highlight[{name!r}]={sense!r}: pass 'min' or 'max'")
        values = {i: plain_scalar(row.get(name)) for i, row in enumerate(rows)}
        values = {i: v for i, v in values.items() if is_number(v) and math.isfinite(v)}
        if values:
            winner = (min if sense == "min" else max)(values, key=values.__getitem__)
            best |= {(i, name) for i in values if cells[name][i] == cells[name][winner]}
    return best


def _heading(fig: Figure, title: str | None, width: float) -> list[str]:
    """The lines of a title that fit into `width` inches, at its letters' own mean width."""
    if not title:
        return []
    letters = len(title) * width / (1.1 * _measured(fig, title, 10))
    return textwrap.wrap(title, max(10, int(letters)))


def _write(fig: Figure, text: str, colour: str = INK, size: float = 9, **look) -> Text:
    """Text of `fig` whose position is in inches."""
    place = {"transform": fig.dpi_scale_trans, "va": "baseline"}
    return fig.text(0.0, 0.0, plain(text), color=colour, fontsize=size, **place, **look)


def _width(text: Text) -> float:
    return text.get_window_extent().width / DPI


def _measured(fig: Figure, text: str, size: float = 8) -> float:
    """How many inches wide a text would be."""
    artist = _write(fig, text, size=size)
    width = _width(artist)
    artist.remove()
    return width


def _rule(fig: Figure, left: float, right: float, y: float, thick: float) -> None:
    from matplotlib.lines import Line2D

    look = {"color": INK, "linewidth": thick, "solid_capstyle": "butt"}
    fig.add_artist(Line2D([left, right], [y, y], transform=fig.dpi_scale_trans, **look))
