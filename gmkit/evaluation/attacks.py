"""How well an attack does, in the terms of the papers and challenges it is compared in."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np


def judge_attack(
    clean_logits: np.ndarray,
    adversarial_logits: np.ndarray,
    images: np.ndarray,
    adversarial: np.ndarray,
    labels: np.ndarray,
    targets: np.ndarray | None = None,
    epsilon: float | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> dict[str, float]:
    """Numbers of one attack on one classifier.

    Args:
      clean_logits, adversarial_logits: `(n, K)`.
      images, adversarial: `(n, ...)` within `bounds`.
      labels: true ones, `(n,)`.
      targets: classes to be taken for, of a targeted attack.
      epsilon: bound on every entry's change, if there is one.
      bounds: of the images.

    Returns:
      `clean_accuracy`; `success_rate`: of images that are classified rightly, the fraction that no
      longer are, or with targets, of images of other classes, the fraction that are taken for
      theirs (NaN where there are no such images); `accuracy`: of all adversarial images; `linf`,
      `linf_max`, `l2`: of the perturbations (mean, largest, mean); `bound_excess`: by how much any
      entry leaves the ball or the box, 0 if none does.

    Raises:
      ValueError: arrays of different lengths, or empty ones.
    """
    lengths = {len(a) for a in (clean_logits, adversarial_logits, images, adversarial, labels)}
    if lengths == {0} or len(lengths) > 1 or (targets is not None and len(targets) != len(labels)):
        raise ValueError(
            f"{len(clean_logits)} and {len(adversarial_logits)} logits, {len(images)} images, "
            f"{len(adversarial)} adversarial ones, {len(labels)} labels: pass as many of each, at "
            "least one"
        )
    before, after = clean_logits.argmax(axis=1), adversarial_logits.argmax(axis=1)
    if targets is None:
        counted, succeeds = before == labels, after != labels
    else:
        counted, succeeds = targets != labels, after == targets
    delta = (adversarial.astype(np.float64) - images).reshape(len(images), -1)
    largest = np.abs(delta).max(axis=1)
    low, high = bounds
    excess = max(low - float(adversarial.min()), float(adversarial.max()) - high, 0.0)
    if epsilon is not None:
        excess = max(excess, float(largest.max()) - epsilon)
    return {
        "clean_accuracy": float(np.mean(before == labels)),
        "success_rate": float(succeeds[counted].mean()) if counted.any() else float("nan"),
        "accuracy": float(np.mean(after == labels)),
        "linf": float(largest.mean()),
        "linf_max": float(largest.max()),
        "l2": float(np.sqrt(np.square(delta).sum(axis=1)).mean()),
        "bound_excess": excess,
    }


def save_submission(
    path: str | os.PathLike, adversarial: np.ndarray, images: np.ndarray, epsilon: float = 0.3
) -> Path:
    """Writes adversarial images in the form of the MNIST challenge (Madry et al. 2018).

    Args:
      path: of the `.npy` file.
      adversarial: versions of all test images in their order, in [0, 1].
      images: the test images.
      epsilon: bound that the challenge sets.

    Returns:
      The path of a float32 array `(n, 784)` (of 28 x 28 images).

    Raises:
      ValueError: other shapes, values outside [0, 1], or changes above epsilon + 1e-4.
    """
    x, clean = (np.asarray(a, np.float32).reshape(len(a), -1) for a in (adversarial, images))
    if x.shape != clean.shape:
        raise ValueError(f"adversarial images {x.shape} for {clean.shape}: attack every test image")
    # As the challenge's own check does, `not` also catches NaN.
    if not (x.min() >= 0.0 and x.max() <= 1.0):
        raise ValueError(f"values from {x.min()} to {x.max()}: clip to [0, 1]")
    if not (reach := float(np.abs(x - clean).max())) <= epsilon + 1e-4:
        raise ValueError(f"a pixel changes by {reach}: the challenge allows {epsilon} + 1e-4")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, x)
    return path
