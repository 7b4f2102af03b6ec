"""One look-up for every source of data: embedded, generated, local files, tensorflow-datasets."""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Callable, Mapping
from typing import Any

from gmkit.data import neighbour_graph, stereo, tables, tfds
from gmkit.data.cases import CASES, case
from gmkit.data.clouds import load_registration
from gmkit.data.dataset import Dataset, RowsOf
from gmkit.data.files import npz
from gmkit.data.images import digits
from gmkit.data.outliers import load_regression_outliers
from gmkit.data.spec import DataError
from gmkit.data.stacked import PREFIX, stacked
from gmkit.data.toys import SAMPLERS, toy

IMAGE_OPTIONS = ("image_size", "pad", "flip")
TOY_OPTIONS = ("n_train", "n_test", "seed")
#: Of the one pair of distributions whose number of atoms is free.
ATOMS_OPTIONS = (*TOY_OPTIONS, "atoms")
TABLE_OPTIONS = ("path", "seed", "whiten_on")
#: Of the graph of "clustering/<name>"; further options go to the named data set.
GRAPH_OPTIONS = ("n_points", "k", "metric")
#: Single problems: loader and options.
PROBLEMS: dict[str, tuple[Callable[..., Dataset], tuple[str, ...]]] = {
    "regression_outliers": (load_regression_outliers, ("n", "seed", "std", "outliers")),
    "registration": (
        load_registration,
        ("path", "n_problems", "n", "outliers", "noise", "angle", "outlier_size", "seed"),
    ),
    "stereo/motorcycle": (stereo.motorcycle, ("scale",)),
    "stereo/synthetic": (stereo.synthetic, ("seed", "n_train")),
}
#: Where to look for tensorflow-datasets; no other source looks, so none objects.
TFDS_OPTIONS = ("data_dir", "download")

_LEAST = {"image_size": 1, "n_train": 1, "n_test": 1, "seed": 0, "atoms": 0}
_LEAST |= {"n": 1, "n_problems": 1, "n_points": 1, "k": 1}
_REALS = ("std", "outliers", "noise", "angle", "outlier_size", "scale")


def available() -> dict[str, str]:
    """Names that `load` knows, each with one line about the data."""
    toys = {name: str(sampler.__doc__).splitlines()[0] for name, sampler in SAMPLERS.items()}
    prepared = {name: f"{text} (tensorflow-datasets)" for name, text in tfds.NAMES.items()}
    return {
        "digits": "handwritten digits of scikit-learn, 8x8x1, 1437/360, 10 classes",
        **toys,
        **{name: f"{text} (2-D pair)" for name, text in CASES.items()},
        "stacked/<name>": "three random images of a 1-channel set as channels, n^3 classes",
        "<file>.npz": "your own images or vectors: x_train, optionally y_train, x_test, y_test",
        "clustering/<name>": "a labelled set as one graph of neighbours, for clustering",
        "regression_outliers": "a line with gross outliers, 50 points",
        "registration": "32 pairs of matched clouds, most matches wrong, or your own (data.path)",
        **stereo.STEREO,
        **tables.NAMES,
        **prepared,
    }


def _check(option: str, value: Any) -> None:
    """Type and range of one option that is not None."""
    if option in _LEAST:
        if not isinstance(value, int) or isinstance(value, bool) or value < _LEAST[option]:
            raise DataError(
                f"data.{option}={value!r}: must be an integer, at least {_LEAST[option]}"
            )
    elif option in _REALS:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise DataError(f"data.{option}={value!r}: must be a number")
    elif option == "metric":
        if value not in neighbour_graph.METRICS:
            choices = " or ".join(neighbour_graph.METRICS)
            raise DataError(f"data.metric={value!r}: choose {choices}")
    elif option in ("data_dir", "path"):
        if not isinstance(value, str | os.PathLike) or not os.fspath(value):
            kind = "folder" if option == "data_dir" else "file"
            raise DataError(f"data.{option}={value!r}: must be the path of a {kind}")
    elif option == "whiten_on":
        if value not in tables.WHITEN_ON:
            raise DataError(f"data.whiten_on={value!r}: choose {' or '.join(tables.WHITEN_ON)}")
    elif not isinstance(value, bool):
        raise DataError(f"data.{option}={value!r}: must be True or False")


def _checked(name: str, allowed: tuple[str, ...], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that are set, once every one is known to make sense for `name`."""
    single = (option for _, options in PROBLEMS.values() for option in options)
    every = (*IMAGE_OPTIONS, *ATOMS_OPTIONS, *TABLE_OPTIONS, *GRAPH_OPTIONS, *single, *TFDS_OPTIONS)
    known = (*dict.fromkeys(every), "train_rows")
    for option, value in options.items():
        if option not in known:
            near = difflib.get_close_matches(option, known, n=1)
            hint = f"did you mean data.{near[0]}?" if near else f"options are {', '.join(known)}"
            raise DataError(f"data.{option}={value!r}: no such option; {hint}")
        if value is not None:
            _check(option, value)
        # None and False are what a configuration says about options it does not use.
        unused = value is None or value is False
        if not unused and option not in (*allowed, *TFDS_OPTIONS):
            raise DataError(
                f"data.{option}={value!r} means nothing for {name!r}; leave it out "
                f"(options there: {', '.join(allowed)})"
            )
    chosen = {k: v for k, v in options.items() if v is not None and k in allowed}
    if chosen.get("pad") and "image_size" not in chosen:
        raise DataError("data.pad=True: set data.image_size to the size to pad to")
    return chosen


def _unknown(name: str) -> DataError:
    names = [*available()]
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names)}"
    return DataError(f"data.name={name!r}: no such data set; {hint}")


def _load_tfds(name: str, options: dict[str, Any]) -> Dataset:
    data_dir, wanted = options.pop("data_dir", None), options.pop("download", False)
    folder = tfds.find(name, data_dir)
    if folder is None and name not in tfds.NAMES:
        raise _unknown(name)
    if folder is None and not wanted:
        raise tfds.absent(name, data_dir)
    if folder is None:
        folder = tfds.download(name, data_dir)
    return tfds.prepared(name, folder, **options)


def _train_rows(dataset: Dataset, rows: Any) -> Dataset:
    """The data set with some rows to train on, "start:stop"; either may be left out."""
    start, colon, stop = rows.partition(":") if isinstance(rows, str) else ("", "", "")
    if not colon or not all(part == "" or part.isdecimal() for part in (start, stop)):
        raise DataError(f"data.train_rows={rows!r}: write start:stop, for example 0:50000")
    last = int(stop) if stop else len(dataset.train)
    return dataclasses.replace(dataset, train=RowsOf(dataset.train, int(start or 0), last))


def load(name: str, **options: Any) -> Dataset:
    """The data set `name`.

    Args:
      name: one of `available()`, the path of an `.npz` file, the name of any image set that
        tensorflow-datasets prepared as array_record files; "stacked/" before one of these where
        it is a set of labelled 1-channel images, "clustering/" where it has labels.
      **options: for images `image_size` (crop to the centred square and resize; None: as they
        are), `pad` (surround smaller images by zeros instead) and `flip` (mirror at random
        while training); for toys and pairs `n_train`, `n_test`, `seed`, for case4 also `atoms`;
        for tables (`tables.RECIPES`, such as "redwine", or "table" for one of your own) `path`,
        `seed` (default 1) and `whiten_on` ("all" or "train"); for problems those of their
        functions (`PROBLEMS`, `neighbour_graph.clustering`); for tensorflow-datasets
        `data_dir` (default: TFDS_DATA_DIR, then `~/tensorflow_datasets`) and `download`
        (default False); for every set `train_rows`, such as "0:50000", the training rows that
        are used. None is the same as leaving an option out.

    Raises:
      DataError: an unknown name or option, an option out of range or without meaning for this
        data set, or data that are not there; one line with the ways to get them.
    """
    if not isinstance(name, str) or not name:
        raise DataError(f"data.name={name!r}: must be the name of a data set or an .npz path")
    if (rows := options.pop("train_rows", None)) is not None:
        return _train_rows(load(name, **options), rows)
    if name.startswith(PREFIX):
        return stacked(load(name.removeprefix(PREFIX), **options))
    if name.startswith(neighbour_graph.PREFIX):
        own = {k: options.pop(k) for k in GRAPH_OPTIONS if k in options}
        source = load(name.removeprefix(neighbour_graph.PREFIX), **options)
        return neighbour_graph.clustering(source, **_checked(name, GRAPH_OPTIONS, own))
    if name in PROBLEMS:
        loader, allowed = PROBLEMS[name]
        return loader(**_checked(name, allowed, options))
    if name in CASES:
        allowed = ATOMS_OPTIONS if name == "case4" else TOY_OPTIONS
        return case(name, **_checked(name, allowed, options))
    if name in SAMPLERS:
        return toy(name, **_checked(name, TOY_OPTIONS, options))
    if name in tables.RECIPES:
        return tables.table(name, **_checked(name, TABLE_OPTIONS, options))
    if name == "digits":
        return digits(**_checked(name, IMAGE_OPTIONS, options))
    if name.endswith(".npz"):
        return npz(name, **_checked(name, IMAGE_OPTIONS, options))
    return _load_tfds(name, _checked(name, (*IMAGE_OPTIONS, *TFDS_OPTIONS), options))
