"""The benchmark harness."""

from __future__ import annotations

import json

import jax.numpy as jnp
import pytest


def test_rates_are_medians_of_calls_after_the_first(monkeypatch):
    from launch import bench

    # The first call takes 100 s, the next ones 1, 2, 3 and 4 s.
    ticks = iter([0, 100, 0, 1, 0, 2, 0, 3, 0, 4])
    monkeypatch.setattr(bench.time, "perf_counter", lambda: float(next(ticks)))
    row = bench.measure(bench.Benchmark("b", "things", lambda: jnp.zeros(()), 12, 7.0), 4)
    assert row["compile_seconds"] == 7.0
    assert row["rate"] == (6 + 4) / 2
    # Rates 12, 6, 4 and 3; quartiles by linear interpolation.
    assert row["rate_iqr"] == pytest.approx(7.5 - 3.75)
    assert row["unit"] == "things/s"


def test_the_training_step_is_measured_and_written(tmp_path, monkeypatch, capsys, mean_config):
    from launch import bench

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(__import__("pathlib").Path(mean_config).parent))
    argv = [f"--config={mean_config}", "--filter=train", "--repeats=2", "--json=out.json"]
    assert bench.main(argv) == 0
    assert "train_step" in capsys.readouterr().out
    (row,) = json.loads((tmp_path / "out.json").read_text())["benchmarks"]
    assert row["rate"] > 0 and row["compile_seconds"] > 0
    assert row["repeats"] == 2


def test_mistakes_are_one_line(capsys, mean_config):
    from launch import bench

    for argv, word in (
        (["--filter=nothing"], "train_step, sampler"),
        (["--config=nowhere.py"], "no such file"),
        (["--repeats=1"], "repeats"),
        ([f"--config={mean_config}:zzz"], "zzz"),
    ):
        assert bench.main(argv) == 2
        err = capsys.readouterr().err
        assert err.startswith("gmkit: ")
        assert err.count("\n") == 1
        assert word in err
