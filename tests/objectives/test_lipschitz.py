"""Gradient penalty: linear functions, interpolation, independence of devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit import nets, objectives


def test_penalty_of_a_linear_energy_is_the_squared_norm(key):
    w = jnp.array([1.0, -2.0, 0.5])
    real, fake = jax.random.normal(key, (2, 16, 3))
    penalty = objectives.gradient_penalty(lambda x: x @ w, real, fake, key)
    assert penalty == pytest.approx(5.25, rel=1e-6)
    gradient = jax.grad(lambda w: objectives.gradient_penalty(lambda x: x @ w, real, fake, key))(w)
    np.testing.assert_allclose(gradient, 2.0 * w, rtol=1e-6)


def test_penalty_of_a_constant_is_zero_with_zero_gradient(key):
    x = jax.random.normal(key, (4, 3))

    def penalty(w):
        return objectives.gradient_penalty(lambda x: x @ w, x, -x, key)

    value, gradient = jax.value_and_grad(penalty)(jnp.zeros(3))
    assert value == 0.0 and gradient.tolist() == [0.0, 0.0, 0.0]


def test_squared_gradient_norms_of_images(key):
    x = jax.random.normal(key, (5, 4, 4, 2))
    norms = objectives.squared_gradient_norms(lambda y: 0.5 * jnp.sum(y**2, axis=(1, 2, 3)), x)
    np.testing.assert_allclose(norms, jnp.sum(x**2, axis=(1, 2, 3)), rtol=1e-5)


def test_interpolates_lie_between_and_differ_by_example(key):
    points = objectives.interpolate(key, jnp.ones((1000, 2)), jnp.zeros((1000, 2)))
    alpha = np.asarray(points[:, 0])
    np.testing.assert_array_equal(points[:, 0], points[:, 1])
    assert alpha.min() >= 0.0 and alpha.max() <= 1.0
    assert alpha.mean() == pytest.approx(0.5, abs=0.03)
    assert alpha.var() == pytest.approx(1.0 / 12.0, abs=0.01)
    assert np.unique(alpha).size > 990


def test_no_gradient_reaches_the_examples(key):
    x = jax.random.normal(key, (4, 2))
    gradient = jax.grad(
        lambda x: objectives.gradient_penalty(lambda y: jnp.sum(y**3, axis=1), x, -x, key)
    )(x)
    assert float(jnp.abs(gradient).max()) == 0.0


def test_second_order_gradient_through_a_normalised_network(key):
    module = nets.energy("mlp", (2,), width=8)
    real, fake = jax.random.normal(key, (2, 8, 2))
    variables = dict(module.init(key, real))
    params = variables.pop("params")

    def penalty(params):
        return objectives.gradient_penalty(
            lambda x: module.apply({"params": params, **variables}, x), real, fake, key
        )

    gradient = jax.jit(jax.grad(penalty))(params)["MLP_0"]["SNDense_0"]["kernel"]
    kernel, h = params["MLP_0"]["SNDense_0"]["kernel"], 1e-2

    def shifted(delta):
        layer = {**params["MLP_0"]["SNDense_0"], "kernel": kernel.at[0, 0].add(delta)}
        return penalty({"MLP_0": {**params["MLP_0"], "SNDense_0": layer}})

    numeric = (shifted(h) - shifted(-h)) / (2 * h)
    # |W u| at fixed u has the derivative v u', so the two agree whether u has converged or not.
    assert gradient[0, 0] == pytest.approx(float(numeric), rel=0.02, abs=1e-4)


def test_penalty_over_a_named_axis_equals_the_whole(key):
    real, fake = jax.random.normal(key, (2, 16, 3))

    def energy(x):
        return jnp.sum(x**3, axis=-1)

    split = jax.vmap(
        lambda r, f: objectives.gradient_penalty(energy, r, f, key), axis_name="data", out_axes=None
    )(real.reshape(4, 4, 3), fake.reshape(4, 4, 3))
    whole = objectives.gradient_penalty(energy, real, fake, key)
    assert split == pytest.approx(float(whole), rel=1e-5)


def test_unequal_numbers_are_refused(key):
    with pytest.raises(ValueError, match="equally many"):
        objectives.interpolate(key, jnp.zeros((4, 2)), jnp.zeros((8, 2)))


def test_mean_squared_parameters():
    params = {"a": jnp.array([[1.0, 2.0]]), "b": jnp.array(3.0), "c": jnp.zeros((2, 2))}
    assert objectives.mean_squared_parameters(params) == pytest.approx(2.0)
