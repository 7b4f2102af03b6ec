"""Toy distributions: moments, modes and supports."""

from __future__ import annotations

import numpy as np
import pytest

from gmkit import data
from gmkit.data.toys import CENTRES, SAMPLERS, STDS


def points(name: str, **options: int) -> np.ndarray:
    return data.load(name, **options).examples("train")["x"]


@pytest.mark.parametrize("name", SAMPLERS)
def test_rows_and_spec(name: str) -> None:
    dataset = data.load(name, n_train=50, n_test=30)
    dim = 1 if name == "gaussian1d" else 2
    assert dataset.spec == data.DataSpec(name, dataset.spec.domain, (-np.inf, np.inf), 0, "vector")
    assert dataset.spec.domain.kind == "reals" and dataset.spec.domain.shape == (dim,)
    assert (len(dataset.train), len(dataset.test)) == (50, 30)
    train, test = (dataset.examples(split)["x"] for split in ("train", "test"))
    assert train.dtype == np.float32 and train.shape == (50, dim) and np.abs(train).max() < 9
    assert not np.isin(test, train).any()
    np.testing.assert_array_equal(train, points(name, n_train=50, n_test=1))
    assert (train != points(name, n_train=50, seed=1)).any()


def test_default_sizes() -> None:
    dataset = data.load("moons")
    assert len(dataset.train) == len(dataset.test) == 20_000


def test_skewed_line_mass_and_support() -> None:
    x = points("skewed_line")
    np.testing.assert_allclose(x[:, 1], x[:, 0] / 2, rtol=1e-6)
    left = x[:, 0] < 0
    assert abs(left.mean() - 0.7) < 0.01
    for side, mean in ((left, -2.0), (~left, 2.0)):
        np.testing.assert_allclose(x[side, 0].mean(), mean, atol=0.02)
        np.testing.assert_allclose(x[side, 0].std(), 0.3, atol=0.01)


@pytest.mark.parametrize(
    ("name", "modes"),
    [("8gaussians", 8), ("25gaussians", 25), ("25grid", 25), ("plus", 13), ("sine", 12)],
)
def test_mixture_modes(name: str, modes: int) -> None:
    x, (centres, std) = points(name), data.modes_of(name)
    assert len(np.unique(centres.round(6), axis=0)) == len(centres) == modes
    offsets = x[:, None] - centres[None]
    nearest = (offsets**2).sum(-1).argmin(1)
    share = np.bincount(nearest, minlength=len(centres)) / len(x)
    np.testing.assert_allclose(share, 1 / len(centres), rtol=0.15)
    residual = offsets[np.arange(len(x)), nearest]
    np.testing.assert_allclose(residual.std(), std, rtol=0.02)


@pytest.mark.parametrize(("name", "largest"), [("25grid", 4.2), ("plus", 3.2), ("sine", 2.2)])
def test_mixtures_in_the_unit_square(name: str, largest: float) -> None:
    x, (centres, std) = points(name, n_train=50_000), data.modes_of(name)
    assert 0 <= x.min() and x.max() <= 1 and x.max() > 0.99
    # Back in the units of the paper.
    np.testing.assert_allclose(std * 2 * largest, 0.05)
    back = (2 * centres - 1) * largest
    assert np.isclose(np.abs(back).max(), largest - 0.2)
    mirrored = {tuple(c) for c in (-back).round(9) + 0.0}
    known = {"25grid": (-4.0, 2.0), "plus": (0.0, 3.0), "sine": (-1.5, 0.866)}
    assert known[name] in {tuple(c) for c in back.round(9) + 0.0}
    # The sine has (2, 0) at one end only.
    assert (mirrored == {tuple(c) for c in back.round(9) + 0.0}) == (name != "sine")


def test_rows_outside_the_square_are_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STDS, "plus", 0.4)
    x = points("plus", n_train=1000)
    assert 0 <= x.min() and x.max() <= 1


def test_modes_of_known_names_only() -> None:
    assert set(CENTRES) == set(STDS) <= set(SAMPLERS)
    with pytest.raises(data.DataError, match="'moons' has no Gaussian modes"):
        data.modes_of("moons")


def test_gaussian_1d_moments() -> None:
    x = points("gaussian1d")
    np.testing.assert_allclose([x.mean(), x.std()], [4, 1], atol=0.03)


def test_rings_radii() -> None:
    radius = np.linalg.norm(points("rings"), axis=1)
    ring = np.clip(np.round(radius / 0.5), 1, 4)
    np.testing.assert_allclose(np.bincount(ring.astype(int))[1:] / len(ring), 0.25, atol=0.015)
    assert np.abs(radius - 0.5 * ring).std() < 0.05


def test_moons_are_symmetric() -> None:
    x = points("moons")
    np.testing.assert_allclose(x.mean(0), 0, atol=0.05)
    # Every point lies near one of the two half circles.
    upper = np.abs(np.linalg.norm(x + np.array([1.0, 0.5]), axis=1) - 2)
    lower = np.abs(np.linalg.norm(x - np.array([1.0, 0.5]), axis=1) - 2)
    assert np.minimum(upper, lower).max() < 0.6


def test_swissroll_is_a_spiral() -> None:
    x = points("swissroll")
    radius = np.linalg.norm(x, axis=1)
    angle = np.arctan2(x[:, 1], x[:, 0])
    turns = (5 * radius - angle) / (2 * np.pi)
    off = np.abs(turns - np.round(turns)) * 2 * np.pi / 5
    assert np.quantile(off, 0.99) < 0.4
    assert abs(radius.mean() - 3 * np.pi / 5) < 0.02
