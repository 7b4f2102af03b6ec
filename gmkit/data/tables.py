"""Tables of the user's own, prepared as density estimation on UCI data does it.

The recipe is that of Wenliang et al. 2019 and Arbel et al. 2021: clean, shuffle the rows,
dequantise (wine), permute the columns, whiten, and split into train, validation and test. The
same seed gives the same splits as those papers' code, up to the signs of the whitened columns.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from gmkit.data.dataset import ArraySplit, Dataset, vector_dataset
from gmkit.data.files import UNREADABLE
from gmkit.data.spec import DataError

WHITEN_ON = ("all", "train")
#: Rows that the whitening's singular value decomposition looks at.
WHITEN_ROWS = 10_000
MAX_VALIDATION = 1000
#: With fewer rows the validation split would be empty.
MIN_ROWS = 11

# ---------------------------------------------------------------- recipes


def _hepmass(x: np.ndarray) -> np.ndarray:
    """Signal rows without the label and the five features that take few values."""
    return np.delete(x[x[:, 0] == 1], [0, 6, 10, 14, 18, 22], axis=1)


def _miniboone(x: np.ndarray) -> np.ndarray:
    """The selection of Papamakarios et al. 2017, unless it was made before.

    The electron-neutrino events come first in the original file. Outliers have a first feature
    below -100, and features whose least value occurs more than five times are dropped.
    """
    if x.shape[1] == 43:
        return x
    x = x[:36_499]
    x = x[x[:, 0] >= -100]
    return x[:, np.sum(x == x.min(axis=0, initial=np.inf)[None], axis=0) <= 5]


class Recipe(NamedTuple):
    """How the rows of one data set are cleaned and split.

    Attributes:
      text: one line about the data.
      source: the file to get.
      columns: numbers of columns that the raw table may have; empty for any.
      select: raw rows to the rows and columns to keep.
      max_correlation: columns are removed until no pair correlates more; None for no removal.
      dequantise: whether uniform noise of the width of the typical gap is added.
      n_test: rows of the test split; None for the last tenth.
    """

    text: str
    source: str
    columns: tuple[int, ...]
    select: Callable[[np.ndarray], np.ndarray]
    max_correlation: float | None = None
    dequantise: bool = False
    n_test: int | None = None


def _inputs(x: np.ndarray) -> np.ndarray:
    return x[:, :11]


RECIPES: dict[str, Recipe] = {
    "redwine": Recipe(
        "red wine, 11 measures, 1296/144/159 rows",
        "winequality-red.csv of the UCI repository",
        (11, 12),
        _inputs,
        dequantise=True,
    ),
    "whitewine": Recipe(
        "white wine, 11 measures, 3969/440/489 rows",
        "winequality-white.csv of the UCI repository",
        (11, 12),
        _inputs,
        dequantise=True,
    ),
    "parkinsons": Recipe(
        "Parkinson's telemonitoring, 15 of 22 measures, 4760/528/587 rows",
        "parkinsons_updrs.data of the UCI repository",
        (22,),
        lambda x: x[:, 3:],
        max_correlation=0.98,
    ),
    "miniboone": Recipe(
        "MiniBooNE electron neutrinos, 43 features, 31840/1000/3648 rows",
        "data.npy of the MAF bundle (Papamakarios et al. 2017, 36488 x 43) or the 50 columns of "
        "the UCI repository's MiniBooNE_PID.txt",
        (43, 50),
        _miniboone,
    ),
    "hepmass": Recipe(
        "HEPMASS signal of mass 1000, 22 features, 174900 rows to test on",
        "1000_train.csv and 1000_test.csv of the UCI repository in one table of 28 columns, "
        "the label first",
        (28,),
        _hepmass,
        n_test=174_900,
    ),
    "table": Recipe("any table of numbers", "any table of numbers", (), lambda x: x),
}

#: Names that `registry.load` knows, each with one line about the data.
NAMES: dict[str, str] = {
    name: f"{recipe.text}, whitened; set data.path to your .npz, .npy or .csv"
    for name, recipe in RECIPES.items()
}


# ---------------------------------------------------------------- reading


def _is_number(text: str) -> bool:
    with contextlib.suppress(ValueError):
        float(text)
        return True
    return False


def _read_text(path: Path) -> np.ndarray:
    """Numbers separated by `;`, `,`, tabs or blanks (whichever comes first), header or not."""
    with path.open(encoding="utf-8-sig") as file:
        first = file.readline()
        separator = next((s for s in ";,\t" if s in first), None)
        fields = [field.strip().strip('"') for field in first.split(separator)]
        numbers = [_is_number(field) for field in fields]
        if any(numbers) and not all(numbers):
            odd = fields[numbers.index(False)]
            raise ValueError(f"its first line mixes numbers and {odd!r}")
        lines = itertools.chain([first] if any(numbers) else [], file)
        filled = (line for line in lines if line.strip())
        # NumPy would only warn of a text without rows.
        row = next(filled, None)
        if row is None:
            raise ValueError("it has no rows")
        rows = itertools.chain([row], filled)
        return np.loadtxt(rows, delimiter=separator, comments=None, quotechar='"', ndmin=2)


def _read_npz(path: Path) -> np.ndarray:
    """The array "x", or the only one with two axes."""
    with np.load(path, allow_pickle=False) as stored:
        arrays = {key: stored[key] for key in stored.files}
    tables = [key for key, array in arrays.items() if array.ndim == 2]
    if "x" in arrays:
        return arrays["x"]
    if len(tables) != 1:
        shapes = {key: array.shape for key, array in arrays.items()}
        raise ValueError(f'it has arrays {shapes}; name the table "x"')
    return arrays[tables[0]]


def read_table(path: str | os.PathLike[str]) -> np.ndarray:
    """Numbers of a file, float64 `(rows, columns)`.

    `.npz`: the array "x", or the only array with two axes. `.npy`: its array. Anything else is
    text: one row a line, separated by `;`, `,`, tabs or blanks, with or without a header line.

    Raises:
      DataError: no such file, not a table of finite numbers, or one without rows.
    """
    path = Path(path).expanduser()
    problem = f"data.path={str(path)!r}"
    if not path.is_file():
        raise DataError(f"{problem}: there is no such file")
    readers = {".npz": _read_npz, ".npy": lambda p: np.load(p, allow_pickle=False)}
    try:
        x = readers.get(path.suffix.lower(), _read_text)(path)
    except UNREADABLE as error:
        raise DataError(f"{problem} is not a table of numbers: {error}") from error
    if x.ndim != 2 or x.size == 0 or x.dtype.kind not in "fiu":
        raise DataError(f"{problem} holds {x.dtype} {x.shape}; needed: numbers (rows, columns)")
    x = x.astype(np.float64)
    bad = ~np.isfinite(x).all(axis=1)
    if bad.any():
        raise DataError(
            f"{problem}: {bad.sum()} rows have values that are not finite, the first is row "
            f"{bad.argmax()} (from 0); remove them"
        )
    return x


# ---------------------------------------------------------------- steps


def decorrelated(x: np.ndarray, max_correlation: float) -> np.ndarray:
    """`x (n, d)` without columns that nearly repeat another.

    The first column that correlates with another by more than `max_correlation` in absolute
    value is removed, until there is none.
    """
    while x.shape[1] > 1:
        repeats = np.sum(np.abs(np.corrcoef(x, rowvar=False)) > max_correlation, axis=0) > 1
        if not repeats.any():
            break
        x = np.delete(x, repeats.argmax(), axis=1)
    return x


def dequantised_columns(rng: np.random.RandomState, x: np.ndarray) -> np.ndarray:
    """`x (n, d)` plus `Uniform(-delta, delta)`, delta the median gap of a column's values."""
    columns = []
    for column in x.T:
        values = np.unique(column)
        delta = np.median(values[1:] - values[:-1])
        columns.append(column + (2.0 * rng.random_sample(len(column)) - 1.0) * delta)
    return np.stack(columns, axis=1)


def whitening(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean `(d,)` and matrix `W (d, d)` so that `(x - mean) W` has unit covariance.

    `W = V / s * sqrt(n)` from the singular value decomposition of the first 10 000 centred
    rows. Singular vectors have the sign that makes their largest entry positive.

    Raises:
      DataError: columns that depend on each other linearly, or too few rows.
    """
    mean = x.mean(axis=0)
    rows = (x - mean[None])[:WHITEN_ROWS]
    _, s, vt = np.linalg.svd(rows, full_matrices=False)
    rank = int(np.sum(s > s[0] * max(rows.shape) * np.finfo(s.dtype).eps))
    if rank < x.shape[1]:
        raise DataError(
            f"the {x.shape[1]} columns of {rows.shape} rows have rank {rank}: remove columns that "
            "are combinations of others, or give more rows than columns"
        )
    largest = np.take_along_axis(vt, np.abs(vt).argmax(axis=1)[:, None], axis=1)
    vectors = (vt * np.sign(largest)).T
    return mean, vectors / s[None] * np.sqrt(len(rows))


def split_sizes(n: int, n_test: int | None = None) -> tuple[int, int, int]:
    """Rows to train, validate and test on: the last tenth tests, then the last tenth, at most
    1000, of the rest validates.

    Args:
      n: rows of the table.
      n_test: rows to test on, if not a tenth.

    Raises:
      DataError: so few rows that a split would be empty.
    """
    least = MIN_ROWS if n_test is None else n_test + 10
    if n < least:
        raise DataError(f"there are {n} rows after cleaning; the splits need at least {least}")
    n_test = n // 10 if n_test is None else n_test
    n_validation = min((n - n_test) // 10, MAX_VALIDATION)
    return n - n_test - n_validation, n_validation, n_test


def _clean(recipe: Recipe, x: np.ndarray) -> np.ndarray:
    if recipe.columns and x.shape[1] not in recipe.columns:
        wanted = " or ".join(str(columns) for columns in recipe.columns)
        raise DataError(f"it has {x.shape[1]} columns, needed: {wanted} ({recipe.source})")
    x = recipe.select(x)
    if len(x) == 0:
        raise DataError(f"the cleaning leaves no row; needed: {recipe.source}")
    constant = np.ptp(x, axis=0) == 0
    if constant.any():
        raise DataError(
            f"column {constant.argmax()} (from 0, after cleaning) is constant; remove it"
        )
    return x if recipe.max_correlation is None else decorrelated(x, recipe.max_correlation)


def prepare(
    name: str, x: np.ndarray, *, seed: int = 1, whiten_on: Literal["all", "train"] = "all"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Train, validation and test rows of a raw table, float32.

    Args:
      name: one of `RECIPES`.
      x: raw rows, float64 `(n, columns)`.
      seed: of the shuffle, the noise and the columns' order, below 2**32.
      whiten_on: rows whose mean and covariance the whitening takes. "all" is the papers'
        choice and lets the test rows' statistics leak in; "train" does not.

    Raises:
      DataError: a table that the recipe does not fit.
    """
    recipe = RECIPES[name]
    x = _clean(recipe, x)
    n_train, n_validation, _ = split_sizes(len(x), recipe.n_test)
    # NumPy froze the streams of RandomState, and with them the papers' rows.
    rng = np.random.RandomState(seed)
    x = x[rng.permutation(len(x))]
    if recipe.dequantise:
        x = dequantised_columns(rng, x)
    x = x[:, rng.permutation(x.shape[1])]
    mean, matrix = whitening(x if whiten_on == "all" else x[:n_train])
    x = ((x - mean[None]) @ matrix).astype(np.float32)
    train, validation, test = np.split(x, [n_train, n_train + n_validation])
    return train, validation, test


def table(
    name: str,
    *,
    path: str | os.PathLike[str] | None = None,
    seed: int = 1,
    whiten_on: Literal["all", "train"] = "all",
) -> Dataset:
    """A data set of whitened vectors "x" with a validation split, from the user's table.

    Args:
      name: the recipe, one of `RECIPES`; "table" cleans nothing.
      path: file that `read_table` reads.
      seed: see `prepare`.
      whiten_on: see `prepare`.

    Raises:
      DataError: no path, a file that is not a table, or one that the recipe does not fit.
    """
    if path is None:
        raise DataError(
            f"data.path is not set: {name!r} reads your own file; set data.path to a .npz, .npy "
            f"or .csv with {RECIPES[name].source}"
        )
    if seed >= 2**32:
        raise DataError(f"data.seed={seed}: must be below 2**32")
    raw = read_table(path)
    try:
        parts = prepare(name, raw, seed=seed, whiten_on=whiten_on)
    except DataError as error:
        raise DataError(f"data.path={str(path)!r} for {name!r}: {error}") from error
    train, validation, test = (ArraySplit({"x": part}) for part in parts)
    title = Path(path).stem if name == "table" else name
    return vector_dataset(title, train, test, parts[0].shape[1], validation=validation)
