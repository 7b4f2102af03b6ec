"""`launch/main.py` from the outside: runs, modes, stages, and mistakes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from launch import flags, run

ROOT = Path(__file__).resolve().parents[2]


def one_line(call, *words: str) -> None:
    """One line on stderr, exit code 2, nothing written."""
    assert call.code == 2
    assert call.err.startswith("gmkit: ")
    assert call.err.count("\n") == 1
    assert call.out == ""
    for word in words:
        assert word in call.err, call.err
    assert not list(Path.cwd().iterdir())


def files(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


# ---------------------------------------------------------------- help and list


def test_help_names_every_flag_and_fits_a_screen(main):
    call = main("--help")
    assert call.code == 0
    for flag in ("workdir", "mode", "n_samples", "dry_run", "list", "distributed"):
        assert f"--{flag}" in call.out
    assert len(call.out.splitlines()) <= 24
    assert main("-h").out == call.out


def test_list_shows_configs_and_presets(main):
    from launch import flags

    call = main("--list")
    assert call.code == 0
    for name, _, presets in flags.listing():
        assert name in call.out
        assert all(preset in call.out for preset in presets)


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], ["--config is missing"]),
        (["--config"], ["--config needs a value"]),
        (["--config=configs/gebn.py"], ["configs/gebn.py", "no such file"]),
        (["--config={mean}:two_stag"], ["two_stag", "did you mean two_stage?"]),
        (["--config={mean}:zzz"], ["zzz", "default, two_stage"]),
        (["--config={mean}", "--config.learnin_rate=1"], ["did you mean learning_rate?"]),
        (["--config={mean}", "--config.training.step=1"], ["did you mean training.steps?"]),
        (["--config={mean}", "--config.training.steps=many"], ["training.steps", "many"]),
        (["--config={mean}", "--config.training.steps=2.5"], ["training.steps", "2.5"]),
        (["--config={mean}", "--config.learning_rate=fast"], ["learning_rate", "fast"]),
        (["--config={mean}", "--config.learning_rate=-1"], ["learning_rate=-1", "positive"]),
        (["--config={mean}", "--config.method=gann"], ["gann"]),
        (["--config={mean}", "--config.method=mean_method:bild"], ["bild"]),
        (["--config={mean}", "--config.data.name=8gausians"], ["8gausians", "8gaussians"]),
        (
            ["--config={mean}", "--config.training.batch_size=1e6"],
            ["batch_size=1000000", "examples"],
        ),
        (["--config={mean}", "--config.training.batch_size=7"], ["batch_size=7", "4 devices"]),
        (["--config={mean}", "--wrkdir=x"], ["wrkdir", "workdir"]),
        (["--config={mean}", "--mode=trian"], ["mode", "trian"]),
        (["--config={mean}", "--n_samples=0"], ["n_samples"]),
        (["--config={mean}", "steps=3"], ["unexpected argument 'steps=3'"]),
        (["--config={mean}", "--mode=evaluate"], ["--workdir"]),
        (["--mode=evaluate", "--workdir=nowhere"], ["nowhere", "no run there"]),
        (["--config={mean}", "--distributed=auto"], ["--workdir"]),
        (["--config={mean}", "--workdir=x", "--distributed=two"], ["--distributed='two'"]),
    ],
)
def test_a_mistake_is_one_line(main, mean_config, argv, words):
    one_line(main(*(a.format(mean=mean_config) for a in argv)), *words)


def test_another_config_in_the_same_directory_is_refused(main, mean_config, tmp_path):
    args = [f"--config={mean_config}", "--workdir=run"]
    assert main(*args).code == 0
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    call = main(*args, "--config.learning_rate=0.25")
    assert call.code == 2
    assert call.err.count("\n") == 1
    assert "learning_rate" in call.err
    assert "0.25" in call.err
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("name", ["redwine", "whitewine", "parkinsons", "miniboone", "hepmass"])
def test_a_table_that_is_absent_is_one_line(main, name, tmp_path):
    config = ROOT / "configs" / "gebm.py"
    for flag in ((), (f"--config.data.path={tmp_path / 'absent.npz'}",)):
        call = main(f"--config={config}:{name}", *flag)
        assert (call.code, call.err.count("\n")) == (2, 1)
        assert "data.path" in call.err
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- runs


def test_a_run_leaves_what_its_reader_needs(main, mean_config, tmp_path):
    call = main(f"--config={mean_config}", "--n_samples=5")
    assert call.code == 0
    assert "test/loss" in call.out
    (workdir,) = (tmp_path / "runs").iterdir()
    assert workdir.name.startswith("mean-default-")
    assert {
        "config.json",
        "metrics.jsonl",
        "results.json",
        "report.html",
        "samples/samples.npz",
        "samples/samples.png",
        "figures/mean.png",
        "tables/test.csv",
        "tables/test.png",
    } <= files(workdir)
    assert "report.html" in call.out
    assert "results.json" in call.out
    results = json.loads((workdir / "results.json").read_text())
    assert set(results["metrics"]) == {"test/loss"}
    assert results["provenance"]["steps"] == 4
    assert results["provenance"]["method"] == "mean"
    assert np.load(workdir / "samples" / "samples.npz")["samples"].shape == (5, 2)


def test_a_finished_run_is_not_trained_again(main, mean_config, tmp_path):
    args = [f"--config={mean_config}", "--workdir=run"]
    assert main(*args).code == 0
    log = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    first = json.loads((tmp_path / "run" / "results.json").read_text())
    assert main(*args).code == 0
    again = json.loads((tmp_path / "run" / "results.json").read_text())
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == log
    assert again["metrics"] == first["metrics"]


def test_modes_restore_and_take_the_config_of_the_run(main, mean_config, tmp_path):
    run = tmp_path / "run"
    assert main(f"--config={mean_config}", "--workdir=run", "--config.learning_rate=0.25").code == 0
    first = json.loads((run / "results.json").read_text())["metrics"]

    (run / "results.json").unlink()
    report = (run / "report.html").stat().st_mtime_ns
    assert main("--mode=sample", "--workdir=run", "--n_samples=3").code == 0
    assert np.load(run / "samples" / "samples.npz")["samples"].shape == (3, 2)
    assert not (run / "results.json").exists()
    assert (run / "report.html").stat().st_mtime_ns == report

    assert main("--mode=evaluate", "--workdir=run").code == 0
    assert json.loads((run / "results.json").read_text())["metrics"] == first


def test_dry_run_counts_and_writes_nothing(main, mean_config, tmp_path):
    call = main(f"--config={mean_config}:two_stage", "--dry_run")
    assert call.code == 0
    assert "parameters of mean" in call.out
    assert "FLOPs per step" in call.out
    assert "memory per device" in call.out
    assert not list(tmp_path.iterdir())


def test_non_finite_numbers_end_with_one_line_and_1(main, mean_config):
    argv = ["--config.learning_rate=1e30", "--config.training.steps=40", "--workdir=run"]
    call = main(f"--config={mean_config}", *argv)
    assert call.code == 1
    assert call.err.count("gmkit: ") == 1


# ---------------------------------------------------------------- stages


def test_stages_run_in_order_and_hand_their_states_on(main, mean_config, tmp_path):
    args = [f"--config={mean_config}:two_stage", "--workdir=run", "--config.learning_rate=1e-9"]
    assert main(*args).code == 0
    assert {"config.json", "metrics.jsonl"} <= files(tmp_path / "run" / "start")
    provenance = json.loads((tmp_path / "run" / "results.json").read_text())["provenance"]
    assert provenance["stages"]["start"]["steps"] == 4
    # The second stage hardly moves, so it draws around where the first one ended.
    assert main("--mode=sample", "--workdir=run/start", "--n_samples=4").code == 0
    first = np.load(tmp_path / "run" / "start" / "samples" / "samples.npz")["samples"]
    assert main("--mode=sample", "--workdir=run", "--n_samples=4").code == 0
    second = np.load(tmp_path / "run" / "samples" / "samples.npz")["samples"]
    np.testing.assert_allclose(first, second, atol=1e-6)


def test_a_stage_can_be_a_run_that_is_there_already(main, mean_config, tmp_path):
    assert main(f"--config={mean_config}", "--workdir=mine", "--config.seed=7").code == 0
    before = (tmp_path / "mine" / "metrics.jsonl").read_bytes()
    args = [f"--config={mean_config}:two_stage", "--workdir=run"]
    assert main(*args, "--config.start.from_workdir=mine").code == 0
    assert not (tmp_path / "run" / "start").exists()
    assert (tmp_path / "mine" / "metrics.jsonl").read_bytes() == before
    provenance = json.loads((tmp_path / "run" / "results.json").read_text())["provenance"]
    assert provenance["stages"]["start"]["seed"] == 7


def test_data_of_a_stage_are_those_of_the_run_but_for_what_it_changes(main, mean_config):
    del main  # puts the fixtures' methods on the path
    config, _ = flags.load_config(f"{mean_config}:two_stage")
    config.start.data = ConfigDict({"train_rows": "0:100"})
    planned = run.plan(config, Path("run"), trains=True)
    assert len(planned.dataset.train) > 100
    assert len(planned.earlier[0].dataset.train) == 100
    assert planned.earlier[0].dataset.spec.name == planned.dataset.spec.name


def test_a_mistake_in_the_last_stage_shows_before_the_first_is_trained(main, mean_config):
    args = [f"--config={mean_config}:two_stage", "--workdir=run", "--config.learning_rate=-1"]
    one_line(main(*args), "learning_rate=-1")


def test_other_settings_of_the_last_stage_are_refused_before_the_first_goes_on(
    main, mean_config, tmp_path
):
    args = [f"--config={mean_config}:two_stage", "--workdir=run"]
    assert main(*args).code == 0
    log = tmp_path / "run" / "start" / "metrics.jsonl"
    before = log.read_bytes()
    call = main(*args, "--config.learning_rate=0.25", "--config.start.training.steps=8")
    assert call.code == 2
    assert "learning_rate" in call.err
    assert log.read_bytes() == before


def test_a_stage_that_nobody_uses_is_a_mistake(main, mean_config):
    call = main(
        f"--config={mean_config}:two_stage", "--config.method=mean_method:build", "--dry_run"
    )
    one_line(call, "mean_method:build uses no stages")


# ---------------------------------------------------------------- as a program


def start(*argv: str, cwd: Path) -> subprocess.Popen[str]:
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parent / "fixtures")}
    cache = f"--compilation_cache={jax.config.jax_compilation_cache_dir}"
    return subprocess.Popen(
        [sys.executable, str(ROOT / "launch" / "main.py"), *argv, cache],
        cwd=cwd,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_the_script_runs_from_any_directory_and_a_signal_saves(mean_config, tmp_path):
    log = tmp_path / "run" / "metrics.jsonl"
    process = start(
        f"--config={mean_config}",
        "--workdir=run",
        "--config.training.steps=1e9",
        "--config.training.log_every=100",
        cwd=tmp_path,
    )
    try:
        while process.poll() is None and not (log.is_file() and log.stat().st_size):
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 128 + signal.SIGTERM, err
    assert "gmkit: " in err
    assert list((tmp_path / "run" / "checkpoints").iterdir())
