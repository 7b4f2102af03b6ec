"""Wasserstein-1 distance of one-dimensional samples."""

import numpy as np
import pytest

from gmkit.evaluation import wasserstein_1d


def test_known_values():
    x = np.array([3.0, 1.0, 2.0])
    assert wasserstein_1d(x, x[::-1]) == 0.0
    assert wasserstein_1d(x, x + 2.5) == pytest.approx(2.5)
    assert wasserstein_1d([0.0], [0.0, 1.0]) == pytest.approx(0.5)
    assert wasserstein_1d([0.0], [1.0, 3.0]) == pytest.approx(2.0)


def test_errors():
    with pytest.raises(ValueError, match="not empty"):
        wasserstein_1d([], [1.0])
    with pytest.raises(ValueError, match="shapes"):
        wasserstein_1d(np.zeros((3, 1)), np.zeros(3))
    with pytest.raises(ValueError, match="not finite"):
        wasserstein_1d([np.inf], [1.0])
