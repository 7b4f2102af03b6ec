"""The diffrax solves agree in distribution with the scanned kernels and the targets."""

from __future__ import annotations

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit import samplers
from gmkit.core.parallel import batch_sharding, make_mesh

N_CHAINS = 3000


def quadratic(z):
    return 0.5 * jnp.sum(z**2, axis=1)


@pytest.mark.slow
def test_euler_solve_is_ula_in_distribution(key):
    """At a coarse step both share even the discretisation bias."""
    lam, n_steps = 0.5, 16
    z0 = jax.random.normal(key, (N_CHAINS, 1))
    path = samplers.overdamped_sde(key, quadratic, z0, [lam * n_steps], lam, max_steps=32)
    assert path.success.all() and (path.n_steps == n_steps).all()
    steps = samplers.constant(lam, n_steps)
    chains = samplers.run(key, samplers.ula(quadratic), z0, steps, collect=False).state.z
    tolerance = 3 * (4 / 3) * np.sqrt(2 / N_CHAINS)
    assert abs(jnp.var(path.samples[-1]) - 4 / 3) < tolerance
    assert abs(jnp.var(chains) - 4 / 3) < tolerance
    quantiles = jnp.linspace(0.05, 0.95, 7)
    np.testing.assert_allclose(
        jnp.quantile(path.samples[-1], quantiles), jnp.quantile(chains, quantiles), atol=0.15
    )


def test_kinetic_solve_agrees_with_the_posterior_and_with_kla(model, errors, key):
    h, n_steps = 0.25, 40
    z0 = jax.random.normal(key, (N_CHAINS, 2))
    path = samplers.kinetic_sde(key, model.potential, z0, [h * n_steps], h, 2.0, max_steps=64)
    assert path.success.all()
    steps = samplers.constant(h, n_steps)
    kernel = samplers.kinetic_langevin(model.potential, 2.0)
    chains = samplers.run(key, kernel, z0, steps, collect=False).state
    # The solver's own bias is of order h^2; the scanned one is exact here.
    assert errors(path.samples[-1], model.mean, model.cov) < 4.0
    assert errors(chains.z, model.mean, model.cov) < 3.0
    assert errors(path.velocity[-1], np.zeros(2), np.eye(2)) < 4.0


@pytest.mark.slow
def test_transient_of_the_overdamped_solve(key):
    """The Ornstein-Uhlenbeck mean and variance at several times, by a second-order solver."""
    times = jnp.array([0.25, 0.5, 1.0])
    z0 = jnp.full((N_CHAINS, 1), 2.0)
    solve = jax.jit(
        lambda z: samplers.overdamped_sde(
            key, quadratic, z, times, 0.25, solver=diffrax.ShARK(), max_steps=16
        )
    )
    path = solve(z0)
    assert path.samples.shape == (3, N_CHAINS, 1)
    variance = 1 - np.exp(-2 * times)
    tolerance = 3.5 * np.sqrt(variance / N_CHAINS)
    assert (abs(path.samples.mean((1, 2)) - 2 * np.exp(-times)) < tolerance).all()
    assert (abs(path.samples.var((1, 2)) / variance - 1) < 0.15).all()


@pytest.mark.slow
def test_adaptive_steps(key):
    controller = diffrax.PIDController(rtol=1e-2, atol=1e-2, dtmin=1e-3)
    z0 = jnp.array([[0.1], [6.0]])
    stiff = lambda z: 0.25 * jnp.sum(z**4, axis=1)
    path = samplers.overdamped_sde(
        key, stiff, z0, [1.0], 0.05, solver=diffrax.ShARK(), controller=controller
    )
    assert path.success.all() and jnp.abs(path.samples[-1]).max() < 4
    assert path.n_steps[1] > path.n_steps[0]


def test_failures_are_reported_not_raised(key):
    """A row that explodes fails alone; a solve that needs more steps than allowed fails."""
    z0 = jnp.array([[0.1], [50.0]])
    explosive = lambda z: 0.25 * jnp.sum(z**4, axis=1)

    @jax.jit
    def success(t1):
        return samplers.overdamped_sde(key, explosive, z0, t1[None], 0.1, max_steps=12).success

    np.testing.assert_array_equal(success(1.0 * jnp.ones(())), [True, False])
    np.testing.assert_array_equal(success(2.0 * jnp.ones(())), [False, False])


@pytest.mark.slow
def test_gradient_through_a_solve(key):
    z0 = jnp.ones((4, 1))

    @jax.jit
    @jax.value_and_grad
    def spread(scale):
        potential = lambda z: scale * quadratic(z)
        path = samplers.overdamped_sde(key, potential, z0, [0.5], 0.1, max_steps=8)
        return jnp.mean(path.samples**2)

    difference = (spread(1.05)[0] - spread(0.95)[0]) / 0.1
    np.testing.assert_allclose(spread(1.0)[1], difference, rtol=2e-2)


@pytest.mark.parametrize("kind", ["overdamped", pytest.param("kinetic", marks=pytest.mark.slow)])
def test_rows_do_not_depend_on_devices_and_shape(kind, key):
    def images(z):
        return 0.5 * jnp.sum(z**2, axis=(1, 2))

    def solve(z):
        if kind == "overdamped":
            return samplers.overdamped_sde(key, images, z, [0.4], 0.1, max_steps=8).samples
        return samplers.kinetic_sde(key, images, z, [0.4], 0.1, 1.0, max_steps=8).samples

    z0 = jax.random.normal(key, (8, 2, 3))
    alone = jax.jit(solve)(z0)
    assert alone.shape == (1, 8, 2, 3)
    shared = jax.jit(solve)(jax.device_put(z0, batch_sharding(make_mesh(4), 0)))
    np.testing.assert_allclose(shared, alone, atol=1e-6)
