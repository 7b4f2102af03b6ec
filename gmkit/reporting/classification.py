"""Pictures of what a classifier confuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gmkit.reporting.figures import MUTED, canvas, figure, plain, style
from gmkit.reporting.images import to_uint8

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@style()
def confusion_matrix(counts: Any, title: str = "") -> Figure:
    """How often a class (row) is taken for another (column); shades are fractions of the row.

    Args:
      counts: `(K, K)`, K >= 1.
      title: a line above.

    Raises:
      ValueError: not a square matrix.
    """
    counts = np.asarray(counts)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not counts.size:
        raise ValueError(f"counts {counts.shape}: pass a square matrix of at least one class")
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = max(3.2, 0.36 * len(counts) + 1.2)
    fig, axes = figure(size, size)
    ax = axes[0, 0]
    ax.imshow(share, cmap="Blues", vmin=0.0, vmax=1.0)
    ax.grid(False)
    for i, j in np.argwhere(counts > 0):
        colour = "white" if share[i, j] > 0.5 else "black"
        ax.text(j, i, f"{counts[i, j]:g}", ha="center", va="center", fontsize=6.5, color=colour)
    ticks = range(len(counts))
    ax.set(xticks=ticks, yticks=ticks, xlabel="predicted", ylabel="true", title=plain(title))
    return fig


@style()
def captioned_images(
    images: Any, captions: Sequence[str], columns: int = 8, title: str = ""
) -> Figure:
    """Images with a line under each.

    Args:
      images: `(n, H, W, C)` in [-1, 1], n >= 1.
      captions: one per image.
      columns: images per row.
      title: a line above.

    Raises:
      ValueError: another number of captions; else as `to_uint8`.
    """
    images = to_uint8(images)
    if len(captions) != len(images):
        raise ValueError(f"{len(captions)} captions for {len(images)} images: pass one each")
    rows = -(-len(images) // columns)
    fig = canvas(
        max(3.0, 0.85 * min(columns, len(images))), 1.05 * rows + 0.4, layout="constrained"
    )
    axes = fig.subplots(rows, min(columns, len(images)), squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, image, caption in zip(axes.flat, images, captions, strict=False):
        ax.set_axis_on()
        ax.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255)
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
        ax.set_xlabel(plain(caption), color=MUTED, fontsize=7)
    if title:
        fig.suptitle(plain(title), fontsize=10, x=0.01, ha="left")
    return fig
