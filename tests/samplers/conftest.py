"""The linear-Gaussian latent model, whose posterior and log-partition are known."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest


class LinearGaussian(NamedTuple):
    """`B(z) = W z + b`, `E(x) = (x - mu)' P (x - mu) / 2`, prior N(0, I)."""

    w: np.ndarray
    r: np.ndarray
    precision: np.ndarray

    def energy(self, z: jax.Array) -> jax.Array:
        x = z @ self.w.T + self.r[None]
        return 0.5 * jnp.sum((x @ self.precision) * x, axis=1)

    def potential(self, z: jax.Array) -> jax.Array:
        return 0.5 * jnp.sum(z**2, axis=1) + self.energy(z)

    @property
    def s(self) -> np.ndarray:
        return np.eye(self.w.shape[1]) + self.w.T @ self.precision @ self.w

    @property
    def mean(self) -> np.ndarray:
        return -np.linalg.solve(self.s, self.w.T @ self.precision @ self.r)

    @property
    def cov(self) -> np.ndarray:
        return np.linalg.inv(self.s)

    @property
    def log_z(self) -> float:
        p, w = self.precision, self.w
        left = p - p @ w @ np.linalg.solve(self.s, w.T @ p)
        return -0.5 * np.linalg.slogdet(self.s)[1] - 0.5 * self.r @ left @ self.r


@pytest.fixture(scope="session")
def model() -> LinearGaussian:
    w = np.array([[1.0, 0.3], [-0.4, 0.8], [0.5, 0.5]], np.float32)
    r = np.array([0.7, -0.5, 0.3], np.float32)
    root = np.array([[1.0, 0.2, 0.0], [0.0, 0.8, 0.3], [0.0, 0.0, 0.6]], np.float32)
    return LinearGaussian(w, r, root @ root.T)


def standard_errors_away(z: np.ndarray, mean: np.ndarray, cov: np.ndarray) -> float:
    """Largest error of sample mean and covariance, in standard errors of independent draws."""
    z = np.asarray(z, np.float64)
    n = len(z)
    variance = np.diag(cov)
    mean_error = np.abs(z.mean(0) - mean) / np.sqrt(variance / n)
    cov_error = np.abs(np.cov(z.T).reshape(cov.shape) - cov)
    cov_error = cov_error / np.sqrt((np.outer(variance, variance) + cov**2) / n)
    return max(mean_error.max(), cov_error.max())


@pytest.fixture(scope="session")
def errors():
    return standard_errors_away
