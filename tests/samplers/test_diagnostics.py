"""Effective sample size and R-hat on processes whose values are known."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit import samplers

effective_sample_size = jax.jit(samplers.effective_sample_size)
split_rhat = jax.jit(samplers.split_rhat)


@partial(jax.jit, static_argnums=(2, 3))
def autoregression(key, rho: float, n_draws: int, n_chains: int) -> jax.Array:
    """Stationary AR(1) chains of variance 1, `(T, n, 1)`."""
    noise = jax.random.normal(key, (n_draws, n_chains, 1))

    def step(x, xi):
        x = rho * x + jnp.sqrt(1 - rho**2) * xi
        return x, x

    return jax.lax.scan(step, noise[0], noise)[1]


@pytest.mark.parametrize("rho", [-0.3, 0.0, 0.5, 0.9])
def test_effective_sample_size_of_an_autoregression(rho, key):
    samples = autoregression(key, rho, 4000, 16)
    want = 4000 * 16 * (1 - rho) / (1 + rho)
    np.testing.assert_allclose(effective_sample_size(samples), [want], rtol=0.1)
    np.testing.assert_allclose(split_rhat(samples), [1.0], atol=0.01)


def test_autocovariance_against_the_sum(key):
    x = np.asarray(jax.random.normal(key, (10, 2, 1)), np.float64)
    centred = x - x.mean(0)
    want = np.stack([(centred[: 10 - t] * centred[t:]).sum(0) / 10 for t in range(10)])
    np.testing.assert_allclose(samplers.autocovariance(jnp.float32(x)), want, atol=1e-5)


def test_alternating_chain_is_capped():
    samples = jnp.tile(jnp.array([1.0, -1.0]), 500)[:, None, None] * jnp.ones((1, 4, 1))
    size = effective_sample_size(samples)
    np.testing.assert_allclose(size, 4000 * np.log10(4000), rtol=1e-3)


def test_chains_in_different_modes_are_seen(key):
    samples = autoregression(key, 0.0, 500, 4) + jnp.array([0.0, 0.0, 5.0, 5.0])[None, :, None]
    assert split_rhat(samples)[0] > 2
    assert effective_sample_size(samples)[0] < 20


def test_one_drifting_chain_is_seen():
    """Splitting compares the halves of a single chain."""
    samples = jnp.linspace(0.0, 1.0, 200)[:, None, None]
    assert split_rhat(samples)[0] > 1.5


def test_coordinates_are_separate_and_a_constant_is_nan(key):
    moving = autoregression(key, 0.5, 200, 4)
    samples = jnp.concatenate([moving, jnp.full_like(moving, 0.1), 3.0 * moving + 7.0], axis=2)
    size, rhat = effective_sample_size(samples), split_rhat(samples)
    assert jnp.isnan(size[1]) and jnp.isnan(rhat[1])
    np.testing.assert_allclose(size[2], size[0], rtol=1e-3)
    np.testing.assert_allclose(rhat[2], rhat[0], rtol=1e-4)
    image = samples.reshape(200, 4, 1, 3)
    np.testing.assert_allclose(effective_sample_size(image)[0], size, rtol=1e-5)


def test_too_few_draws_are_named():
    with pytest.raises(ValueError, match="at least 8 draws"):
        split_rhat(jnp.ones((7, 2, 1)))


@pytest.mark.slow
def test_effective_sample_size_per_gradient(key):
    """HMC that turns a quarter of the circle draws almost independently."""
    potential = lambda z: 0.5 * jnp.sum(z**2, axis=1)
    kernel = samplers.hmc(potential, 4)
    run = jax.jit(samplers.run, static_argnums=1, static_argnames="thin")
    z0 = jax.random.normal(key, (200, 2))
    steps = samplers.constant(np.pi / 2 / 4, 100)
    trace = run(key, kernel, z0, steps)
    value = samplers.ess_per_gradient(trace)
    assert 0.2 < value < 0.4
    thinned = run(key, kernel, z0, steps, thin=2)
    assert samplers.ess_per_gradient(thinned) < value
    with pytest.raises(ValueError, match="collect=True"):
        samplers.ess_per_gradient(trace._replace(samples=None))
