"""Pictures of pairs of images: disparities with their errors, and maps of learned shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gmkit.reporting.figures import figure, plain, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Error at which the map of errors is darkest, in pixels.
MAX_ERROR = 5.0


@style()
def disparity_panels(
    left: Any, warped: Any, found: Any, truth: Any, valid: Any, title: str | None = None
) -> Figure:
    """A disparity beside the truth: both images, both disparities, the error, the residual.

    Args:
      left: `(H, W, 3)` in [0, 1].
      warped: the right image as the left camera sees it, `(H, W, 3)`.
      found, truth: disparities `(H, W)`, pixels; the colours span the known truth.
      valid: `(H, W)`, nonzero where `truth` is known; the rest is blank.
      title: a line above the figure.

    Raises:
      ValueError: arrays of other shapes, or no pixel that is known.
    """
    left, warped, found, truth, known = (np.asarray(v) for v in (left, warped, found, truth, valid))
    shape = left.shape[:2]
    if left.shape != (*shape, 3) or warped.shape != left.shape:
        raise ValueError(f"left {left.shape}, warped {warped.shape}: pass (H, W, 3) both")
    for name, array in (("found", found), ("truth", truth), ("valid", known)):
        if array.shape != shape:
            raise ValueError(f"{name}.shape={array.shape}: must be {shape}, as the images")
    known = known > 0
    if not known.any():
        raise ValueError("valid: no pixel is known; there is nothing to compare with")
    blank = lambda x: np.ma.masked_where(~known, x)
    span = {"vmin": truth[known].min(), "vmax": truth[known].max(), "cmap": "viridis"}
    panels = (
        ("left", np.clip(left, 0.0, 1.0), {}, None),
        ("right, warped", np.clip(warped, 0.0, 1.0), {}, None),
        ("difference", np.abs(warped - left).mean(axis=-1), {"vmin": 0, "vmax": 0.3}, "mean |.|"),
        ("disparity found", found, span, "pixels"),
        ("true disparity", blank(truth), span, "pixels"),
        ("error", blank(np.abs(found - truth)), {"vmin": 0, "vmax": MAX_ERROR}, "pixels"),
    )
    height = 2 * (3.0 * shape[0] / shape[1] + 0.35) + 0.4
    fig, axes = figure(10.8, height, rows=2, columns=3)
    for ax, (name, image, look, label) in zip(axes.flat, panels, strict=True):
        drawn = ax.imshow(image, **{"cmap": "magma_r", **look} if image.ndim == 2 else {})
        ax.set_title(plain(name))
        ax.set_axis_off()
        if label is not None:
            over = image.max() > drawn.norm.vmax + 1e-6
            fig.colorbar(drawn, ax=ax, label=label, extend="max" if over else "neither")
    if title:
        fig.suptitle(plain(title), x=0.01, ha="left", fontsize=10)
    return fig


@style()
def shape_maps(alpha: Any, title: str | None = None, names: tuple[str, ...] = ()) -> Figure:
    """Learned shapes of a robust likelihood, channel by channel, where their coefficients lie.

    Args:
      alpha: `(H, W, C)`; the colours span 0 to 2, or further where shapes do.
      title: a line above the figure.
      names: of the channels; their numbers where empty.

    Raises:
      ValueError: another rank, or names of another number.
    """
    alpha = np.asarray(alpha, float)
    if alpha.ndim != 3 or 0 in alpha.shape:
        raise ValueError(f"alpha.shape={alpha.shape}: pass (H, W, C)")
    height, width, channels = alpha.shape
    names = tuple(names) or tuple(f"channel {i}" for i in range(channels))
    if len(names) != channels:
        raise ValueError(f"names={names}: pass one for each of {channels} channels")
    top = max(2.0, float(alpha.max()))
    fig, axes = figure(3.6 * channels, 3.2 * height / width + 0.7, columns=channels)
    for ax, name, i in zip(axes.flat, names, range(channels), strict=True):
        drawn = ax.imshow(alpha[..., i], cmap="viridis", vmin=0.0, vmax=top)
        ax.set_title(plain(f"{name}, mean {alpha[..., i].mean():.2f}"))
        ax.set_axis_off()
    fig.colorbar(drawn, ax=list(axes.flat), label="alpha")
    if title:
        fig.suptitle(plain(title), x=0.01, ha="left", fontsize=10)
    return fig
