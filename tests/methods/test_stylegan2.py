"""StyleGAN2's training: closed forms of its parts, its beats, and one small run."""

import functools
import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gmkit import data
from gmkit.core import optim
from gmkit.methods import stylegan2 as room

STEPS = 18


def load_config(preset, **changes):
    path = Path(__file__).parents[2] / "configs" / "stylegan2.py"
    spec = importlib.util.spec_from_file_location("config_stylegan2", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config(preset)
    config.update_from_flattened_dict(changes)
    return config


# ---------------------------------------------------------------- parts


def test_the_average_has_its_half_life():
    assert float(room.ema_decay(32, 10.0)) == pytest.approx(0.997784, abs=1e-6)
    # With a ramp, 5 % of the 1000 images so far are a half-life of 50.
    assert float(room.ema_decay(50, 10.0, 0.05, 1000.0)) == pytest.approx(0.5)
    assert float(room.ema_decay(32, 10.0, 0.05, 0.0)) == 0.0


def test_lazy_regularisation_corrects_the_optimiser():
    """A step of Adam at lr c, with decays beta^c."""
    params, grads = {"w": jnp.asarray([1.0, -2.0])}, {"w": jnp.asarray([0.5, 4.0])}
    for every, c in ((4, 4 / 5), (16, 16 / 17)):
        settings = {"name": "adam", "learning_rate": 1e-2, "b1": 0.0, "b2": 0.99}
        found = room.optimizer(every, **settings)
        expected = optim.optimizer("adam", 1e-2 * c, b1=0.0, b2=0.99**c)
        states = found.init(params), expected.init(params)
        for scale in (1.0, 3.0):
            scaled = optax.tree.scale(scale, grads)
            one, first = found.update(scaled, states[0], params)
            two, second = expected.update(scaled, states[1], params)
            states = first, second
            np.testing.assert_allclose(one["w"], two["w"], rtol=1e-6)
        # The two steps a round takes in 5 / 4 of the updates move as far as one without.
        assert c * (1 + 1 / every) == pytest.approx(1.0)


def test_gradients_that_are_not_finite_are_replaced():
    tx = room.optimizer(4, name="sgd", learning_rate=5 / 4, b1=0.0, b2=0.99)
    grads = jnp.asarray([jnp.nan, jnp.inf, -jnp.inf, 2.0])
    moved, _ = tx.update(grads, tx.init(grads), grads)
    np.testing.assert_allclose(moved, [0.0, -1e5, 1e5, -2.0], rtol=1e-6)


def test_settings_are_checked():
    with pytest.raises(ValueError, match="generator_every=0"):
        room.Settings(8, generator_every=0)
    with pytest.raises(ValueError, match="augment='flip'"):
        room.Settings(8, augment="flip")
    with pytest.raises(ValueError, match="r1_gamma=-1"):
        room.Settings(8, r1_gamma=-1.0)


def test_data_that_do_not_fit_are_named():
    config = load_config("smoke", conditional=True)
    with pytest.raises(ValueError, match="power of two"):
        room.build(config, data.load("moons").spec)
    presets = ("default", "sprites", "cifar10", "paper256", "ffhq1024")
    configs = {name: load_config(name) for name in presets}
    assert configs["cifar10"].training.steps == 100_000_000 // 64
    assert configs["cifar10"].game.path_weight == 0.0
    assert configs["ffhq1024"].game.r1_gamma == 10.0
    with pytest.raises(ValueError, match="preset 'ffhq'"):
        load_config("ffhq")


# ---------------------------------------------------------------- a small run


#: What runs for a moment need not be fast: a third of the time to compile.
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


@functools.cache
def trained(**changes):
    """The method, and states and metrics of a few steps."""
    config = load_config("smoke", **changes)
    dataset = data.load("digits")
    method = room.build(config, dataset.spec)
    rows = np.arange(8).reshape(1, 8)
    batch = jax.tree.map(np.asarray, dataset.decode(dataset.train.gather(rows)))
    init = jax.jit(method.init, compiler_options=QUICK)
    state = init(jax.random.key(0), jax.tree.map(lambda x: x[0], batch))
    # Compiled ahead, so that a step of another shape or type could not run at all.
    step = jax.jit(method.step).lower(state, batch).compile(compiler_options=QUICK)
    states, metrics = [state], []
    for _ in range(STEPS):
        state, seen = step(state, batch)
        states.append(state)
        metrics.append(jax.tree.map(float, seen))
    return method, states, metrics


@pytest.mark.slow
def test_everything_moves_and_stays_finite_in_one_program():
    _, states, metrics = trained()
    assert all(np.isfinite(v) for seen in metrics for v in seen.values())
    for name in ("generator", "discriminator"):
        first, last = states[0].params[name], states[-1].params[name]
        assert all(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a != b).any()), first, last)))


def test_regularisation_has_its_beat():
    """Updates of a player so far: one a step, one more every k-th, from step 0 on."""
    _, states, metrics = trained()
    for t in (1, 4, 5, 16, 17):
        # Adam and its schedule both count.
        every = {
            name: {int(n) for _, n in optax.tree.get_all_with_path(state, "count")}
            for name, state in states[t].opt_state.items()
        }
        counts = {name: found.pop() for name, found in every.items() if len(found) == 1}
        assert counts == {
            "generator": t + 1 + (t - 1) // 4,
            "discriminator": t + 1 + (t - 1) // 16,
        }
    r1 = [seen["penalty/r1"] for seen in metrics]
    assert len(set(r1[:16])) == 1 and r1[16] != r1[15]
    lengths = [seen["path/average"] for seen in metrics]
    assert [t for t in range(1, STEPS) if lengths[t] != lengths[t - 1]] == [4, 8, 12, 16]


@pytest.mark.slow
def test_averages_follow():
    _, states, _ = trained()
    # The first step copies: no image was shown before it.
    same = jax.tree.map(
        lambda a, b: bool(jnp.allclose(a, b)),
        states[1].ema["generator"],
        states[1].params["generator"],
    )
    assert all(jax.tree.leaves(same))
    w_avg = states[1].variables["generator"]["stats"]["mapping"]["w_avg"]
    assert float(jnp.abs(w_avg).max()) > 0
    noise = [s.variables["generator"]["noise"] for s in states[:2]]
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a == b).all()), *noise)))


def test_decoded_latents_and_samples(key):
    method, states, _ = trained()
    z = jax.random.normal(key, (3, 4))
    jit = functools.partial(jax.jit, compiler_options=QUICK)
    x = jit(method.decode)(states[-1], z)
    assert x.shape == (3, 8, 8, 1)
    drawn = jit(method.sample, static_argnums=2)(states[-1], key, 5)
    assert drawn.shape == (5, 8, 8, 1) and float(jnp.abs(drawn).max()) <= 1.0


@pytest.mark.slow
def test_labels_and_augmentations(key):
    changes = {
        "conditional": True,
        "augment.augment": "bgc",
        "augment.augment_p": 0.5,
        "augment.augment_target": 0.6,
    }
    method, states, metrics = trained(**changes)
    assert all(np.isfinite(v) for seen in metrics for v in seen.values())
    moved = [abs(seen["augment/p"] - 0.5) for seen in metrics[:4]]
    np.testing.assert_allclose(moved, [0, 0, 0, 4 * 8 / 500_000], rtol=1e-2)
    z = jnp.concatenate(
        [jax.random.normal(key, (2, 4)), jax.nn.one_hot(jnp.asarray([1, 7]), 10)], 1
    )
    assert method.decode(states[-1], z).shape == (2, 8, 8, 1)
