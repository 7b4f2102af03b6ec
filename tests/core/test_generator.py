"""Generators as two functions of their latents."""

import jax
import jax.numpy as jnp
import numpy as np

from gmkit.core import LatentGenerator, from_decoder, truncate


def affine():
    mean = jnp.array([1.0, -1.0])
    return LatentGenerator(
        lambda z: 2.0 * z + jnp.broadcast_to(mean, z.shape),
        lambda w: w[:, None, None],
        2,
        2,
        1,
        mean,
    )


def test_truncation_draws_w_to_its_mean():
    generator, z = affine(), jax.random.normal(jax.random.key(0), (5, 2))
    for psi in (0.0, 0.5, 1.0):
        w = truncate(generator, psi).mapping(z)
        np.testing.assert_allclose(w, generator.w_avg[None, :] + 2.0 * psi * z, atol=1e-6)
    one = truncate(generator, 0.5).mapping(z[0])
    np.testing.assert_allclose(one, truncate(generator, 0.5).mapping(z)[0], atol=1e-6)


def test_a_decoder_is_its_own_synthesis():
    generator = from_decoder(lambda z: jnp.tanh(z)[:, None, None], 3)
    z = jnp.ones((2, 3))
    np.testing.assert_array_equal(generator.mapping(z), z)
    assert generator.synthesis(generator.mapping(z)).shape == (2, 1, 1, 3)
    assert (generator.z_dim, generator.w_dim, generator.num_ws) == (3, 3, 1)
