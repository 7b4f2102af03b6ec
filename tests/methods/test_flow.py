"""Flows by maximum likelihood: what they learn, the units, the selection, the pictures."""

import importlib.util
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

from gmkit import data, distributions
from gmkit.core import eval_params
from gmkit.methods import flow as room
from gmkit.methods.flow import Flow, Protocol


def load_config(preset="smoke", **changes):
    path = Path(__file__).parents[2] / "configs" / "flow.py"
    spec = importlib.util.spec_from_file_location("config_flow", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config(preset)
    config.update_from_flattened_dict(changes)
    return config


DIGITS = {
    "data.name": "digits",
    "data.n_train": None,
    "data.n_test": None,
    "eval.n_samples": 40,
    "eval.n_dequantise": 3,
    "eval.n_rows": 150,
}


def made(**changes):
    """The method of the smoke preset with changes, and its data set."""
    config = load_config(**changes)
    options = config.data.to_dict()
    dataset = data.load(options.pop("name"), **options)
    return room.build(config, dataset.spec), dataset


def run(method, dataset, steps, size=64):
    """A trained state, and what the steps logged."""
    rows = lambda t: data.host_indices(0, t, 1, size, len(dataset.train))
    batch = lambda t: dataset.decode(dataset.train.gather(rows(t)))
    state = jax.jit(method.init)(jax.random.key(0), jax.tree.map(lambda x: x[0], batch(0)))
    step, logged = jax.jit(method.step), []
    for t in range(steps):
        state, metrics = step(state, batch(t))
        logged.append({name: float(v) for name, v in metrics.items()})
    return state, logged


@pytest.fixture(scope="module")
def digits():
    method, dataset = made(**DIGITS)
    state, logged = run(method, dataset, 5)
    return method, dataset, state, logged


@pytest.fixture
def table(tmp_path):
    """A table with correlated, skewed columns."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 3)) @ np.array([[1.0, 0.5, 0.0], [0.0, 1.0, 0.3], [0.0, 0.0, 1.0]])
    path = tmp_path / "table.npy"
    np.save(path, np.concatenate([np.exp(x[:, :1]), x[:, 1:]], axis=1))
    return {
        "data.name": "table",
        "data.path": str(path),
        "data.n_train": None,
        "data.n_test": None,
        "flows.real_nvp.hidden": (32,),
    }


# ---------------------------------------------------------------- what is learned


def test_maximum_likelihood_of_a_gaussian_is_the_closed_form():
    changes = {"flow": "gaussian", "training.steps": 300, "optim.flow.learning_rate": 0.05}
    method, dataset = made(**changes)
    state, _ = run(method, dataset, 300, size=500)
    metrics = method.evaluate(state, dataset, jax.random.key(0)).metrics
    train, test = (dataset.examples(split)["x"].astype(np.float64) for split in ("train", "test"))
    mean, var = train.mean(axis=0), train.var(axis=0)
    expected = 0.5 * (((test - mean) ** 2 / var).mean(axis=0) + np.log(2 * np.pi * var)).sum()
    assert metrics["nll_test"] == pytest.approx(expected, abs=0.01)
    assert metrics["max_inverse_error"] < 1e-5


def test_a_flow_learns_what_a_gaussian_cannot():
    method, dataset = made(
        **{"training.steps": 300, "optim.flow.learning_rate": 5e-3, "eval.n_samples": 1000}
    )
    state, logged = run(method, dataset, 300, size=250)
    metrics = method.evaluate(state, dataset, jax.random.key(0)).metrics
    assert metrics["nll_test"] < metrics["nll_gaussian"] - 0.3
    assert metrics["nll_gaussian"] > metrics["nll_mixture"]
    assert logged[0]["nll"] > logged[-1]["nll"]
    assert 0 < metrics["nll_stderr"] < 0.1
    # In units of the first coordinate, whose standard deviation is 1.7.
    assert metrics["w1_test_data"] < 0.3 and metrics["w1_flow"] < 0.5


def test_evaluation_is_of_the_moving_average():
    method, dataset = made(ema_decay=0.9)
    state, _ = run(method, dataset, 5)
    x = dataset.examples("test", 10)["x"]
    averaged = method.log_lik(state, jax.random.key(0), x).value
    latest = method.log_lik(state.replace(ema=state.params), jax.random.key(0), x).value
    assert np.abs(averaged - latest).max() > 1e-6


# ---------------------------------------------------------------- batch statistics, estimates


@pytest.mark.parametrize("momentum", [0.0, 0.75])
def test_running_statistics_follow_the_batch(momentum):
    changes = {"flow": "maf", "flows.maf.norm": "batch_norm", "norm_momentum": momentum}
    method, dataset = made(**changes)
    state, _ = run(method, dataset, 1)
    rows = jnp.arange(64)[None]
    batch = dataset.decode(jax.tree.map(lambda a: a[rows], dataset.train.arrays))
    density = distributions.named("maf", (2,), **load_config(**changes).flows.maf)
    before = state.params["flow"]
    after = jax.jit(method.step)(state, batch)[0].params["flow"]
    # Statistics of this batch under the new parameters, which themselves keep theirs.
    fresh = density.renew(after, batch["x"][0])
    found = jax.tree_util.tree_leaves_with_path(after)
    pairs = zip(found, jax.tree.leaves(before), jax.tree.leaves(fresh), strict=True)
    kept = [(p, a, b, c) for (p, a), b, c in pairs if p[-1].key in ("mean", "var")]
    assert len(kept) == 2
    for path, now, old, new in kept:
        expected = momentum * old + (1 - momentum) * new
        np.testing.assert_allclose(now, expected, rtol=1e-4, atol=1e-5, err_msg=str(path))


@pytest.mark.slow
def test_estimated_determinants_train_and_exact_ones_judge():
    changes = {
        "flow": "residual",
        "flows.residual.hidden": (16,),
        "flows.residual.n_blocks": 2,
        "optim.flow.learning_rate": 0.0,
    }
    exact, dataset = made(**changes)
    estimated, _ = made(estimate=True, **changes)
    state, logged = run(exact, dataset, 1)
    _, seen = run(estimated, dataset, 30)
    x = dataset.examples("test", 50)["x"]
    key = jax.random.key(0)
    np.testing.assert_array_equal(
        exact.log_lik(state, key, x).value, estimated.log_lik(state, key, x).value
    )
    values = np.array([v["nll"] for v in seen])
    assert values[0] != logged[0]["nll"]
    # Nothing moves, so the steps differ by their batches and their probes alone.
    exact_values = [v["nll"] for v in run(exact, dataset, 30)[1]]
    gaps = values - exact_values
    assert 0 < gaps.std() and abs(gaps.mean()) < 4 * gaps.std() / math.sqrt(30)


# ---------------------------------------------------------------- images


@pytest.mark.slow
def test_images_are_bounds_in_bits(digits):
    method, dataset, state, logged = digits
    x = dataset.examples("test", 20)["image"]
    found = method.log_lik(state, jax.random.key(1), x)
    assert (found.kind, found.quantity, found.n_samples) == ("lower", "pmf", 3)
    assert found.value.shape == (20,) and np.all(found.stderr > 0)
    for v in logged:
        assert v["bits_per_dim"] == pytest.approx(v["nll"] / (64 * math.log(2)), rel=1e-5)
        # The density lives on the unit cube, of which an integer's bin is the 17th part.
        assert v["nll"] - v["loss/flow"] == pytest.approx(64 * math.log(17), rel=1e-5)
    found = method.evaluate(state, dataset, jax.random.key(0))
    metrics = found.metrics
    bits = metrics["nll_test"] / (64 * math.log(2))
    assert metrics["bits_per_dim_test"] == pytest.approx(bits, rel=1e-5)
    assert metrics["bits_per_dim_test_importance"] < metrics["bits_per_dim_test"]
    # Uniform on the integers, and the Gaussian of the dequantised pixels.
    assert metrics["bits_per_dim_gaussian"] < math.log2(17)
    assert {row["sign"] for row in found.tables["likelihood"]} == {"<="}
    assert [row["model"] for row in found.tables["likelihood"]] == ["gaussian", "mixture", "flow"]


def test_samples_are_quantised_and_decoding_inverts(digits):
    method, dataset, state, _ = digits
    drawn = np.asarray(method.sample(state, jax.random.key(0), 7))
    assert drawn.shape == (7, 8, 8, 1)
    levels = (drawn + 1.0) * 8.0
    np.testing.assert_allclose(levels, np.round(levels), atol=1e-5)
    x = dataset.examples("test", 7)["image"]
    z = method.encode(state, x)
    assert z.shape == (7, 64)
    np.testing.assert_allclose(method.decode(state, z), x, atol=1e-3)


def test_latents_are_offered_where_they_are_normal():
    method, dataset = made(flow="nice", **{"flows.nice.hidden": (8,)})
    assert method.encode is None and method.decode is None
    state, _ = run(method, dataset, 1)
    drawn = method.figures(state, dataset, jax.random.key(0))
    assert set(drawn) == {"samples"}


def test_pixels_may_be_shifted_instead():
    method, dataset = made(**DIGITS, **{"dequantisation.map": "shift"})
    assert np.isfinite(run(method, dataset, 1)[1][0]["nll"])
    with pytest.raises(ValueError, match=r"dequantisation\.map"):
        made(**DIGITS, **{"dequantisation.map": "logistic"})


# ---------------------------------------------------------------- selection, pictures, mistakes


@pytest.mark.slow
def test_validation_rows_select(table):
    """A rate that diverges: the best look is kept and evaluated, not the last state."""
    method, dataset = made(select_every=5, **{**table, "optim.flow.learning_rate": 0.3})
    plain, _ = made(**{**table, "optim.flow.learning_rate": 0.3})
    state, _ = run(method, dataset, 0, size=50)
    hook = method.hooks[-1]
    assert hook.every == 5 and hook.splits == ("validation",)
    step, looks = jax.jit(method.step), []
    for t in range(20):
        rows = data.host_indices(0, t, 1, 50, len(dataset.train))
        state, _ = step(state, dataset.decode(dataset.train.gather(rows)))
        if (t + 1) % 5 == 0:
            state, found = hook.run(state, dataset)
            looks.append(float(found["validation/nll"]))
    metrics = method.evaluate(state, dataset, jax.random.key(0)).metrics
    assert metrics["nll_validation"] == pytest.approx(min(looks), rel=1e-4)
    assert metrics["selected_step"] == 5 * (1 + int(np.argmin(looks)))
    x = dataset.examples("validation")["x"]
    inner = state.replace(memory=None)
    last = -plain.log_lik(inner, jax.random.key(0), x).value.mean()
    assert float(last) == pytest.approx(looks[-1], rel=1e-4)


@pytest.mark.parametrize("case", ["plane", "table", "image"])
def test_pictures(case, table, digits):
    expected = {
        "plane": {"transport"},
        "table": {"samples"},
        "image": {"samples", "interpolations"},
    }
    if case == "image":
        method, dataset, state, _ = digits
    else:
        method, dataset = made(**(table if case == "table" else {}))
        state, _ = run(method, dataset, 2)
    drawn = method.figures(state, dataset, jax.random.key(0))
    assert set(drawn) == expected[case]
    assert all(isinstance(figure, Figure) for figure in drawn.values())


def test_the_density_that_is_drawn_is_the_likelihood():
    method, dataset = made()
    state, _ = run(method, dataset, 2)
    density = distributions.named("real_nvp", (2,), n_layers=4, hidden=(16,))
    x = dataset.examples("test", 600)["x"]
    expected = density.log_prob(eval_params(state, "flow"), x)
    found = method.log_lik(state, jax.random.key(0), x)
    assert (found.kind, found.quantity) == ("exact", "density")
    np.testing.assert_allclose(found.value, expected, rtol=1e-5)
    rows = method.evaluate(state, dataset, jax.random.key(0)).tables["likelihood"]
    full = dataset.examples("test")["x"]
    mean = -float(density.log_prob(eval_params(state, "flow"), full).mean())
    assert rows[-1]["nll_test"] == pytest.approx(mean, rel=1e-5)
    assert rows[-1]["parameters"] == sum(p.size for p in jax.tree.leaves(state.params))


def test_mistakes_are_one_line():
    with pytest.raises(ValueError, match="real_nvp"):
        made(flow="realnvp")
    with pytest.raises(ValueError, match="needs images"):
        made(flow="glow")
    with pytest.raises(ValueError, match=r"eval\.n_dequantise=1"):
        Protocol(n_dequantise=1)
    assert not Flow(distributions.standard_normal(2), data.load("moons").spec, True).images
