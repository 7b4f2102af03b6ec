"""Data sets from `.npz` files: round trips and every error."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from gmkit import data

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (20, 6, 6), dtype=np.uint8)
LABELS = RNG.integers(0, 4, 20).astype(np.uint8)
LABELS[0] = 3
VECTORS = RNG.normal(size=(20, 3))


def save(folder: Path, **arrays: np.ndarray) -> str:
    path = folder / "mine.npz"
    np.savez_compressed(path, **arrays)
    return str(path)


def test_images_with_labels_and_a_test_split(tmp_path: Path) -> None:
    path = save(tmp_path, x_train=IMAGES, y_train=LABELS, x_test=IMAGES[:5], y_test=LABELS[:5])
    dataset = data.load(path)
    assert dataset.spec.name == "mine" and dataset.spec.n_classes == 4
    assert dataset.spec.domain.shape == (6, 6, 1) and dataset.spec.domain.nvals == 256
    raw = dataset.train.gather(np.arange(20))
    np.testing.assert_array_equal(raw["image"][..., 0], IMAGES)
    np.testing.assert_array_equal(raw["label"], LABELS)
    test = dataset.examples("test")
    np.testing.assert_allclose(test["image"][..., 0], IMAGES[:5] / 127.5 - 1, atol=1e-6)
    assert test["label"].dtype == np.int32


def test_colour_images_are_resized_and_cropped(tmp_path: Path) -> None:
    path = save(tmp_path, x_train=np.full((4, 10, 8, 3), 51, np.uint8))
    dataset = data.load(path, image_size=5)
    assert dataset.spec.domain.shape == (5, 5, 3) and dataset.spec.n_classes == 0
    np.testing.assert_allclose(dataset.examples("train")["image"], -0.6, atol=1e-6)
    assert data.load(path).spec.domain.shape == (10, 8, 3)


def test_vectors_and_the_held_out_tenth(tmp_path: Path) -> None:
    dataset = data.load(save(tmp_path, x_train=VECTORS, y_train=LABELS))
    assert dataset.spec.kind == "vector" and dataset.spec.domain.shape == (3,)
    assert (len(dataset.train), len(dataset.test)) == (18, 2)
    parts = [dataset.examples(split) for split in ("train", "test")]
    both = np.concatenate([part["x"] for part in parts])
    order = data.permutation(0, 20)
    np.testing.assert_array_equal(both, VECTORS.astype(np.float32)[order])
    np.testing.assert_array_equal(np.concatenate([p["label"] for p in parts]), LABELS[order])
    assert "image" not in parts[0]


def test_lzma_members_are_read(tmp_path: Path) -> None:
    plain, packed = save(tmp_path, x_train=VECTORS), tmp_path / "packed.npz"
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_LZMA) as new:
        for member in old.namelist():
            new.writestr(member, old.read(member))
    np.testing.assert_array_equal(
        data.load(str(packed)).examples("train")["x"], data.load(plain).examples("train")["x"]
    )


def test_one_row_is_enough_with_its_own_test_split(tmp_path: Path) -> None:
    dataset = data.load(save(tmp_path, x_train=VECTORS[:1], x_test=VECTORS[:1]))
    assert len(dataset.train) == len(dataset.test) == 1


NAN = np.full((3, 2), np.nan)
WRONG = {
    "missing key": ({"images": IMAGES}, "keys ['images']; needed: x_train"),
    "float images": ({"x_train": IMAGES / 255.0}, "x_train is float64 (20, 6, 6); needed"),
    "integer vectors": ({"x_train": LABELS[:, None]}, "x_train is uint8 (20, 1); needed"),
    "text": ({"x_train": np.array([["a"]])}, "needed"),
    "channels first": ({"x_train": np.zeros((4, 3, 8, 8), np.uint8)}, "channels last"),
    "empty": ({"x_train": IMAGES[:0]}, "empty"),
    "no coordinates": ({"x_train": VECTORS[:, :0]}, "empty"),
    "not finite": ({"x_train": NAN}, "not finite"),
    "label length": ({"x_train": IMAGES, "y_train": LABELS[:3]}, "20 examples"),
    "label dtype": ({"x_train": IMAGES, "y_train": LABELS / 2}, "integers"),
    "label sign": ({"x_train": IMAGES, "y_train": LABELS.astype(int) - 1}, "integers from 0"),
    "test labels alone": ({"x_train": IMAGES, "y_test": LABELS}, "y_test without x_test"),
    "labels once": ({"x_train": IMAGES, "x_test": IMAGES, "y_test": LABELS}, "both of y_train"),
    "other test shape": ({"x_train": IMAGES, "x_test": IMAGES[:, 1:]}, "must agree"),
    "other test kind": ({"x_train": IMAGES, "x_test": VECTORS}, "must agree"),
    "one row": ({"x_train": IMAGES[:1]}, "at least 2 rows"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named(tmp_path: Path, case: str) -> None:
    arrays, message = WRONG[case]
    with pytest.raises(data.DataError) as caught:
        data.load(save(tmp_path, **arrays))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_files_that_are_not_npz(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    with pytest.raises(data.DataError, match="no such file"):
        data.load(str(path))
    path.write_bytes(b"hello")
    with pytest.raises(data.DataError, match=r"not an \.npz file"):
        data.load(str(path))
    np.savez(path, x_train=np.array([{}], dtype=object))
    with pytest.raises(data.DataError, match="other things than arrays"):
        data.load(str(path))
    np.savez(path, x_train=IMAGES)
    body = bytearray(path.read_bytes())
    body[200:300] = bytes(100)
    path.write_bytes(body)
    with pytest.raises(data.DataError, match="damaged"):
        data.load(str(path))


@pytest.mark.parametrize("options", [{"image_size": 8}, {"flip": True}])
def test_image_options_on_vectors(tmp_path: Path, options: dict) -> None:
    with pytest.raises(data.DataError, match="vectors"):
        data.load(save(tmp_path, x_train=VECTORS), **options)
