"""Sets prepared by tensorflow-datasets: found on disk, read whole or streamed."""

from __future__ import annotations

import importlib.util
import io
import json
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from gmkit import data
from gmkit.data import tfds as source

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("array_record") is None, reason="array_record is not installed"
)

RNG = np.random.default_rng(1)
TRAIN = RNG.integers(0, 256, (30, 12, 10, 3), dtype=np.uint8)
TEST = RNG.integers(0, 256, (7, 12, 10, 3), dtype=np.uint8)


def png(image: np.ndarray) -> io.BytesIO:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format="png")
    stream.seek(0)
    return stream


def prepare(folder: Path, splits: dict[str, np.ndarray], declared: tuple = (12, 10, 3)) -> None:
    """Writes the tiny data set `shapes` with PNG images and class labels."""
    import tensorflow_datasets as tfds

    class Shapes(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> tfds.core.DatasetInfo:
            features = tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=declared),
                    "label": tfds.features.ClassLabel(num_classes=3),
                    "extra": tfds.features.Tensor(shape=(2,), dtype=np.float32),
                }
            )
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager):
            return {name: self._generate_examples(images) for name, images in splits.items()}

        def _generate_examples(self, images: np.ndarray):
            for i, image in enumerate(images):
                extra = np.zeros(2, np.float32)
                yield i, {"image": png(image), "label": i % 3, "extra": extra}

    Shapes(data_dir=folder, file_format="array_record").download_and_prepare()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tfds")
    prepare(folder, {"train": TRAIN, "test": TEST})
    return folder


def rows_of(split: data.Split) -> list[bytes]:
    return [image.tobytes() for image in split.gather(np.arange(len(split)))["image"]]


def test_a_prepared_set_is_read_whole(root: Path) -> None:
    dataset = data.load("shapes", data_dir=str(root))
    assert dataset.spec.domain.shape == (12, 10, 3) and dataset.spec.n_classes == 3
    assert dataset.spec.name == "shapes" and dataset.spec.domain.nvals == 256
    assert dataset.train.arrays is not None and set(dataset.train.arrays) == {"image", "label"}
    # tensorflow-datasets shuffles by a hash of the keys when it writes.
    assert sorted(rows_of(dataset.train)) == sorted(image.tobytes() for image in TRAIN)
    assert sorted(rows_of(dataset.test)) == sorted(image.tobytes() for image in TEST)
    where = {image.tobytes(): i for i, image in enumerate(TRAIN)}
    labels = dataset.train.gather(np.arange(30))["label"]
    assert labels.tolist() == [where[row] % 3 for row in rows_of(dataset.train)]
    assert dataset.examples("test", 4)["image"].dtype == np.float32


def test_streamed_rows_equal_rows_in_memory(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = data.load("shapes", data_dir=str(root), image_size=6)
    monkeypatch.setattr(source, "MEMORY_LIMIT", 0)
    streamed = data.load("shapes", data_dir=str(root), image_size=6)
    assert isinstance(streamed.train, data.TfdsSplit) and streamed.train.arrays is None
    assert streamed.spec == whole.spec and whole.spec.domain.shape == (6, 6, 3)
    rows = data.host_indices(0, 1, 2, 11, 30)
    a, b = whole.train.gather(rows), streamed.train.gather(rows)
    assert set(a) == set(b) and b["image"].shape == (2, 11, 6, 6, 3)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])
        assert a[name].dtype == b[name].dtype
    np.testing.assert_array_equal(
        streamed.examples("test")["image"], whole.examples("test")["image"]
    )


def test_flips_and_padding_reach_prepared_sets(root: Path, key: jax.Array) -> None:
    dataset = data.load("shapes", data_dir=str(root), image_size=16, pad=True, flip=True)
    raw = dataset.train.gather(np.arange(30))
    assert raw["image"].shape == (30, 16, 16, 3) and not raw["image"][:, :2].any()
    plain, flipped = dataset.decode(raw)["image"], dataset.decode(raw, key)["image"]
    assert (np.asarray(plain) != np.asarray(flipped)).any()


def test_the_places_that_are_searched(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = root / "shapes" / "1.0.0"
    assert source.find("shapes", root) == source.find("shapes", folder) == folder
    assert source.find("other", folder) is None and source.find("shapes/large", folder) is None
    monkeypatch.setenv("TFDS_DATA_DIR", str(root))
    assert source.find("shapes") == folder
    monkeypatch.delenv("TFDS_DATA_DIR")
    monkeypatch.setenv("HOME", str(root / "home"))
    assert source.find("shapes") is None


def test_the_newest_version_in_a_readable_format(tmp_path: Path) -> None:
    def write(version: str, **info: str) -> None:
        folder = tmp_path / "mnist" / version
        folder.mkdir(parents=True)
        (folder / "dataset_info.json").write_text(json.dumps({"name": "mnist", **info}))

    write("3.0.1")
    with pytest.raises(data.DataError, match="tfrecord files; convert them with: tfds convert"):
        data.load("mnist", data_dir=tmp_path)
    for version in ("9.0.0", "10.0.0"):
        write(version, fileFormat="array_record")
    assert source.find("mnist", tmp_path) == tmp_path / "mnist" / "10.0.0"
    (tmp_path / "mnist" / "3.0.1" / "dataset_info.json").write_text("{")
    with pytest.raises(data.DataError, match="cannot be read"):
        source.find("mnist", tmp_path)


def test_a_set_without_test_rows_holds_some_out(tmp_path: Path) -> None:
    prepare(tmp_path, {"train": TRAIN})
    dataset = data.load("shapes", data_dir=tmp_path)
    assert (len(dataset.train), len(dataset.test)) == (27, 3)
    both = rows_of(dataset.train) + rows_of(dataset.test)
    assert sorted(both) == sorted(image.tobytes() for image in TRAIN)


def test_sizes_that_vary_need_an_image_size(tmp_path: Path) -> None:
    prepare(tmp_path, {"train": TRAIN, "validation": TEST}, declared=(None, None, 3))
    with pytest.raises(data.DataError, match="set image_size"):
        data.load("shapes", data_dir=tmp_path)
    dataset = data.load("shapes", data_dir=tmp_path, image_size=8)
    assert dataset.spec.domain.shape == (8, 8, 3) and len(dataset.test) == 7


def test_download_without_a_network_fails_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "PROBE_URL", "http://127.0.0.1:9")
    start = time.perf_counter()
    with pytest.raises(data.DataError, match=r"connecting to http://127\.0\.0\.1:9 failed"):
        data.load("mnist", data_dir=tmp_path, download=True)
    assert time.perf_counter() - start < 2


def test_a_download_has_a_deadline_and_tells_why_it_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import tensorflow_datasets as tfds

    class Builder:
        def __init__(self, work) -> None:
            self.download_and_prepare = work

    def broken() -> None:
        raise ConnectionError("host is down\nmore")

    monkeypatch.setattr(source, "_probe", lambda: None)
    monkeypatch.setattr(tfds, "builder", lambda *_, **__: Builder(broken))
    with pytest.raises(data.DataError, match=r"preparing 'mnist' failed: host is down; point"):
        data.load("mnist", data_dir=tmp_path, download=True)
    assert str(tmp_path) in capsys.readouterr().out

    monkeypatch.setattr(source, "DOWNLOAD_SECONDS", 0.05)
    monkeypatch.setattr(tfds, "builder", lambda *_, **__: Builder(lambda: time.sleep(1)))
    with pytest.raises(data.DataError, match="took more than"):
        data.load("mnist", data_dir=tmp_path, download=True)

    def writes_it() -> None:
        prepare(tmp_path, {"train": TRAIN, "test": TEST})
        (tmp_path / "shapes").rename(tmp_path / "mnist")

    monkeypatch.setattr(source, "DOWNLOAD_SECONDS", 60.0)
    monkeypatch.setattr(tfds, "builder", lambda *_, **__: Builder(writes_it))
    assert len(data.load("mnist", data_dir=tmp_path, download=True).train) == 30
