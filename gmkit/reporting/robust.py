"""Pictures of robust estimation: families of curves, lines through outliers, matched clouds."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gmkit.reporting.figures import MUTED, colours, figure, plain, style
from gmkit.reporting.plots import draw_line, plane_points, set_log

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Matches that are drawn as lines between two clouds.
LINKS = 60


@style()
def curve_panels(
    panels: Mapping[str, Mapping[str, tuple[Any, Any]]],
    xlabel: str = "",
    ylabels: Sequence[str] = (),
    logy: bool | Collection[str] = False,
    limits: Mapping[str, tuple[float, float]] | None = None,
    title: str | None = None,
) -> Figure:
    """Families of curves next to each other, a colour for each name in all of them.

    Args:
      panels: title -> name -> (x, y) of equal length.
      xlabel: what the x axes are.
      ylabels: what each y axis is; empty for none.
      logy: logarithmic y axes, on which values <= 0 cannot be shown; or the titles of the
        panels that have one.
      limits: (low, high) of the y axis of the panels named there.
      title: a line above the figure.

    Raises:
      ValueError: no panels, or labels of another number.
    """
    if not panels:
        raise ValueError("panels is empty: pass at least one title -> curves")
    ylabels = tuple(ylabels) or ("",) * len(panels)
    if len(ylabels) != len(panels):
        raise ValueError(f"ylabels={ylabels}: pass one for each of {len(panels)} panels")
    fig, axes = figure(3.5 * len(panels) + 0.2, 3.3, columns=len(panels))
    colour = colours(dict.fromkeys(name for curves in panels.values() for name in curves))
    for ax, (heading, curves), ylabel in zip(axes.flat, panels.items(), ylabels, strict=True):
        log = logy if isinstance(logy, bool) else heading in logy
        for name, (x, y) in curves.items():
            draw_line(ax, name, x, y, colour[name], logy=log)
        set_log(ax, log)
        ax.set(xlabel=plain(xlabel), ylabel=plain(ylabel))
        ax.set_title(plain(heading))
        if limits and heading in limits:
            ax.set_ylim(*limits[heading])
    handles = {}
    for ax in axes.flat:
        handles |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    if len(handles) > 1:
        place = {"loc": "outside lower center", "ncols": min(len(handles), 8)}
        fig.legend(list(handles.values()), list(handles), **place)
    if title:
        fig.suptitle(plain(title), x=0.01, ha="left", fontsize=10)
    return fig


@style()
def fitted_lines(
    points: Any, lines: Mapping[str, tuple[float, float]], title: str | None = None
) -> Figure:
    """Points of the plane and lines through them.

    Args:
      points: `(n, 2)`.
      lines: name -> (slope, intercept).
      title: a line above the figure.

    Raises:
      ValueError: points of another shape.
    """
    points = plane_points("points", points)
    fig, axes = figure(5.6, 3.8)
    ax = axes[0, 0]
    ax.scatter(*points.T, s=14, c=MUTED, linewidths=0, label="data")
    span = points[:, 0].min(), points[:, 0].max()
    # The first ones last, so that they lie on top.
    colour, styles = colours(lines), ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
    for i, (name, (slope, intercept)) in reversed(list(enumerate(lines.items()))):
        y = [slope * x + intercept for x in span]
        ax.plot(span, y, linestyle=styles[i % 5], color=colour[name], label=plain(name))
    ax.set(xlabel="x", ylabel="y")
    handles, labels = ax.get_legend_handles_labels()
    order = [0, *range(len(labels) - 1, 0, -1)]
    place: dict[str, Any] = {"loc": "outside right upper", "alignment": "left"}
    fig.legend([handles[i] for i in order], [labels[i] for i in order], title=title, **place)
    return fig


@style()
def cloud_panels(
    panels: Mapping[str, tuple[Any, Any]], focus: Any, title: str | None = None
) -> Figure:
    """Pairs of matched clouds in space next to each other, with lines between some matches.

    Args:
      panels: title -> (p, q), `(n, 3)` both; row i of one is matched with row i of the other.
      focus: `(m, 3)`; the axes span the box around these, and points of p outside are not drawn.
      title: a line above the figure.

    Raises:
      ValueError: no panels, or clouds of other shapes.
    """
    if not panels:
        raise ValueError("panels is empty: pass at least one title -> (p, q)")
    focus = np.asarray(focus, float)
    low, high = focus.min(axis=0), focus.max(axis=0)
    centre, half = (low + high) / 2, 0.55 * (high - low).max()
    fig, axes = figure(4.0 * len(panels), 4.0, columns=len(panels), subplot_kw={"projection": "3d"})
    colour = colours(("p, data", "q, model"))
    for ax, (name, clouds) in zip(axes.flat, panels.items(), strict=True):
        p, q = (np.asarray(cloud, float) for cloud in clouds)
        if p.shape != q.shape or p.ndim != 2 or p.shape[1] != 3:
            raise ValueError(f"panel {name!r}: p {p.shape}, q {q.shape}; pass (n, 3) both")
        shown = (np.abs(p - centre) <= half).all(axis=1)
        for a, b in list(zip(p[shown], q[shown], strict=True))[:LINKS]:
            ax.plot(*zip(a, b, strict=True), color=MUTED, linewidth=0.4, alpha=0.6)
        for (label, c), cloud in zip(colour.items(), (p[shown], q), strict=True):
            ax.scatter(*cloud.T, s=4, color=c, linewidths=0, alpha=0.7, label=label[0])
        ax.set(**{f"{k}lim": (m - half, m + half) for k, m in zip("xyz", centre, strict=True)})
        ax.set_title(plain(f"{name} ({shown.sum()} of {len(p)} matches in view)"))
        ax.tick_params(labelsize=6, pad=-2)
    axes.flat[0].legend(loc="upper left")
    if title:
        fig.suptitle(plain(title), x=0.01, ha="left", fontsize=10)
    return fig
