"""Image sets prepared by tensorflow-datasets, read at random without TensorFlow.

A set is looked for on disk first, by its `dataset_info.json`; tensorflow-datasets itself is
imported only when there is something to read, or when a download was asked for.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import queue
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from gmkit.data.dataset import CHUNK, ArraySplit, Dataset, Split, image_dataset
from gmkit.data.images import fit_size
from gmkit.data.shuffle import permutation
from gmkit.data.spec import DataError

#: Names that `download=True` can prepare; any other prepared image set is read from disk too.
NAMES: dict[str, str] = {
    "mnist": "handwritten digits, 28x28x1, 60k/10k, 10 classes",
    "fashion_mnist": "clothing, 28x28x1, 60k/10k, 10 classes",
    "kmnist": "Japanese characters, 28x28x1, 60k/10k, 10 classes",
    "cifar10": "natural images, 32x32x3, 50k/10k, 10 classes",
    "cifar100": "natural images, 32x32x3, 50k/10k, 100 classes",
    "svhn_cropped": "house numbers, 32x32x3, 73k/26k, 10 classes",
    "celeb_a": "aligned faces, 218x178x3, 163k/20k; set image_size",
    "imagenet_resized/32x32": "ImageNet, 32x32x3, 1.28M/50k, 1000 classes",
    "imagenet_resized/64x64": "ImageNet, 64x64x3, 1.28M/50k, 1000 classes",
    "lsun/bedroom": "bedrooms, 3.03M/300, sizes vary; set image_size",
    "lsun/church_outdoor": "churches, 126k/300, sizes vary; set image_size",
}

#: Sets of at most this many decoded bytes are read into host memory.
MEMORY_LIMIT = 2 * 2**30
#: Seconds that preparing a set may take, and that finding the network may take.
DOWNLOAD_SECONDS = 3600.0
CONNECT_SECONDS = 5.0
#: A host that tensorflow-datasets downloads from.
PROBE_URL = "https://storage.googleapis.com"
THREADS = 4
OTHER_WAYS = (
    "point data.name to an .npz file or set data.data_dir to a folder of prepared array_record data"
)

Source = Any  # tensorflow-datasets' random-access source: `len` and `__getitems__`


# ---------------------------------------------------------------- finding a set on disk


def _roots(data_dir: str | os.PathLike[str] | None) -> list[Path]:
    if data_dir is not None:
        return [Path(data_dir).expanduser()]
    stated = os.environ.get("TFDS_DATA_DIR")
    default = Path("~/tensorflow_datasets").expanduser()
    return [Path(stated).expanduser(), default] if stated else [default]


def _version(folder: Path) -> tuple[int, ...]:
    parts = folder.name.split(".")
    return tuple(int(part) for part in parts) if all(p.isdigit() for p in parts) else (-1,)


def _info(folder: Path) -> dict[str, Any]:
    path = folder / "dataset_info.json"
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"data.data_dir: {path} cannot be read ({error}); prepare again") from error


def _file_format(folder: Path) -> str:
    # Sets written before the field existed are TFRecord files.
    return _info(folder).get("fileFormat", "tfrecord")


def find(name: str, data_dir: str | os.PathLike[str] | None = None) -> Path | None:
    """The folder of a prepared set's newest version, or None.

    Looks in `data_dir` (which may be that folder itself), otherwise in the folder that the
    environment variable TFDS_DATA_DIR names and in `~/tensorflow_datasets`.

    Raises:
      DataError: the set is there in a file format that cannot be read at random.
    """
    found: list[Path] = []
    for root in _roots(data_dir):
        found += [info.parent for info in (root / name).glob("*/dataset_info.json")]
        if (root / "dataset_info.json").is_file():
            info = _info(root)
            stated = [info.get("name"), *filter(None, [info.get("configName")])]
            found += [root] if stated == name.split("/") else []
    usable = [folder for folder in found if _file_format(folder) == "array_record"]
    if found and not usable:
        folder = max(found, key=_version)
        raise DataError(
            f"data.name={name!r}: {folder} holds {_file_format(folder)} files; convert them with: "
            f"tfds convert_format --out_file_format=array_record --dataset_dir={folder} "
            f"--out_dir=NEW/{name}/{folder.name}, then set data.data_dir=NEW"
        )
    return max(usable, key=_version, default=None)


def absent(name: str, data_dir: str | os.PathLike[str] | None = None) -> DataError:
    """The error for a set that is not on disk, with the three ways to get it."""
    where = " or ".join(str(root) for root in _roots(data_dir))
    return DataError(
        f"data.name={name!r} is not in {where}: {OTHER_WAYS}, or set data.download=True"
    )


# ---------------------------------------------------------------- downloading


def _in_thread(work: Callable[[], None], seconds: float, what: str) -> None:
    """Runs `work` in a daemon thread under a deadline of ours; its errors are raised here."""
    outcome: queue.Queue[BaseException | None] = queue.Queue()

    def run() -> None:
        try:
            work()
        except BaseException as error:
            outcome.put(error)
        else:
            outcome.put(None)

    threading.Thread(target=run, daemon=True).start()
    try:
        error = outcome.get(timeout=seconds)
    except queue.Empty:
        raise DataError(f"{what} took more than {seconds:.0f} s; {OTHER_WAYS}") from None
    if error is not None:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(f"{what} failed: {reason[0]}; {OTHER_WAYS}") from error


def _probe() -> None:
    try:
        urllib.request.urlopen(PROBE_URL, timeout=CONNECT_SECONDS).close()
    except urllib.error.HTTPError as error:
        error.close()  # an answer, whatever it says, means that there is a network


def download(name: str, data_dir: str | os.PathLike[str] | None = None) -> Path:
    """Prepares a set as array_record files with tensorflow-datasets; returns its folder.

    Raises:
      DataError: no network, a failed or too slow preparation.
    """
    root = _roots(data_dir)[0]
    _in_thread(_probe, CONNECT_SECONDS, f"data.download=True: connecting to {PROBE_URL}")
    print(
        f"Downloading {name} with tensorflow-datasets into {root} as array_record files "
        f"(at most {DOWNLOAD_SECONDS / 60:.0f} minutes)",
        flush=True,
    )
    if importlib.util.find_spec("tensorflow") is None:
        print("TensorFlow is not installed; most sets need it once, to be prepared", flush=True)

    def prepare() -> None:
        import tensorflow_datasets as tfds

        tfds.builder(name, data_dir=root, file_format="array_record").download_and_prepare()

    _in_thread(prepare, DOWNLOAD_SECONDS, f"data.download=True: preparing {name!r}")
    folder = find(name, root)
    if folder is None:
        raise absent(name, root)
    return folder


# ---------------------------------------------------------------- reading


class TfdsSplit:
    """Rows of a prepared split, decoded and resized when they are asked for.

    Args:
      source: a random-access source of examples with an "image".
      image_size: see `images.fit_size`.
      pad: see `images.fit_size`.
      labelled: whether examples have a "label".
      rows: indices of the source that make up this split (default: all).
      threads: how many threads decode.
    """

    def __init__(
        self,
        source: Source,
        *,
        image_size: int | None = None,
        pad: bool = False,
        labelled: bool = False,
        rows: np.ndarray | None = None,
        threads: int = THREADS,
    ):
        self.arrays: dict[str, np.ndarray] | None = None
        self._source = source
        self._size, self._pad, self._labelled = image_size, pad, labelled
        self._rows = np.arange(len(source)) if rows is None else rows
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads)

    def __len__(self) -> int:
        return len(self._rows)

    def _row(self, example: Mapping[str, Any]) -> dict[str, np.ndarray]:
        image = np.asarray(example["image"])
        image = image[..., None] if image.ndim == 2 else image
        row = {"image": fit_size(image[None], self._size, self._pad)[0]}
        if self._labelled:
            row["label"] = np.asarray(example["label"], np.int32)
        return row

    def _read(self, indices: Sequence[int]) -> list[dict[str, np.ndarray]]:
        return [self._row(example) for example in self._source.__getitems__(indices)]

    def gather(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Raw rows at integer `indices` of any shape; leaves `(*indices.shape, ...)`."""
        indices = np.asarray(indices)
        wanted = self._rows[indices.reshape(-1)]
        shares = [share.tolist() for share in np.array_split(wanted, self._threads) if len(share)]
        rows = [row for share in self._pool.map(self._read, shares) for row in share]
        stacked = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        return {k: v.reshape(*indices.shape, *v.shape[1:]) for k, v in stacked.items()}


def _example_shape(name: str, builder: Any, image_size: int | None) -> tuple[int, ...]:
    """Shape of a row after resizing, from the declared features."""
    features = builder.info.features
    if "image" not in features or np.dtype(features["image"].np_dtype) != np.uint8:
        raise DataError(f"data.name={name!r} has features {sorted(features)}; needed: uint8 image")
    *sides, channels = features["image"].shape
    if channels not in (1, 3):
        raise DataError(f"data.name={name!r} has images with {channels} channels; needed: 1 or 3")
    if image_size is not None:
        return image_size, image_size, channels
    if None in sides:
        raise DataError(f"data.image_size=None: images of {name!r} vary in size; set image_size")
    return *sides, channels


def _in_memory(split: TfdsSplit) -> ArraySplit:
    parts = np.array_split(np.arange(len(split)), math.ceil(len(split) / CHUNK))
    chunks = [split.gather(part) for part in parts]
    return ArraySplit({name: np.concatenate([c[name] for c in chunks]) for name in chunks[0]})


def prepared(
    name: str,
    folder: Path,
    *,
    image_size: int | None = None,
    pad: bool = False,
    flip: bool = False,
) -> Dataset:
    """A prepared image set.

    The test rows are the split "test", else "validation", else a fixed random tenth of "train".
    Labels are the feature "label" where it is a class label; other features are left out. Sets
    of at most `MEMORY_LIMIT` decoded bytes are read into memory, larger ones are streamed.

    Args:
      name: the set's name.
      folder: what `find` returned.
      image_size: see `images.fit_size`; needed where sizes vary.
      pad: see `images.fit_size`.
      flip: mirror at random while training.

    Raises:
      DataError: features or splits that are not those of an image set.
    """
    import tensorflow_datasets as tfds

    builder: Any = tfds.builder_from_directory(folder)
    shape = _example_shape(name, builder, image_size)
    sizes = {split: info.num_examples for split, info in builder.info.splits.items()}
    if not sizes.get("train"):
        raise DataError(f"data.name={name!r} has splits {sizes}; needed: train")
    features = builder.info.features
    n_classes = getattr(features["label"], "num_classes", None) or 0 if "label" in features else 0

    def rows(split: str, part: np.ndarray | None = None) -> TfdsSplit:
        source = builder.as_data_source(split)
        return TfdsSplit(source, image_size=image_size, pad=pad, labelled=n_classes > 0, rows=part)

    held_out = next((split for split in ("test", "validation") if sizes.get(split)), None)
    if held_out is not None:
        streams = [rows("train"), rows(held_out)]
    else:
        order = permutation(0, sizes["train"])
        n_test = max(1, len(order) // 10)
        streams = [rows("train", order[:-n_test]), rows("train", order[-n_test:])]
    small = sum(map(len, streams)) * math.prod(shape) <= MEMORY_LIMIT
    splits: list[Split] = [_in_memory(s) for s in streams] if small else list(streams)
    return image_dataset(name, splits[0], splits[1], shape, n_classes=n_classes, flip=flip)
