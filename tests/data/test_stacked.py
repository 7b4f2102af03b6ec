"""Stacked digits: rows are made of the source's rows, in every way of fetching them."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest

from gmkit import data


@pytest.fixture(scope="module")
def digits() -> data.Dataset:
    return data.load("digits")


@pytest.fixture(scope="module")
def stacked() -> data.Dataset:
    return data.load("stacked/digits")


def test_spec(stacked: data.Dataset) -> None:
    spec = stacked.spec
    assert (spec.name, spec.kind, spec.n_classes) == ("stacked/digits", "image", 1000)
    assert (spec.domain.shape, spec.domain.nvals) == ((8, 8, 3), 17)
    assert (len(stacked.train), len(stacked.test)) == (14370, 360)
    assert stacked.train.arrays is None and stacked.validation is None


def test_rows_are_their_digits(digits: data.Dataset, stacked: data.Dataset) -> None:
    split = stacked.train
    assert isinstance(split, data.StackedSplit)
    rows = np.array([[0, 5], [14369, 5]])
    got, triples = split.gather(rows), split.triples[rows]
    assert got["image"].shape == (2, 2, 8, 8, 3) and got["image"].dtype == np.uint8
    assert got["label"].shape == (2, 2) and got["label"].dtype == np.int32
    for k, factor in enumerate((100, 10, 1)):
        single = digits.train.gather(triples[..., k])
        np.testing.assert_array_equal(got["image"][..., k], single["image"][..., 0])
        np.testing.assert_array_equal(got["label"] // factor % 10, single["label"])
    np.testing.assert_array_equal(got["image"][0, 1], got["image"][1, 1])


def test_one_row(stacked: data.Dataset) -> None:
    got = stacked.train.gather(np.array(3))
    np.testing.assert_array_equal(got["image"], stacked.train.gather(np.array([3]))["image"][0])
    assert got["label"].shape == ()


def test_decoding_is_the_sources(digits: data.Dataset, stacked: data.Dataset) -> None:
    batch = jax.device_get(stacked.decode(stacked.train.gather(np.arange(4))))
    assert isinstance(stacked.train, data.StackedSplit)
    single = digits.decode(digits.train.gather(stacked.train.triples[:4, 2]))
    np.testing.assert_array_equal(batch["image"][..., 2], np.asarray(single["image"])[..., 0])
    assert batch["image"].dtype == np.float32 and np.abs(batch["image"]).max() == 1
    assert stacked.examples("test", 7)["image"].shape == (7, 8, 8, 3)


def test_triples_are_even_and_independent(stacked: data.Dataset) -> None:
    assert isinstance(stacked.train, data.StackedSplit)
    triples = stacked.train.triples
    for k in range(3):
        np.testing.assert_array_equal(np.bincount(triples[:, k]), 10)
        assert len(np.unique(triples[: len(stacked.train.source), k])) == 1437
    assert len(np.unique(triples, axis=0)) == len(triples)
    assert np.abs(np.corrcoef(triples, rowvar=False) - np.eye(3)).max() < 0.03
    labels = stacked.train.gather(np.arange(len(triples)))["label"]
    assert len(np.unique(labels)) == 1000


def test_a_file_and_flips(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    x = np.arange(4 * 6, dtype=np.uint8).reshape(4, 2, 3)
    np.savez(path, x_train=x, y_train=np.arange(4), x_test=x[:1], y_test=np.array([3]))
    dataset = data.load(f"stacked/{path}", flip=True)
    assert dataset.spec.name == "stacked/mine" and dataset.spec.n_classes == 64
    # One test digit, which makes one triple.
    np.testing.assert_array_equal(dataset.test.gather(np.arange(1))["label"], [63])
    raw = dataset.train.gather(np.arange(32))
    plain = np.asarray(dataset.decode(raw)["image"])
    flipped = np.asarray(dataset.decode(raw, jax.random.key(0))["image"])
    mirrored = (flipped == plain[:, :, ::-1]).all(axis=(1, 2, 3))
    kept = (flipped == plain).all(axis=(1, 2, 3))
    assert (mirrored ^ kept).all() and 0 < mirrored.sum() < 32


def test_errors(tmp_path: Path) -> None:
    def save(**arrays: np.ndarray) -> str:
        np.savez(tmp_path / "bad.npz", **arrays)
        return f"stacked/{tmp_path / 'bad.npz'}"

    grey, labels = np.zeros((4, 2, 2), np.uint8), np.arange(4)
    with pytest.raises(data.DataError, match="no labels"):
        data.load(save(x_train=grey))
    with pytest.raises(data.DataError, match="1-channel"):
        data.load(save(x_train=np.zeros((4, 2, 2, 3), np.uint8), y_train=labels))
    with pytest.raises(data.DataError, match="at most 1290"):
        data.load(save(x_train=grey, y_train=labels + 2000))
    with pytest.raises(data.DataError, match="1-channel"):
        data.load("stacked/moons", n_train=4)
    with pytest.raises(data.DataError, match=r"data\.name=''"):
        data.load("stacked/")
