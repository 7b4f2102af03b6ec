"""LACE on a generator whose attributes are known functions of its latents."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gmkit import energies
from gmkit.core import FinishedStage, Method, TrainState, create
from gmkit.methods import lace

D = 4


def images(z):
    """The first latent is how bright the left half is, the second that of the right half."""
    bright = jnp.repeat(jnp.tanh(z[:, :2]), 2, axis=1)
    return jnp.broadcast_to(bright[:, None, :, None], (len(z), 4, 4, 1))


@dataclasses.dataclass
class Exact:
    """A network that knows: logits of a class, or the brightness."""

    index: int
    discrete: bool

    def apply(self, variables, z):
        value = variables["params"]["scale"] * z[..., self.index : self.index + 1]
        return jnp.concatenate([-value, value], axis=-1) if self.discrete else value

    def init(self, key, z):
        return {"params": {"scale": jnp.float32(3.0)}}


@pytest.fixture(scope="module")
def model():
    nothing = lambda *_: None
    generator = Method(
        "toy", nothing, nothing, nothing, nothing, nothing, decode=lambda state, z: images(z)
    )
    state = create(jax.random.key(0), {}, {})
    stage = FinishedStage("generator", generator, state)
    attributes = (lace.Attribute("left", 2), lace.Attribute("right", 0, sigma=0.5))
    networks = {"left": Exact(0, True), "right": Exact(1, False)}
    return lace.Lace(attributes, networks, stage, D)


@pytest.fixture(scope="module")
def weights(model):
    params = {name: net.init(None, None)["params"] for name, net in model.networks.items()}
    return lace.Weights(params, (model.generator.params, model.generator.variables))


def test_log_probability_sums_over_what_is_wanted(model, weights):
    z = jnp.array([0.5, -0.2, 1.0, 1.0])
    targets = jnp.array([1.0, 0.3])
    left = -jnp.logaddexp(0.0, -3.0)
    right = -((-0.6 - 0.3) ** 2) / (2 * 0.25)
    for wanted, expected in (
        ((True, False), left),
        ((False, True), right),
        ((True, True), left + right),
        ((False, False), 0.0),
    ):
        found = model.conditional(z, (weights, targets, jnp.array(wanted)))
        assert float(found) == pytest.approx(float(expected), abs=1e-5)


def test_a_composition_is_the_algebra_of_its_atoms(model, weights):
    z = jnp.array([0.5, -0.2, 1.0, 1.0])
    known = {"left": 2, "right": None}
    composed = model.composed(energies.parse("left=1 & right~0.3", attributes=known))
    both = model.conditional(z, (weights, jnp.array([1.0, 0.3]), jnp.array([True, True])))
    assert float(composed(z, weights)) == pytest.approx(float(both), abs=1e-5)


@pytest.mark.parametrize("kind", ["ode", "langevin"])
def test_samplers_reach_the_attributes_and_leave_other_latents(model, weights, kind):
    z = jax.random.normal(jax.random.key(1), (32, D))
    targets = jnp.tile(jnp.array([[1.0, 1.5]]), (32, 1))
    args, axes = (weights, targets, jnp.array([True, True])), (None, 0, None)
    settings = {"n_steps": 300} if kind == "langevin" else {"rtol": 1e-3, "atol": 1e-3}
    run = jax.jit(
        lambda z, args: lace.draw(
            kind, model.conditional, z, jax.random.key(2), args, axes, settings
        )
    )
    found = run(z, args).latents
    assert float(jnp.mean(found[:, 0] > 0)) == 1.0
    np.testing.assert_allclose(jnp.mean(3.0 * found[:, 1]), 1.5, atol=0.1)
    if kind == "ode":
        np.testing.assert_allclose(found[:, 2:], z[:, 2:], atol=1e-5)


def test_pairs_carry_the_labels_of_their_images(model, weights):
    labellers = {
        "left": lambda x: (x[:, 0, 0, 0] > 0).astype(jnp.int32),
        "right": lambda x: x[:, 0, -1, 0],
    }
    pairs = lace.made_pairs(model, weights.generator, labellers, jax.random.key(0), 20, 5)
    np.testing.assert_array_equal(pairs["labels"]["left"], pairs["read"][:, 0] > 0)
    np.testing.assert_allclose(pairs["labels"]["right"], jnp.tanh(pairs["read"][:, 1]), atol=1e-6)
    assert len(np.unique(pairs["read"][:, 0])) == 20


def test_labels_that_are_missing_teach_nothing(model):
    table = {
        "read": jnp.ones((8, D)),
        "labels": {"left": jnp.full(8, -1.0), "right": jnp.full(8, jnp.nan)},
    }
    networks = {name: lace_net for name, lace_net in model.networks.items()}
    tx = optax.sgd(1.0)
    init, step = lace.learner(
        dataclasses.replace(model, networks=networks),
        lambda key: table,
        {"left": tx, "right": tx},
        2,
    )
    state = init(jax.random.key(0), {"image": jnp.zeros((4, 4, 4, 1))})
    after, metrics = jax.jit(step)(state, {"image": jnp.zeros((1, 4, 4, 4, 1))})
    assert isinstance(after, TrainState)
    for name in ("left", "right"):
        assert float(metrics[f"loss/{name}"]) == 0.0
        assert float(after.params[name]["scale"]) == 3.0


def test_measures_of_a_bar():
    upright = (-jnp.ones((1, 8, 8, 1))).at[:, :, 3].set(1.0)
    assert float(lace.MEASURES["ink"](upright)[0]) == pytest.approx(1 / 8, abs=1e-6)
    assert float(lace.MEASURES["lean"](upright)[0]) == pytest.approx(0.0, abs=1e-3)
    rows = jnp.arange(8)
    leaning = (-jnp.ones((1, 8, 8, 1))).at[:, rows, 7 - rows].set(1.0)
    assert float(lace.MEASURES["lean"](leaning)[0]) == pytest.approx(1.0, abs=1e-3)


def test_tables_are_checked(tmp_path):
    path = str(tmp_path / "pairs.npz")
    np.savez(path, w=np.zeros((3, D)), left=np.zeros(3))
    with pytest.raises(ValueError, match="it lacks right"):
        lace.read_table(path, ("left", "right"), D)
    with pytest.raises(ValueError, match=r"needs \(n, 5\)"):
        lace.read_table(path, ("left",), 5)
    with pytest.raises(ValueError, match=r"not to be read"):
        lace.read_table(str(tmp_path / "none.npz"), ("left",), D)
    assert lace.read_table(path, ("left",), D)["read"].shape == (3, D)
