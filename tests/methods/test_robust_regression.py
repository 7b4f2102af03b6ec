"""Robust regression: the author's numbers, agreement with least squares, other data, errors."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit.data import load
from gmkit.data.outliers import load_regression_outliers
from gmkit.distributions import RESIDUALS
from gmkit.methods import robust_regression as room


def load_config(preset, **changes):
    path = Path(__file__).parents[2] / "configs" / "robust_regression.py"
    spec = importlib.util.spec_from_file_location("config_robust_regression", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config(preset)
    config.update_from_flattened_dict(changes)
    return config


def trained(dataset, config, steps):
    """The method, its final state and the metrics of every step, full batch."""
    method = room.build(config, dataset.spec)
    batch = {"x": jnp.asarray(dataset.examples("train")["x"])}
    whole = {"x": batch["x"][None]}
    run = jax.jit(
        lambda state: jax.lax.scan(lambda s, _: method.step(s, whole), state, None, length=steps)
    )
    return method, *run(method.init(jax.random.key(0), batch))


@pytest.fixture(scope="module")
def adaptive():
    return trained(load_regression_outliers(), load_config("default"), 2000)


def test_the_trace_of_the_authors_example(adaptive):
    """Loss before, alpha and c after the update, as its notebook prints them."""
    _, _, history = adaptive
    # From another start, of which little is left at step 1000 and less at 1900.
    for at, loss, alpha, scale, rtol in (
        (1000, -1.507125, 0.032830, 0.012530, 0.05),
        (1900, -1.514423, 0.011832, 0.012073, 0.005),
    ):
        assert float(history["loss"][at]) == pytest.approx(loss, abs=1e-3)
        assert float(history["alpha"][at + 1]) == pytest.approx(alpha, rel=rtol)
        assert float(history["scale"][at + 1]) == pytest.approx(scale, rel=5e-3)


def test_fits_the_line_and_not_the_outliers(adaptive):
    method, state, _ = adaptive
    result = method.evaluate(state, load_regression_outliers(), jax.random.key(0))
    assert result.metrics["slope"] == pytest.approx(0.7, abs=0.02)
    assert result.metrics["intercept"] == pytest.approx(0.15, abs=0.01)
    assert result.metrics["nll"] < -1.514
    rows = {row["fit"]: row for row in result.tables["fits"]}
    assert list(rows) == ["model, adaptive", "least squares", "Huber", "RANSAC", "truth"]
    least = min(row["root mean square"] for row in rows.values())
    assert rows["least squares"]["root mean square"] == least
    assert rows["least squares"]["median error"] > 3 * rows["model, adaptive"]["median error"]


def test_fixed_at_two_it_is_least_squares():
    dataset = load_regression_outliers()
    method, state, _ = trained(dataset, load_config("plain"), 1000)
    result = method.evaluate(state, dataset, jax.random.key(0))
    assert result.metrics["general_loss"] == pytest.approx(1.673694, abs=2e-6)
    normaliser = np.log(0.1) + 0.5 * np.log(2 * np.pi)
    assert result.metrics["nll"] == pytest.approx(1.673694 + normaliser, abs=2e-6)
    fits = {row["fit"]: row for row in result.tables["fits"]}
    for name in ("slope", "intercept"):
        expected = fits["least squares"][name]
        assert fits["model, normal"][name] == pytest.approx(expected, abs=1e-5)
    assert "likelihood" not in state.params


@pytest.mark.slow
def test_several_inputs_from_a_file(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 3))
    y = x @ [1.0, -2.0, 0.5] + 3.0 + 0.1 * rng.standard_t(1, 90)
    np.savez(tmp_path / "mine.npz", x_train=np.column_stack([x, y]))
    dataset = load(str(tmp_path / "mine.npz"))
    config = load_config("default", **{"likelihood.name": "student_t"})
    for player in config.optim.values():
        player.learning_rate = 0.05
    method, state, _ = trained(dataset, config, 500)
    np.testing.assert_allclose(state.params["line"]["slope"], [1.0, -2.0, 0.5], atol=0.1)
    result = method.evaluate(state, dataset, jax.random.key(0))
    assert {"slope/0", "slope/2", "df", "scale"} <= set(result.metrics)
    assert "general_loss" not in result.metrics and result.provenance["test_rows"] == 9
    figure = method.figures(state, dataset, jax.random.key(0))["fits"]
    assert figure.axes[0].get_xlabel() == "residual"


def test_terms_by_hand():
    family = RESIDUALS["cauchy"]((), scale_lo=0.5, scale_init=0.5)
    rows = jnp.array([[1.0, 2.0], [2.0, 2.0]])
    params = {"line": {"slope": jnp.array([1.0]), "intercept": jnp.array(0.5)}}
    np.testing.assert_allclose(room.residuals(params["line"], rows), [0.5, -0.5])
    found = room.terms(family, params, rows)
    # f(x, 0, c) = log(x^2 / (2 c^2) + 1), and Z(0) = sqrt(2) pi.
    assert float(found["general_loss"]) == pytest.approx(np.log(1.5), rel=1e-6)
    expected = np.log(1.5) + np.log(0.5) + np.log(np.sqrt(2) * np.pi)
    assert float(found["loss"]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_samples_scatter_about_the_line(adaptive):
    method, state, _ = adaptive
    draws = jax.jit(method.sample, static_argnums=2)(state, jax.random.key(1), 200)
    assert np.isin(draws[:, 0], state.memory["inputs"]).all()
    spread = np.median(np.abs(room.residuals(state.params["line"], draws)))
    # The median of |x| under a Cauchy density of scale sqrt(2) c.
    assert spread == pytest.approx(np.sqrt(2) * 0.0121, rel=0.4)


def test_charts_of_the_loss():
    charts = room.loss_charts()
    assert set(charts) == {"loss", "density", "log_partition"}
    loss = {line.get_label(): line.get_ydata() for line in charts["loss"].axes[0].lines}
    assert loss["alpha -inf"].max() <= 1.0 and loss["alpha 2"][0] == pytest.approx(18.0)
    errors = {x.get_label(): x.get_ydata() for x in charts["log_partition"].axes[2].lines}
    assert np.nanmax(errors["log Z"]) < 2e-9 and np.nanmax(errors["slope"]) < 5e-6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"likelihood.name": "gauss"}, "likelihood.name='gauss': choose"),
        ({"likelihoods.adaptive.scale_lo": 2.0}, "scale_lo"),
    ],
)
def test_wrong_settings(changes, message):
    with pytest.raises(ValueError, match=message):
        room.build(load_config("default", **changes), load_regression_outliers().spec)


def test_other_data():
    for name in ("gaussian1d", "digits"):
        with pytest.raises(ValueError, match="at least two columns"):
            room.build(load_config("default"), load(name).spec)
