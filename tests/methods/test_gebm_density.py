"""The generalized energy-based model where the base has a density."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit import data, distributions, evaluation
from gmkit.core import selected
from gmkit.data.dataset import ArraySplit, vector_dataset
from gmkit.methods import gebm as room


def load_config(preset):
    path = Path(__file__).parents[2] / "configs" / "gebm.py"
    spec = importlib.util.spec_from_file_location("config_gebm", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(preset)


@pytest.fixture(scope="module")
def table():
    """A correlated Gaussian of the plane, with validation rows."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1500, 2)) @ np.array([[1.0, 0.5], [0.0, 0.7]])
    parts = np.split(x.astype(np.float32), [1000, 1250])
    train, validation, test = (ArraySplit({"x": part}) for part in parts)
    return vector_dataset("correlated", train, test, 2, validation=validation)


def small(**changes):
    """The settings of the tables' presets, shrunk."""
    config = load_config("redwine")
    config.stages = ()
    config.flows.real_nvp.update({"n_layers": 2, "hidden": (16,)})
    config.optim.energy.learning_rate = 1e-2
    config.energy.ema_decay = 0.0
    config.select_every = 0
    config.log_z.init_batches = 5
    config.samplers.mala.n_steps = 20
    config.eval.samplers = ("sir", "mala")
    config.eval.n_samples = 400
    config.eval.n_importance = 20_000
    config.eval.components = (1, 2)
    config.eval.ais.update({"chains": 64, "temperatures": 30, "n_leap": 2})
    config.update_from_flattened_dict(changes)
    return config


def trained(method, table, steps, batch_size=100):
    def batch(t):
        n = (method.batches_per_step, batch_size)
        rows = data.host_indices(0, t, *n, len(table.train))
        return table.decode(table.train.gather(rows))

    state = jax.jit(method.init)(jax.random.key(0), jax.tree.map(lambda x: x[0], batch(0)))
    step = jax.jit(method.step)
    metrics = {}
    for t in range(steps):
        for hook in method.hooks:
            if t and t % hook.every == 0:
                state, _ = hook.run(state, table)
        state, metrics = step(state, batch(t))
    return state, metrics


def gaussian_nll(table):
    return evaluation.gaussian_baseline(
        table.examples("train")["x"], table.examples("test")["x"]
    ).nll


@pytest.fixture(scope="module")
def by_kale(table):
    method = room.build(small(), table.spec)
    state, metrics = trained(method, table, 300)
    return method, state, metrics, method.evaluate(state, table, jax.random.key(1))


@pytest.mark.slow
def test_likelihoods_are_normalised_and_their_estimates_agree(table, by_kale):
    method, state, metrics, found = by_kale
    values = found.metrics
    flow = distributions.real_nvp(2, 2, (16,))
    params = state.params["energy"]["density"]
    x = table.examples("test")["x"]
    log_q = np.asarray(flow.log_prob(params, x))
    assert values["nll_test"] == pytest.approx(-log_q.mean(), abs=1e-4)
    like = method.log_lik(state, jax.random.key(0), jnp.asarray(x))
    assert like.kind == "exact"
    np.testing.assert_allclose(like.value, log_q, atol=1e-4)
    assert values["log_z_exact"] == -3.0 == float(metrics["log_z/exact"])
    assert values["log_z_error"] == pytest.approx(abs(values["log_z_c"] + 3.0), abs=1e-6)
    z = {row["estimate"]: row for row in found.tables["log_partition"]}
    assert z["importance sampling"]["low"] - 0.02 < -3.0 < z["importance sampling"]["high"] + 0.02
    for name in ("tangent bound", "annealing", "reverse annealing"):
        assert abs(z[name]["value"] + 3.0) < 0.1, name
    kinds = {name: row["kind"] for name, row in z.items()}
    assert kinds["annealing"] == "low" and kinds["reverse annealing"] == "high"


def test_kale_learns_the_density(table, by_kale):
    """The truth is Gaussian; its entropy is the best there is, up to the test rows."""
    *_, found = by_kale
    rows = {row["model"]: row for row in found.tables["likelihood"]}
    truth = rows["gaussian"]["nll_test"]
    assert rows["base"]["nll_test"] > truth + 0.05
    assert found.metrics["nll_test"] < truth + 0.05
    assert rows["gebm, exact"]["sign"] == "="
    assert rows["gebm, importance sampling"]["sign"] == ">="
    assert rows["gebm, tangent bound"]["sign"] == "<="


def test_every_sampler_draws_the_model(table, by_kale):
    method, state, _, found = by_kale
    rows = {row["samples"]: row for row in found.tables["samplers"]}
    exact = rows["exact"]["w1"]
    for name in ("gebm", "mala"):
        assert rows[name]["w1"] < exact + 0.15, name
    assert {"density", "landscape"} <= set(method.figures(state, table, jax.random.key(2)))


@pytest.mark.slow
@pytest.mark.parametrize("criterion", ["ml", "donsker", "cd"])
def test_other_criteria_learn_the_same_density(table, criterion):
    changes = {"criterion": criterion, "cd.buffer_size": 1000, "eval.ais.chains": 0}
    method = room.build(small(**changes), table.spec)
    state, metrics = trained(method, table, 200)
    x = table.examples("test")["x"]
    log_q = method.log_lik(state, jax.random.key(0), jnp.asarray(x)).value
    gaussian = gaussian_nll(table)
    assert -float(jnp.mean(log_q)) < gaussian + 0.08
    assert np.isfinite(float(metrics["nll"]))


def test_maximum_likelihood_is_that_of_the_flow(table):
    """One step of plain descent moves the flow as descent on -log q does."""
    config = small(criterion="ml", **{"optim.energy.name": "sgd"})
    config.optim.energy.grad_transform = "none"
    method = room.build(config, table.spec)
    x = table.examples("train", 100)["x"]
    state = method.init(jax.random.key(0), {"x": x})
    after, metrics = method.step(state, {"x": x[None]})
    flow = distributions.real_nvp(2, 2, (16,))
    nll = lambda p: -jnp.mean(flow.log_prob(p, x))
    params = state.params["energy"]["density"]
    assert float(metrics["nll"]) == pytest.approx(float(nll(params)), abs=1e-5)
    rate = float(metrics["lr_factor"]) * 1e-2
    expected = jax.tree.map(lambda p, g: p - rate * g, params, jax.grad(nll)(params))
    moved = after.params["energy"]["density"]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), moved, expected)


def test_a_free_energy_has_a_bound_that_integrates_to_less_than_one(table):
    """`exp` of a lower bound of log Q is at most Q, and here close to it."""
    changes = {"energy.arch": "mlp", "energy.width": 16}
    method = room.build(small(**changes), table.spec)
    state, _ = trained(method, table, 100)
    axis = jnp.linspace(-8.0, 8.0, 161)
    grid = jnp.stack(jnp.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    like = method.log_lik(state, jax.random.key(3), grid)
    assert like.kind == "lower" and float(like.stderr) > 0
    mass = float(jnp.sum(jnp.exp(like.value))) * float(axis[1] - axis[0]) ** 2
    assert mass == pytest.approx(1.0, abs=5 * float(like.stderr) + 2e-3)


def test_the_state_that_does_best_on_validation_rows_is_kept(table):
    method = room.build(small(select_every=5), table.spec)
    state, _ = trained(method, table, 21)
    assert int(state.memory.step) in (5, 10, 15, 20)
    x = jnp.asarray(table.examples("validation")["x"])
    nll = -float(jnp.mean(method.log_lik(state, jax.random.key(0), x).value))
    assert nll == pytest.approx(float(state.memory.score), abs=1e-4)
    assert jax.tree.structure(selected(state).params) == jax.tree.structure(state.params)


@pytest.mark.slow
def test_a_trained_flow_can_be_the_base(table):
    """Its density is the base's, and a constant energy leaves it as it is."""
    first = room.build(
        small(
            **{"base.arch": "flow", "train_mode": "base", "energy.arch": "mlp", "energy.width": 8}
        ),
        table.spec,
    )
    stage, _ = trained(first, table, 2)
    assert first.encode is not None
    config = small(**{"energy.arch": "mlp", "energy.width": 8})
    method = room.build(config, table.spec, {"generator": (first, stage)})
    state, _ = trained(method, table, 1)
    z = jax.random.normal(jax.random.key(0), (5, 2))
    x = method.decode(state, z)
    np.testing.assert_allclose(x, first.decode(stage, z), atol=1e-6)
    np.testing.assert_allclose(method.encode(state, x), z, atol=1e-4)


@pytest.mark.slow
def test_other_stages_stand_beside_in_the_table(table):
    rival = room.build(small(criterion="ml"), table.spec)
    state, _ = trained(rival, table, 2)
    how = small(**{"eval.ais.chains": 0, "eval.components": ()})
    method = room.build(how, table.spec, {"direct": (rival, state)})
    own, _ = trained(method, table, 1)
    found = method.evaluate(own, table, jax.random.key(0))
    x = jnp.asarray(table.examples("test")["x"])
    expected = -float(jnp.mean(rival.log_lik(state, jax.random.key(0), x).value))
    assert found.metrics["nll_direct"] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"criterion": "ml", "energy.arch": "mlp"}, "density_ratio"),
        ({"criterion": "ml", "penalty.weight": 0.1}, "penalty"),
        ({"base.arch": "flow"}, "fixed base"),
        ({"base.arch": "normal", "train_mode": "both"}, "nothing to train"),
        ({"base.latent_dim": 3}, "latent_dim=3"),
        ({"flow": "maf_mog"}, "not standard normal"),
        ({"flow": "nothing"}, "nothing"),
        ({"flows.real_nvp.norm": "batch_norm"}, "batch_norm"),
        (
            {"base.arch": "mlp", "base.latent_dim": 1, "energy.arch": "mlp", "select_every": 5},
            "select_every",
        ),
        ({"eval.n_importance": 3}, "n_importance"),
        ({"eval.ais.chains": 1}, "chains"),
    ],
)
def test_settings_that_do_not_fit_are_refused(table, changes, words):
    with pytest.raises(ValueError, match=words):
        room.build(small(**changes), table.spec)


def test_images_have_no_density_here():
    with pytest.raises(ValueError, match="images"):
        room.build(small(), data.load("digits").spec)
