"""Latents of a re-weighted prior: every named sampler on the one case known in closed form."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit import samplers
from gmkit.energies import LinearGaussian
from gmkit.samplers import LatentSampler, draw_latents

MODEL = LinearGaussian(
    weight=jnp.array([[1.0, 0.5], [0.0, 0.8]]),
    bias=jnp.array([0.5, -0.5]),
    mean=jnp.array([1.0, 0.0]),
    precision=jnp.array([[1.0, 0.2], [0.2, 0.5]]),
)
N = 4000

EXACT = [
    LatentSampler("mala", step=0.3, n_steps=60),
    LatentSampler("hmc", step=0.5, n_steps=30),
    LatentSampler("kla", step=0.4, n_steps=60, friction=1.0),
    LatentSampler("baoab", step=0.4, n_steps=60, friction=1.0),
    LatentSampler("imh", n_steps=60),
    LatentSampler("rwmh", step=1.0, n_steps=100),
    LatentSampler("sir", pool=25),
    LatentSampler("kla", beta=3.0, step=0.2, n_steps=100),
    LatentSampler("sde", step=0.02, n_steps=150),
    LatentSampler("kinetic_sde", step=0.2, n_steps=60),
]


def latent_energy(z):
    return MODEL.energy(MODEL.decode(z))


@functools.partial(jax.jit, static_argnums=(1, 2))
def drawn(key, n, how):
    return draw_latents(key, latent_energy, 2, n, how)


@pytest.mark.parametrize("how", EXACT, ids=lambda h: f"{h.name}-{h.beta:g}")
def test_mean_and_covariance_of_the_posterior(how):
    z, info = drawn(jax.random.key(0), N, how)
    mean, covariance = MODEL.posterior(how.beta)
    # Systematic resampling repeats draws; a quarter of them may be effective.
    effective = N * (0.25 if how.name == "sir" else 1.0)
    error = 4.0 * np.sqrt(np.diag(covariance) / effective)
    bias = 0.02 if how.name == "sde" else 0.0
    assert np.all(np.abs(z.mean(axis=0) - mean) < error + bias)
    np.testing.assert_allclose(np.cov(z.T), covariance, atol=6.0 / np.sqrt(effective) + bias)
    assert float(info.get("diverged", 0.0)) == 0.0
    assert 0.2 < float(info.get("acceptance", 1.0)) <= 1.0


def test_descent_ends_at_the_mode_and_dot_stays_near_its_start():
    mode, _ = MODEL.posterior()
    z, _ = drawn(jax.random.key(0), 16, LatentSampler("descent", step=0.1, n_steps=300))
    np.testing.assert_allclose(z, np.broadcast_to(mode, z.shape), atol=1e-3)
    z0 = jax.random.normal(jax.random.key(1), (16, 2))
    trace = samplers.latent_chains(
        jax.random.key(2), latent_energy, z0, LatentSampler("dot", step=0.05, n_steps=20)
    )
    assert np.all(np.isfinite(trace.state.z))
    norms = lambda z: np.linalg.norm(z, axis=1)
    # The radial part is projected out: only second order in the step is left of it.
    np.testing.assert_allclose(norms(trace.state.z), norms(z0), atol=0.2)


def test_step_sizes_follow_the_schedule():
    how = LatentSampler("ula", step=1.0, n_steps=5, divide_every=2, divide_by=10.0)
    np.testing.assert_allclose(how.step_sizes, [1.0, 1.0, 0.1, 0.1, 0.01], rtol=1e-6)
    np.testing.assert_allclose(LatentSampler(step=0.3, n_steps=2).step_sizes, [0.3, 0.3])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "nuts"}, "name='nuts'"),
        ({"n_steps": 0}, "n_steps=0"),
        ({"step": 0.0}, "step=0.0"),
        ({"name": "sir", "pool": 0}, "pool=0"),
        ({"beta": float("nan")}, "beta=nan"),
        ({"name": "hmc", "n_leap": 0}, "n_leap=0"),
        ({"friction": -1.0}, "friction=-1.0"),
        ({"divide_by": 0.0, "divide_every": 5}, "divide_by=0.0"),
        ({"name": "sde", "divide_every": 5}, "divide_every"),
    ],
)
def test_errors_name_the_setting(options, message):
    with pytest.raises(ValueError, match=message):
        LatentSampler(**options)


@pytest.mark.parametrize("name", ["kla", "baoab", "hmc", "mala"])
def test_chains_that_are_continued_stay_in_the_posterior(name):
    """Ten steps at a time, as persistent chains move: a velocity reset to 0 would cool them."""
    how = LatentSampler(name, step=0.4 if name != "mala" else 0.3, n_steps=10)
    mean, covariance = MODEL.posterior()
    root = np.linalg.cholesky(covariance)
    z = jax.random.normal(jax.random.key(0), (N, 2)) @ root.T + mean[None]
    move = jax.jit(
        lambda key, z: (
            samplers.latent_chains(
                key, latent_energy, z, how, thin=10, collect=False, fresh_velocity=True
            ).state.z
        )
    )
    for t in range(10):
        z = move(jax.random.key(t), z)
    np.testing.assert_allclose(np.cov(z.T), covariance, atol=6.0 / np.sqrt(N))
