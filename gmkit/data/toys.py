"""Toy distributions in one or two dimensions, drawn by seed; used without standardising."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from gmkit.data.dataset import ArraySplit, Dataset, vector_dataset
from gmkit.data.spec import DataError

Sampler = Callable[[np.random.Generator, int], np.ndarray]

_ANGLES = 2 * math.pi * np.arange(8) / 8
_TICKS = np.arange(-2.0, 3.0)

# Mixtures in the unit square, in the units in which their paper states them; the noise is 0.05
# there (Tran, Bui and Cheung 2018, synthetic experiments).
_SQUARE_STD = 0.05
_ARM = np.arange(-3.0, 4.0)
_HALF_SINE = np.array(
    [(-1.866, 0.5), (-1.5, 0.866), (-1.0, 1.0), (-0.5, 0.866), (-0.134, 0.5), (0.0, 0.0)]
)
_IN_SQUARE: dict[str, np.ndarray] = {
    "25grid": np.stack(np.meshgrid(2 * _TICKS, 2 * _TICKS, indexing="ij"), axis=-1).reshape(-1, 2),
    "plus": np.array([(a, 0.0) for a in _ARM] + [(0.0, a) for a in _ARM if a]),
    "sine": np.concatenate([_HALF_SINE, -_HALF_SINE[:-1], [(2.0, 0.0)]]),
}


def _scale(name: str) -> float:
    """What the coordinates of a mixture are divided by: four stds beyond the outermost centre."""
    return float(np.abs(_IN_SQUARE[name]).max() + 4 * _SQUARE_STD)


#: Centres of the Gaussian mixtures, `(modes, 2)`, in the units of the rows.
CENTRES: dict[str, np.ndarray] = {
    "8gaussians": 2.0 * np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1),
    "25gaussians": np.stack(np.meshgrid(_TICKS, _TICKS, indexing="ij"), axis=-1).reshape(-1, 2),
    **{name: (centres / _scale(name) + 1) / 2 for name, centres in _IN_SQUARE.items()},
}

#: Standard deviation of every mode of the Gaussian mixtures, in the units of the rows.
STDS: dict[str, float] = {
    "8gaussians": 0.2,
    "25gaussians": 0.05,
    **{name: _SQUARE_STD / (2 * _scale(name)) for name in _IN_SQUARE},
}


def modes_of(name: str) -> tuple[np.ndarray, float]:
    """Centres `(modes, 2)` and standard deviation of a mixture, in the units of its rows.

    Raises:
      DataError: a name that is not in `CENTRES`.
    """
    if name not in CENTRES:
        raise DataError(f"name={name!r} has no Gaussian modes; choose {', '.join(CENTRES)}")
    return CENTRES[name], STDS[name]


def _mixture(rng: np.random.Generator, n: int, centres: np.ndarray, std: float) -> np.ndarray:
    return centres[rng.integers(len(centres), size=n)] + std * rng.standard_normal((n, 2))


def _in_square(rng: np.random.Generator, n: int, name: str) -> np.ndarray:
    """Rows of a mixture that lie in the unit square; what falls outside is drawn again.

    The paper divides one draw of about 50,000 rows by its entry of largest magnitude (4.2 for
    the grid) and maps [-1, 1] to [0, 1]. That entry changes with every draw; a fixed divisor of
    the same size keeps the modes where they are for every seed and number of rows. At most one
    row in 30,000 falls outside.
    """
    x = _mixture(rng, n, CENTRES[name], STDS[name])
    outside = (np.abs(x - 0.5) > 0.5).any(axis=1)
    while outside.any():
        x[outside] = _mixture(rng, int(outside.sum()), CENTRES[name], STDS[name])
        outside = (np.abs(x - 0.5) > 0.5).any(axis=1)
    return x


def eight_gaussians(rng: np.random.Generator, n: int) -> np.ndarray:
    """8 equal Gaussians of std 0.2, centres equally spaced on the circle of radius 2."""
    return _mixture(rng, n, *modes_of("8gaussians"))


def twenty_five_gaussians(rng: np.random.Generator, n: int) -> np.ndarray:
    """25 equal Gaussians of std 0.05, centres on the grid {-2, -1, 0, 1, 2} squared."""
    return _mixture(rng, n, *modes_of("25gaussians"))


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


def square_grid(rng: np.random.Generator, n: int) -> np.ndarray:
    """25 equal Gaussians on a grid in the unit square, neighbours 40 stds apart."""
    return _in_square(rng, n, "25grid")


def plus(rng: np.random.Generator, n: int) -> np.ndarray:
    """13 equal Gaussians in the unit square, centres on a cross of two arms of 7."""
    return _in_square(rng, n, "plus")


def sine(rng: np.random.Generator, n: int) -> np.ndarray:
    """12 equal Gaussians in the unit square, centres along one period of a sine."""
    return _in_square(rng, n, "sine")


def gaussian_1d(rng: np.random.Generator, n: int) -> np.ndarray:
    """One coordinate, N(4, 1)."""
    return 4.0 + rng.standard_normal((n, 1))


SAMPLERS: dict[str, Sampler] = {
    "8gaussians": eight_gaussians,
    "25gaussians": twenty_five_gaussians,
    "rings": rings,
    "moons": moons,
    "swissroll": swissroll,
    "skewed_line": skewed_line,
    "25grid": square_grid,
    "plus": plus,
    "sine": sine,
    "gaussian1d": gaussian_1d,
}


def toy(name: str, *, n_train: int = 20_000, n_test: int = 20_000, seed: int = 0) -> Dataset:
    """Rows of a toy distribution, "x" float32 `(N, 2)` (`(N, 1)` for gaussian1d).

    Train and test are independent draws.

    Args:
      name: one of `SAMPLERS`.
      n_train: rows to train on.
      n_test: rows to test on.
      seed: seed of the draws, non-negative.
    """

    def draw(stream: int, n: int) -> ArraySplit:
        x = SAMPLERS[name](np.random.default_rng([seed, stream]), n)
        return ArraySplit({"x": x.astype(np.float32)})

    train, test = draw(0, n_train), draw(1, n_test)
    return vector_dataset(name, train, test, train.gather(np.arange(1))["x"].shape[-1])
