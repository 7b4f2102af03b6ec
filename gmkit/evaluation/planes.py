"""Where to look at functions of the plane."""

from __future__ import annotations

import numpy as np

Extent = tuple[float, float, float, float]


def plane(points: np.ndarray, n: int, margin: float = 1.0) -> tuple[Extent, np.ndarray]:
    """A grid over the rectangle around points.

    Args:
      points: `(m, 2)`, finite.
      n: grid points per side.
      margin: what the rectangle leaves around the points.

    Returns:
      The extent (x low, x high, y low, y high), and float32 points `(n * n, 2)`: reshaped to
      `(n, n, ...)`, values at them have y along the first axis and x along the second.
    """
    low, high = points.min(axis=0) - margin, points.max(axis=0) + margin
    axes = [np.linspace(a, b, n, dtype=np.float32) for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
    return (float(low[0]), float(high[0]), float(low[1]), float(high[1])), grid


def latent_grid(n_lines: int = 13, reach: float = 3.0, n_points: int = 200) -> np.ndarray:
    """Straight lines of a regular grid over [-reach, reach]^2, float32 `(2 n_lines, n_points, 2)`.

    Decoded, they show where a flow transports its standard normal latents.
    """
    levels = np.linspace(-reach, reach, n_lines, dtype=np.float32)
    along = np.linspace(-reach, reach, n_points, dtype=np.float32)
    level, position = np.meshgrid(levels, along, indexing="ij")
    upright, level_lines = np.stack([level, position], -1), np.stack([position, level], -1)
    return np.concatenate([upright, level_lines])
