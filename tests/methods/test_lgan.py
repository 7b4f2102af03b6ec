"""Lipschitz GANs: closed forms, what moves when, and critics that point where they should."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit import data, objectives
from gmkit.core import Domain, Method
from gmkit.methods import lgan as room
from gmkit.methods.lgan import theory
from gmkit.training import feed


def load_config(preset, **changes):
    path = Path(__file__).parents[2] / "configs" / "lgan.py"
    spec = importlib.util.spec_from_file_location("config_lgan", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if preset is None:
        return module
    config = module.get_config(preset)
    config.update_from_flattened_dict(changes)
    return config


def trained(config, steps, chunk=200):
    """Method, state, data set and the last metrics after so many steps."""
    dataset = data.load(config.data.name)
    method = room.build(config, dataset.spec)
    rows = {name: jnp.asarray(array) for name, array in dataset.train.arrays.items()}
    size, k = config.training.batch_size, method.batches_per_step

    def batch(t):
        index = data.indices(config.seed, t, k, size, len(dataset.train))
        return dataset.decode({name: array[index] for name, array in rows.items()})

    @jax.jit
    def many(state):
        return jax.lax.scan(lambda s, _: method.step(s, batch(s.step)), state, length=chunk)

    first = jax.tree.map(lambda x: x[0], batch(jnp.int32(0)))
    state = jax.jit(method.init)(jax.random.key(config.seed), first)
    for _ in range(steps // chunk):
        state, metrics = many(state)
    return method, state, dataset, jax.tree.map(lambda m: m[-1], metrics)


# ---------------------------------------------------------------- theory


@pytest.mark.parametrize(
    ("name", "slopes"),
    [
        ("x", (0.5, 2.5, 5.0, 10.0, 25.0)),
        ("exp", (0.48795, 1.65353, 1.91717, 1.74553, 1.21098)),
        ("log_sigmoid", (0.24845, 1.08197, 1.56754, 1.63351, 1.19626)),
        ("sqrt", (0.48781, 1.58103, 1.72949, 1.56828, 1.22845)),
    ],
)
def test_slopes_between_two_atoms(name, slopes):
    for distance, slope in zip((0.1, 0.5, 1.0, 2.0, 5.0), slopes, strict=True):
        score = theory.two_atom_score(objectives.PHI[name], 0.1, distance)
        assert 2.0 * score / distance == pytest.approx(slope, rel=1e-4)
    assert theory.wasserstein_slope(2.0, 0.5) == 2.0


def test_packing_joins_neighbours():
    x = jnp.arange(24.0).reshape(4, 3, 2)
    packed = room.pack(x, 2)
    assert packed.shape == (2, 3, 4)
    np.testing.assert_array_equal(packed[1, :, :2], x[2])
    np.testing.assert_array_equal(packed[1, :, 2:], x[3])
    np.testing.assert_array_equal(room.pack(x, 1), x)


# ---------------------------------------------------------------- training


@pytest.mark.slow
def test_two_atoms_reach_their_closed_form():
    config = load_config("toy", **{"data.name": "two_atoms", "objective": "exp"})
    config.update_from_flattened_dict({"lip.weight": 0.1, "critic.width": 64})
    config.training.steps = 1000
    method, state, dataset, _ = trained(config, 1000)
    found = method.evaluate(state, dataset, jax.random.key(0)).metrics
    assert found["k_theory"] == pytest.approx(1.74553, rel=1e-4)
    assert found["slope_mean"] == pytest.approx(found["k_theory"], rel=0.05)
    assert found["score_real"] == pytest.approx(found["score_theory"], rel=0.05)
    assert found["cos_transport_min"] > 0.999
    assert found["value"] == pytest.approx(found["critic_loss"] + 0.1 * found["k"] ** 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("objective", "weight"), [("x", 1.0), ("exp", 0.1), ("log_sigmoid", 0.1), ("sqrt", 0.1)]
)
def test_two_atoms_within_a_percent(objective, weight):
    changes = {"data.name": "two_atoms", "objective": objective, "lip.weight": weight}
    config = load_config("toy", **changes)
    config.training.steps = 4000
    method, state, dataset, _ = trained(config, 4000)
    found = method.evaluate(state, dataset, jax.random.key(0)).metrics
    assert found["slope_mean"] == pytest.approx(found["k_theory"], rel=0.01)
    assert found["cos_transport_min"] > 0.999


@pytest.mark.slow
def test_five_pairs_are_transported():
    """MaxGP points every fake at its partner; no control, or a mean penalty, does not."""
    metrics = {}
    for name, changes in {
        "max": {},
        "mean": {"lip.reduce": "mean", "lip.buffer": 0.0},
        "log_sigmoid": {"objective": "log_sigmoid", "lip.weight": 0.1},
        "none": {"objective": "lsgan", "lip.weight": 0.0},
    }.items():
        config = load_config("toy", **changes)
        method, state, dataset, _ = trained(config, 6000)
        metrics[name] = method.evaluate(state, dataset, jax.random.key(0)).metrics
    assert metrics["max"]["slope_mean"] == pytest.approx(0.26092, rel=0.03)
    assert metrics["max"]["cos_transport_min"] > 0.97
    assert metrics["max"]["slope_spread"] < 1.1 < 2.5 < metrics["mean"]["slope_spread"]
    assert metrics["log_sigmoid"]["cos_best_min"] > 0.95
    assert metrics["none"]["cos_transport_min"] < 0.5


def test_players_take_turns():
    """The critic moves `n_critic` times; the generator once, and its average follows it."""
    config = load_config("smoke")
    dataset = data.load("digits")
    batch = feed.init_batch(dataset, _loop(config))
    method = room.build(config, dataset.spec)
    state = jax.jit(method.init)(jax.random.key(0), batch)
    stack = jax.tree.map(lambda x: jnp.stack([x] * config.n_critic), batch)
    new, metrics = jax.jit(method.step)(state, stack)
    counts = {name: opt[1].count for name, opt in new.opt_state.items()}
    assert {name: int(c) for name, c in counts.items()} == {"critic": 2, "generator": 1}
    assert set(new.ema) == {"generator"}
    for name in ("critic", "generator"):
        moved = jax.tree.map(
            lambda a, b: bool((a != b).any()), new.params[name], state.params[name]
        )
        assert any(jax.tree.leaves(moved)), name
    assert new.memory["slopes"]["buffer"].shape == (2, 8, 8, 1)
    assert {"slope/max", "score/real", "score/fake", "penalty", "loss/generator"} <= set(metrics)


def _loop(config):
    from gmkit.training import LoopConfig

    return LoopConfig(**config.training.to_dict())


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize("preset", sorted(load_config(None).PRESETS))
def test_presets_are_sound(preset):
    config = load_config(preset)
    if preset in ("toy", "ring", "grid", "grid_gan", "grid_gan_gp"):
        spec = data.DataSpec(config.data.name, Domain("reals", (2,)), (-9.0, 9.0), 0, "vector")
    else:
        sizes = {"mnist": 28, "fashion_mnist": 28, "cifar10": 32, "tiny_imagenet": 32}
        side = sizes.get(preset, 8)
        domain = Domain("integers", (side, side, 3 if side == 32 else 1), 256)
        spec = data.DataSpec(config.data.name, domain, (-1.0, 1.0), 10, "image")
    name = config.data.name
    assert name in data.available() or name.endswith(".npz")
    method = room.build(config, spec)
    assert isinstance(method, Method)
    batch = {
        field: jax.ShapeDtypeStruct((config.training.batch_size, *spec.domain.shape), jnp.float32)
        for field in ("image" if spec.kind == "image" else "x", "fake")
    }
    state = jax.eval_shape(method.init, jax.random.key(0), batch)
    drawn = jax.eval_shape(lambda s, k: method.sample(s, k, 3), state, jax.random.key(0))
    assert drawn.shape == (3, *spec.domain.shape)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"objective": "nothing"}, "nothing"),
        ({"lip.kind": "two"}, "two"),
        ({"packing": 0}, "packing=0"),
        ({"packing": 3}, "batch_size=64"),
        ({"generator.arch": "data"}, "digits has no fakes"),
        ({"gain_weight": 1.0}, "trainable_gain"),
        ({"training.batch_size": 2}, "no point"),
        ({"n_critic": 0}, "n_critic=0"),
        ({"generator.prior": "cauchy"}, "cauchy"),
        ({"critic.arch": "vit"}, "vit"),
        ({"eval.n_samples": 3}, "n_samples=3"),
    ],
)
def test_mistakes_are_found_before_training(changes, words):
    with pytest.raises(ValueError, match=words):
        room.build(load_config("default", **changes), data.load("digits").spec)


# ---------------------------------------------------------------- dynamics


def dirac(weight, kind, reduce, n_critic=200, steps=40):
    """|theta| after every step of a generator that is one point, against data at 0.

    The generator takes plain gradient steps of rate 0.2; the critic has `n_critic` steps before
    each.
    """
    import flax.linen as nn
    import optax

    from gmkit import nets

    class Point(nn.Module):
        @nn.compact
        def __call__(self, z, train=False):
            theta = self.param("theta", lambda key: jnp.ones(1))
            return jnp.broadcast_to(theta, (z.shape[0], 1))

    model = room.GAN(
        nets.energy("mlp", (1,), 32, False, activation="relu"), nets.network_decoder(Point(), 1)
    )
    penalty = objectives.LipschitzPenalty(kind=kind, reduce=reduce, weight=weight)
    txs = {"critic": optax.adam(3e-3, b1=0.0, b2=0.9), "generator": optax.sgd(0.2)}
    settings = room.Settings(n_critic=n_critic, generator_factor=1, ema_decay=0.0)
    init, step = room.learner(model, objectives.game("x"), penalty, txs, settings, "x")
    batch = {"x": jnp.zeros((n_critic, 16, 1))}
    state = jax.jit(init)(jax.random.key(0), {"x": batch["x"][0]})

    def body(state, _):
        state, _ = step(state, batch)
        return state, jnp.abs(state.params["generator"]["theta"][0])

    return np.asarray(jax.jit(lambda s: jax.lax.scan(body, s, length=steps))(state)[1])


@pytest.mark.slow
def test_a_point_converges_where_wasserstein_hovers():
    """With `lambda k^2` the slope shrinks with the distance; with slope 1 it never does."""
    lgan = dirac(0.5, "zero", "max")
    np.testing.assert_allclose(lgan[:8], 0.8 ** np.arange(1, 9), atol=0.03)
    assert lgan[-1] < 1e-2
    wgan = dirac(10.0, "one", "mean")
    late = wgan[10:]
    assert np.maximum(late[1:], late[:-1]).min() > 0.09
