"""GAAN: the regulariser, the weights, what each step moves, and a Gaussian in one dimension."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit import data, objectives
from gmkit.core import Domain, Method
from gmkit.methods import gaan as room
from gmkit.training import LoopConfig, feed


def load_config(preset, **changes):
    path = Path(__file__).parents[2] / "configs" / "gaan.py"
    spec = importlib.util.spec_from_file_location("config_gaan", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if preset is None:
        return module
    config = module.get_config(preset)
    config.update_from_flattened_dict(changes)
    return config


# ---------------------------------------------------------------- equations


def test_latent_scale():
    assert room.latent_scale(100, 4096) == pytest.approx(0.15625)


def test_distance_vanishes_where_both_sides_agree():
    key = jax.random.key(0)
    phi, z = jax.random.normal(key, (6, 5)), jax.random.normal(key, (6, 2))
    for kind in ("batch", "sample", "norm"):
        assert float(room.latent_data_distance(kind, phi, phi, z, z, 0.3)) == pytest.approx(0.0)
    shuffled = phi[::-1], z[::-1]
    same_means = room.latent_data_distance("batch", phi, shuffled[0], z, shuffled[1], 0.3)
    assert float(same_means) == pytest.approx(0.0, abs=1e-12), "only the batch's means count"
    pairs = room.latent_data_distance("sample", phi, shuffled[0], z, z, 0.3)
    assert float(pairs) > 0.01


def test_distance_by_hand():
    phi_rec, phi_fake = jnp.array([[1.0, 3.0], [0.0, 0.0]]), jnp.zeros((2, 2))
    z_enc, z = jnp.array([[2.0], [0.0]]), jnp.zeros((2, 1))
    distance = lambda kind: float(room.latent_data_distance(kind, phi_rec, phi_fake, z_enc, z, 0.5))
    assert distance("batch") == pytest.approx((1.0 - 0.5 * 1.0) ** 2)
    assert distance("sample") == pytest.approx((2.0 - 0.5 * 2.0) ** 2 / 2)
    root = np.sqrt(10.0) / 2
    assert distance("norm") == pytest.approx((root - 0.5 * 2.0) ** 2 / 2, rel=1e-4)


def test_collapse_is_penalised_and_its_gradient_pulls_apart():
    """All latents to one point: the data side is 0, the latent side is not."""
    z_enc, z = jnp.ones((4, 2)), -jnp.ones((4, 2))
    collapsed = jnp.zeros((4, 3))
    loss = lambda phi: room.latent_data_distance("batch", phi, collapsed, z_enc, z, 0.5)
    assert float(loss(collapsed)) == pytest.approx(1.0)
    assert float(jax.grad(loss)(collapsed).max()) < 0.0


@pytest.mark.parametrize(
    ("t", "mu"), [(0.0, 0.0), (0.5, 0.0), (0.625, 0.025), (0.75, 0.05), (1.0, 0.05)]
)
def test_annealed_weights(t, mu):
    real, rec = room.label_weights("annealed", jnp.float32(t))
    assert float(real) == pytest.approx(0.95 + mu, abs=1e-6)
    assert float(rec) == pytest.approx(0.05 - mu, abs=1e-6)


@pytest.mark.parametrize("offset", [1.0, -1.0])
def test_generator_moves_towards_the_level_of_real_scores(offset):
    """D(x) = x: fakes below the real mean score rise, fakes above it fall."""
    game = objectives.game("score_distance")
    real = jnp.linspace(-0.5, 0.5, 8)
    loss = lambda shift: game.generator_loss(real, real + shift)
    assert np.sign(float(jax.grad(loss)(jnp.float32(offset)))) == np.sign(offset)
    assert float(jax.grad(loss)(jnp.float32(0.0))) == 0.0


# ---------------------------------------------------------------- training


def differ(new, old):
    return any(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a != b).any()), new, old)))


def stepped(config, dataset):
    """Method, states before and after one step, and its metrics."""
    batch = feed.init_batch(dataset, LoopConfig(**config.training.to_dict()))
    method = room.build(config, dataset.spec)
    state = jax.jit(method.init)(jax.random.key(0), batch)
    n = method.batches_per_step
    stack = jax.tree.map(lambda x: jnp.stack([jnp.roll(x, i, 0) for i in range(n)]), batch)
    return method, state, *jax.jit(method.step)(state, stack)


@pytest.mark.parametrize("both", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_every_network_takes_its_steps(both):
    changes = {"discriminator.spectral_norm": True, "ema_decay": 0.5}
    config = load_config("smoke", n_critic=2, autoencoder_trains_generator=both, **changes)
    method, state, new, metrics = stepped(config, data.load("digits"))
    assert method.batches_per_step == 4
    counts = {name: int(opt[1].count) for name, opt in new.opt_state.items()}
    expected = {"encoder": 1, "generator": 1, "discriminator": 2}
    assert counts == expected | ({"generator/reconstruction": 1} if both else {})
    for name in ("encoder", "generator", "discriminator"):
        moved = jax.tree.map(
            lambda a, b: bool((a != b).any()), new.params[name], state.params[name]
        )
        assert any(jax.tree.leaves(moved)), name
    # The singular vectors of spectral normalisation follow the kernels.
    assert differ(new.variables["discriminator"], state.variables["discriminator"])
    after, before, averaged = (
        jax.tree.leaves(tree["generator"])[0] for tree in (new.params, state.params, new.ema)
    )
    # One move of the average a step (its decay is warmed up from 0.1), though G may move twice.
    np.testing.assert_allclose(averaged, before + 0.9 * (after - before), atol=1e-6)
    assert {"reconstruction", "regulariser", "score/reconstructed", "slope/max"} <= set(metrics)
    x = data.load("digits").examples("test", 5)["image"]
    z = method.encode(new, x)
    assert z.shape == (5, 16) and method.decode(new, z).shape == x.shape


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"space": "data", "regulariser": "norm", "discriminator_loss": "hinge"},
        {"reconstructions_are": "fake", "weights": "half", "regulariser": "sample"},
        {
            "reconstructions_are": "unused",
            "generator_loss": "non_saturating",
            "penalty.weight": 0.0,
        },
    ],
)
def test_ablations_run(changes):
    config = load_config("smoke", **changes)
    *_, metrics = stepped(config, data.load("digits"))
    assert all(np.isfinite(float(m)) for m in metrics.values())


@pytest.mark.slow
def test_a_gaussian_in_one_dimension():
    """Mean 4 +- 0.3 and deviation 1 +- 0.3 in at least 4 of 5 runs."""
    from gmkit.core import over_seeds, run_of

    config = load_config("toy1d")
    dataset = data.load("gaussian1d")
    one = room.build(config, dataset.spec)
    method = over_seeds(one, 5)
    rows = jnp.asarray(dataset.train.arrays["x"])
    size, k = config.training.batch_size, method.batches_per_step

    def body(state, _):
        index = data.indices(0, state.step, k, size, len(dataset.train))
        return method.step(state, dataset.decode({"x": rows[index]}))

    state = jax.jit(method.init)(jax.random.key(0), {"x": rows[:size]})
    state, _ = jax.jit(lambda s: jax.lax.scan(body, s, length=config.training.steps))(state)
    draws = [np.asarray(one.sample(run_of(state, i), jax.random.key(1), 5000)) for i in range(5)]
    good = [abs(x.mean() - 4.0) < 0.3 and abs(x.std() - 1.0) < 0.3 for x in draws]
    assert sum(good) >= 4, [(float(x.mean()), float(x.std())) for x in draws]


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize("preset", sorted(load_config(None).PRESETS))
def test_presets_are_sound(preset):
    config = load_config(preset)
    shapes = {
        "toy1d": (1,),
        "toy2d": (2,),
        "mnist": (28, 28, 1),
        "mnist1k": (28, 28, 3),
        "cifar10": (32, 32, 3),
        "celeba": (64, 64, 3),
        "stl10": (48, 48, 3),
    }
    shape = shapes.get(preset, (8, 8, 1))
    if len(shape) == 1:
        spec = data.DataSpec(config.data.name, Domain("reals", shape), (-9.0, 9.0), 0, "vector")
    else:
        domain = Domain("integers", shape, 256)
        spec = data.DataSpec(config.data.name, domain, (-1.0, 1.0), 10, "image")
    name = config.data.name.removeprefix("stacked/")
    assert name in data.available() or name.endswith(".npz")
    method = room.build(config, spec)
    assert isinstance(method, Method)
    field = "image" if spec.kind == "image" else "x"
    abstract = jax.ShapeDtypeStruct((4, *shape), jnp.float32)
    state = jax.eval_shape(method.init, jax.random.key(0), {field: abstract})
    drawn = jax.eval_shape(lambda s, k: method.sample(s, k, 3), state, jax.random.key(0))
    assert drawn.shape == (3, *shape)
    if preset == "mnist1k":
        sizes = {name: _size(p) for name, p in state.params.items()}
        assert sizes == {"encoder": 286_208, "generator": 287_875, "discriminator": 1_833}


def _size(params):
    return sum(leaf.size for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"space": "pixels"}, "pixels"),
        ({"regulariser": "none"}, "none"),
        ({"reconstruction": "cross_entropy"}, "output='sigmoid'"),
        ({"n_critic": 0}, "n_critic=0"),
        ({"generator_loss": "nothing"}, "nothing"),
        ({"penalty.norm": "l1"}, "l1"),
        ({"encoder.arch": "vit"}, "vit"),
    ],
)
def test_mistakes_are_found_before_training(changes, words):
    with pytest.raises(ValueError, match=words):
        room.build(load_config("default", **changes), data.load("digits").spec)
