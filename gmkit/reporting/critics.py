"""Pictures of adversarial games on the plane: a critic with its gradients, latents by class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from gmkit.reporting.figures import figure, plain, style
from gmkit.reporting.images import side_by_side
from gmkit.reporting.plots import (
    Extent,
    draw_points,
    framed,
    histograms,
    plane_points,
    scatter_panels,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Examples of a set that `compare_sets` has a use for.
MAX_COMPARED = 2000
REAL, FAKE = "#444444", "#d55e00"


@style()
def critic_map(
    values: Any,
    extent: Extent,
    real: Any,
    fake: Any,
    at: Any,
    gradients: Any,
    title: str | None = None,
) -> Figure:
    """A critic on a square of the plane, both sets of points, and its gradients as arrows.

    Args:
      values: scores `(G, G')`; row i is the i-th y from below, column j the j-th x from the left.
        The colours are symmetric around the middle of their range.
      extent: (x low, x high, y low, y high) that the values span.
      real: `(n, 2)`, drawn as dark points.
      fake: `(m, 2)`, drawn as orange points.
      at: `(k, 2)`, where the arrows start.
      gradients: `(k, 2)`, their directions; the longest is a tenth of the square.
      title: a line above the figure.

    Raises:
      ValueError: values that are no matrix, points of another shape, or unequal arrows.
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(f"values.shape={values.shape}: pass scores on a grid, (rows, columns)")
    clouds = {
        "real": (plane_points("real", real), REAL),
        "fake": (plane_points("fake", fake), FAKE),
    }
    at, gradients = plane_points("at", at), plane_points("gradients", gradients)
    if at.shape != gradients.shape:
        raise ValueError(f"{len(gradients)} gradients at {len(at)} points: pass one for each")
    values = np.ma.masked_invalid(values)
    fig, axes = figure(4.8, 3.9)
    ax = axes[0, 0]
    heat = ax.imshow(values, extent=extent, origin="lower", aspect="equal", cmap="RdBu")
    for name, (points, colour) in clouds.items():
        draw_points(ax, points, extent, colour, outline=True)
        ax.scatter([], [], s=12, c=colour, label=name)
    longest = float(np.linalg.norm(gradients, axis=1).max(initial=0.0))
    if np.isfinite(longest) and longest > 0:
        arrows = gradients * (0.1 * (extent[1] - extent[0]) / longest)
        look = {"angles": "xy", "scale_units": "xy", "scale": 1, "width": 0.005}
        ax.quiver(*at.T, *arrows.T, color="#111111", **look)
    framed(ax, extent)
    fig.colorbar(heat, ax=ax, label="critic f(x)", shrink=0.85)
    fig.legend(loc="outside upper right", ncols=2)
    ax.set_title(plain(title or "critic, and its gradients at fakes"))
    return fig


def compare_sets(panels: Mapping[str, Any]) -> Figure:
    """Sets of examples next to each other: images, points of the plane, or first coordinates.

    Args:
      panels: title -> `(n, ...)`, all of examples of one shape; of images the first 64 are shown.
    """
    sets = {name: np.asarray(x) for name, x in panels.items()}
    shape = next(iter(sets.values())).shape[1:]
    if len(shape) == 3:
        return side_by_side({name: x[:64] for name, x in sets.items()})
    if shape == (2,):
        return scatter_panels(sets)
    return histograms({name: x[:, 0] for name, x in sets.items()}, xlabel="first coordinate")


@style()
def labelled_planes(panels: Mapping[str, tuple[Any, Any]], title: str | None = None) -> Figure:
    """Points in the plane coloured by class, panel by panel, with one legend.

    Args:
      panels: title -> (points `(n, 2)`, integer labels `(n,)`); at most 10 classes are told apart.
      title: a line above the figure.

    Raises:
      ValueError: no panels, points of another shape, or labels that do not fit them.
    """
    from matplotlib import colormaps

    if not panels:
        raise ValueError("panels is empty: pass at least one title -> (points, labels)")
    clouds = {}
    for name, (points, labels) in panels.items():
        points, labels = plane_points(name, points), np.asarray(labels)
        if labels.shape != points.shape[:1]:
            raise ValueError(f"panel {name!r}: {labels.shape} labels of {len(points)} points")
        clouds[name] = (points, labels)
    classes = np.unique(np.concatenate([labels for _, labels in clouds.values()]))
    colour = {label: colormaps["tab10"](i % 10) for i, label in enumerate(classes)}
    fig, axes = figure(3.1 * len(clouds) + 0.9, 3.2, columns=len(clouds))
    for ax, (name, (points, labels)) in zip(axes.flat, clouds.items(), strict=True):
        shuffled = np.random.default_rng(0).permutation(len(points))
        colours = [colour[label] for label in labels[shuffled]]
        ax.scatter(*points[shuffled].T, s=4, c=colours, alpha=0.7, edgecolors="none")
        ax.set_title(plain(name))
        ax.set_aspect("equal", adjustable="datalim")
        ax.grid(False)
    for label in classes:
        axes[0, 0].scatter([], [], s=14, color=colour[label], label=str(label))
    fig.legend(loc="outside right center")
    if title:
        fig.suptitle(plain(title), x=0.01, ha="left")
    return fig
