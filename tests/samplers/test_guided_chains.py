"""Langevin and predictor-corrector chains towards attributes, and paths between latents."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit import samplers

SIGMA, TARGET = 0.5, 1.0


def attribute(z, weight):
    """A linear-Gaussian attribute of the first coordinate, switched off by weight 0."""
    return weight * -0.5 * jnp.square((z[0] - TARGET) / SIGMA)


#: Of the first coordinate, given the attribute.
MEAN, VARIANCE = TARGET / (1 + SIGMA**2), SIGMA**2 / (1 + SIGMA**2)


CHAINS = [
    ("guided_langevin", {"noise": "langevin", "n_steps": 150, "step_size": 0.03}),
    ("predictor_corrector", {"n_steps": 150, "snr": 0.1}),
    pytest.param(
        "predictor_corrector",
        {"n_steps": 300, "snr": 0.1, "stale_score": True},
        marks=pytest.mark.slow,
    ),
]


@pytest.mark.parametrize(("name", "settings"), CHAINS)
def test_chains_draw_from_the_posterior_and_without_atoms_from_the_prior(name, settings):
    chain = getattr(samplers, name)
    program = jax.jit(
        lambda z, w: chain(attribute, z, jax.random.key(1), w, args_axis=0, **settings)
    )
    z = jax.random.normal(jax.random.key(2), (1000, 10))
    weight = jnp.arange(1000) % 2.0
    sample = program(z, weight)
    assert not sample.failed.any() and (sample.steps == settings["n_steps"]).all()
    prior, posterior = sample.latents[::2], sample.latents[1::2, 0]
    assert float(jnp.mean(prior**2)) == pytest.approx(1.0, abs=0.06)
    assert float(posterior.mean()) == pytest.approx(MEAN, abs=0.08)
    assert float(posterior.var()) == pytest.approx(VARIANCE, rel=0.25)


def test_the_papers_noise_lets_latents_shrink():
    """A linear recursion whose second moment is known."""
    z = jax.random.normal(jax.random.key(3), (64, 64))
    zero = lambda z, args: 0.0 * z[0]
    sample = jax.jit(lambda z: samplers.guided_langevin(zero, z, jax.random.key(4)))(z)
    keep = 0.99**2
    expected = keep**100 + 1e-4 * (1 - keep**100) / (1 - keep)
    assert float(jnp.mean(sample.latents**2)) == pytest.approx(expected, rel=0.05)
    np.testing.assert_array_equal(sample.evaluations, 101)


@pytest.mark.slow
def test_a_number_sets_the_noise():
    z = jnp.ones((4, 3))
    zero = lambda z, args: 0.0 * z[0]
    still = samplers.guided_langevin(zero, z, jax.random.key(5), noise=0.0, n_steps=5)
    np.testing.assert_allclose(still.latents, 0.99**5, rtol=1e-5)


@pytest.mark.slow
def test_prior_radius_of_the_predictor_corrector():
    z = jax.random.normal(jax.random.key(6), (1000, 64))
    zero = lambda z, args: 0.0 * z[0]
    for n_corrector in (0, 2):
        run = lambda z, n=n_corrector: samplers.predictor_corrector(
            zero, z, jax.random.key(7), n_corrector=n
        )
        sample = jax.jit(run)(z)
        assert float(jnp.mean(sample.latents**2)) == pytest.approx(1.0, abs=0.03)
        np.testing.assert_array_equal(sample.evaluations, 1000 * (1 + n_corrector))


def test_rows_that_are_not_numbers_are_marked():
    broken = lambda z, args: jnp.sqrt(z[0])
    z = jnp.array([[4.0, 0.0], [-4.0, 0.0]])
    sample = jax.jit(lambda z: samplers.guided_langevin(broken, z, jax.random.key(8), n_steps=2))(z)
    np.testing.assert_array_equal(sample.failed, [False, True])


def test_mistakes_are_named():
    zero, z, key = lambda z, args: 0.0 * z[0], jnp.zeros((1, 2)), jax.random.key(9)
    with pytest.raises(ValueError, match="noise='right'"):
        samplers.guided_langevin(zero, z, key, noise="right")
    with pytest.raises(ValueError, match="n_steps=0"):
        samplers.guided_langevin(zero, z, key, n_steps=0)
    with pytest.raises(ValueError, match="snr=0"):
        samplers.predictor_corrector(zero, z, key, snr=0.0)
    with pytest.raises(ValueError, match="n_points=1"):
        samplers.traversal(key, 1, 3)


def test_a_traversal_keeps_away_from_the_origin(key):
    path = jax.jit(lambda key: samplers.traversal(key, 6, 64))(key)
    path = np.asarray(path)
    assert path.shape == (6, 64)
    norms = np.linalg.norm(path, axis=1)
    np.testing.assert_allclose(norms[1:-1], norms[[0, -1]].mean(), rtol=1e-5)
    # Directions are those of the straight line.
    line = 0.6 * path[0] + 0.4 * path[-1]
    cosine = path[2] @ line / np.linalg.norm(path[2]) / np.linalg.norm(line)
    assert float(cosine) == pytest.approx(1.0, abs=1e-5)
