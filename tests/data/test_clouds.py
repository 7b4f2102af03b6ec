"""Clouds to register: the problem's equation, its outliers, your own files, and every error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gmkit.data import DataError
from gmkit.data.clouds import load_registration, registration_problems


def gaps(found: dict[str, np.ndarray]) -> np.ndarray:
    """Distances between p and R q + t."""
    moved = np.einsum("pij,pnj->pni", found["rotation"], found["q"])
    return np.linalg.norm(found["p"] - moved - found["translation"][:, None], axis=-1)


def test_poses_are_rotations_by_the_angle() -> None:
    found = registration_problems(n_problems=5, n=10, angle=40.0)
    rotation = found["rotation"].astype(np.float64)
    np.testing.assert_allclose(
        rotation @ rotation.swapaxes(1, 2), np.tile(np.eye(3), (5, 1, 1)), atol=1e-6
    )
    np.testing.assert_allclose(np.linalg.det(rotation), 1.0, rtol=1e-6)
    cosine = (np.trace(rotation, axis1=1, axis2=2) - 1) / 2
    np.testing.assert_allclose(np.degrees(np.arccos(cosine)), 40.0, rtol=1e-5)
    assert np.ptp(found["translation"], axis=0).min() > 0.1


def test_noise_and_outliers() -> None:
    exact = registration_problems(n_problems=2, n=50, outliers=0.0, noise=0.0)
    assert gaps(exact).max() < 1e-6
    found = registration_problems(n_problems=3, n=500, outliers=0.3, noise=0.01)
    far = gaps(found) > 0.05
    assert (far.sum(axis=1) >= 148).all() and (far.sum(axis=1) <= 150).all()
    assert gaps(found)[~far].std() < 0.01
    inside = registration_problems(n_problems=3, n=500, outliers=0.5, outlier_size=1.0)
    assert gaps(inside).max() < np.sqrt(3) * 1.5 < gaps(found).max()
    assert (found["q"] >= 0).all() and (found["q"] <= 1).all()


def test_a_row_is_a_correspondence_of_every_problem() -> None:
    dataset = load_registration(n_problems=4, n=20)
    assert dataset.spec.kind == "problem" and dataset.spec.domain.shape == (3, 4)
    train, test = dataset.examples("train"), dataset.examples("test")
    assert train["p"].shape == (20, 4, 3) and set(train) == {"p", "q"}
    np.testing.assert_array_equal(train["q"].swapaxes(0, 1), test["q"][0])
    assert test["rotation"].shape == (1, 4, 3, 3) and test["p"].dtype == np.float32
    again = load_registration(n_problems=4, n=20, seed=1).examples("train")["p"]
    assert (again != train["p"]).any()


def test_your_own_clouds(tmp_path: Path) -> None:
    q = np.random.default_rng(0).random((6, 3))
    np.savez(tmp_path / "mine.npz", p=q + 1.0, q=q)
    dataset = load_registration(path=tmp_path / "mine.npz")
    assert dataset.spec.name == "mine" and len(dataset.train) == 6
    test = dataset.examples("test")
    assert set(test) == {"p", "q"} and test["p"].shape == (1, 1, 6, 3)
    np.savez(
        tmp_path / "known.npz", p=q + 1.0, q=q, rotation=np.eye(3), translation=np.ones(3), extra=1
    )
    known = load_registration(path=str(tmp_path / "known.npz")).examples("test")
    assert gaps({k: v[0] for k, v in known.items()}).max() < 1e-6


Q = np.random.default_rng(0).random((6, 3))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"p": Q}, "has keys"),
        ({"p": Q, "q": Q[:5]}, "q is float64"),
        ({"p": Q[:, :2], "q": Q[:, :2]}, "p is float64"),
        ({"p": Q[:2], "q": Q[:2]}, "p is float64"),
        ({"p": Q, "q": Q * np.nan}, "not finite"),
        ({"p": Q, "q": Q, "rotation": np.eye(3)}, "give both"),
        ({"p": Q, "q": Q, "rotation": np.eye(2), "translation": Q[0]}, "rotation is"),
    ],
)
def test_files_of_another_form(tmp_path: Path, arrays: dict, message: str) -> None:
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(DataError, match=message) as caught:
        load_registration(path=tmp_path / "bad.npz")
    assert "\n" not in str(caught.value) and "data.path=" in str(caught.value)


def test_wrong_options(tmp_path: Path) -> None:
    for option, value in {"n": 2, "n_problems": 0, "outliers": 1.0, "noise": -1.0}.items():
        with pytest.raises(DataError, match=rf"data\.{option}={value}"):
            load_registration(**{option: value})
    with pytest.raises(DataError, match="no such file"):
        load_registration(path=tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("p, q")
    with pytest.raises(DataError, match=r"numpy\.savez"):
        load_registration(path=tmp_path / "text.npz")
    with pytest.raises(DataError, match=r"data\.n=5 means nothing beside"):
        load_registration(path=tmp_path / "none.npz", n=5)
