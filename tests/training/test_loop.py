"""Exact resume, schedules, records and refusals of the training loop."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from gmkit.core import parallel
from gmkit.training import LoopConfig, NonFiniteError, UsageError, restore
from gmkit.training.feed import Call, local_rows, prefetch, schedule


@pytest.mark.parametrize(
    ("settings", "streams"),
    [
        ({}, False),
        ({"steps_per_call": 5}, False),
        ({}, True),
        ({"steps_per_call": 5}, True),
        ({"strategy": "pmap"}, False),
        ({"strategy": "jax_pmap"}, False),
        ({"fsdp": True}, False),
    ],
    ids=["jit", "scan5", "stream", "stream-scan5", "pmap", "jax_pmap", "fsdp"],
)
def test_two_halves_equal_the_whole(tmp_path, settings, streams):
    data = toy.dataset(streams)
    options = {"hook_every": 5, "width": 1024 if settings.get("fsdp") else 8}
    whole = toy.run(tmp_path / "a", toy.loop(20, eval_every=5, **settings), data, **options)
    half = toy.loop(10, eval_every=5, **settings)
    assert toy.run(tmp_path / "b", half, data, **options).resumed_from is None
    again = toy.run(tmp_path / "b", dataclasses.replace(half, steps=20), data, **options)
    assert again.resumed_from == 10 and again.step == whole.step == 20
    toy.assert_same_bits(whole.state, again.state)
    assert toy.records(tmp_path / "a") == toy.records(tmp_path / "b")
    assert again.seconds > 0 and again.compile_seconds > 0


def test_strategies_and_feeds_agree(tmp_path):
    reference = toy.run(tmp_path / "jit", toy.loop())
    for name, settings, streams in [
        ("pmap", {"strategy": "pmap"}, False),
        ("jax_pmap", {"strategy": "jax_pmap"}, False),
        ("vmap", {"strategy": "vmap"}, False),
        ("scan", {"steps_per_call": 4}, False),
        ("one", {"devices": 1}, False),
        ("stream", {}, True),
        ("stream-pmap", {"strategy": "pmap"}, True),
        ("host", {"on_device_data": False, "steps_per_call": 4}, False),
    ]:
        result = toy.run(tmp_path / name, toy.loop(**settings), toy.dataset(streams))
        ours, theirs = result.state.params["net"], reference.state.params["net"]
        for leaf in ours:
            np.testing.assert_allclose(
                ours[leaf], theirs[leaf], atol=2e-6, err_msg=f"{name} {leaf}"
            )


def test_resume_on_fewer_devices(tmp_path):
    whole = toy.run(tmp_path / "a", toy.loop(8))
    toy.run(tmp_path / "b", toy.loop(4))
    again = toy.run(tmp_path / "b", toy.loop(8, devices=2))
    assert len(again.state.step.sharding.device_set) == 2
    for name, leaf in again.state.params["net"].items():
        np.testing.assert_allclose(leaf, whole.state.params["net"][name], atol=2e-6)


def test_every_epoch_sees_every_row_once(tmp_path):
    seen = []
    data = toy.dataset(streams=True, n=48)
    gather = data.train.gather
    data.train.gather = lambda rows: (seen.append(rows), gather(rows))[1]
    toy.run(tmp_path, toy.loop(6), data)  # 6 steps x 2 batches x 8 rows = 2 epochs
    rows = np.concatenate([r.reshape(-1) for r in seen[1:]])  # the first call is init's
    assert sorted(rows[:48]) == list(range(48)) and sorted(rows[48:]) == list(range(48))
    assert list(rows[:48]) != list(rows[48:])


def test_one_trace_and_one_more_for_the_rest(tmp_path):
    traces: list[str] = []
    toy.run(tmp_path / "a", toy.loop(6), traces=traces)
    per_compile = len(traces)  # scan and grad may visit the step's body more than once
    assert per_compile == 1
    toy.run(tmp_path / "a", toy.loop(6), traces=traces)
    assert len(traces) == 1, "a finished run compiles nothing"
    traces.clear()
    result = toy.run(tmp_path / "b", toy.loop(13, steps_per_call=5), traces=traces)
    assert len(traces) == 2 and int(result.state.step) == 13


def test_schedule_is_aligned():
    assert list(schedule(0, 12, 5)) == [Call(0, 5), Call(5, 5), Call(10, 1), Call(11, 1)]
    assert list(schedule(3, 10, 5)) == [Call(3, 1), Call(4, 1), Call(5, 5)]
    assert list(schedule(7, 7, 5)) == []


def test_prefetch_keeps_order_and_passes_errors_on():
    calls = [Call(i, 1) for i in range(6)]
    assert [x for _, x in prefetch(lambda call: call.step**2, calls)] == [0, 1, 4, 9, 16, 25]

    def load(call):
        if call.step == 3:
            raise OSError("disk gone")
        return call.step

    taken = []
    with pytest.raises(OSError, match="disk gone"):
        for _, x in prefetch(load, calls):
            taken.append(x)
    assert taken == [0, 1, 2]


def test_local_rows_are_all_rows_in_one_process():
    mesh = parallel.make_mesh()
    np.testing.assert_array_equal(local_rows(mesh, 8), np.arange(8))


def test_intervals_that_do_not_fit_the_call(tmp_path):
    calls: list[tuple[str, int]] = []
    settings = toy.loop(20, steps_per_call=4, log_every=5, eval_every=6)
    toy.run(tmp_path, settings, calls=calls)
    # The first end of a call at or after 6, 12, 18 and 5, 10, 15, 20.
    assert [step for _, step in calls] == [8, 12, 20]
    logged = [r["step"] for r in toy.records(tmp_path) if "loss" in r]
    assert logged == [8, 12, 16, 20]


def test_hooks_and_evaluations_repeat_after_resume(tmp_path):
    whole: list[tuple[str, int]] = []
    toy.run(tmp_path / "a", toy.loop(12, eval_every=4), hook_every=3, calls=whole)
    parts: list[tuple[str, int]] = []
    toy.run(tmp_path / "b", toy.loop(6, eval_every=4), hook_every=3, calls=parts)
    toy.run(tmp_path / "b", toy.loop(12, eval_every=4), hook_every=3, calls=parts)
    assert whole == parts
    assert [s for kind, s in whole if kind == "hook"] == [3, 6, 9, 12]
    assert [s for kind, s in whole if kind == "evaluate"] == [4, 8, 12]


def test_non_finite_metric_stops_and_is_not_saved(tmp_path):
    settings = toy.loop(20, checkpoint_every_steps=4)
    with pytest.raises(NonFiniteError, match=r"step \d+: metric 'loss' is nan.*step 4") as caught:
        toy.run(tmp_path, settings, blow_up_at=5)
    assert caught.value.step in (6, 8) and caught.value.checkpoint == 4
    last = toy.records(tmp_path)[-1]
    assert last["loss"] is None and last["nonfinite"] == ["loss"]
    _, step = restore(toy.method(), toy.dataset(), settings, tmp_path)
    assert step == 4


def test_non_finite_parameter_is_not_saved(tmp_path):
    settings = toy.loop(4, log_every=50, checkpoint_every_steps=2)
    with pytest.raises(NonFiniteError, match=r"step 4: state\.\w+\['net'\]\['b'\].*step 2"):
        toy.run(tmp_path, settings, poison_at=3)
    _, step = restore(toy.method(), toy.dataset(), settings, tmp_path)
    assert step == 2


def test_non_finite_in_the_first_call(tmp_path):
    with pytest.raises(NonFiniteError, match="none yet"):
        toy.run(tmp_path, toy.loop(4, log_every=1), blow_up_at=0)


@pytest.mark.slow
def test_debug_nans_stops_in_the_step(tmp_path):
    result = toy.run(tmp_path / "a", toy.loop(2, debug_nans=True))
    assert result.step == 2
    with pytest.raises(FloatingPointError):
        toy.run(tmp_path / "b", toy.loop(4, debug_nans=True), blow_up_at=1)


def test_keeps_the_last_and_the_best(tmp_path):
    settings = toy.loop(12, eval_every=2, keep_last=2, best_metric="distance")
    toy.run(tmp_path, settings)
    kept = sorted(int(p.name) for p in (tmp_path / "checkpoints").iterdir() if p.name.isdigit())
    assert kept == [4, 10, 12]


def test_best_metric_must_be_evaluated(tmp_path):
    with pytest.raises(UsageError, match=r"best_metric=fid.*accuracy, distance"):
        toy.run(tmp_path, toy.loop(4, eval_every=2, best_metric="fid"))


def test_restore_for_evaluation(tmp_path):
    with pytest.raises(UsageError, match="no checkpoint"):
        restore(toy.method(), toy.dataset(), toy.loop(), tmp_path / "nothing")
    result = toy.run(tmp_path, toy.loop(4))
    state, step = restore(toy.method(), toy.dataset(), toy.loop(), tmp_path)
    assert step == 4
    toy.assert_same_bits(state, result.state)
    with pytest.raises(UsageError, match=r"shape.*\[8\].*\[9\]"):
        restore(toy.method(width=9), toy.dataset(), toy.loop(), tmp_path)


def test_another_dtype_is_refused(tmp_path):
    toy.run(tmp_path, toy.loop(2))
    with pytest.raises(UsageError, match="float32, this run needs bfloat16"):
        restore(toy.method(dtype=jnp.bfloat16), toy.dataset(), toy.loop(), tmp_path)


def test_a_step_that_does_not_count_is_refused(tmp_path):
    method = toy.method()

    def step(state, batch):
        new, metrics = method.step(state, batch)
        return new.replace(step=state.step), metrics

    with pytest.raises(ValueError, match="finish_step"):
        settings = toy.loop(2)
        toy.fit(
            method._replace(step=step),
            toy.dataset(),
            settings,
            tmp_path,
            config=toy.config(settings),
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, r"training\.steps=0: must be an integer of at least 1"),
        ({"log_every": 2.5}, r"training\.log_every=2\.5"),
        ({"seed": 2**31}, r"training\.seed"),
        ({"batch_size": 64}, r"training\.batch_size=64: the training set has 50"),
        ({"batch_size": 6}, r"training\.batch_size=6: must divide over 4 devices, for example 8"),
        ({"strategy": "dp"}, r"training\.strategy=dp: choose jit, pmap"),
        ({"devices": 9}, r"training\.devices=9: this machine has 4"),
        ({"best_metric": "fid"}, r"training\.best_metric=fid: needs training\.eval_every"),
        ({"best_mode": "best"}, r"training\.best_mode=best"),
        ({"fsdp": True, "strategy": "pmap"}, r"training\.fsdp=True: .*use jit"),
        ({"strategy": "jax_pmap", "steps_per_call": 2}, r"training\.steps_per_call=2"),
        ({"strategy": "jax_pmap", "on_device_data": True}, r"training\.on_device_data"),
        ({"steps_per_call": 3}, r"training\.steps_per_call=3: toy works between steps, every 4"),
        ({"keep_last": 0}, r"training\.keep_last=0"),
        ({"checkpoint_every_seconds": float("nan")}, r"training\.checkpoint_every_seconds=nan"),
    ],
)
def test_refused_settings_name_field_value_and_fix(settings, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        toy.run(tmp_path / "w", toy.loop(**settings), hook_every=4)
    assert not (tmp_path / "w").exists()


def test_streaming_data_cannot_be_resident(tmp_path):
    with pytest.raises(UsageError, match="on_device_data"):
        toy.run(tmp_path, toy.loop(on_device_data=True), toy.dataset(streams=True))


def test_steps_per_call_is_chosen_to_hit_all_intervals(monkeypatch):
    settings = LoopConfig(steps=100, batch_size=8, log_every=50, eval_every=20)
    assert settings.choose_steps_per_call(toy.method()) == 1  # CPU
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert settings.choose_steps_per_call(toy.method()) == 10
    assert settings.choose_steps_per_call(toy.method(hook_every=4)) == 2
    assert settings.choose_steps_per_call(toy.method(hook_every=7)) == 1
    assert dataclasses.replace(settings, steps_per_call=3).choose_steps_per_call(toy.method()) == 3
