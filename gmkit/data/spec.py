"""What a data set is, apart from its rows, and the one error that sources raise."""

from __future__ import annotations

import dataclasses
from typing import Literal

from gmkit.core import Domain


class DataError(ValueError):
    """A data set that cannot be had as asked; one line with the field, its value and the fix."""


@dataclasses.dataclass(frozen=True)
class DataSpec:
    """What the examples of a data set are.

    Attributes:
      name: the data set's name, for tables and titles.
      domain: kind, shape and number of values of one example before decoding.
      value_range: least and greatest decoded value: what integers 0 and `nvals - 1` decode to
        (neighbouring integers are `(high - low) / (nvals - 1)` apart); infinite for reals.
      n_classes: number of labels, 0 where there are none.
      kind: "image" (batches carry "image"), "vector" (batches carry "x") or "problem" (every
        row is an optimisation problem of its own, in arrays under their own names).
    """

    name: str
    domain: Domain
    value_range: tuple[float, float]
    n_classes: int
    kind: Literal["image", "vector", "problem"]
