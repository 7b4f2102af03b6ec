"""A line with gross outliers, the example on which robust regression is shown.

J. T. Barron, "A General and Adaptive Robust Loss Function", CVPR 2019, arXiv:1701.03077, in the
form of the notebook that comes with the author's code.
"""

from __future__ import annotations

import numpy as np

from gmkit.data.dataset import ArraySplit, Dataset, vector_dataset
from gmkit.data.spec import DataError

#: Slope and intercept of the line.
LINE = (0.7, 0.15)


def load_regression_outliers(
    n: int = 50, seed: int = 1, std: float = 0.025, outliers: float = 0.1
) -> Dataset:
    """Rows "x" `(n, 2)`: an input, uniform on [0, 1], and its target; test rows are the same.

    Targets are `0.7 x + 0.15` with Normal noise. Each is flipped with probability `outliers` to
    the far side: to 0.05 where it was above 0.5, else to 0.85. With the defaults the rows are
    those of the author's notebook, number by number.

    Args:
      n: rows.
      seed: of NumPy's legacy generator, whose numbers never change.
      std: standard deviation of the noise.
      outliers: probability of an outlier.

    Raises:
      DataError: values out of range.
    """
    if n < 2:
        raise DataError(f"data.n={n}: a line takes at least 2 points")
    if not std >= 0.0:
        raise DataError(f"data.std={std}: must be at least 0")
    if not 0.0 <= outliers < 1.0:
        raise DataError(f"data.outliers={outliers}: must be a share, from 0 to below 1")
    rng = np.random.RandomState(seed)
    x = rng.uniform(size=n)
    y = LINE[0] * x + LINE[1]
    y += rng.normal(scale=std, size=n)
    flipped = rng.uniform(size=n) > 1.0 - outliers
    y = np.where(flipped, 0.05 + 0.4 * (1.0 - np.sign(y - 0.5)), y)
    rows = ArraySplit({"x": np.stack([x, y], axis=1).astype(np.float32)})
    return vector_dataset("regression_outliers", rows, rows, 2)
