"""The generalized energy-based model: its schedule, its log-partition, its effect."""

import dataclasses
import importlib.util
import itertools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gmkit import data, evaluation, nets
from gmkit.core import Domain, Method, optim, parallel
from gmkit.methods import gebm as room
from gmkit.methods.gebm import GEBM, LearningRateRule, Protocol, Settings, gebm, refine
from gmkit.samplers import LatentSampler


def load_config(name):
    path = Path(__file__).parents[2] / "configs" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"config_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SIR = LatentSampler("sir", pool=10)


def pixels(dataset):
    return evaluation.pixel_features(dataset.spec.domain.dim)


@pytest.fixture(scope="module")
def line():
    return data.load("skewed_line", n_train=2000, n_test=2000)


def small(settings, lr_rule=None, floor=None, schedules=None, others=()):
    """A tiny model of the skewed line."""
    base = nets.network_decoder(nets.generator("affine", (2,), 1), 1)
    energy = nets.energy("mlp", (2,), 16, spectral_norm=False)
    txs = {name: optim.optimizer("adam", 1e-3) for name in ("base", "energy")}
    txs["log_z"] = optax.sgd(1.0)
    compared = (SIR, LatentSampler("mala", step=0.1, n_steps=40), *others)
    protocol = Protocol(pixels, 400, compared)
    model = GEBM(base, energy, floor)
    return gebm(model, txs, settings, protocol, "x", schedules, lr_rule)


def batches(method, dataset, step, size=32):
    rows = data.host_indices(0, step, method.batches_per_step, size, len(dataset.train))
    return dataset.decode(dataset.train.gather(rows))


def run(method, dataset, steps, seen=()):
    example = jax.tree.map(lambda x: x[0], batches(method, dataset, 0))
    state = jax.jit(method.init)(jax.random.key(0), example)
    step = jax.jit(method.step)
    history = []
    for t in range(steps):
        state, metrics = step(state, batches(method, dataset, t))
        history.append([float(metrics[name]) for name in seen])
    return state, history


def test_warm_ups_come_first_second_and_every_so_often(line):
    """n_critic 2 and 6 in warm-ups: three calls for base steps 1, 2, 5, one for 3, 4, 6."""
    settings = Settings(n_critic=2, n_critic_warmup=6, warmup_every=5, log_z_init_batches=1)
    _, history = run(small(settings), line, 12, seen=("base_step",))
    assert [int(h[0]) for h in history] == [0, 0, 1, 1, 1, 2, 3, 4, 4, 4, 5, 6]


@pytest.mark.parametrize("mode", ["base", "energy"])
def test_train_mode_freezes_the_other_network(line, mode):
    method = small(Settings(train_mode=mode, warmup_every=0, log_z_init_batches=1))
    start, _ = run(method, line, 0)
    end, _ = run(method, line, 2)
    other = {"base": "energy", "energy": "base"}[mode]
    same = lambda name: all(
        jax.tree.leaves(
            jax.tree.map(lambda a, b: bool((a == b).all()), start.params[name], end.params[name])
        )
    )
    assert same(other) and not same(mode)
    assert other not in end.opt_state


@pytest.mark.parametrize("rule", ["fixed_point", "batch", "adam"])
def test_log_partition_follows_the_energy(line, rule):
    """From an offset of 3 nats c comes back to the batch estimate (here all by plain descent)."""
    method = small(Settings(log_z_update=rule, warmup_every=0, log_z_init_batches=10))
    example = jax.tree.map(lambda x: x[0], batches(method, line, 0))
    state = method.init(jax.random.key(0), example)
    state = state.replace(params={**state.params, "log_z": state.params["log_z"] + 3.0})
    step = jax.jit(method.step)
    for t in range(40):
        state, metrics = step(state, batches(method, line, t))
    gap = float(abs(metrics["log_z/learned"] - metrics["log_z/batch"]))
    assert gap < 0.2


def test_energy_floor_is_counted(line):
    method = small(Settings(warmup_every=0, log_z_init_batches=1), floor=1e3)
    _, history = run(method, line, 1, seen=("energy/clamped_data", "energy/clamped_base"))
    assert history == [[1.0, 1.0]]


@pytest.mark.slow
def test_any_generator_can_be_refined(line):
    """A fixed Gaussian on the line, wrongly balanced: the energy shifts its mass."""
    decode = lambda z: 2.5 * jnp.concatenate([z, z / 2.0], axis=1)
    energy = nets.energy("mlp", (2,), 64, spectral_norm=False)
    protocol = Protocol(pixels, 2000, (LatentSampler("sir", pool=20),))
    method = refine(
        decode, 1, energy, optim.optimizer("adam", 2e-3, b1=0.5), protocol, "x", penalty_weight=0.01
    )
    state, _ = run(method, line, 300)
    metrics = method.evaluate(state, line, jax.random.key(1)).metrics
    assert metrics["w1_gebm"] < 0.5 * metrics["w1_base"]
    assert metrics["kale_test"] > 0.2


def test_evaluation_has_the_promised_numbers(line):
    method = small(Settings(warmup_every=0, log_z_init_batches=1))
    state, _ = run(method, line, 2)
    found = method.evaluate(state, line, jax.random.key(1))
    promised = {"fd_base", "fd_gebm", "kale_train", "kale_test", "log_z"}
    assert promised <= set(found.metrics)
    assert found.metrics["fd_gebm"] == found.metrics["fd_gebm[pixel-2d;400x400]"]
    assert all(isinstance(v, float) for v in found.metrics.values())
    assert found.provenance["feature"] == "pixel"
    assert found.provenance["n_generated"] == 400
    names = [row["samples"] for row in found.tables["samplers"]]
    assert names == ["test_data", "base", "gebm", "mala"]
    pictures = method.figures(state, line, jax.random.key(2))
    assert set(pictures) == {"samples", "landscape", "energies"}


def test_learning_rate_rule_lowers_the_rates_when_the_base_stands_still(line):
    """A base that does not move cannot get closer: after window + patience checks, once."""
    rule = LearningRateRule(every=1, window=2, patience=3, n_samples=64)
    settings = Settings(train_mode="energy", warmup_every=0, log_z_init_batches=1)
    method = small(settings, rule)
    state, _ = run(method, line, 0)
    (hook,) = method.hooks
    assert hook.every == 1
    factors = []
    for t in range(12):
        state, metrics = hook.run(state.replace(step=jnp.int32(t)), line)
        factors.append(round(float(state.memory["lr_factor"]), 3))
        assert 0.0 <= float(metrics.get("lr_rule/p_value", 0.0)) <= 1.0
    assert factors[:2] == [1.0, 1.0]
    assert factors[-1] < 1.0
    changes = [t for t in range(1, 12) if factors[t] != factors[t - 1]]
    assert all(b - a >= 6 for a, b in itertools.pairwise(changes))


def test_settings_name_the_mistake():
    for options, message in [
        ({"criterion": "jsd"}, "criterion='jsd'"),
        ({"criterion": "cd", "weighting": "learned_c"}, "weighting='learned_c'"),
        ({"n_critic": 7}, "n_critic=7"),
        ({"criterion": "cd", "chain": LatentSampler("dot")}, "'dot' only descends"),
    ]:
        with pytest.raises(ValueError, match=message):
            Settings(**options)
    assert set(room.__all__) >= {"build", "gebm", "refine"}


def test_schedules_follow_base_steps_not_calls(line):
    """Warm-up calls of the energy must not bring the decay forward."""
    settings = Settings(n_critic=2, n_critic_warmup=6, warmup_every=5, log_z_init_batches=1)
    assert [settings.base_steps(n) for n in (2, 3, 6, 7, 8, 10, 11)] == [0, 1, 2, 3, 4, 4, 5]
    halved = {name: lambda t: jnp.where(t < 3, 1.0, 0.5) for name in ("base", "energy")}
    _, history = run(small(settings, schedules=halved), line, 9, seen=("base_step", "lr_factor"))
    assert [h[1] for h in history] == [1.0] * 7 + [0.5] * 2
    assert [h[0] for h in history[6:]] == [3.0, 4.0, 4.0]


def test_samples_are_drawn_in_chunks(line, monkeypatch):
    monkeypatch.setattr(room.model, "CHUNK", 30)
    method = small(Settings(warmup_every=0, log_z_init_batches=1))
    state, _ = run(method, line, 0)
    x = jax.jit(method.sample, static_argnums=2)(state, jax.random.key(0), 100)
    assert x.shape == (100, 2)
    assert len(np.unique(np.asarray(x[:, 0]))) > 30


def test_chains_that_diverge_do_not_end_the_evaluation(line):
    wild = LatentSampler("ula", step=1e18, n_steps=40)
    method = small(Settings(warmup_every=0, log_z_init_batches=1), others=(wild,))
    state, _ = run(method, line, 0)
    found = method.evaluate(state, line, jax.random.key(1))
    rows = {row["samples"]: row for row in found.tables["samplers"]}
    assert rows["ula"]["invalid"] == 1.0 and rows["gebm"]["invalid"] == 0.0
    assert "fd_gebm" in found.metrics and "fd_ula" not in str(found.metrics)


TABLES = load_config("gebm").TABLES


@pytest.mark.parametrize("preset", sorted(set(load_config("gebm").PRESETS)))
def test_presets_are_sound(preset):
    """No two fields share a dictionary, and what can be built here is."""
    config = load_config("gebm").get_config(preset)
    seen = []

    def walk(node):
        seen.append(id(node))
        for value in node.values():
            if hasattr(value, "items"):
                walk(value)

    walk(config)
    assert len(seen) == len(set(seen))
    vectors = preset in ("toy", "flow_base", *TABLES)
    if vectors:
        spec = data.DataSpec(preset, Domain("reals", (2,)), (-1.0, 1.0), 0, "vector")
    else:
        shape = (32, 32, 3) if config.data.image_size else (28, 28, 1)
        spec = data.DataSpec(preset, Domain("integers", shape, 256), (-1.0, 1.0), 10, "image")
    # Those wait for a trained stage.
    if preset not in ("refine", "flow_base"):
        assert isinstance(room.build(config, spec), Method)


def test_mistakes_are_found_before_training():
    config = load_config("gebm").get_config("default")
    spec = data.load("digits").spec
    unlabelled = dataclasses.replace(spec, n_classes=0)
    for field, value, of, message in [
        ("eval.features", "inception", spec, "inception_path"),
        ("eval.features", "jpeg", spec, "jpeg"),
        ("eval.features", "auto", unlabelled, "no labels"),
        ("eval.features", "classifier", unlabelled, "labels"),
        ("eval.n_samples", 3, spec, "n_samples=3"),
        ("samplers.hmc.n_leap", 0, spec, "n_leap=0"),
        ("sampler", "nuts", spec, "nuts"),
        ("cd.sampler", "nuts", spec, "nuts"),
        ("energy.arch", "vit", spec, "vit"),
    ]:
        wrong = config.copy_and_resolve_references()
        wrong.update_from_flattened_dict({field: value})
        with pytest.raises(ValueError, match=message):
            room.build(wrong, of)


@pytest.mark.slow
@pytest.mark.parametrize("penalty", [0.01, 0.1])
def test_skewed_line(penalty):
    """The base finds the line, the energy the mass: section 9 of the reproduction notes."""
    line = data.load("skewed_line", n_train=20_000, n_test=20_000)
    steps = 4000
    base = nets.network_decoder(nets.generator("affine", (2,), 1), 1)
    energy = nets.energy("mlp", (2,), 64, spectral_norm=False)
    txs = {}
    for name, repeats in (("base", 1), ("energy", 5)):
        rate = optim.learning_rate_schedule("cosine", 1e-3, steps * repeats)
        txs[name] = optim.optimizer("adam", rate, b1=0.5)
    txs["log_z"] = optax.sgd(1.0)
    mala = LatentSampler("mala", step=0.05, n_steps=2000)
    protocol = Protocol(pixels, 10_000, (LatentSampler("sir", pool=10), mala))
    settings = Settings(penalty_weight=penalty, warmup_every=0)
    method = gebm(GEBM(base, energy, None), txs, settings, protocol, "x")
    mesh = parallel.make_mesh(1)

    def fetch(rows, t):
        chosen = data.indices(0, t, 5, 256, len(line.train))
        return line.decode(jax.tree.map(lambda a: a[chosen], rows))

    state = parallel.init_state(method.init, mesh, jax.random.key(0), line.examples("train", 256))
    train = parallel.compile_step(method.step, mesh, fetch=fetch, steps_per_call=100)
    rows = parallel.put_replicated(line.train.arrays, mesh)
    for _ in range(steps // 100):
        state, _ = train(state, rows)

    found = method.evaluate(state, line, jax.random.key(1))
    metrics = found.metrics
    assert metrics["w1_gebm"] <= 0.35
    assert metrics["w1_gebm"] <= 0.5 * metrics["w1_base"]
    by_mala = {row["samples"]: row for row in found.tables["samplers"]}["mala"]["w1"]
    assert abs(metrics["w1_gebm"] - by_mala) <= 0.15
    x = np.asarray(jax.jit(method.sample, static_argnums=2)(state, jax.random.key(2), 10_000))
    assert abs((x[:, 0] < 0).mean() - 0.7) <= 0.05
    off_line = np.abs(x @ np.array([0.5, -1.0])) / np.sqrt(1.25)
    assert off_line.mean() < 0.02
