"""Latent posterior and the linear-Gaussian model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit import energies, objectives


@pytest.fixture
def model(key):
    k1, k2, k3, k4 = jax.random.split(key, 4)
    root = jax.random.normal(k4, (3, 3))
    return energies.LinearGaussian(
        weight=0.5 * jax.random.normal(k1, (3, 2)),
        bias=0.3 * jax.random.normal(k2, (3,)),
        mean=0.3 * jax.random.normal(k3, (3,)),
        precision=0.3 * root @ root.T + 0.1 * jnp.eye(3),
    )


@pytest.mark.parametrize("beta", [1.0, 0.5, 4.0])
def test_potential_is_that_of_the_closed_form_gaussian(model, key, beta):
    potential = energies.latent_posterior(model.energy, model.decode, beta)
    mean, covariance = model.posterior(beta)
    z = jax.random.normal(key, (6, 2))
    centred = np.asarray(z - mean[None])
    quadratic = 0.5 * np.einsum("ni,ij,nj->n", centred, np.linalg.inv(covariance), centred)
    np.testing.assert_allclose(
        potential(z) - potential(mean[None])[0], quadratic, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("beta", [1.0, 0.5])
def test_log_partition_matches_monte_carlo(model, beta):
    z = jax.random.normal(jax.random.key(7), (1_000_000, 2))
    estimate = objectives.log_partition(beta * model.energy(model.decode(z)))
    assert model.log_partition(beta) == pytest.approx(float(estimate), abs=3e-3)


def test_weighted_prior_draws_have_the_posterior_moments(model):
    z = jax.random.normal(jax.random.key(8), (1_000_000, 2))
    w = objectives.importance_weights(model.energy(model.decode(z)))
    mean, covariance = model.posterior()
    np.testing.assert_allclose(w @ z, mean, atol=5e-3)
    centred = z - mean[None]
    np.testing.assert_allclose((w[:, None] * centred).T @ centred, covariance, atol=5e-3)


def test_derivative_of_the_log_partition_is_minus_the_mean_energy(model):
    mean, covariance = model.posterior(1.0)
    spread = model.weight @ covariance @ model.weight.T
    centre = model.decode(mean[None])
    expected = model.energy(centre)[0] + 0.5 * jnp.trace(model.precision @ spread)
    assert jax.grad(model.log_partition)(1.0) == pytest.approx(-float(expected), rel=1e-4)


def test_limits_of_the_inverse_temperature(model, key):
    z = jax.random.normal(key, (4, 2))
    prior = energies.latent_posterior(model.energy, model.decode, 0.0)
    np.testing.assert_allclose(prior(z), energies.prior_potential(z), rtol=1e-6)
    assert model.log_partition(0.0) == pytest.approx(0.0, abs=1e-6)
    mean, covariance = model.posterior(0.0)
    np.testing.assert_allclose(mean, np.zeros(2), atol=1e-6)
    np.testing.assert_allclose(covariance, np.eye(2), atol=1e-6)


def test_rows_are_independent(model, key):
    potential = energies.latent_posterior(model.energy, model.decode)
    z = jax.random.normal(key, (5, 2))
    np.testing.assert_allclose(potential(z[:1]), potential(z)[:1], rtol=1e-5)
    jacobian = jax.jacobian(potential)(z)
    off_diagonal = jacobian[~np.eye(5, dtype=bool)]
    assert float(jnp.abs(off_diagonal).max()) == 0.0
    assert potential(jnp.zeros((0, 2))).shape == (0,)
