"""Two-dimensional toy distributions, drawn by seed; used raw, without standardising."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from gmkit.data.dataset import ArraySplit, Dataset, vector_dataset

Sampler = Callable[[np.random.Generator, int], np.ndarray]

_ANGLES = 2 * math.pi * np.arange(8) / 8
_TICKS = np.arange(-2.0, 3.0)

#: Centres of the Gaussian mixtures, `(modes, 2)`.
CENTRES: dict[str, np.ndarray] = {
    "8gaussians": 2.0 * np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1),
    "25gaussians": np.stack(np.meshgrid(_TICKS, _TICKS, indexing="ij"), axis=-1).reshape(-1, 2),
}


def _mixture(rng: np.random.Generator, n: int, centres: np.ndarray, std: float) -> np.ndarray:
    return centres[rng.integers(len(centres), size=n)] + std * rng.standard_normal((n, 2))


def eight_gaussians(rng: np.random.Generator, n: int) -> np.ndarray:
    """8 equal Gaussians of std 0.2, centres equally spaced on the circle of radius 2."""
    return _mixture(rng, n, CENTRES["8gaussians"], 0.2)


def twenty_five_gaussians(rng: np.random.Generator, n: int) -> np.ndarray:
    """25 equal Gaussians of std 0.05, centres on the grid {-2, -1, 0, 1, 2} squared."""
    return _mixture(rng, n, CENTRES["25gaussians"], 0.05)


def rings(rng: np.random.Generator, n: int) -> np.ndarray:
    """4 circles of radius 0.5, 1, 1.5 and 2 with equal mass, isotropic noise of std 0.05."""
    radius = 0.5 * (1 + rng.integers(4, size=n))
    angle = rng.uniform(0, 2 * math.pi, n)
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return points + 0.05 * rng.standard_normal((n, 2))


def moons(rng: np.random.Generator, n: int) -> np.ndarray:
    """Two interleaved half circles of radius 2, mean 0, noise of std 0.1.

    The upper one is `2 (cos a, sin a) - (1, 0.5)`, the lower one its point reflection, with a
    uniform on [0, pi].
    """
    angle = rng.uniform(0, math.pi, n)
    sign = 2.0 * rng.integers(2, size=n) - 1.0
    points = np.stack([2 * np.cos(angle) - 1.0, 2 * np.sin(angle) - 0.5], axis=1)
    return sign[:, None] * points + 0.1 * rng.standard_normal((n, 2))


def swissroll(rng: np.random.Generator, n: int) -> np.ndarray:
    """Spiral `a (cos a, sin a) / 5` with a uniform on [1.5 pi, 4.5 pi], noise of std 0.1."""
    angle = rng.uniform(1.5 * math.pi, 4.5 * math.pi, n)
    points = np.stack([angle * np.cos(angle), angle * np.sin(angle)], axis=1) / 5
    return points + 0.1 * rng.standard_normal((n, 2))


def skewed_line(rng: np.random.Generator, n: int) -> np.ndarray:
    """Points `(t, t / 2)` of a line, t ~ 0.7 N(-2, 0.3^2) + 0.3 N(2, 0.3^2)."""
    t = np.where(rng.random(n) < 0.7, -2.0, 2.0) + 0.3 * rng.standard_normal(n)
    return np.stack([t, t / 2], axis=1)


SAMPLERS: dict[str, Sampler] = {
    "8gaussians": eight_gaussians,
    "25gaussians": twenty_five_gaussians,
    "rings": rings,
    "moons": moons,
    "swissroll": swissroll,
    "skewed_line": skewed_line,
}


def toy(name: str, *, n_train: int = 20_000, n_test: int = 20_000, seed: int = 0) -> Dataset:
    """Rows of a toy distribution, "x" float32 `(N, 2)`; train and test are independent draws.

    Args:
      name: one of `SAMPLERS`.
      n_train: rows to train on.
      n_test: rows to test on.
      seed: seed of the draws, non-negative.
    """

    def draw(stream: int, n: int) -> ArraySplit:
        x = SAMPLERS[name](np.random.default_rng([seed, stream]), n)
        return ArraySplit({"x": x.astype(np.float32)})

    return vector_dataset(name, draw(0, n_train), draw(1, n_test), 2)
