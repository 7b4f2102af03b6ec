"""Data whose rows are whole optimisation problems: a graph to cluster, clouds to register."""

from __future__ import annotations

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from gmkit.core import Domain
from gmkit.data.dataset import ArraySplit, Dataset, Raw
from gmkit.data.spec import DataSpec


def problem_dataset(
    name: str,
    train: Raw,
    test: Raw | None = None,
    *,
    shape: tuple[int, ...],
    n_classes: int = 0,
) -> Dataset:
    """A data set whose rows are problems; its batches carry the arrays under their own names.

    Args:
      name: for tables and titles.
      train: arrays with the number of problems as the leading axis.
      test: the same of problems to judge by; None for those of `train`.
      shape: of the unknown that a problem is about.
      n_classes: number of labels, 0 where there are none.
    """
    spec = DataSpec(name, Domain("reals", shape), (-math.inf, math.inf), n_classes, "problem")
    return Dataset(
        ArraySplit(train), ArraySplit(train if test is None else test), spec, decode_problem
    )


def decode_problem(
    raw: Mapping[str, jax.Array], key: jax.Array | None = None
) -> dict[str, jax.Array]:
    """Real arrays in float32, the others in int32. The key is not used."""
    real = lambda v: np.issubdtype(v.dtype, np.floating)
    return {k: jnp.asarray(v, jnp.float32 if real(v) else jnp.int32) for k, v in raw.items()}
