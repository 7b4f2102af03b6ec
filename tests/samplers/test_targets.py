"""Every sampler reaches its stationary law: closed forms, many chains, few steps."""

from __future__ import annotations

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit import samplers

N_CHAINS = 4000

#: Compiled once per kernel and shapes; a kernel is a pair of functions, so it can be static.
run = jax.jit(samplers.run, static_argnums=1, static_argnames=("thin", "collect"))


def quadratic(z):
    return 0.5 * jnp.sum(z**2, axis=1)


def exact_kernels(model):
    return {
        "mala": (samplers.mala(model.potential), 0.4, 60),
        "hmc": (samplers.hmc(model.potential, n_leap=3), 0.5, 30),
        "independent": (samplers.independent_metropolis(model.energy), 0.0, 60),
        "random_walk": (samplers.random_walk_metropolis(model.potential), 0.8, 100),
        # Exact for quadratic potentials, without a correction.
        "aboba": (samplers.kinetic_langevin(model.potential, 1.0), 0.6, 40),
        "baoab": (samplers.kinetic_langevin(model.potential, 1.0, "baoab"), 0.6, 40),
        "aboba_overdamped": (samplers.kinetic_langevin(model.potential, jnp.inf), 0.6, 60),
    }


@pytest.mark.parametrize(
    "name",
    ["mala", "hmc", "independent", "random_walk", "aboba", "baoab", "aboba_overdamped"],
)
def test_linear_gaussian_posterior(name, model, errors, key):
    kernel, step_size, n_steps = exact_kernels(model)[name]
    key_start, key_run = jax.random.split(key)
    z0 = jax.random.normal(key_start, (N_CHAINS, 2))
    steps = samplers.constant(step_size, n_steps)
    trace = run(key_run, kernel, z0, steps, collect=False)
    assert errors(trace.state.z, model.mean, model.cov) < 3.0
    assert not trace.info.diverged.any()
    rate = samplers.acceptance_rate(trace.info)
    assert 0.3 < rate <= 1.0
    np.testing.assert_allclose(rate, trace.info.accepted.mean(), atol=0.01)


@pytest.mark.parametrize("beta", [1.0, 4.0])
def test_tempered_posterior_by_mala(beta, model, errors, key):
    tempered = model._replace(precision=beta * model.precision)

    def potential(z):
        return quadratic(z) + beta * model.energy(z)

    z0 = jax.random.normal(key, (N_CHAINS, 2))
    steps = samplers.constant(0.15, 150)
    trace = run(key, samplers.mala(potential), z0, steps, thin=150)
    assert errors(trace.state.z, tempered.mean, tempered.cov) < 3.0


@pytest.mark.parametrize("name", ["mala", "hmc"])
def test_blackjax_kernels_plug_in(name, model, errors, key):
    def log_density(z):
        return -model.potential(z[None])[0]

    if name == "mala":
        algorithm, n_steps = blackjax.mala(log_density, 0.4), 60
    else:
        mass = jnp.ones(2)
        algorithm, n_steps = blackjax.hmc(log_density, 0.5, mass, 3), 30
    key_start, key_run = jax.random.split(key)
    z0 = jax.random.normal(key_start, (N_CHAINS, 2))

    def one_step(states, key):
        states, _ = jax.vmap(algorithm.step)(jax.random.split(key, N_CHAINS), states)
        return states, None

    states = jax.vmap(algorithm.init)(z0)
    states, _ = jax.jit(lambda s, k: jax.lax.scan(one_step, s, k))(
        states, jax.random.split(key_run, n_steps)
    )
    assert errors(states.position, model.mean, model.cov) < 3.0


def one_dimensional(name):
    return {
        "ula_0.1": (samplers.ula(quadratic), 0.1, 60, 1.052632),
        "ula_0.5": (samplers.ula(quadratic), 0.5, 30, 1.333333),
        "mala": (samplers.mala(quadratic), 0.5, 60, 1.0),
        "hmc": (samplers.hmc(quadratic, 2), 0.8, 30, 1.0),
        "aboba": (samplers.kinetic_langevin(quadratic, 1.0), 1.0, 40, 1.0),
        "baoab": (samplers.kinetic_langevin(quadratic, 1.0, "baoab"), 1.0, 40, 1.0),
    }[name]


@pytest.mark.parametrize("name", ["ula_0.1", "ula_0.5", "mala", "hmc", "aboba", "baoab"])
def test_stationary_variance(name, key):
    kernel, step_size, n_steps, variance = one_dimensional(name)
    key_start, key_run = jax.random.split(key)
    n = 40_000
    # Near stationarity from the start; the rest of the bias dies with the steps.
    z0 = 1.1 * jax.random.normal(key_start, (n, 1))
    steps = samplers.constant(step_size, n_steps)
    state = run(key_run, kernel, z0, steps, collect=False, thin=n_steps).state
    assert abs(jnp.var(state.z) - variance) < 3 * variance * np.sqrt(2 / n)
    if state.velocity is not None:
        want = {"aboba": 1 / (1 - step_size**2 / 4), "baoab": 1 - step_size**2 / 4}[name]
        assert abs(jnp.var(state.velocity) - want) < 3 * want * np.sqrt(2 / n)


def test_bounded_support_is_respected(key):
    """Potentials of +inf are walls: proposals beyond them are rejected and flagged."""

    def half_normal(z):
        return jnp.where(z[:, 0] > 0, 0.5 * z[:, 0] ** 2, jnp.inf)

    z0 = jnp.full((N_CHAINS, 1), 0.5)
    kernel = samplers.random_walk_metropolis(half_normal)
    trace = run(key, kernel, z0, samplers.constant(1.5, 80), collect=False)
    z = trace.state.z
    assert (z > 0).all() and trace.info.diverged.any()
    assert abs(z.mean() - np.sqrt(2 / np.pi)) < 3 * np.sqrt((1 - 2 / np.pi) / N_CHAINS)
