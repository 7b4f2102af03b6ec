"""Signals and sudden death: what is saved, and that resuming gives the same bits."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import numpy as np
import pytest
import toy

import gmkit
from gmkit.training import Interrupted
from gmkit.training.interrupts import Interrupts


def start(workdir: Path, **settings) -> subprocess.Popen:
    """The toy in a process of its own."""
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(Path(gmkit.__file__).parents[1]),
        "TOY_CACHE": str(jax.config.jax_compilation_cache_dir),
    }
    command = [sys.executable, toy.__file__, str(workdir), json.dumps(settings)]
    workdir.mkdir(exist_ok=True)
    with (workdir / "log.txt").open("ab") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log)


def finish(process: subprocess.Popen, workdir: Path, code: int = 0) -> None:
    found = process.wait(120)
    assert found == code, (workdir / "log.txt").read_text()


def last_step(workdir: Path) -> int:
    path = workdir / "metrics.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return json.loads(lines[-1])["step"] if lines else 0


def wait_for(condition, process: subprocess.Popen, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition() and process.poll() is None:
        assert time.monotonic() < end, "the process makes no progress"
        time.sleep(0.001)


def assert_finished_as(workdir: Path, result, whole: Path) -> None:
    """The same bits and records as the run that never stopped."""
    expected = toy.leaves(result.state)
    with np.load(workdir / "final.npz") as final:
        assert set(final.files) == set(expected)
        for name in final.files:
            assert final[name].tobytes() == expected[name].tobytes(), name
    assert toy.records(workdir) == toy.records(whole)


SLOW_STEPS = {"hook_every": 1, "sleep": 0.02}


def test_killed_between_and_during_saves_ends_with_the_same_bits(tmp_path):
    settings = {"steps": 8, "checkpoint_every_steps": 1, "log_every": 1, "eval_every": 4}
    options = {"big": 4 * 2**20, "hook_every": 1}
    whole = toy.run(tmp_path / "whole", toy.loop(**settings), **options)
    workdir, checkpoints = tmp_path / "killed", tmp_path / "killed" / "checkpoints"

    process = start(workdir, loop=settings, method={**options, "sleep": 1.0})
    wait_for(lambda: last_step(workdir) >= 2, process)
    process.kill()
    finish(process, workdir, -signal.SIGKILL)

    process = start(workdir, loop=settings, method=options)
    wait_for(lambda: any(checkpoints.glob("[3-7].*tmp*")), process)
    process.kill()
    finish(process, workdir, -signal.SIGKILL)
    assert any(checkpoints.glob("*tmp*")), "killed in the middle of a save"

    finish(start(workdir, loop=settings, method=options), workdir)
    assert_finished_as(workdir, whole, tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("streams", [False, True])
def test_killed_at_many_random_moments_ends_with_the_same_bits(tmp_path, streams):
    settings = {
        "steps": 100,
        "checkpoint_every_steps": 5,
        "log_every": 5,
        "eval_every": 10,
        "steps_per_call": 5,
    }
    options = {"hook_every": 5, "big": 2**20}
    data = toy.dataset(streams)
    whole = toy.run(tmp_path / "whole", toy.loop(**settings), data, **options)
    workdir = tmp_path / "killed"
    draw = random.Random(0)
    for _ in range(10):
        process = start(workdir, loop=settings, method={**options, "sleep": 0.1}, streams=streams)
        before = last_step(workdir)
        wait_for(lambda b=before: last_step(workdir) != b, process)
        time.sleep(draw.uniform(0.0, 0.6))
        process.kill()
        process.wait(120)
    finish(start(workdir, loop=settings, method=options, streams=streams), workdir)
    assert_finished_as(workdir, whole, tmp_path / "whole")


def test_sigterm_saves_and_exits_with_143(tmp_path):
    settings = {"steps": 400, "log_every": 1}
    process = start(tmp_path / "w", loop=settings, method=SLOW_STEPS)
    wait_for(lambda: last_step(tmp_path / "w") >= 3, process)
    process.send_signal(signal.SIGTERM)
    finish(process, tmp_path / "w", 143)
    (saved,) = (p for p in (tmp_path / "w" / "checkpoints").iterdir() if p.name.isdigit())
    assert int(saved.name) == last_step(tmp_path / "w") < 400
    assert f"stopped by SIGTERM after step {saved.name}" in (tmp_path / "w" / "log.txt").read_text()


def test_sigint_then_resume_equals_the_whole(tmp_path):
    whole = toy.run(tmp_path / "a", toy.loop(10), hook_every=1)
    calls: list[tuple[str, int]] = []
    method = toy.method(hook_every=1, calls=calls)

    def interrupting(state, dataset):
        if int(state.step) == 5:
            signal.raise_signal(signal.SIGINT)
        return method.hooks[0].run(state, dataset)

    stopping = method._replace(hooks=(method.hooks[0]._replace(run=interrupting),))
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted, match="SIGINT after step 5") as caught:
        toy.fit(
            stopping, toy.dataset(), toy.loop(10), tmp_path / "b", config=toy.config(toy.loop(10))
        )
    assert caught.value.exit_code == 130 and signal.getsignal(signal.SIGINT) is before
    again = toy.run(tmp_path / "b", toy.loop(10), hook_every=1)
    assert again.resumed_from == 5
    toy.assert_same_bits(whole.state, again.state)
    assert toy.records(tmp_path / "a") == toy.records(tmp_path / "b")


def test_a_second_signal_ends_at_once():
    code = (
        "import signal, time\n"
        "from gmkit.training.interrupts import Interrupts\n"
        "with Interrupts():\n"
        "    signal.raise_signal(signal.SIGTERM); print('still here', flush=True)\n"
        "    signal.raise_signal(signal.SIGTERM); print('never', flush=True)\n"
    )
    path = str(Path(gmkit.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == -signal.SIGTERM and done.stdout == "still here\n"


def test_a_signal_that_comes_too_late_is_delivered():
    # A shell starts background jobs with SIGINT ignored; the test brings its own handler.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts:
            signal.raise_signal(signal.SIGINT)
            assert interrupts.requested(1) == signal.SIGINT
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_leave_handlers_alone():
    before = signal.getsignal(signal.SIGTERM)
    found = []

    def enter():
        with Interrupts() as interrupts:
            found.append((signal.getsignal(signal.SIGTERM) is before, interrupts.requested(0)))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [(True, None)]


# ---------------------------------------------------------------- several processes


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def start_two(workdir: Path, **settings) -> list[subprocess.Popen]:
    """The toy on two processes with two devices each."""
    port = free_port()
    return [
        start(workdir, devices=2, distributed=f"127.0.0.1:{port},2,{i}", **settings)
        for i in range(2)
    ]


@pytest.mark.slow
@pytest.mark.multiproc
@pytest.mark.parametrize("streams", [False, True])
def test_two_processes_equal_one(tmp_path, streams):
    settings = {"steps": 8, "checkpoint_every_steps": 4, "eval_every": 4}
    whole = toy.run(tmp_path / "whole", toy.loop(**settings), toy.dataset(streams), hook_every=2)
    workdir = tmp_path / "two"
    for process in start_two(workdir, loop=settings, method={"hook_every": 2}, streams=streams):
        finish(process, workdir)
    with np.load(workdir / "final.npz") as final:
        for name, value in toy.leaves(whole.state).items():
            if value.dtype.kind != "V":  # npz does not know bfloat16
                np.testing.assert_allclose(final[name], value, atol=2e-6, err_msg=name)
    assert [r["step"] for r in toy.records(workdir)] == [
        r["step"] for r in toy.records(tmp_path / "whole")
    ]
    # A checkpoint of two processes goes on in one.
    longer = toy.loop(**{**settings, "steps": 12})
    assert toy.run(workdir, longer, toy.dataset(streams), hook_every=2).resumed_from == 8


@pytest.mark.slow
@pytest.mark.multiproc
def test_sigterm_to_one_process_stops_both_at_the_same_step(tmp_path):
    settings = {"steps": 1000, "log_every": 1}
    processes = start_two(tmp_path / "w", loop=settings, method={"hook_every": 1, "sleep": 0.05})
    wait_for(lambda: last_step(tmp_path / "w") >= 3, processes[0])
    processes[1].send_signal(signal.SIGTERM)
    for process in processes:
        finish(process, tmp_path / "w", 143)
    (saved,) = (p for p in (tmp_path / "w" / "checkpoints").iterdir() if p.name.isdigit())
    assert int(saved.name) < 1000


@pytest.mark.slow
@pytest.mark.multiproc
def test_a_refusal_reaches_every_process(tmp_path):
    toy.run(tmp_path / "w", toy.loop(4))
    processes = start_two(tmp_path / "w", loop={"steps": 2})
    for process in processes:
        finish(process, tmp_path / "w", 1)
    text = (tmp_path / "w" / "log.txt").read_text()
    assert "steps may only grow" in text and "process 0 refused" in text
