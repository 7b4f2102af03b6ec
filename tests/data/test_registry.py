"""Names and options: what is accepted, and what the errors say."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gmkit import data


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)


def message(name: Any, **options: Any) -> str:
    with pytest.raises(data.DataError) as caught:
        data.load(name, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_available_has_one_line_each() -> None:
    table = data.available()
    assert {"digits", "moons", "skewed_line", "mnist", "celeb_a", "lsun/bedroom"} <= set(table)
    assert {"25grid", "gaussian1d", "case3_3", "five_pairs", "stacked/<name>"} <= set(table)
    assert all(text and "\n" not in text for text in table.values())


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("digit", "digits"),
        ("mnits", "mnist"),
        ("8gausians", "8gaussians"),
        ("lsun", "lsun/bedroom"),
        ("case33", "case3_3"),
        ("stacked/mnits", "mnist"),
    ],
)
def test_unknown_names_get_suggestions(name: str, near: str) -> None:
    start = time.perf_counter()
    assert near in message(name)
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize("name", ["", None, 3, "qqqqqqqq", "../..", "/"])
def test_names_that_are_none(name: Any) -> None:
    assert "data.name=" in message(name)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"image_size": 0}, "data.image_size=0"),
        ({"image_size": True}, "data.image_size=True"),
        ({"image_size": 8.0}, "data.image_size=8.0"),
        ({"flip": 1}, "data.flip=1"),
        ({"pad": True}, "set data.image_size"),
        ({"download": "yes"}, "data.download='yes'"),
        ({"data_dir": ""}, "data.data_dir=''"),
        ({"imagesize": 8}, "did you mean data.image_size?"),
        ({"zzz": 8}, "data.zzz=8"),
        ({"n_train": 5}, "data.n_train=5 means nothing for 'digits'"),
    ],
)
def test_option_errors_name_the_field(options: dict, expected: str) -> None:
    assert expected in message("digits", **options)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"n_train": 0}, "data.n_train=0"),
        ({"seed": -1}, "data.seed=-1"),
        ({"image_size": 8}, "means nothing for 'moons'"),
        ({"flip": True}, "means nothing for 'moons'"),
    ],
)
def test_toy_option_errors(options: dict, expected: str) -> None:
    assert expected in message("moons", **options)


def test_options_left_at_none_or_false_mean_nothing() -> None:
    unused = {"image_size": None, "flip": False, "download": False, "data_dir": None, "pad": False}
    dataset = data.load("rings", n_train=4, n_test=None, **unused)
    assert (len(dataset.train), len(dataset.test)) == (4, 20_000)
    assert len(data.load("digits", n_train=None, **unused).train) == 1437


@pytest.mark.parametrize("name", ["mnist", "imagenet_resized/32x32"])
def test_absent_sets_answer_at_once_with_three_ways(name: str, tmp_path: Path) -> None:
    start = time.perf_counter()
    text = message(name)
    assert time.perf_counter() - start < 2
    for way in (str(tmp_path), ".npz", "data.data_dir", "array_record", "data.download=True"):
        assert way in text
    assert str(tmp_path / "elsewhere") in message(name, data_dir=str(tmp_path / "elsewhere"))


def test_importing_and_failing_import_nothing_heavy() -> None:
    code = (
        "import sys; from gmkit import data\n"
        "try: data.load('mnist', data_dir='/nonexistent')\n"
        "except data.DataError: pass\n"
        "heavy = {'tensorflow_datasets', 'tensorflow', 'sklearn', 'matplotlib', 'PIL'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_splits_refuse_ragged_or_empty_arrays() -> None:
    with pytest.raises(data.DataError, match="different lengths"):
        data.ArraySplit({"x": np.zeros((3, 2)), "label": np.zeros(2, np.int32)})
    with pytest.raises(data.DataError, match="no rows"):
        data.ArraySplit({"x": np.zeros((0, 2))})


def test_training_rows_can_be_chosen() -> None:
    whole, part = data.load("digits"), data.load("digits", train_rows="100:300")
    assert len(part.train) == 200 and len(part.test) == len(whole.test)
    rows = np.array([[0, 5], [199, 1]])
    assert part.train.arrays is not None
    for name, array in part.train.gather(rows).items():
        np.testing.assert_array_equal(array, whole.train.gather(rows + 100)[name])
        np.testing.assert_array_equal(array, part.train.arrays[name][rows])
    assert len(data.load("digits", train_rows="1400:").train) == 37


@pytest.mark.parametrize("rows", ["5", "1:x", "7:7", "0:1438", 3, ("0", "5")])
def test_training_rows_that_are_none(rows: Any) -> None:
    assert "data.train_rows=" in message("digits", train_rows=rows)
