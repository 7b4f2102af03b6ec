"""Annealed importance sampling against closed forms, from both sides."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit import energies, samplers

K = 3


@pytest.fixture(scope="module")
def linear() -> energies.LinearGaussian:
    """Strong enough that plain importance sampling has a small effective size."""
    k1, k2, k3 = jax.random.split(jax.random.key(3), 3)
    root = jax.random.normal(k3, (4, 4))
    return energies.LinearGaussian(
        weight=jax.random.normal(k1, (4, K)),
        bias=jax.random.normal(k2, (4,)),
        mean=jnp.array([1.5, -1.0, 0.5, 2.0]),
        precision=0.2 * (root @ root.T) + 0.1 * jnp.eye(4),
    )


@pytest.fixture(scope="module")
def path(linear) -> samplers.PotentialPath:
    target = energies.latent_posterior(linear.energy, linear.decode)
    return samplers.geometric_path(energies.prior_potential, target)


def posterior_draws(linear, key, n: int) -> jax.Array:
    mean, covariance = linear.posterior()
    noise = jax.random.normal(key, (n, K))
    return mean[None] + noise @ jnp.linalg.cholesky(covariance).T


@pytest.fixture(scope="module")
def both(linear, path) -> samplers.Bidirectional:
    k0, k1, k2, k3 = jax.random.split(jax.random.key(11), 4)
    betas = samplers.sigmoid_betas(200)
    z0 = jax.random.normal(k0, (400, K))
    steps = samplers.pilot_step_sizes(k3, path, z0, betas, 0.3)
    z0 = jax.random.normal(k1, (400, K))
    z1 = posterior_draws(linear, k2, 400)
    return jax.jit(lambda: samplers.bidirectional(k3, path, z0, z1, betas, steps))()


def test_both_directions_agree_with_the_closed_form(linear, both):
    truth = float(linear.log_partition())
    for run in (both.forward, both.reverse):
        assert abs(run.log_z - truth) < 3 * run.log_z_stderr
        assert 0 < run.log_z_stderr < 0.1
        assert run.ess > 150 and run.n_invalid == 0
        assert 0.4 < run.acceptance.mean() < 0.95


def test_mean_weights_bracket_the_truth(linear, both):
    # Averages of single chains are bounds in expectation, below and above (Jensen).
    truth = float(linear.log_partition())
    lower, upper = both.forward.log_weights, -both.reverse.log_weights
    error = [3 * float(jnp.std(w)) / math.sqrt(len(w)) for w in (lower, upper)]
    assert lower.mean() < truth + error[0]
    assert upper.mean() > truth - error[1]
    assert lower.mean() < both.lower and upper.mean() > both.upper
    assert both.upper - both.lower < 3 * (both.forward.log_z_stderr + both.reverse.log_z_stderr)


def test_forward_chains_end_at_the_target(linear, both):
    mean, covariance = linear.posterior()
    spread = np.sqrt(np.diag(covariance) / 400)
    np.testing.assert_array_less(np.abs(both.forward.z.mean(0) - mean), 5 * spread)


def test_beats_importance_sampling(linear, both):
    z = jax.random.normal(jax.random.key(5), (400, K))
    ess = samplers.effective_draws(-linear.energy(linear.decode(z)))
    assert both.forward.ess > 5 * ess


def test_one_temperature_is_importance_sampling(linear, path, key):
    z = jax.random.normal(key, (50, K))
    energy = linear.energy(linear.decode(z))
    run = samplers.annealed_importance_sampling(key, path, z, samplers.linear_betas(1), 0.1)
    np.testing.assert_allclose(run.log_weights, -energy, rtol=1e-4, atol=1e-4)
    want, stderr = samplers.log_partition(-energy)
    np.testing.assert_allclose(run.log_z, want, rtol=1e-4)
    np.testing.assert_allclose(run.log_z_stderr, stderr, rtol=1e-3)


@pytest.mark.parametrize(
    "kernel",
    [samplers.mala, samplers.random_walk_metropolis, functools.partial(samplers.hmc, n_leap=3)],
)
def test_any_invariant_kernel_serves(kernel, linear, path, key):
    z = jax.random.normal(key, (1000, K))
    run = samplers.annealed_importance_sampling(
        key, path, z, samplers.linear_betas(60), 0.2, kernel=kernel, n_transitions=2
    )
    assert abs(run.log_z - linear.log_partition()) < 3.5 * run.log_z_stderr


def test_normalised_base_gives_log_z_of_any_event_shape(key):
    # exp(-|z - 1|^2 / (2 * 0.25)) over R^(2, 2): log Z = 2 log(2 pi 0.25).
    def base(z):
        return 0.5 * jnp.sum(z**2, axis=(1, 2)) + 2 * math.log(2 * math.pi)

    def target(z):
        return 2.0 * jnp.sum((z - 1.0) ** 2, axis=(1, 2))

    z0 = jax.random.normal(key, (500, 2, 2))
    route = samplers.geometric_path(base, target)
    run = samplers.annealed_importance_sampling(key, route, z0, samplers.linear_betas(40), 0.2)
    assert run.z.shape == (500, 2, 2) and run.acceptance.shape == (40,)
    assert abs(run.log_z - 2 * math.log(2 * math.pi * 0.25)) < 3 * run.log_z_stderr


def test_interpolated_path_of_widths(key):
    # U_b = (1 + 3 b) z^2 / 2: the ratio of partition functions is 1 / 2.
    route = samplers.interpolated_path(lambda b, z: (1 + 3 * b) * 0.5 * jnp.sum(z**2, axis=1))
    k0, k1 = jax.random.split(key)
    z0, z1 = jax.random.normal(k0, (500, 1)), 0.5 * jax.random.normal(k1, (500, 1))
    both = samplers.bidirectional(key, route, z0, z1, samplers.linear_betas(30), 0.15)
    assert abs(both.lower - math.log(0.5)) < 3 * both.forward.log_z_stderr
    assert abs(both.upper - math.log(0.5)) < 3 * both.reverse.log_z_stderr


def test_raise_recovers_the_density(linear, path, key):
    mean, covariance = linear.posterior()
    x = mean[None] + 0.1
    potential = lambda z: energies.prior_potential(z) + 0.5 * K * math.log(2 * math.pi)
    target = energies.latent_posterior(linear.energy, linear.decode)
    route = samplers.geometric_path(potential, target)
    chains = jnp.repeat(x, 500, axis=0)
    values = samplers.raise_log_density(key, route, chains, samplers.sigmoid_betas(100), 0.3)
    truth = jax.scipy.stats.multivariate_normal.logpdf(x[0], mean, covariance)
    estimate, stderr = samplers.log_partition(values)
    assert values.shape == (500,)
    assert abs(estimate - truth) < 3 * stderr + 0.05
    assert values.mean() < truth


@pytest.mark.slow
def test_rows_have_their_own_keys(path, key):
    z = jax.random.normal(key, (8, K))
    betas = samplers.linear_betas(5)
    for run in (samplers.annealed_importance_sampling, samplers.reverse_annealing):
        whole = run(key, path, z, betas, 0.1)
        part = run(key, path, z[:3], betas, 0.1)
        np.testing.assert_allclose(whole.log_weights[:3], part.log_weights, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(whole.z[:3], part.z, rtol=1e-3, atol=1e-4)
        equal = run(key, path, jnp.zeros((2, K)), betas, 0.1)
        assert not np.allclose(equal.z[0], equal.z[1])
        other = run(jax.random.key(9), path, z, betas, 0.1)
        assert not np.allclose(other.z, whole.z)


def test_a_target_without_mass_in_places(key):
    # The half normal: Z is half that of the base; chains that start outside have weight 0.
    def half(z):
        return jnp.where(z[:, 0] > 0, 0.5 * jnp.sum(z**2, axis=1), jnp.inf)

    route = samplers.geometric_path(energies.prior_potential, half)
    z = jax.random.normal(key, (1000, 1))
    betas = np.array([0.0, 0.0, 0.5, 0.5, 1.0], np.float32)
    run = samplers.annealed_importance_sampling(
        key, route, z, betas, 0.3, kernel=samplers.random_walk_metropolis
    )
    dead = np.asarray(z[:, 0] <= 0)
    assert np.isneginf(run.log_weights[dead]).all()
    np.testing.assert_allclose(run.log_weights[~dead], 0.0, atol=1e-5)
    assert abs(run.log_z - math.log(0.5)) < 3 * run.log_z_stderr
    assert run.n_invalid == 0


def test_potentials_that_are_not_numbers_get_no_weight(key):
    route = samplers.geometric_path(
        energies.prior_potential, lambda z: jnp.where(z[:, 0] > 0, 0.0, jnp.nan)
    )
    z = jnp.array([[1.0], [-1.0], [2.0]])
    run = samplers.annealed_importance_sampling(key, route, z, samplers.linear_betas(1), 1e-3)
    assert run.n_invalid == 1 and run.log_weights[1] == -jnp.inf
    assert jnp.isfinite(run.log_z)


def test_one_chain_has_no_standard_error(path, key):
    with jax.debug_nans(False):
        run = samplers.annealed_importance_sampling(
            key, path, jnp.zeros((1, K)), samplers.linear_betas(2), 0.1
        )
    assert jnp.isnan(run.log_z_stderr) and jnp.isfinite(run.log_z)
    np.testing.assert_allclose(run.ess, 1.0, rtol=1e-5)


def test_large_energies_and_many_temperatures_keep_their_digits(key):
    # Energies around 1e5: differences of potentials alone would lose all digits.
    constant = 1e5
    route = samplers.geometric_path(
        lambda z: energies.prior_potential(z) + constant,
        lambda z: energies.prior_potential(z) + constant + 1.0,
    )
    z = jax.random.normal(key, (4, 1))
    run = jax.jit(
        lambda: samplers.annealed_importance_sampling(
            key, route, z, samplers.linear_betas(3000), 0.1, kernel=samplers.random_walk_metropolis
        )
    )()
    np.testing.assert_allclose(run.log_weights, -1.0, atol=1e-2)


def test_compensated_sum():
    terms = jnp.full(20_000, 0.1, jnp.float32)
    zero = jnp.float32(0.0)
    add = lambda carry, term: (samplers.annealed._add(*carry, term), None)
    (total, _), _ = jax.jit(lambda: jax.lax.scan(add, (zero, zero), terms))()
    np.testing.assert_allclose(total, 20_000 * np.float64(np.float32(0.1)), rtol=1e-7)


def test_schedules():
    for betas in (samplers.linear_betas(7), samplers.sigmoid_betas(7), samplers.linear_betas(1)):
        assert betas[0] == 0 and betas[-1] == 1 and betas.dtype == np.float32
        assert (np.diff(betas) > 0).all()
    np.testing.assert_allclose(samplers.linear_betas(4), [0, 0.25, 0.5, 0.75, 1])
    s = lambda x: 1 / (1 + np.exp(-x))
    t = np.arange(11)
    want = (s(4 * (2 * t / 10 - 1)) - s(-4)) / (s(4) - s(-4))
    np.testing.assert_allclose(samplers.sigmoid_betas(10), want, atol=1e-6)
    near = samplers.sigmoid_betas(10, delta=1e-3)
    np.testing.assert_allclose(near, samplers.linear_betas(10), atol=1e-6)


@pytest.mark.slow
def test_pilot_reaches_the_acceptance(path, key):
    k0, k1, k2 = jax.random.split(key, 3)
    betas = samplers.linear_betas(160)
    z = jax.random.normal(k0, (100, K))
    steps = samplers.pilot_step_sizes(k1, path, z, betas, 3.0)
    assert steps.shape == (160,) and len(np.unique(steps)) == 8
    run = samplers.annealed_importance_sampling(k2, path, z, betas, steps)
    bands = run.acceptance.reshape(8, 20).mean(axis=1)[1:]
    np.testing.assert_allclose(bands, 0.65, atol=0.2)
    assert samplers.pilot_step_sizes(k1, path, z, samplers.linear_betas(3), 0.1).shape == (3,)


@pytest.mark.parametrize(
    ("betas", "steps", "options", "expected"),
    [
        (np.zeros(1), 0.1, {}, "betas has shape"),
        (np.zeros((2, 2)), 0.1, {}, "betas has shape"),
        (np.array([1.0, 0.0]), 0.1, {}, "must rise from 0 to 1"),
        (np.array([0.0, 0.6, 0.5, 1.0]), 0.1, {}, "must rise"),
        (np.array([0.0, 1.0]), np.ones(2), {}, "step_sizes has shape"),
        (np.array([0.0, 1.0]), 0.1, {"n_transitions": 0}, "n_transitions=0"),
    ],
)
def test_errors_name_the_value(betas, steps, options, expected, path, key):
    for run in (samplers.annealed_importance_sampling, samplers.reverse_annealing):
        with pytest.raises(ValueError, match=expected):
            run(key, path, jnp.zeros((2, K)), betas, steps, **options)


def test_other_errors(path, key):
    with pytest.raises(ValueError, match="n_steps=0"):
        samplers.linear_betas(0)
    with pytest.raises(ValueError, match="delta=0"):
        samplers.sigmoid_betas(3, delta=0.0)
    with pytest.raises(ValueError, match="acceptance=1"):
        samplers.pilot_step_sizes(
            key, path, jnp.zeros((2, K)), samplers.linear_betas(3), 0.1, acceptance=1.0
        )
