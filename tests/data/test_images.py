"""Digits, fitting images to a size, decoding and random flips."""

from __future__ import annotations

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit import data
from gmkit.core import Domain
from gmkit.data.images import centre_crop, fit_size


@pytest.fixture(scope="module")
def digits() -> data.Dataset:
    return data.load("digits")


def test_digits_are_what_the_spec_says(digits: data.Dataset) -> None:
    assert digits.spec == data.DataSpec(
        "digits", Domain("integers", (8, 8, 1), 17), (-1.0, 1.0), 10, "image"
    )
    assert (len(digits.train), len(digits.test)) == (1437, 360)
    raw = digits.train.gather(np.arange(1437))
    assert raw["image"].dtype == np.uint8 and raw["image"].max() == 16
    decoded = digits.examples("train")
    assert decoded["image"].shape == (1437, 8, 8, 1) and decoded["image"].dtype == np.float32
    assert (decoded["image"].min(), decoded["image"].max()) == (-1.0, 1.0)
    np.testing.assert_allclose(decoded["image"], raw["image"] / 8.0 - 1.0)
    assert decoded["label"].dtype == np.int32
    assert np.bincount(decoded["label"], minlength=10).min() > 120


def test_digits_split_is_fixed(digits: data.Dataset) -> None:
    labels = digits.examples("train")["label"], digits.examples("test")["label"]
    assert np.bincount(np.concatenate(labels)).tolist() == DIGIT_COUNTS
    assert hashlib.sha256(labels[0].astype(np.uint8).tobytes()).hexdigest()[:16] == TRAIN_HASH


DIGIT_COUNTS = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
TRAIN_HASH = "0d122114c3459dde"


def test_examples_are_the_first_rows(digits: data.Dataset) -> None:
    ten, rest = digits.examples("test", 10), digits.examples("test", 10**6)
    assert len(rest["label"]) == 360
    np.testing.assert_array_equal(ten["image"], rest["image"][:10])
    for split, n in (("valid", 1), ("test", 0)):
        with pytest.raises(data.DataError):
            digits.examples(split, n)


def test_gather_keeps_the_shape_of_the_indices(digits: data.Dataset) -> None:
    rows = data.host_indices(0, 0, 2, 5, len(digits.train))
    raw = digits.train.gather(rows)
    assert raw["image"].shape == (2, 5, 8, 8, 1) and raw["label"].shape == (2, 5)
    batch = jax.jit(digits.decode)(raw)
    assert batch["image"].shape == (2, 5, 8, 8, 1) and batch["image"].dtype == jnp.float32


def test_byte_images_decode_to_exact_ends() -> None:
    raw = {"image": np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)}
    image = np.asarray(data.decode_image(raw)["image"]).reshape(-1)
    np.testing.assert_allclose(image, (np.arange(256) / 255 - 0.5) / 0.5, atol=1e-6)
    assert (image[0], image[-1]) == (-1.0, 1.0)


# ---------------------------------------------------------------- sizes


def test_padding_28_to_32_is_centred() -> None:
    images = np.full((3, 28, 28, 1), 9, np.uint8)
    padded = fit_size(images, 32, pad=True)
    assert padded.shape == (3, 32, 32, 1) and padded.dtype == np.uint8
    np.testing.assert_array_equal(padded[:, 2:30, 2:30], images)
    assert padded.sum() == images.sum()


def test_padding_odd_and_oblong_images() -> None:
    assert fit_size(np.ones((1, 5, 4, 3), np.uint8), 8, pad=True).sum() == 60
    # Larger images are resized even so.
    assert fit_size(np.full((1, 9, 9, 1), 7, np.uint8), 8, pad=True).tolist() == [
        np.full((8, 8, 1), 7).tolist()
    ]


def test_crop_takes_the_centre() -> None:
    images = np.broadcast_to(np.arange(10, dtype=np.uint8)[None, None, :, None], (1, 4, 10, 1))
    assert centre_crop(images)[0, 0, :, 0].tolist() == [3, 4, 5, 6]
    assert fit_size(images, 4)[0, 0, :, 0].tolist() == [3, 4, 5, 6]


def test_resizing_averages_over_the_area(key: jax.Array) -> None:
    stripes = np.zeros((2, 64, 64, 3), np.uint8)
    stripes[:, :, ::2] = 200
    small = fit_size(stripes, 8)
    assert small.shape == (2, 8, 8, 3) and small.dtype == np.uint8
    assert abs(small[:, 1:-1, 1:-1].astype(int) - 100).max() <= 2  # not 0 or 200: no aliasing
    assert fit_size(np.full((1, 6, 6, 1), 41, np.uint8), 12).tolist() == [
        np.full((12, 12, 1), 41).tolist()
    ]


def test_image_size_reaches_the_spec() -> None:
    dataset = data.load("digits", image_size=16)
    assert dataset.spec.domain == Domain("integers", (16, 16, 1), 17)
    assert dataset.examples("test", 2)["image"].shape == (2, 16, 16, 1)
    padded = data.load("digits", image_size=12, pad=True).examples("test", 360)["image"]
    plain = data.load("digits").examples("test")["image"]
    np.testing.assert_array_equal(padded[:, 2:10, 2:10], plain)


# ---------------------------------------------------------------- flips


def test_flips_are_keyed_and_only_with_a_key(key: jax.Array) -> None:
    dataset = data.load("digits", flip=True)
    raw = dataset.train.gather(np.arange(400))
    plain = dataset.decode(raw)["image"]
    flipped = jax.jit(dataset.decode)(raw, key)["image"]
    np.testing.assert_array_equal(flipped, dataset.decode(raw, key)["image"])
    same = np.asarray((flipped == plain).all((1, 2, 3)))
    mirrored = np.asarray((flipped == plain[:, :, ::-1]).all((1, 2, 3)))
    assert (same | mirrored).all() and 140 < mirrored.sum() < 260
    other = dataset.decode(raw, jax.random.fold_in(key, 1))["image"]
    assert (np.asarray(other) != np.asarray(flipped)).any()
    np.testing.assert_array_equal(data.load("digits").decode(raw, key)["image"], plain)


def test_flips_depend_on_the_position_alone(key: jax.Array) -> None:
    image = jnp.tile(jnp.arange(4.0).reshape(1, 1, 1, 4, 1), (3, 8, 2, 1, 1))
    whole = data.random_flip(key, image)
    # Half of the global batch on each of two devices: the same flips.
    halves = image.reshape(3, 2, 4, 2, 4, 1)
    per_device = jax.vmap(data.random_flip, in_axes=(None, 1), out_axes=1, axis_name="data")
    np.testing.assert_array_equal(per_device(key, halves).reshape(image.shape), whole)
    assert len(np.unique(whole[:, :, 0, 0, 0])) == 2
    assert (np.asarray(whole[0]) != np.asarray(whole[1])).any()
