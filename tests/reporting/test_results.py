import getpass
import io
import json
import math
import os
import platform
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit import reporting
from gmkit.reporting import results


def _strict(path):
    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def test_results_are_strict_json(tmp_path):
    metrics = {
        "a": 1.5, "b": math.nan, "c": -math.inf, "d": np.float32(0.5), "e": jnp.float32(jnp.nan),
        "f": np.int64(3), "g": True, "h": None, "i": jnp.ones((1,), jnp.bfloat16),
    }  # fmt: skip
    provenance = {"seconds": math.inf, "nested": {"shape": (1, 2), "x": np.array([1.0, np.nan])}}
    path = reporting.write_results(tmp_path / "new", metrics, provenance)
    assert path.name == "results.json"
    assert os.listdir(path.parent) == ["results.json"]
    content = _strict(path)
    assert content["metrics"] == {
        "a": 1.5, "b": None, "c": None, "d": 0.5, "e": None, "f": 3, "g": True, "h": None, "i": 1.0,
    }  # fmt: skip
    assert content["non_finite"] == ["b", "c", "e", "provenance/seconds", "provenance/nested/x/1"]
    assert content["provenance"] == {"seconds": None, "nested": {"shape": [1, 2], "x": [1.0, None]}}


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = reporting.write_results(tmp_path, {"a": 1}, {})
    with pytest.raises(ValueError, match=r"metrics\['a'\] is no scalar"):
        reporting.write_results(tmp_path, {"a": [1, 2]}, {})
    with pytest.raises(ValueError, match="provenance/f is a object"):
        reporting.write_results(tmp_path, {}, {"f": object()})
    assert _strict(path)["metrics"] == {"a": 1}
    assert os.listdir(tmp_path) == ["results.json"]


def test_provenance_names_versions_and_devices_and_nothing_private(tmp_path):
    found = reporting.provenance(3, jax.devices()[:1], seconds=1.5, features="pixels")
    assert found["seed"] == 3
    assert found["seconds"] == 1.5
    assert found["features"] == "pixels"
    assert found["devices"]["count"] == 1
    assert found["devices"]["platform"] == jax.devices()[0].platform
    assert set(found["versions"]) == {"python", "gmkit", "jax", "jaxlib", "flax", "optax", "numpy"}
    assert found["versions"]["jax"] == jax.__version__
    text = reporting.write_results(tmp_path, {}, found).read_text()
    values = [v for v in json.dumps(json.loads(text)).split('"') if v]
    assert getpass.getuser() not in values
    assert platform.node() not in values
    assert os.getcwd() not in text
    assert os.path.expanduser("~") not in text
    assert reporting.provenance()["devices"]["count"] == len(jax.devices())


def _repository(tmp_path, monkeypatch, tracked):
    def git(*arguments):
        done = subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments],
            cwd=tmp_path, check=True, capture_output=True, text=True,
        )  # fmt: skip
        return done.stdout.strip()

    module = tmp_path / "results.py"
    module.write_text("first\n")
    (tmp_path / "other").write_text("x")
    git("init", "-q")
    git("add", "results.py" if tracked else "other")
    git("commit", "-q", "-m", "first")
    monkeypatch.setattr(results, "__file__", str(module))
    return git("rev-parse", "HEAD"), module


def test_revision_of_a_repository_and_its_dirt(tmp_path, monkeypatch):
    revision, module = _repository(tmp_path, monkeypatch, tracked=True)
    assert results.git_revision() == revision
    module.write_text("second\n")
    assert results.git_revision() == f"{revision}-dirty"


def test_no_revision_of_somebody_elses_repository_or_without_git(tmp_path, monkeypatch):
    _repository(tmp_path, monkeypatch, tracked=False)
    assert results.git_revision() is None
    monkeypatch.setenv("PATH", "")
    assert results.git_revision() is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12.3456, "12.35"), (0.0012345, "0.001234"), (9.99996, "10.00"), (123456.7, "123457"),
        (1.5e6, "1.500e+06"), (-1e-9, "-1.000e-09"), (0.0, "0"), (7, "7"), (True, "yes"),
        (None, "–"), (math.nan, "NaN"), (-math.inf, "-inf"), ("<= 3.2", "<= 3.2"),  # noqa: RUF001
        (np.float32(0.25), "0.2500"), (jnp.int32(4), "4"), (np.zeros(2), "[0. 0.]"),
    ],
)  # fmt: skip
def test_values_are_formatted_for_people(value, text):
    assert reporting.format_value(value) == text


def test_tables_take_ragged_rows(tmp_path):
    rows = [{"name": "a,b", "x": np.float32(0.1)}, {"name": 'c"', "y": math.nan}]
    assert reporting.format_table(rows) == [
        ["name", "x", "y"], ["a,b", "0.1000", ""], ['c"', "", "NaN"],
    ]  # fmt: skip
    text = reporting.write_table(tmp_path / "t.csv", rows).read_text()
    assert text == 'name,x,y\n"a,b",0.10000000149011612,\n"c""",,nan\n'
    assert reporting.format_table([]) == []
    assert reporting.write_table(tmp_path / "empty.csv", []).read_text() == ""


def test_console_table_prints_names_with_brackets():
    from rich.console import Console

    console = Console(width=80, record=True, file=io.StringIO())
    console.print(reporting.console_metrics({"fid[base]": 1.23456, "n": 5}, "run [1]"))
    rows = [{"[method]": "a", "x": 2.0, "y": 3.0}, {"[method]": "b", "x": math.nan}]
    console.print(reporting.console_table(rows, columns=2))
    console.print(reporting.console_table([]))
    text = console.export_text()
    assert all(part in text for part in ("fid[base]", "1.235", "run [1]", "[method]", "NaN"))
    assert "3.000" not in text


def test_import_is_light():
    code = (
        "import sys, gmkit.reporting; "
        "heavy = {'matplotlib', 'PIL', 'rich', 'jax'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
