"""Pairs of distributions: moments, supports and atoms."""

from __future__ import annotations

import numpy as np
import pytest

from gmkit import data
from gmkit.data.cases import ATOMS


def pair(name: str, **options: int) -> tuple[np.ndarray, np.ndarray]:
    rows = data.load(name, **options).examples("train")
    return rows["x"], rows["fake"]


@pytest.mark.parametrize("name", data.CASES)
def test_rows_and_spec(name: str) -> None:
    dataset = data.load(name, n_train=40, n_test=30)
    assert dataset.spec.kind == "vector" and dataset.spec.domain.shape == (2,)
    assert (len(dataset.train), len(dataset.test)) == (40, 30)
    rows = dataset.examples("train")
    assert set(rows) == {"x", "fake"}
    for x in rows.values():
        assert x.shape == (40, 2) and x.dtype == np.float32
    real, fake = pair(name, n_train=40, n_test=1)
    np.testing.assert_array_equal(rows["x"], real)
    np.testing.assert_array_equal(rows["fake"], fake)


# Means and standard deviations of the coordinates, by hand: a uniform on half-width s has
# variance s^2 / 3, a mixture adds the variance of its means.
SQUARE = 0.5 / np.sqrt(3)
EDGE_VARIANCE = 0.25 * (10 + 6 / 4) / 16
MOMENTS = {
    "case1": ((1, 0), (SQUARE,) * 2, (-1, 0), (np.sqrt(0.2 * EDGE_VARIANCE + 0.8 / 48),) * 2),
    "case1_1": ((1, 0), (SQUARE,) * 2, (-1, 0), (SQUARE,) * 2),
    "case2": (
        (0.6, 0),
        (np.sqrt(1 / 12 + 0.64), SQUARE),
        (-0.6, 0),
        (np.sqrt(1 / 12 + 0.64), SQUARE),
    ),
    "case3": ((-0.125, 0), (np.hypot(0.15, 1.125), 0.15), (-0.75, 0), (0.15, 0.15)),
    "case3_3": ((1, 0), (0.15, 0.15), (-1, 0), (0.15, 0.15)),
    "case6": ((0, 0), (0.5, 0.5), (0, 0), (0.5, 0.5)),
    "two_atoms": ((1, 0), (0, 0), (-1, 0), (0, 0)),
}


@pytest.mark.parametrize("name", MOMENTS)
def test_moments(name: str) -> None:
    real, fake = pair(name)
    real_mean, real_std, fake_mean, fake_std = MOMENTS[name]
    np.testing.assert_allclose(real.mean(0), real_mean, atol=0.03)
    np.testing.assert_allclose(fake.mean(0), fake_mean, atol=0.03)
    np.testing.assert_allclose(real.std(0), real_std, atol=0.01)
    np.testing.assert_allclose(fake.std(0), fake_std, atol=0.01)
    if real_std[0] > 0:
        assert abs(np.corrcoef(real[:, 0], fake[:, 0])[0, 1]) < 0.03


def test_case_1_has_sixteen_atoms_around_a_square() -> None:
    _, fake = pair("case1")
    offset = np.abs(fake - np.array([-1, 0])).max(axis=1)
    atoms = np.isclose(offset, 0.5)
    assert abs(atoms.mean() - 0.2) < 0.01
    assert len(np.unique(fake[atoms], axis=0)) == 16
    assert 0.24 < offset[~atoms].max() <= 0.25 + 1e-6


def test_case_2_weights() -> None:
    real, fake = pair("case2")
    assert abs((real[:, 0] < 0).mean() - 0.2) < 0.01
    assert abs((fake[:, 0] < 0).mean() - 0.8) < 0.01


def test_case_5_adds_unit_noise_to_a_roll_of_radius_one() -> None:
    real, fake = pair("case5")
    radius = np.linalg.norm(real, axis=1)
    assert 1 / 3 - 1e-6 < radius.min() < 0.334 and 0.999 < radius.max() <= 1 + 1e-6
    angle = radius * 4.5 * np.pi
    on_roll = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    np.testing.assert_allclose(real, on_roll, atol=1e-4)
    np.testing.assert_allclose(fake.var(0) - real.var(0), 1, atol=0.05)


@pytest.mark.parametrize("name", [*ATOMS, "case4"])
def test_atoms_have_equal_weight(name: str) -> None:
    for x, atoms in zip(pair(name, n_train=1000), data.atoms_of(name), strict=True):
        found, counts = np.unique(x, axis=0, return_counts=True)
        np.testing.assert_array_equal(found, np.unique(atoms.astype(np.float32), axis=0))
        np.testing.assert_array_equal(counts, 1000 / len(atoms))


def test_case_4_number_of_atoms() -> None:
    real, fake = pair("case4", atoms=3, n_train=100, seed=1)
    assert len(np.unique(real, axis=0)) == len(np.unique(fake, axis=0)) == 3
    assert np.abs(np.concatenate([real, fake])).max() <= 1
    assert not np.isin(real, pair("case4", atoms=3, n_train=100)[0]).any()
    real, fake = data.atoms_of("case4", atoms=0)
    assert {tuple(x) for x in real} == {(0.8, 0.5), (-0.8, -0.5)}
    assert {tuple(x) for x in fake} == {(-0.8, 0.5), (0.8, -0.5)}


def test_five_pairs_are_the_published_points() -> None:
    real, fake = data.atoms_of("five_pairs")
    np.testing.assert_allclose(real[0], [0.10159581, 0.41629565], atol=1e-8)
    assert real.shape == fake.shape == (5, 2)


def test_errors() -> None:
    with pytest.raises(data.DataError, match=r"data\.atoms=-1"):
        data.load("case4", atoms=-1)
    with pytest.raises(data.DataError, match=r"data\.atoms=2 means nothing for 'case3'"):
        data.load("case3", atoms=2)
    with pytest.raises(data.DataError, match="not a set of atoms"):
        data.atoms_of("case3")
