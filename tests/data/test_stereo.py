"""Pairs of images: the disparity is that of the images, and what is missing is said."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from gmkit.data import DataError, stereo


def warped(right: np.ndarray, disparity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The right image at `x - disparity`, and where that lies inside it."""
    height, width = disparity.shape
    y, x = np.mgrid[:height, :width]
    x = x - disparity
    low = np.clip(np.floor(x), 0, width - 2).astype(int)
    share = np.clip(x - low, 0.0, 1.0)[..., None]
    return (1 - share) * right[y, low] + share * right[y, low + 1], x >= 0


def check_pair(row: dict[str, np.ndarray], visible: float, error: float) -> None:
    """At least this share of the known pixels agrees with the right image to within `error`."""
    again, inside = warped(row["right"], row["disparity"])
    known = inside & (row["valid"] > 0)
    agrees = np.abs(again - row["left"]).mean(axis=-1)[known] < error
    assert agrees.mean() > visible
    mirrored = warped(row["right"], -row["disparity"])[0]
    assert (np.abs(mirrored - row["left"]).mean(axis=-1)[known] < error).mean() < 0.5


def test_rendered_pairs_show_their_disparity():
    dataset = stereo.synthetic(noise=0.0, shape=(48, 128))
    rows = dataset.examples("train")
    assert dataset.spec.kind == "problem" and dataset.spec.domain.shape == (48, 128, 3)
    assert {k: v.dtype.kind for k, v in rows.items()} == {
        "left": "f",
        "right": "f",
        "disparity": "f",
        "valid": "i",
    }
    check_pair({k: v[0] for k, v in rows.items()}, 0.9, 0.02)
    # The disparity grows with the width; the nearest plane is slanted.
    assert 13.0 < rows["disparity"].max() < 14.0
    again = stereo.synthetic(noise=0.0, shape=(48, 128)).examples("train")
    np.testing.assert_array_equal(again["left"], rows["left"])
    other = stereo.synthetic(seed=1, noise=0.0, shape=(48, 128)).examples("train")
    assert np.abs(other["left"] - rows["left"]).mean() > 0.05
    np.testing.assert_array_equal(other["disparity"], rows["disparity"])


def test_exposures_of_a_scene_differ_in_their_noise():
    rows = stereo.synthetic(n_train=3, noise=0.01).examples("train")
    assert rows["left"].shape == (3, 48, 64, 3) and rows["valid"].all()
    assert np.std(rows["left"][0] - rows["left"][1]) == pytest.approx(0.01 * 2**0.5, rel=0.1)
    assert np.std(rows["left"][0] - rows["right"][0]) > 0.05
    np.testing.assert_array_equal(rows["disparity"][0], rows["disparity"][2])


def test_downscaling_averages_images_and_keeps_the_edges_of_disparities():
    left = np.zeros((5, 7, 3), np.uint8)
    left[:2, :2] = [[[0], [255]], [[255], [0]]]
    disparity = np.full((5, 7), 8.0)
    disparity[0, 2:4], disparity[1, 2:4] = [4.0, 4.0], [4.0, 20.0]
    disparity[2:4, :2] = [[np.inf, np.nan], [np.inf, 6.0]]
    disparity[2:4, 2:4] = [[np.inf, np.nan], [2.0, 6.0]]
    pair = stereo.downscale(left, 255 - left, disparity, 2)
    assert pair["left"].shape == (2, 3, 3) and pair["disparity"].shape == (2, 3)
    np.testing.assert_allclose(pair["left"][0, 0], 0.5)
    np.testing.assert_allclose(pair["left"] + pair["right"], 1.0)
    np.testing.assert_array_equal(pair["disparity"], [[4.0, 2.0, 4.0], [0.0, 1.0, 4.0]])
    np.testing.assert_array_equal(pair["valid"], [[1, 1, 1], [0, 1, 1]])
    same = stereo.downscale(left, left, disparity, 1)
    np.testing.assert_array_equal(same["disparity"], np.where(same["valid"], disparity, 0.0))


def test_the_photographed_pair_shows_its_disparity():
    pytest.importorskip("skimage")
    dataset = stereo.motorcycle()
    row = {k: v[0] for k, v in dataset.examples("test").items()}
    assert dataset.spec.domain.shape == (125, 185, 3) == row["left"].shape
    assert 0.92 < row["valid"].mean() < 0.98
    known = row["disparity"][row["valid"] > 0]
    # 7.19 and 59.91 pixels of the 741 columns, the extremes of the file.
    assert 7.19 / 4 < known.min() and known.max() < 59.91 / 4
    check_pair(row, 0.8, 0.05)


def message(**options: object) -> str:
    with pytest.raises(DataError) as caught:
        stereo.motorcycle(**options)  # pyright: ignore[reportArgumentType]
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("scale", [0.3, 0.0, 2.0, -0.5, "half", 0.01])
def test_scales_that_are_no_fraction(scale: object):
    assert f"data.scale={scale!r}" in message(scale=scale)


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install scikit-image" in message()
    found = importlib.machinery.ModuleSpec("skimage", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found)
    assert "motorcycle_left.png is missing" in message()
