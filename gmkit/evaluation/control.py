"""Numbers of controlled generation: whether it shows what was asked for, and varies otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gmkit.energies import And, Atom, Expression, Not, Or


def disentangled_edit_strength(
    accuracy: np.ndarray, sequence: Sequence[int]
) -> tuple[float, list[dict[str, float]]]:
    """How much edits change their attribute beyond what they change of any other one.

    The mean over edits k of `(A_k after - A_k before) - max_{j != k} |A_j after - A_j before|`,
    with `A_j` the accuracy of attribute j with respect to its target (after Nie et al. 2021).

    Args:
      accuracy: before the first and after every edit, `(E + 1, A)`.
      sequence: attribute of each edit.

    Returns:
      The mean, and "gain", "side_effect" and "strength" of each edit.

    Raises:
      ValueError: shapes that do not fit.
    """
    accuracy = np.asarray(accuracy, np.float64)
    if accuracy.ndim != 2 or len(accuracy) != len(sequence) + 1 or not len(sequence):
        raise ValueError(
            f"accuracy {accuracy.shape} of {len(sequence)} edits: pass one row before them and one "
            "after each"
        )
    rows = []
    for k, change in zip(sequence, np.diff(accuracy, axis=0), strict=True):
        others = np.abs(np.delete(change, k))
        side = float(others.max()) if others.size else 0.0
        rows.append({"gain": float(change[k]), "side_effect": side})
        rows[-1]["strength"] = rows[-1]["gain"] - side
    return float(np.mean([row["strength"] for row in rows])), rows


def holds(expression: Expression, values: Mapping[str, np.ndarray], tolerance: float) -> np.ndarray:
    """Whether an expression is true of every row, as logic has it.

    Args:
      expression: of attributes.
      values: classes or numbers `(n,)` by attribute.
      tolerance: how far off a continuous attribute may be.

    Returns:
      bool `(n,)`.
    """
    if isinstance(expression, Atom):
        value = np.asarray(values[expression.name])
        if expression.kind == "=":
            return value == expression.value
        return np.abs(value - float(expression.value)) <= tolerance
    if isinstance(expression, Not):
        return ~holds(expression.child, values, tolerance)
    assert isinstance(expression, And | Or)
    every = [holds(child, values, tolerance) for child in expression.children]
    combine: Any = np.logical_and if isinstance(expression, And) else np.logical_or
    return combine.reduce(every)


def mean_distance(rows: np.ndarray, groups: np.ndarray | None = None) -> float:
    """Mean distance of pairs of rows of one group, per root of the number of entries.

    Args:
      rows: `(n, ...)`.
      groups: of every row, `(n,)`; None for one group.

    Returns:
      NaN where no group has two rows.
    """
    flat = np.asarray(rows, np.float64).reshape(len(rows), -1)
    groups = np.zeros(len(rows)) if groups is None else np.asarray(groups)
    total, count = 0.0, 0
    for group in np.unique(groups):
        part = flat[groups == group]
        square = np.sum(part**2, axis=1)
        gap = square[:, None] + square[None] - 2.0 * part @ part.T
        total += float(np.sqrt(np.maximum(gap, 0.0)).sum())
        count += len(part) * (len(part) - 1)
    return total / count / np.sqrt(flat.shape[1]) if count else float("nan")
