"""Maps of what was learned for every coefficient of an image: shapes, scales."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gmkit.reporting.figures import figure, plain, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Values further apart than this factor get a logarithmic scale of colours.
WIDE = 10.0


@style()
def coefficient_maps(
    values: Any,
    label: str,
    *,
    names: Sequence[str] = (),
    limits: tuple[float, float] | None = None,
    title: str | None = None,
) -> Figure:
    """One number per coefficient, channel by channel, where the coefficients lie.

    Args:
      values: `(H, W, C)`, finite; wavelets and cosines have their lowest frequencies top left.
      label: what they are.
      names: of the channels; their numbers where empty.
      limits: of the colours, which values beyond extend; None for those of the values, on a
        logarithmic scale where they are positive and wide apart.
      title: a line above the figure.

    Raises:
      ValueError: another rank, no or non-finite values, or names of another number.
    """
    values = np.asarray(values, float)
    if values.ndim != 3 or 0 in values.shape:
        raise ValueError(f"values.shape={values.shape}: pass (H, W, C)")
    if not np.isfinite(values).all():
        raise ValueError(f"values: {(~np.isfinite(values)).sum()} are not finite")
    height, width, channels = values.shape
    names = tuple(names) or tuple(f"channel {i}" for i in range(channels))
    if len(names) != channels:
        raise ValueError(f"names={names}: pass one for each of {channels} channels")
    fig, axes = figure(2.9 * channels + 0.9, 2.9 * height / width + 0.7, columns=channels)
    norm = _norm(values, limits)
    for i, name in enumerate(names):
        ax, channel = axes[0, i], values[..., i]
        drawn = ax.imshow(channel, cmap="viridis", norm=norm)
        ax.set_title(plain(f"{name}: {channel.min():.3g} to {channel.max():.3g}"))
        ax.set_axis_off()
    fig.colorbar(drawn, ax=list(axes.flat), label=plain(label), extend=_extend(values, norm))
    if title:
        fig.suptitle(plain(title), x=0.01, ha="left", fontsize=10)
    return fig


def _norm(values: np.ndarray, limits: tuple[float, float] | None) -> Any:
    from matplotlib.colors import LogNorm, Normalize

    low, high = limits or (values.min(), values.max())
    if limits is None and 0.0 < WIDE * low < high:
        return LogNorm(low, high)
    return Normalize(low, high)


def _extend(values: np.ndarray, norm: Any) -> str:
    below, above = values.min() < norm.vmin, values.max() > norm.vmax
    return {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}[below, above]
