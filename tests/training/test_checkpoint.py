"""Fingerprints, and restoring the newest checkpoint that verifies."""

from __future__ import annotations

import logging
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
from jax.sharding import NamedSharding, PartitionSpec

from gmkit.core import parallel
from gmkit.training import Checkpointer, UsageError, fingerprint


def abstract(state):
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
    )


@pytest.fixture
def mesh():
    return parallel.make_mesh()


@pytest.fixture
def state(mesh):
    """Every kind of leaf there is, on four devices."""
    tree = {
        "f32": jnp.arange(2000, dtype=jnp.float32).reshape(50, 40),
        "bf16": jnp.linspace(-1, 1, 7).astype(jnp.bfloat16),
        "i8": jnp.array([-128, 0, 127], jnp.int8),
        "u32": jnp.array([0, 2**32 - 1], jnp.uint32),
        "bool": jnp.array([True, False, True]),
        "complex": jnp.array([1 + 2j, -3j], jnp.complex64),
        "scalar": jnp.float32(0.1),
        "empty": jnp.zeros((0, 3)),
        "key": jax.random.key(3),
        "keys": jax.random.split(jax.random.key(3), 5),
        "none": None,
        "nothing": {},
    }
    return parallel.put_replicated(tree, mesh)


def save(directory, *states, **options):
    with Checkpointer(directory, **options) as checkpointer:
        for i, state in enumerate(states):
            checkpointer.save(10 * (i + 1), state, {"time": i})


def restored(directory, target, **options):
    with Checkpointer(directory, writing=False) as checkpointer:
        return checkpointer.restore_latest_valid(target, **options)


def test_every_kind_of_leaf_round_trips(tmp_path, state):
    save(tmp_path / "c", state)
    found = restored(tmp_path / "c", abstract(state))
    assert found.step == 10 and found.meta == {"time": 0}
    toy.assert_same_bits(found.state, state)
    assert jax.tree.structure(found.state) == jax.tree.structure(state)


def test_fingerprint_notices_any_change_of_one_element(state):
    before = fingerprint(state)
    assert before == fingerprint(state) and before["['empty']"] == 0
    assert all(0 <= value < 2**32 for value in before.values())
    for name, change in {
        "f32": lambda x: x.at[49, 39].set(jnp.nextafter(x[49, 39], jnp.inf)),
        "bf16": lambda x: x.at[3].set(-x[3] + 1),
        "i8": lambda x: x.at[0].add(1),
        "u32": lambda x: x.at[1].add(1),
        "bool": lambda x: x.at[1].set(True),
        "complex": lambda x: x.at[1].multiply(-1),
        "scalar": lambda x: -x,
        "keys": lambda x: x[::-1],
    }.items():
        after = fingerprint({**state, name: change(state[name])})
        assert [k for k in before if before[k] != after[k]] == [f"['{name}']"]


def test_fingerprint_notices_signed_zero_nan_and_swaps():
    def value(*x):
        return fingerprint(jnp.array(x, jnp.float32))[""]

    assert value(0.0, 1.0) != value(-0.0, 1.0)
    assert value(1.0, 2.0) != value(2.0, 1.0)
    assert value(1.0, 2.0) != value(-1.0, -2.0), "two top bits would cancel in a weighted sum"
    assert value(np.nan) == value(np.nan) != value(0.0)


def test_fingerprint_is_that_of_the_definition_and_of_any_layout(mesh):
    x = np.random.default_rng(0).normal(size=(8, 12)).astype(np.float32)
    expected = 0
    for position, word in enumerate(x.view(np.uint32).reshape(-1).tolist()):
        word = (word + position * 0x9E3779B9) % 2**32
        word = (word ^ (word >> 16)) * 0x7FEB352D % 2**32
        word = (word ^ (word >> 15)) * 0x846CA68B % 2**32
        expected = (expected + (word ^ (word >> 16))) % 2**32
    for spec in (PartitionSpec(), PartitionSpec("data"), PartitionSpec(None, "data")):
        assert fingerprint(jax.device_put(x, NamedSharding(mesh, spec))) == {"": expected}


def corrupt(directory, step):
    """Flips bytes inside the array data of one checkpoint."""
    data = max((directory / str(step) / "state").rglob("d/*"), key=lambda p: p.stat().st_size)
    raw = bytearray(data.read_bytes())
    for place in range(len(raw) // 2, len(raw) // 2 + 8):
        raw[place] ^= 0x10
    data.write_bytes(raw)


def test_damaged_data_fall_back_and_say_so(tmp_path, mesh, caplog):
    """Incompressible data: orbax alone restores some of these without a word."""
    x = jax.random.normal(jax.random.key(0), (64, 64))
    first, second = (parallel.put_replicated({"x": c * x}, mesh) for c in (1.0, 2.0))
    directory = tmp_path / "c"
    save(directory, first, second)
    corrupt(directory, 20)
    with caplog.at_level(logging.WARNING):
        found = restored(directory, abstract(first))
    assert found.step == 10
    toy.assert_same_bits(found.state, first)
    lines = [r.getMessage() for r in caplog.records if "checkpoint 20" in r.getMessage()]
    assert len(lines) == 1 and "trying an older one" in lines[0] and "\n" not in lines[0]


def test_a_wrong_fingerprint_is_noticed(tmp_path, state, caplog):
    save(tmp_path / "c", state, state)
    record = tmp_path / "c" / "20" / "meta" / "metadata"
    record.write_text(record.read_text().replace('"fingerprint": ', '"fingerprint": 1'))
    found = restored(tmp_path / "c", abstract(state))
    assert found.step == 10 and "differ from the fingerprint" in caplog.text


@pytest.mark.parametrize("how", ["empty directory", "no arrays", "no record", "garbage record"])
def test_incomplete_checkpoints_are_passed_over(tmp_path, state, how):
    directory = tmp_path / "c"
    save(directory, state, state)
    broken = directory / "20"
    if how == "empty directory":
        shutil.rmtree(broken)
        broken.mkdir()
    elif how == "no arrays":
        shutil.rmtree(broken / "state")
    elif how == "no record":
        shutil.rmtree(broken / "meta")
    else:
        (broken / "meta" / "metadata").write_bytes(b"\xff\x00 no json")
    assert restored(directory, abstract(state)).step == 10


def test_orphans_of_killed_saves_do_not_matter(tmp_path, state):
    directory = tmp_path / "c"
    save(directory, state)
    (directory / "20.orbax-checkpoint-tmp").mkdir()
    assert restored(directory, abstract(state)).step == 10
    with Checkpointer(directory) as checkpointer:
        checkpointer.save(20, state)
        checkpointer.wait()
        assert checkpointer.steps() == [10, 20]
    assert not list(directory.glob("*tmp*"))


def test_rejected_checkpoints_are_set_aside_so_that_their_steps_can_be_saved(tmp_path, state):
    directory = tmp_path / "c"
    for _ in range(2):
        save(directory, state, state) if not directory.exists() else None
        (directory / "20" / "meta" / "metadata").write_text("{}")
        with Checkpointer(directory) as checkpointer:
            found = checkpointer.restore_latest_valid(abstract(state), set_aside=True)
            assert found.step == 10 and checkpointer.steps() == [10]
            checkpointer.save(20, state)
    assert {p.name for p in directory.iterdir()} >= {"10", "20", "rejected-20", "rejected-20-1"}


def test_none_valid_is_an_error_and_none_there_is_not(tmp_path, state):
    assert restored(tmp_path / "nothing", abstract(state)) is None
    save(tmp_path / "c", state)
    (tmp_path / "c" / "10" / "meta" / "metadata").write_text("{}")
    with pytest.raises(UsageError, match=r"none of the checkpoints \[10\]"):
        restored(tmp_path / "c", abstract(state))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: {**s, "f32": s["f32"].astype(jnp.float16)},
            "is float32, this run needs float16",
        ),
        (lambda s: {**s, "f32": s["f32"][:2]}, r"has shape \[50, 40\], this run needs \[2, 40\]"),
        (lambda s: {**s, "new": s["scalar"]}, "'new'.* is missing from it"),
        (lambda s: {k: v for k, v in s.items() if k != "i8"}, "'i8'.* is in it, but not in"),
    ],
)
def test_another_structure_is_named(tmp_path, state, change, message):
    save(tmp_path / "c", state)
    with pytest.raises(UsageError, match=message):
        restored(tmp_path / "c", abstract(change(state)))


def test_a_step_is_saved_once(tmp_path, state):
    with Checkpointer(tmp_path / "c") as checkpointer:
        checkpointer.save(10, state)
        with pytest.raises((RuntimeError, ValueError), match="10"):
            checkpointer.save(10, state)


@pytest.mark.parametrize(
    ("mode", "best", "kept"),
    [("min", 1, [20, 60, 70]), ("max", 2, [30, 50, 60, 70]), ("min", 0, [60, 70])],
)
def test_keeps_last_and_best(tmp_path, mesh, mode, best, kept):
    state = parallel.put_replicated({"x": jnp.ones(())}, mesh)
    values = [3.0, 1.0, 5.0, float("nan"), 4.0, None, 2.0]
    with Checkpointer(tmp_path / "c", 2, best, "fid", mode) as checkpointer:
        for i, value in enumerate(values):
            scores = None if value is None else {"fid": value, "other": -value}
            checkpointer.save(10 * (i + 1), state, metrics=scores)
        checkpointer.wait()
        assert checkpointer.steps() == kept
