"""The density recipe: what each step does, the known data sets, and every error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gmkit import data, evaluation
from gmkit.data import tables

#: Raw UCI tables of the workplace, beside the repository.
UCI = Path(__file__).resolve().parents[3] / "shared" / "data" / "uci-density"
RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(200, 3)) @ RNG.normal(size=(3, 3)) + 5.0


def message(name: str, **options: object) -> str:
    with pytest.raises(data.DataError) as caught:
        data.load(name, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def npy(folder: Path, x: np.ndarray, name: str = "mine.npy") -> str:
    np.save(folder / name, x)
    return str(folder / name)


def stacked(dataset: data.Dataset) -> np.ndarray:
    return np.concatenate([dataset.examples(s)["x"] for s in ("train", "validation", "test")])


# ---------------------------------------------------------------- known data sets


@pytest.mark.parametrize(
    ("name", "sizes", "dim", "nll"),
    [
        ("redwine", (1296, 144, 159), 11, 15.015),
        ("whitewine", (3969, 440, 489), 11, 15.422),
        ("parkinsons", (4760, 528, 587), 15, 21.374),
    ],
)
def test_known_sizes_and_the_gaussian_baseline(
    name: str, sizes: tuple[int, ...], dim: int, nll: float
) -> None:
    path = UCI / f"{name}.npz"
    if not path.is_file():
        pytest.skip("the UCI tables are not here")
    dataset = data.load(name, path=path)
    assert dataset.validation is not None
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == sizes
    assert dataset.spec.name == name and dataset.spec.domain.shape == (dim,)
    x = stacked(dataset)
    np.testing.assert_allclose(np.cov(x.T, bias=True), np.eye(dim), atol=1e-4)
    # The same rows as the papers' code gives with seed 1.
    train, test = (dataset.examples(s)["x"] for s in ("train", "test"))
    assert evaluation.gaussian_baseline(train, test).nll == pytest.approx(nll, abs=6e-4)


def test_miniboone_head() -> None:
    path = UCI / "miniboone_head.npz"
    if not path.is_file():
        pytest.skip("the UCI tables are not here")
    dataset = data.load("miniboone", path=path)
    assert dataset.validation is not None
    sizes = (len(dataset.train), len(dataset.validation), len(dataset.test))
    assert sizes == (1234, 137, 152) and dataset.spec.domain.shape == (43,)


# ---------------------------------------------------------------- steps


@pytest.mark.parametrize(
    ("n", "n_test", "sizes"),
    [
        (11, None, (9, 1, 1)),
        (1599, None, (1296, 144, 159)),
        (36_488, None, (31_840, 1000, 3648)),
        (525_123, 174_900, (349_223, 1000, 174_900)),
    ],
)
def test_split_sizes(n: int, n_test: int | None, sizes: tuple[int, ...]) -> None:
    assert tables.split_sizes(n, n_test) == sizes


def test_too_few_rows() -> None:
    for n, n_test in ((10, None), (0, None), (174_900, 174_900)):
        with pytest.raises(data.DataError, match="the splits need at least"):
            tables.split_sizes(n, n_test)


def test_whitening_on_all_or_on_train_rows(tmp_path: Path) -> None:
    path = npy(tmp_path, ROWS)
    everything = stacked(data.load("table", path=path))
    np.testing.assert_allclose(everything.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(np.cov(everything.T, bias=True), np.eye(3), atol=1e-4)
    train = data.load("table", path=path, whiten_on="train").examples("train")["x"]
    np.testing.assert_allclose(train.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(np.cov(train.T, bias=True), np.eye(3), atol=1e-4)


def test_rows_are_an_affine_image_of_the_shuffled_table(tmp_path: Path) -> None:
    x = stacked(data.load("table", path=npy(tmp_path, ROWS), seed=3))
    order = np.random.RandomState(3).permutation(200)
    design = np.column_stack([ROWS[order], np.ones(200)])
    _, residual, _, _ = np.linalg.lstsq(design, x, rcond=None)
    np.testing.assert_allclose(residual, 0, atol=1e-6)


def test_seeds_shuffle_and_repeat(tmp_path: Path) -> None:
    path = npy(tmp_path, ROWS)
    first, again = (stacked(data.load("table", path=path, seed=1)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, stacked(data.load("table", path=path)))
    assert not np.allclose(first, stacked(data.load("table", path=path, seed=2)))


def test_whitening_looks_at_the_first_ten_thousand_rows() -> None:
    x = RNG.normal(size=(12_000, 2)) * np.array([3.0, 0.1])
    mean, matrix = tables.whitening(x)
    np.testing.assert_allclose(mean, x.mean(0))
    white = (x - mean)[:10_000] @ matrix
    np.testing.assert_allclose(white.T @ white / 10_000, np.eye(2), atol=1e-9)
    assert (matrix[np.abs(matrix).argmax(axis=0), [0, 1]] > 0).all()


def test_dequantisation_is_uniform_within_the_median_gap() -> None:
    x = np.repeat(np.array([[0.0, 0.0], [0.5, 2.0], [1.0, 4.0], [9.0, 6.0]]), 2000, axis=0)
    noise = tables.dequantised_columns(np.random.RandomState(0), x) - x
    for column, delta in zip(noise.T, (0.5, 2.0), strict=True):
        assert -delta <= column.min() < -0.99 * delta
        assert 0.99 * delta < column.max() <= delta
        np.testing.assert_allclose(column.var(), delta**2 / 3, rtol=0.05)


def test_correlated_columns_go_first_come_first_removed() -> None:
    a, b = RNG.normal(size=(2, 500))
    small = 0.01 * RNG.normal(size=500)
    x = np.stack([a, b, -a + small, 2 * a, 0.5 * a + b], axis=1)
    np.testing.assert_array_equal(tables.decorrelated(x, 0.98), x[:, [1, 3, 4]])
    np.testing.assert_array_equal(tables.decorrelated(x[:, :1], 0.98), x[:, :1])


def test_wine_drops_the_quality(tmp_path: Path) -> None:
    x = RNG.integers(0, 100, (300, 12)).astype(float)
    with_quality = stacked(data.load("redwine", path=npy(tmp_path, x)))
    without = stacked(data.load("whitewine", path=npy(tmp_path, x[:, :11])))
    np.testing.assert_array_equal(with_quality, without)


def test_miniboone_selection_of_the_original_columns() -> None:
    x = RNG.normal(size=(100, 50))
    x[:7, 7:14] = -10.0
    x[50] = -999.0
    np.testing.assert_array_equal(
        tables._miniboone(x), np.delete(np.delete(x, 50, axis=0), np.arange(7, 14), axis=1)
    )


def test_hepmass_keeps_signal_and_drops_discrete_columns() -> None:
    x = RNG.normal(size=(40, 28))
    x[:, 0] = np.arange(40) % 2
    kept = [c for c in range(28) if c not in (0, 6, 10, 14, 18, 22)]
    np.testing.assert_array_equal(tables._hepmass(x), x[1::2][:, kept])
    assert len(kept) == 22


# ---------------------------------------------------------------- files

TEXTS = {
    "wine": '"fixed acidity";"pH"\n7.4;3.51\n7.8;3.2\n',
    "commas": "7.4,3.51\n7.8,3.2\n",
    "header": "# label,f0\n7.4,3.51\n7.8,3.2",
    "crlf": "a,b\r\n7.4,3.51\r\n7.8,3.2\r\n",
    "mark": "\ufeffa,b\n7.4,3.51\n\n7.8,3.2\n\n",
    "quoted": '"7.4","3.51"\n"7.8","3.2"\n',
    "blanks": "7.4 3.51\n 7.8  3.2\n",
    "tabs": "a\tb c\n7.4\t3.51\n7.8\t3.2\n",
}


@pytest.mark.parametrize("kind", TEXTS)
def test_text_files(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes(TEXTS[kind].encode())
    x = tables.read_table(path)
    assert x.dtype == np.float64
    np.testing.assert_array_equal(x, [[7.4, 3.51], [7.8, 3.2]])


def test_npz_with_x_or_with_one_table(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    np.savez(path, anything=ROWS.astype(np.float32), names=np.array(["a", "b"]))
    np.testing.assert_array_equal(data.read_table(path), ROWS.astype(np.float32))
    np.savez(path, x=ROWS, other=ROWS[:3])
    np.testing.assert_array_equal(data.read_table(str(path)), ROWS)
    assert data.load("table", path=path).spec.name == "mine"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "it has no rows"),
        ("a,b\n\n", "it has no rows"),
        ("7.4,?\n1,2\n", "its first line mixes numbers and '?'"),
        ("a,b\n1,2\n3,?\n", "'?'"),
        ("1,2\n3\n", "number of columns changed"),
        ("1,2\n3,nan\ninf,1\n", "2 rows have values that are not finite, the first is row 1"),
        ("\ud800", "is not a table of numbers"),
    ],
)
def test_damaged_text(text: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes(text.encode(errors="surrogatepass"))
    found = message("table", path=str(path))
    assert expected in found and str(path) in found


def test_damaged_arrays(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    path.write_bytes(b"PK nothing")
    assert "is not a table of numbers" in message("table", path=path)
    np.savez(path, a=ROWS, b=ROWS)
    assert 'name the table "x"' in message("table", path=path)
    for bad in (np.zeros(3), np.zeros((0, 3)), np.array([["a"]])):
        assert "needed: numbers (rows, columns)" in message("table", path=npy(tmp_path, bad))


# ---------------------------------------------------------------- errors and options


def test_every_recipe_says_which_file_it_needs() -> None:
    for name, recipe in tables.RECIPES.items():
        text = message(name)
        assert "data.path is not set" in text and recipe.source in text
        assert "data.path" in data.available()[name]


def test_option_errors(tmp_path: Path) -> None:
    path = npy(tmp_path, ROWS)
    assert "no such file" in message("redwine", path=str(tmp_path / "none.csv"))
    assert "data.path=''" in message("redwine", path="")
    assert "data.whiten_on='test': choose all or train" in message("table", whiten_on="test")
    assert "data.seed=-1" in message("table", path=path, seed=-1)
    assert "data.seed=4294967296" in message("table", path=path, seed=2**32)
    assert "means nothing for 'table'" in message("table", path=path, n_train=5)
    assert "means nothing for 'digits'" in message("digits", path=path)


def test_tables_that_a_recipe_does_not_fit(tmp_path: Path) -> None:
    path = npy(tmp_path, ROWS)
    assert "it has 3 columns, needed: 11 or 12 (winequality-red" in message("redwine", path=path)
    constant = np.column_stack([ROWS, np.ones(200)])
    assert "column 3" in message("table", path=npy(tmp_path, constant))
    repeated = np.column_stack([ROWS, ROWS[:, 0] + ROWS[:, 1]])
    assert "4 columns of (200, 4) rows have rank 3" in message(
        "table", path=npy(tmp_path, repeated)
    )
    assert "have rank" in message("table", path=npy(tmp_path, RNG.normal(size=(15, 20))))
    unlabelled = np.zeros((20, 28))
    assert "leaves no row" in message("hepmass", path=npy(tmp_path, unlabelled))
    few = RNG.normal(size=(20, 28))
    few[:, 0] = 1
    assert "need at least 174910" in message("hepmass", path=npy(tmp_path, few))
    assert "splits need at least 11" in message("table", path=npy(tmp_path, ROWS[:10]))


def test_sets_without_validation_say_so() -> None:
    dataset = data.load("moons", n_train=4, n_test=4)
    assert dataset.validation is None
    with pytest.raises(data.DataError, match="has train, test; choose"):
        dataset.examples("validation")
    with pytest.raises(data.DataError, match="split='valid'"):
        dataset.examples("valid")
