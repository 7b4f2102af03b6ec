"""Data sets: raw rows on the host, a decoder to what networks see, and shuffling without state.

`load(name)` looks a name up; `indices(seed, step, ...)` says which rows step `step` consumes.
"""

from gmkit.data.cases import CASES, atoms_of, decode_pair
from gmkit.data.dataset import (
    ArraySplit,
    Dataset,
    Split,
    decode_image,
    decode_vector,
    image_dataset,
    random_flip,
    vector_dataset,
)
from gmkit.data.registry import available, load
from gmkit.data.shuffle import host_indices, indices, permutation
from gmkit.data.spec import DataError, DataSpec
from gmkit.data.stacked import StackedSplit, stacked
from gmkit.data.tables import read_table
from gmkit.data.tfds import TfdsSplit
from gmkit.data.toys import CENTRES, STDS, modes_of

__all__ = [
    "CASES",
    "CENTRES",
    "STDS",
    "ArraySplit",
    "DataError",
    "DataSpec",
    "Dataset",
    "Split",
    "StackedSplit",
    "TfdsSplit",
    "atoms_of",
    "available",
    "decode_image",
    "decode_pair",
    "decode_vector",
    "host_indices",
    "image_dataset",
    "indices",
    "load",
    "modes_of",
    "permutation",
    "random_flip",
    "read_table",
    "stacked",
    "vector_dataset",
]
