"""Who may continue a run directory."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from gmkit.training import UsageError, locked, open_workdir

CONFIG = {
    "method": "gebm",
    "optim": {"lr": 1e-3, "betas": (0.5, 0.9)},
    "training": {"steps": 100, "log_every": 50, "seed": 0},
}


def changed(**training):
    return {**CONFIG, "training": {**CONFIG["training"], **training}}


def test_creates_and_writes_the_config(tmp_path):
    workdir = open_workdir(tmp_path / "a" / "b", CONFIG)
    assert json.loads((workdir / "config.json").read_text())["optim"]["betas"] == [0.5, 0.9]
    assert [p.name for p in workdir.iterdir()] == ["config.json"]
    assert open_workdir(workdir, CONFIG) == workdir, "tuples are JSON's lists"


def test_differences_are_shown(tmp_path):
    open_workdir(tmp_path, CONFIG)
    other = {**changed(seed=1), "optim": {"lr": 2e-3}, "new": None}
    with pytest.raises(UsageError) as caught:
        open_workdir(tmp_path, other)
    text = str(caught.value)
    for part in (
        "new: (absent) (here) != null (asked)",
        "optim.betas: [0.5, 0.9] (here) != (absent) (asked)",
        "optim.lr: 0.001 (here) != 0.002 (asked)",
        "training.seed: 0 (here) != 1 (asked)",
    ):
        assert part in text
    assert "\n" not in text and "method" not in text
    assert json.loads((tmp_path / "config.json").read_text())["training"]["seed"] == 0


def test_a_run_may_grow_and_be_shown_otherwise(tmp_path):
    open_workdir(tmp_path, CONFIG)
    open_workdir(tmp_path, changed(steps=200, log_every=10, progress=False))
    stored = json.loads((tmp_path / "config.json").read_text())["training"]
    assert stored == {"steps": 200, "log_every": 10, "progress": False, "seed": 0}
    with pytest.raises(
        UsageError, match=r"training\.steps: 200 \(here\) != 100 \(asked, steps may only grow\)"
    ):
        open_workdir(tmp_path, CONFIG)


def test_values_of_another_type_differ(tmp_path):
    open_workdir(tmp_path, {"a": 1, "b": float("nan"), "c": {}})
    open_workdir(tmp_path, {"a": 1, "b": float("nan"), "c": {}})
    with pytest.raises(UsageError, match=r"a: 1 \(here\) != true"):
        open_workdir(tmp_path, {"a": True, "b": float("nan"), "c": {}})
    with pytest.raises(UsageError, match=r"c: \{\} \(here\) != \(absent\)"):
        open_workdir(tmp_path, {"a": 1, "b": float("nan")})


def test_unusable_configs_and_directories(tmp_path):
    with pytest.raises(UsageError, match="cannot be written as JSON"):
        open_workdir(tmp_path / "a", {"f": object()})
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be used"):
        open_workdir(tmp_path / "file", CONFIG)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UsageError, match="is not JSON"):
        open_workdir(tmp_path, CONFIG)


def test_one_writer_at_a_time(tmp_path):
    with locked(tmp_path / "w"):
        with pytest.raises(UsageError, match=f"another run .process {os.getpid()} on"):
            with locked(tmp_path / "w"):
                pytest.fail("entered twice")
        with locked(tmp_path / "other"):
            pass
    with locked(tmp_path / "w"):
        pass


def test_the_lock_dies_with_its_process(tmp_path):
    code = (
        "import fcntl, os, sys, time\n"
        "f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True)\n"
        "time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / ".lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match="another run"), locked(tmp_path):
            pytest.fail("entered twice")
        process.kill()
    with locked(tmp_path):
        pass
