"""Importance weights, resampling and the log-partition function."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit import samplers


def test_log_partition_of_the_linear_gaussian_model(model, key):
    z = jax.random.normal(key, (1_000_000, 2))
    value, stderr = samplers.log_partition(-model.energy(z))
    assert abs(value - model.log_z) < 3e-3
    assert abs(value - model.log_z) < 3 * stderr
    assert 1e-5 < stderr < 2e-3


def test_standard_error_is_the_spread_of_the_estimate(model, key):
    log_weights = -model.energy(jax.random.normal(key, (400_000, 2))).reshape(400, 1000)
    values, stderrs = jax.vmap(samplers.log_partition)(log_weights)
    np.testing.assert_allclose(jnp.mean(stderrs), jnp.std(values), rtol=0.12)


@pytest.mark.parametrize("method", ["systematic", "multinomial"])
def test_sir_draws_from_the_posterior(method, model, errors, key):
    key_prior, key_resample = jax.random.split(key)
    z = jax.random.normal(key_prior, (400_000, 2))
    result = samplers.sir(key_resample, model.energy, z, 4000, method=method)
    assert errors(result.z, model.mean, model.cov) < 3.0
    assert abs(result.log_z - model.log_z) < 4 * result.log_z_stderr
    # Effective fraction of importance weights: (E w)^2 / E w^2, and w^2 has energy 2 E.
    doubled = model._replace(precision=2 * model.precision)
    want = np.exp(2 * model.log_z - doubled.log_z)
    np.testing.assert_allclose(result.ess / 400_000, want, rtol=0.01)
    assert result.n_invalid == 0


def test_sir_beta_and_batches(model, key):
    z = jax.random.normal(key, (1003, 2))
    whole = samplers.sir(key, model.energy, z, 50, beta=3.0)
    chunks = samplers.sir(key, model.energy, z, 50, beta=3.0, batch_size=100)
    np.testing.assert_allclose(whole.log_z, chunks.log_z, atol=1e-5)
    np.testing.assert_allclose(whole.z, chunks.z)
    direct = samplers.log_partition(-3.0 * model.energy(z))[0]
    np.testing.assert_allclose(whole.log_z, direct, atol=1e-5)


def test_known_weights():
    log_weights = jnp.log(jnp.array([2.0, 1.0, 0.0]))
    np.testing.assert_allclose(samplers.effective_draws(log_weights), 9 / 5, rtol=1e-5)
    value, stderr = samplers.log_partition(log_weights)
    np.testing.assert_allclose(value, 0.0, atol=1e-6)
    np.testing.assert_allclose(stderr, 1 / np.sqrt(3), rtol=1e-5)


@pytest.mark.parametrize("shift", [-1e4, 0.0, 1e4])
def test_weights_are_safe_for_large_energies(shift):
    log_weights = jnp.array([0.0, -1.0, -2.0]) + shift
    reference = samplers.effective_draws(jnp.array([0.0, -1.0, -2.0]))
    np.testing.assert_allclose(samplers.effective_draws(log_weights), reference, rtol=1e-2)
    want = shift + np.log(np.mean(np.exp([0.0, -1.0, -2.0])))
    np.testing.assert_allclose(samplers.log_partition(log_weights)[0], want, rtol=1e-6)


def test_edges_of_the_weights():
    one = samplers.effective_draws(jnp.array([-5.0]))
    np.testing.assert_allclose(one, 1.0)
    equal = samplers.effective_draws(jnp.full(7, 3.0))
    np.testing.assert_allclose(equal, 7.0, rtol=1e-5)
    none = jnp.full(3, -jnp.inf)
    assert jnp.isnan(samplers.effective_draws(none))
    assert samplers.log_partition(none)[0] == -jnp.inf


def test_systematic_counts(key):
    weights = jnp.array([0.1, 0.0, 0.35, 0.05, 0.5, 0.0])
    for k in jax.random.split(key, 20):
        index = samplers.resample(k, jnp.log(weights), 40)
        counts = np.bincount(index, minlength=6)
        assert (np.abs(counts - 40 * np.asarray(weights)) < 1.001).all()
        assert counts[1] == counts[5] == 0


@pytest.mark.parametrize("method", ["systematic", "multinomial"])
def test_resampling_is_unbiased(method, key):
    weights = jnp.array([0.2, 0.5, 0.0, 0.3])
    draw = jax.vmap(lambda k: samplers.resample(k, jnp.log(weights), 3, method))
    counts = np.bincount(draw(jax.random.split(key, 4000)).reshape(-1), minlength=4) / 12_000
    np.testing.assert_allclose(counts, weights, atol=3 * 0.5 / np.sqrt(12_000))


def test_many_draws_never_fall_off_the_end(key):
    log_weights = jnp.where(jnp.arange(1000) < 500, 0.0, -jnp.inf)
    index = samplers.resample(key, log_weights, 1_000_000)
    assert index.dtype == jnp.int32 and index.max() == 499 and index.min() == 0


def test_energies_that_are_not_numbers_get_no_weight(key):
    def energy(z):
        return jnp.where(z[:, 0] > 0, 0.0, jnp.nan)

    z = jnp.array([[1.0], [-1.0], [2.0], [-2.0]])
    result = samplers.sir(key, energy, z, 10)
    assert (result.z > 0).all() and result.n_invalid == 2
    np.testing.assert_allclose(result.log_z, np.log(0.5), rtol=1e-5)


def test_unknown_method_is_named(key):
    with pytest.raises(ValueError, match="method='residual'"):
        samplers.resample(key, jnp.zeros(3), 2, "residual")


def test_two_estimates_bracket_the_log_partition():
    """Weights 1/2 and 3/2 with equal chance: log Z = 0. Over all pairs of two draws, exactly."""
    pairs = jnp.log(jnp.array([[0.5, 0.5], [0.5, 1.5], [1.5, 0.5], [1.5, 1.5]]))
    low = jax.vmap(lambda w: samplers.log_partition(w)[0])(pairs)
    assert float(jnp.mean(low)) < -0.05
    for c, excess in ((0.0, 0.0), (np.log(2.0), np.log(2.0) - 0.5)):
        high = jax.vmap(lambda w, c=c: samplers.log_partition_upper(w, c)[0])(pairs)
        assert float(jnp.mean(high)) == pytest.approx(excess, abs=1e-6)


def test_the_upper_estimate_has_the_error_of_a_mean():
    weights = jax.random.uniform(jax.random.key(0), (1000,)) + 0.5
    value, stderr = samplers.log_partition_upper(jnp.log(weights), 0.3)
    ratio = weights * np.exp(-0.3)
    np.testing.assert_allclose(value, 0.3 - 1.0 + np.mean(ratio), rtol=1e-5)
    np.testing.assert_allclose(stderr, np.std(ratio, ddof=1) / np.sqrt(1000), rtol=1e-4)
