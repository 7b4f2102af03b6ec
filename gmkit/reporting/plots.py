"""Plots of points, densities, values and curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gmkit.reporting.figures import MUTED, colours, figure, plain, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Extent = tuple[float, float, float, float]


def floats(values: Any) -> np.ndarray:
    """`values` flattened to float64; None becomes NaN."""
    kind = object if isinstance(values, list | tuple) else None  # object: may hold None
    return np.asarray(values, dtype=kind).ravel().astype(float)


def robust_range(series: Sequence[np.ndarray]) -> tuple[float, float] | None:
    """One interval that shows the bulk of every series of finite values.

    The union of each series' 0.5 % to 99.5 % quantiles, widened by a twentieth, but no wider than
    the values themselves; a positive width even for constants. None if there is no value.
    """
    series = [values for values in series if values.size]
    if not series:
        return None
    quantiles = np.array([np.quantile(values, (0.005, 0.995)) for values in series])
    low, high = quantiles[:, 0].min(), quantiles[:, 1].max()
    margin = (high - low) / 20
    low = max(low - margin, min(values.min() for values in series))
    high = min(high + margin, max(values.max() for values in series))
    least = max(1e-6 * max(abs(low), abs(high)), 1e-12)
    if high - low < least:
        half = max(0.5, 0.1 * abs(low))
        low, high = low - half, high + half
    return float(low), float(high)


@style()
def scatter_panels(
    panels: Mapping[str, Any],
    limits: tuple[float, float] | Extent | None = None,
    title: str | None = None,
) -> Figure:
    """Point clouds in the plane next to each other, on the same axes.

    Args:
      panels: title -> points `(n, 2)`; non-finite points are not drawn.
      limits: (low, high) for both axes or (x low, x high, y low, y high); None to fit the bulk of
        all points. How many points lie outside is written into the panel.
      title: a line above the figure.

    Raises:
      ValueError: no panels, or points of another shape.
    """
    if not panels:
        raise ValueError("panels is empty: pass at least one title -> points")
    clouds = {name: plane_points(name, points) for name, points in panels.items()}
    extent = _extent(list(clouds.values()), limits)
    columns = min(4, len(clouds))
    rows = math.ceil(len(clouds) / columns)
    fig, axes = figure(max(3.0, 2.5 * columns + 0.3), 2.65 * rows + 0.3, rows=rows, columns=columns)
    colour = colours(clouds)
    for ax, (name, points) in zip(axes.flat, clouds.items(), strict=False):
        draw_points(ax, points, extent, colour[name])
        ax.set_title(plain(name))
    for ax in axes.flat[len(clouds) :]:
        ax.set_visible(False)
    if title:
        fig.suptitle(plain(title), x=0.01, ha="left")
    return fig


@style()
def landscape(
    fn_values: Any,
    extent: Extent,
    points: Any | None = None,
    title: str | None = None,
    label: str = "energy",
) -> Figure:
    """A function on a square of the plane as a heat map with contour lines.

    Args:
      fn_values: `(G, G')`; row i is the i-th y from below, column j the j-th x from the left.
        The colour scale ends at the 95 % quantile, because energies grow without bound away
        from the data; non-finite values stay blank.
      extent: (x low, x high, y low, y high) that the values span.
      points: `(n, 2)` points drawn on top.
      title: a line above the figure.
      label: what the colours mean.

    Raises:
      ValueError: values that are no matrix, or points of another shape.
    """
    values = np.asarray(fn_values, dtype=float)
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(f"fn_values.shape={values.shape}: pass values on a grid, (rows, columns)")
    values = np.ma.masked_invalid(values)
    fig, axes = figure(4.4, 3.6)
    ax = axes[0, 0]
    finite = values.compressed()
    low, high = (finite.min(), np.quantile(finite, 0.95)) if finite.size else (0.0, 1.0)
    low, high = (low, high) if high > low else (low - 0.5, low + 0.5)
    heat = ax.imshow(
        values, extent=extent, origin="lower", aspect="equal", cmap="Blues", vmin=low, vmax=high
    )
    if finite.size and finite.max() > finite.min() and min(values.shape) > 1:
        levels = np.linspace(low, high, 9)[1:-1]
        x, y = (
            np.linspace(lo, hi, 2 * n + 1)[1::2]
            for lo, hi, n in zip(extent[::2], extent[1::2], values.shape[::-1], strict=True)
        )
        ax.contour(x, y, values, levels, colors="white", linewidths=0.6, alpha=0.8)
    if points is not None:
        draw_points(ax, plane_points("points", points), extent, "#222222", outline=True)
    else:
        framed(ax, extent)
    above = finite.size and finite.max() > high
    fig.colorbar(heat, ax=ax, label=plain(label), extend="max" if above else "neither", shrink=0.85)
    ax.set_title(plain(title or ""))
    return fig


@style()
def histograms(
    series: Mapping[str, Any],
    xlabel: str = "",
    bins: int = 50,
    title: str | None = None,
) -> Figure:
    """Overlaid step histograms (densities) of several samples on a common range.

    The range shows the bulk of each sample; what is not finite or lies outside is left out and
    counted in the legend.

    Args:
      series: name -> values of any shape.
      xlabel: what the values are.
      bins: number of bins.
      title: a line above the figure.

    Raises:
      ValueError: no series, or bins < 1.
    """
    if not series:
        raise ValueError("series is empty: pass at least one name -> values")
    if bins < 1:
        raise ValueError(f"bins={bins}: pass at least 1")
    everything = {name: floats(values) for name, values in series.items()}
    finite = {name: values[np.isfinite(values)] for name, values in everything.items()}
    limits = robust_range(list(finite.values()))
    fig, axes = figure()
    ax = axes[0, 0]
    colour = colours(series)
    edges = np.linspace(*(limits or (0.0, 1.0)), bins + 1)
    for name, values in finite.items():
        counts, _ = np.histogram(values, edges)
        height = counts / (max(1, counts.sum()) * np.diff(edges))
        label = plain(name) + _left_out(everything[name].size, values.size, int(counts.sum()))
        ax.stairs(height, edges, color=colour[name], label=label, linewidth=1.5)
        ax.stairs(height, edges, color=colour[name], fill=True, alpha=0.12)
    if limits is None:
        _say(ax, "no finite values")
    ax.set_xlim(edges[0], edges[-1])
    ax.set(xlabel=plain(xlabel), ylabel="density")
    ax.set_ylim(bottom=0)
    legend_above(fig, ax, title)
    return fig


@style()
def lines(
    series: Mapping[str, tuple[Any, Any]],
    xlabel: str = "",
    ylabel: str = "",
    logy: bool = False,
    title: str | None = None,
) -> Figure:
    """Curves on one pair of axes; NaN makes a gap, a lone point a dot.

    Args:
      series: name -> (x, y) of equal length; None counts as NaN.
      xlabel, ylabel: what the axes are.
      logy: logarithmic y axis, on which values <= 0 cannot be shown.
      title: a line above the figure.

    Raises:
      ValueError: no series, or x and y of different lengths.
    """
    if not series:
        raise ValueError("series is empty: pass at least one name -> (x, y)")
    fig, axes = figure()
    ax = axes[0, 0]
    colour = colours(series)
    for name, (x, y) in series.items():
        draw_line(ax, name, x, y, colour[name], logy=logy)
    set_log(ax, logy)
    ax.set(xlabel=plain(xlabel), ylabel=plain(ylabel))
    legend_above(fig, ax, title)
    return fig


def draw_line(
    ax: Axes,
    name: str,
    x: Any,
    y: Any,
    colour: str,
    *,
    logy: bool = False,
    smooth: bool = False,
) -> None:
    """One curve; with `smooth`, a long one is a running median over a faint trace of its values."""
    x, y = floats(x), floats(y)
    if x.size != y.size:
        raise ValueError(
            f"series {name!r}: {x.size} x values and {y.size} y values; pass as many of each"
        )
    y = np.where(np.isfinite(y) & ((y > 0) | (not logy)), y, np.nan)
    count = int(np.isfinite(y).sum())
    label = plain(name) if count else f"{plain(name)} (nothing to show)"
    if smooth and is_long(y):
        ax.plot(x, y, color=colour, alpha=0.25, linewidth=0.8)
        y = running_median(y, min(201, y.size // 40 * 2 + 1))
    ax.plot(x, y, color=colour, label=label)
    present = np.isfinite(y)
    # A value between two gaps has no neighbour to draw a line to.
    padded = np.pad(present, 1)
    alone = present & ~padded[:-2] & ~padded[2:]
    ax.plot(x[alone], y[alone], color=colour, linestyle="none", marker="o", markersize=4)


def is_long(y: np.ndarray) -> bool:
    """Whether a curve has so many values that its noise hides its course."""
    return int(np.isfinite(y).sum()) > 150


def running_median(y: np.ndarray, window: int) -> np.ndarray:
    """Centred median of the finite values in an odd `window`, shorter at both ends.

    A median, because a single spike would lift an average over the whole window. NaN where fewer
    than half of the values in the window are finite.
    """
    half = window // 2
    rows = np.lib.stride_tricks.sliding_window_view(np.pad(y, half, constant_values=np.nan), window)
    inside = np.convolve(np.ones(y.size), np.ones(window), mode="full")[half : half + y.size]
    finite = np.isfinite(rows).sum(axis=1)
    enough = (finite > 0) & (2 * finite >= inside)
    median = np.full(y.size, np.nan)
    median[enough] = np.nanmedian(rows[enough], axis=1)
    return median


def set_log(ax: Axes, logy: bool) -> None:
    """A logarithmic y axis, where there is anything to show on it."""
    shown = any(np.isfinite(line.get_ydata()).any() for line in ax.lines)
    if logy and shown:
        ax.set_yscale("log")
    if not shown:
        _say(ax, "no positive values" if logy else "no finite values")


def legend_above(fig: Figure, ax: Axes, title: str | None) -> None:
    """Title and legend above the axes, where they cover no data."""
    handles, labels = ax.get_legend_handles_labels()
    columns = max(1, min(len(labels), 80 // (max(map(len, labels), default=0) + 7)))
    # As the legend's own title, because a figure's title and an outside legend would overlap.
    heading = {"title": plain(title), "title_fontsize": 10} if title else {}
    place = {"loc": "outside upper left", "alignment": "left", "ncols": columns}
    fig.legend(handles, labels, **place, **heading)


def _left_out(total: int, finite: int, shown: int) -> str:
    """What a histogram does not show, in words for its legend."""
    notes = []
    if not total:
        notes.append("empty")
    if finite < total:
        notes.append(f"{total - finite} non-finite")
    if shown < finite:
        notes.append(f"{100.0 * (finite - shown) / finite:.2g} % outside")
    return f" ({', '.join(notes)})" if notes else ""


def _say(ax: Axes, text: str) -> None:
    ax.set_yticks([])
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color=MUTED)


def plane_points(name: str, points: Any) -> np.ndarray:
    points = np.asarray(points)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"points {name!r} of shape {points.shape}: pass (n, 2)")
    return points.astype(float)


def _extent(clouds: Sequence[np.ndarray], limits: Sequence[float] | None) -> Extent:
    if limits is not None:
        if len(limits) not in (2, 4):
            raise ValueError(f"limits={limits}: pass (low, high) or (x low, x high, y low, y high)")
        x_low, x_high, y_low, y_high = limits if len(limits) == 4 else (*limits, *limits)
        return x_low, x_high, y_low, y_high
    finite = [cloud[np.isfinite(cloud).all(1)] for cloud in clouds]
    x, y = (robust_range([cloud[:, axis] for cloud in finite]) or (-1.0, 1.0) for axis in (0, 1))
    # The same length on both axes, because the panels are square, and a little air.
    half = 0.53 * max(x[1] - x[0], y[1] - y[0])
    centre_x, centre_y = sum(x) / 2, sum(y) / 2
    return centre_x - half, centre_x + half, centre_y - half, centre_y + half


def framed(ax: Axes, extent: Extent) -> None:
    ax.set(xlim=extent[:2], ylim=extent[2:], aspect="equal")
    ax.grid(False)
    ax.locator_params(nbins=5)
    for spine in ax.spines.values():
        spine.set_visible(True)


def draw_points(
    ax: Axes, points: np.ndarray, extent: Extent, colour: str, outline: bool = False
) -> None:
    inside = (points[:, 0] >= extent[0]) & (points[:, 0] <= extent[1])
    inside &= (points[:, 1] >= extent[2]) & (points[:, 1] <= extent[3])
    shown = points[inside]
    size = float(np.clip(4000 / max(1, len(shown)), 2.5, 12))
    edge = {"edgecolors": "white" if outline else "none", "linewidths": 0.3}
    opacity = 0.8 if outline or len(shown) < 500 else 0.5
    ax.scatter(shown[:, 0], shown[:, 1], s=size, c=colour, alpha=opacity, **edge)
    framed(ax, extent)
    if len(shown) < len(points):
        note = f"{len(points) - len(shown)} of {len(points)} not shown"
        place = {"transform": ax.transAxes, "ha": "right", "va": "bottom"}
        ax.text(0.98, 0.02, note, fontsize=7, color=MUTED, **place)
