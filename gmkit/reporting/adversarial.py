"""Pictures of adversarial examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gmkit.reporting.figures import MUTED, canvas, plain, style
from gmkit.reporting.images import to_uint8

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_RIGHT, _WRONG = "#009e73", "#d55e00"


@style()
def adversarial_grid(
    clean: Any,
    adversarial: Any,
    labels: Sequence[Any],
    predicted: Sequence[Any],
    title: str = "",
    clean_predicted: Sequence[Any] | None = None,
) -> Figure:
    """Images, what was added to them, and the result: one column each, three rows.

    Above a column stands the true label, below it what the classifier takes the adversarial image
    for (green where it is right). Perturbations are drawn around grey, at their full range.

    Args:
      clean: `(n, H, W, C)` in [-1, 1], n >= 1.
      adversarial: the same shape.
      labels: `n` true labels.
      predicted: `n` predictions for the adversarial images.
      title: a line above.
      clean_predicted: `n` predictions for the clean images, if they are to be named.

    Raises:
      ValueError: shapes that do not fit.
    """
    clean, adversarial = np.asarray(clean), np.asarray(adversarial)
    if clean.shape != adversarial.shape or clean.ndim != 4 or len(labels) != len(clean):
        raise ValueError(
            f"clean {clean.shape}, adversarial {adversarial.shape}, {len(labels)} labels: pass as "
            "many of each, images (n, height, width, channels)"
        )
    delta = adversarial - clean
    reach = max(float(np.abs(delta).max()), 1e-6)
    rows = {"clean": clean, "perturbation": delta / reach, "adversarial": adversarial}
    n = len(clean)
    fig = canvas(max(4.0, 0.75 * n + 1.1), 3.3, layout="constrained")
    axes = fig.subplots(3, n, squeeze=False)
    for row, (name, images) in zip(axes, rows.items(), strict=True):
        for ax, image in zip(row, to_uint8(images.astype(np.float32)), strict=True):
            ax.imshow(
                image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255
            )
            ax.set(xticks=[], yticks=[])
            ax.grid(False)
            for spine in ax.spines.values():
                spine.set_visible(False)
        row[0].set_ylabel(name, color=MUTED)
    for i, (label, found) in enumerate(zip(labels, predicted, strict=True)):
        seen = "" if clean_predicted is None else f" ({clean_predicted[i]})"
        axes[0, i].set_title(plain(f"{label}{seen}"), loc="center")
        axes[2, i].set_xlabel(plain(found), color=_RIGHT if found == label else _WRONG)
    if title:
        fig.suptitle(plain(title), fontsize=10, x=0.01, ha="left")
    return fig
