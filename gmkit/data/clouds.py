"""Pairs of point clouds with correspondences, most of them wrong, and the pose between the two.

Several problems are solved side by side. A training row holds one correspondence of each problem,
"p" and "q" `(problems, 3)`; where it is right, `p = R q + t` up to noise, with the R and t of the
problem. The one test row has all of them, "p" and "q" `(problems, n, 3)`, and where it is known
the truth, "rotation" `(problems, 3, 3)` and "translation" `(problems, 3)`.
"""

from __future__ import annotations

import math
import os
import zipfile
from pathlib import Path

import numpy as np

from gmkit.data.dataset import Dataset, Raw
from gmkit.data.problems import problem_dataset
from gmkit.data.spec import DataError

LAYOUT = (
    "p and q (n, 3) or (problems, n, 3), row i of one matched with row i of the other; "
    "optionally rotation (3, 3) and translation (3,), or one for each problem"
)


def registration_problems(
    n_problems: int = 32,
    n: int = 500,
    outliers: float = 0.6,
    noise: float = 0.005,
    angle: float = 60.0,
    outlier_size: float = 5.0,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Problems with known poses.

    The points q are uniform in the unit cube; p is turned by `angle` about a random axis, moved
    by up to 1 along each axis, and noisy; then a share of p is replaced by random points.

    Args:
      n_problems: how many.
      n: correspondences of each.
      outliers: share of wrong ones, rounded to whole correspondences.
      noise: standard deviation of each coordinate of p.
      angle: degrees.
      outlier_size: side of the cube, around the centre of p, in which wrong matches are uniform.
        Those of size 1 hardly turn least squares, for which their errors average out.
      seed: of everything.

    Returns:
      "p", "q", "rotation", "translation", float32, with the problems as the leading axis.

    Raises:
      DataError: values out of range.
    """
    if n_problems < 1 or n < 3:
        raise DataError(f"data.n_problems={n_problems}, data.n={n}: at least 1 and at least 3")
    if not 0.0 <= outliers < 1.0:
        raise DataError(f"data.outliers={outliers}: must be a share, from 0 to below 1")
    if not (noise >= 0.0 and outlier_size >= 0.0):
        raise DataError(f"data.noise={noise}, data.outlier_size={outlier_size}: at least 0")
    rng = np.random.default_rng(seed)
    q = rng.random((n_problems, n, 3))
    axis = rng.standard_normal((n_problems, 3))
    rotation = _rotations(axis / np.linalg.norm(axis, axis=1, keepdims=True), math.radians(angle))
    translation = rng.uniform(-1.0, 1.0, (n_problems, 3))
    p = q @ rotation.swapaxes(1, 2) + translation[:, None]
    wrong = rng.random((n_problems, n)).argsort(axis=1) < round(outliers * n)
    centre = rotation.sum(axis=2) / 2 + translation
    anywhere = centre[:, None] + outlier_size * (rng.random(p.shape) - 0.5)
    p += noise * rng.standard_normal(p.shape)
    p = np.where(wrong[..., None], anywhere, p)
    found = {"p": p, "q": q, "rotation": rotation, "translation": translation}
    return {name: array.astype(np.float32) for name, array in found.items()}


def _rotations(axis: np.ndarray, angle: float) -> np.ndarray:
    """Rotations by one angle (radians) about unit axes `(P, 3)`."""
    cross = np.cross(axis[:, None], np.eye(3)[None])  # rows: axis x e_i
    cross = cross.swapaxes(1, 2)
    return np.eye(3) + math.sin(angle) * cross + (1.0 - math.cos(angle)) * (cross @ cross)


def load_registration(path: str | os.PathLike | None = None, **options: float) -> Dataset:
    """Clouds to register: those of `registration_problems`, or your own.

    Args:
      path: an `.npz` file with "p" and "q" `(n, 3)`, or `(problems, n, 3)`, matched row by row,
        and optionally "rotation" and "translation".
      **options: of `registration_problems`, where there is no path.

    Raises:
      DataError: options out of range, or beside a path; a file that is missing or of another form.
    """
    if path is None:
        problems = registration_problems(**options)  # pyright: ignore[reportArgumentType]
        return _dataset("registration", problems)
    if options:
        first, value = next(iter(options.items()))
        raise DataError(f"data.{first}={value!r} means nothing beside data.path={str(path)!r}")
    path = Path(path).expanduser()
    return _dataset(path.stem, _read(path))


def _read(path: Path) -> dict[str, np.ndarray]:
    where = f"data.path={str(path)!r}"
    if not path.is_file():
        raise DataError(f"{where}: there is no such file")
    if not zipfile.is_zipfile(path):
        raise DataError(f"{where} is not an .npz file; write it with numpy.savez")
    with np.load(path, allow_pickle=False) as stored:
        found = {name: stored[name] for name in stored.files}
    if "p" not in found or "q" not in found:
        raise DataError(f"{where} has keys {sorted(found)}; needed: {LAYOUT}")
    single = found["p"].ndim == 2
    kept = ["p", "q", *(k for k in ("rotation", "translation") if k in found)]
    arrays = {k: found[k][None] if single else found[k] for k in kept}
    shape = arrays["p"].shape
    wanted = {"p": shape, "q": shape, "rotation": (shape[0], 3, 3), "translation": (shape[0], 3)}
    cloud = len(shape) == 3 and shape[2] == 3 and shape[1] >= 3
    for name, array in arrays.items():
        if not cloud or array.shape != wanted[name] or array.dtype.kind not in "fiu":
            raise DataError(f"{where}: {name} is {array.dtype} {found[name].shape}; {LAYOUT}")
        if not np.isfinite(array).all():
            raise DataError(f"{where}: {name} has values that are not finite; remove those rows")
    if len(kept) == 3:
        raise DataError(f"{where} has {kept[2]} alone; give both of rotation and translation")
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def _dataset(name: str, problems: Raw) -> Dataset:
    rows = {k: np.ascontiguousarray(problems[k].swapaxes(0, 1)) for k in ("p", "q")}
    whole = {k: array[None] for k, array in problems.items()}
    return problem_dataset(name, rows, whole, shape=(3, 4))
