"""How numbers are written: cells for people, CSV for programs."""

from __future__ import annotations

import csv
import io
import math
import numbers
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gmkit.reporting.files import write_text

Rows = Sequence[Mapping[str, Any]]


def plain_scalar(value: Any) -> Any:
    """A Python number for a NumPy or JAX scalar (or one-element array); anything else as it is."""
    if hasattr(value, "dtype") and getattr(value, "size", 0) == 1:
        return np.asarray(value).item()
    return value


def is_number(value: Any) -> bool:
    """Whether `value` is an int or a float, and no bool."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def format_value(value: Any) -> str:
    """One value as a person reads it: four significant digits, integers whole, None as a dash."""
    value = plain_scalar(value)
    if value is None:
        return "–"  # noqa: RUF001 - an en dash stands for "no value"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, float):
        return str(value)
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    if value == 0.0:
        return "0"
    # Round first: 9.99996 has one digit before the point only until it is rounded.
    exponent = int(f"{value:.3e}".split("e")[1])
    if -4 <= exponent < 6:
        return f"{value:.{max(0, 3 - exponent)}f}"
    return f"{value:.3e}"


def column_names(rows: Rows) -> list[str]:
    """Every key of the rows, in the order of first appearance."""
    return list(dict.fromkeys(key for row in rows for key in row))


def format_table(rows: Rows) -> list[list[str]]:
    """Rows of cells as text, the column names first; a missing value is an empty cell.

    Shared by the report and the console, so that one number looks the same in both. No rows
    give no cells.
    """
    names = column_names(rows)
    if not names:
        return []
    body = [[format_value(row[name]) if name in row else "" for name in names] for row in rows]
    return [list(map(str, names)), *body]


def write_table(path: str | os.PathLike, rows: Rows) -> Path:
    """Writes `rows` as CSV to `path`, atomically and at full precision; returns the path.

    A missing or `None` value is an empty field; NaN and infinities are written as such.
    """
    names = column_names(rows)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    if names:
        writer.writeheader()
    writer.writerows({name: plain_scalar(value) for name, value in row.items()} for row in rows)
    return write_text(path, text.getvalue())
