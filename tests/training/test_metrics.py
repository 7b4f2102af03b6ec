"""Records that read as one run, and progress on and off a terminal."""

from __future__ import annotations

import json
import math

import jax.numpy as jnp
import pytest
import toy
from rich.console import Console

from gmkit.training import NonFiniteError
from gmkit.training.metrics import Chronometer, JsonLines, Recorder, _Bar, _Lines


def recorder(workdir, loop, start=0):
    return Recorder(workdir, loop, start, 16, Chronometer(), lambda: 7)


def test_lines_are_strict_json(tmp_path):
    path = tmp_path / "m.jsonl"
    lines = JsonLines(path)
    lines.write({"step": 1, "loss": 0.5, "fid": math.nan, "psnr": math.inf})
    assert path.read_text().endswith("\n"), "flushed as it comes"
    lines.close()
    record = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert record == {
        "step": 1,
        "loss": 0.5,
        "fid": None,
        "psnr": None,
        "nonfinite": ["fid", "psnr"],
    }


def test_a_second_session_drops_what_it_will_write_again(tmp_path):
    path = tmp_path / "m.jsonl"
    lines = JsonLines(path)
    for step in (2, 4, 6):
        lines.write({"step": step, "loss": float(step)})
    lines.close()
    with path.open("a") as file:
        file.write('{"step": 8, "lo')  # killed here
    lines = JsonLines(path, start=4)
    lines.write({"step": 6, "loss": 60.0})
    lines.close()
    assert [json.loads(x) for x in path.read_text().splitlines()] == [
        {"step": 2, "loss": 2.0},
        {"step": 4, "loss": 4.0},
        {"step": 6, "loss": 60.0},
    ]


def test_metrics_are_read_one_interval_late(tmp_path):
    with recorder(tmp_path, toy.loop()) as writer:
        writer.log(2, {"loss": jnp.float32(1.0)})
        assert toy.records(tmp_path) == []
        writer.log(4, {"loss": jnp.float32(2.0)})
        assert [r["step"] for r in toy.records(tmp_path)] == [2]
        writer.flush(4)
        writer.flush(4)
        writer.write(4, {"eval/fid": 3.0})
    assert toy.records(tmp_path) == [
        {"step": 2, "loss": 1.0},
        {"step": 4, "loss": 2.0},
        {"step": 4, "eval/fid": 3.0},
    ]


def test_a_non_finite_metric_is_written_then_raised(tmp_path):
    with recorder(tmp_path, toy.loop()) as writer:
        writer.log(2, {"loss": jnp.float32(jnp.inf)})
        with pytest.raises(NonFiniteError, match=r"step 2: metric 'loss' is inf.*step 7"):
            writer.log(4, {"loss": jnp.float32(1.0)})
    assert toy.records(tmp_path) == [{"step": 2, "loss": None, "nonfinite": ["loss"]}]


def test_throughput_counts_examples(tmp_path):
    with recorder(tmp_path, toy.loop()) as writer:
        writer.log(2, {"loss": jnp.float32(1.0)})
        writer.flush(2)
    record = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert record["examples_per_second"] == pytest.approx(16 * record["steps_per_second"], rel=1e-3)
    assert record["seconds"] >= 0


def test_tensorboard_events(tmp_path):
    pytest.importorskip("tensorboardX")
    with recorder(tmp_path, toy.loop(tensorboard=True)) as writer:
        writer.write(1, {"eval/fid": 3.0})
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert b"eval/fid" in events.read_bytes()


def test_chronometer_skips_pauses_and_compilation(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("gmkit.training.metrics.time.monotonic", lambda: now[0])
    clock = Chronometer(seconds=10.0, compile_seconds=5.0)

    def spend(seconds):
        now[0] += seconds

    spend(1)
    with clock.paused():
        spend(20)
    with clock.compiling():
        spend(3)
    spend(2)
    assert clock.seconds == 13.0 and clock.compile_seconds == 8.0


def test_plain_lines_without_a_terminal(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("gmkit.training.metrics.time.monotonic", lambda: now[0])
    many = _Lines(toy.loop(100, log_every=1), 0)
    for step in range(1, 101):
        now[0] += 1.0
        many.show(step, {"loss": 0.5, "steps_per_second": 2.0, "examples_per_second": 16.0})
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 11 and lines[-1].startswith("step 100/100  loss 0.5  2 steps/s  16 ")
    few = _Lines(toy.loop(10, log_every=1), 0)
    for step in range(1, 11):
        few.show(step, {"[red]": 1.0})
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10 and "[red] 1" in lines[0] and "\x1b" not in lines[0]


def test_bar_on_a_terminal(tmp_path):
    with (tmp_path / "screen").open("w") as screen:
        console = Console(file=screen, force_terminal=True, width=120)
        bar = _Bar(toy.loop(10), 2, console)
        bar.tick(4)
        bar.show(10, {"loss": 0.25})
        bar.say("resumed [here]")
        bar.close()
    text = (tmp_path / "screen").read_text()
    assert "10/10" in text and "loss 0.25" in text and "resumed [here]" in text
