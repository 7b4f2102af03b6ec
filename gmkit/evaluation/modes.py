"""Which modes a generator reaches: Gaussian mixtures with known centres, and stacked digits."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from gmkit.evaluation.features import check_features, check_images


class MixtureModes(NamedTuple):
    """Modes of a mixture that samples reach.

    Attributes:
      covered: modes with enough registered points.
      registered: share in [0, 1] of the samples that lie near their mode.
      reverse_kl: `KL(shares || uniform)` in nats over the nearest modes of all samples; at most
        the log of the number of modes.
      counts: registered points of each mode, int64 `(modes,)`.
    """

    covered: int
    registered: float
    reverse_kl: float
    counts: np.ndarray


class ClassModes(NamedTuple):
    """Distinct classes among the labels, and `KL(shares || uniform)` over all classes in nats."""

    modes: int
    kl: float


def mixture_modes(
    samples: np.ndarray,
    centres: np.ndarray,
    std: float,
    *,
    radius: float = 3.0,
    least: float = 0.01,
) -> MixtureModes:
    """Covered modes and registered points of samples from a mixture of Gaussians.

    A point is registered to its nearest mode if it is within `radius` standard deviations; a
    mode is covered once it has a share `least` of all samples, by default 20 of 2000 (Tran, Bui
    and Cheung 2018, synthetic experiments; their code's radius is 2.83 stds). In two dimensions
    a perfect sampler registers `1 - exp(-radius^2 / 2)`: 0.9889 at 3 stds, 0.9817 at 2.83. The
    reverse divergence is that of PacGAN (Lin et al. 2018).

    Args:
      samples: points `(n, d)`.
      centres: `(modes, d)`, in the units of the samples.
      std: standard deviation of every mode, in the units of the samples.
      radius: in standard deviations.
      least: share of the samples that covers a mode, in (0, 1].

    Raises:
      ValueError: no samples, values that are not finite, unequal dimensions, or a std, radius
        or share out of range.
    """
    samples, centres = check_features(samples, centres, at_least=1)
    if not (std > 0 and radius > 0):
        raise ValueError(f"std={std}, radius={radius}: both must be positive")
    if not 0 < least <= 1:
        raise ValueError(f"least={least}: the share that covers a mode is in (0, 1]")
    squares = np.sum((samples[:, None] - centres[None]) ** 2, axis=2)
    nearest = squares.argmin(axis=1)
    near = squares.min(axis=1) <= (radius * std) ** 2
    counts = np.bincount(nearest[near], minlength=len(centres))
    # Rounding must not move the threshold: 0.01 of 700 samples is 7.000000000000001.
    enough = math.ceil(round(least * len(samples), 9))
    return MixtureModes(
        covered=int((counts >= enough).sum()),
        registered=float(near.mean()),
        reverse_kl=_kl_to_uniform(np.bincount(nearest, minlength=len(centres))),
        counts=counts,
    )


def class_modes(labels: np.ndarray, n_classes: int) -> ClassModes:
    """Classes that occur among the labels of generated samples, and their evenness.

    For stacked digits: of 1000 triples (Metz et al. 2017). With n perfect samples
    of K classes the divergence is about `(K - 1) / 2n`, 0.0195 for 25,600 samples and K = 1000.

    Args:
      labels: integers `(n,)` in 0..`n_classes - 1`.
      n_classes: K.

    Raises:
      ValueError: no labels, labels out of range, or not a vector of integers.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or not len(labels) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels are {labels.dtype} {labels.shape}: need integers (n,), not empty")
    if labels.min() < 0 or labels.max() >= n_classes:
        found = f"{labels.min()} to {labels.max()}"
        raise ValueError(f"labels run from {found}: expected 0 to {n_classes - 1}")
    counts = np.bincount(labels, minlength=n_classes)
    return ClassModes(modes=int((counts > 0).sum()), kl=_kl_to_uniform(counts))


def stacked_labels(
    images: np.ndarray, probabilities: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Labels of stacked images, each channel classified by itself.

    Args:
      images: `(n, height, width, 3)` float in [-1, 1].
      probabilities: `(m, height, width, 1) -> (m, K)`, a classifier of single images (its
        logits do as well).

    Returns:
      `(a K + b) K + c` for the most probable classes a, b, c of the channels; int64 `(n,)`.

    Raises:
      ValueError: images that are not NHWC floats of 3 channels.
    """
    images = check_images(images, "images")
    if images.shape[-1] != 3:
        raise ValueError(f"images have shape {images.shape}: expected 3 stacked channels, last")
    channels = [probabilities(images[..., k : k + 1]) for k in range(3)]
    n_classes = channels[0].shape[-1]
    a, b, c = (channel.argmax(axis=1) for channel in channels)
    return (a * n_classes + b) * n_classes + c


def _kl_to_uniform(counts: np.ndarray) -> float:
    """`sum p log(p K)` of the shares `p` of K counts, with 0 log 0 = 0."""
    shares = counts[counts > 0] / counts.sum()
    return max(0.0, float(np.sum(shares * np.log(shares * len(counts)))))
