"""Networks of the VAE of robust likelihoods: shapes, stages, where they start."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from gmkit import nets


def channels(module, x):
    """Output channels of every layer, in order."""
    params = jax.eval_shape(module.init, jax.random.key(0), x)["params"]
    kernels = traverse_util.flatten_dict(params)
    order = lambda path: (path[0].split("_")[0] != "ConvTranspose", path[0])
    return [kernels[p].shape[-1] for p in sorted(kernels, key=order) if p[-1] == "kernel"]


@pytest.mark.parametrize(("side", "n"), [(4, 2), (8, 3), (32, 5), (64, 6)])
def test_smaller_images_have_fewer_stages(side, n):
    shape = (side, side, 3)
    assert nets.vae_stages(shape) == n
    encoder, decoder = nets.RobustVAEEncoder(16), nets.RobustVAEDecoder(shape, 16)
    images, latents = jnp.zeros((2, *shape)), jnp.zeros((2, 16))
    assert channels(encoder, images) == [*(32, 32, 64, 64, 128, 64)[6 - n :], 32]
    assert channels(decoder, latents) == [*(128, 128, 64, 64, 32, 32)[:n], 3]
    mean, scale = jax.eval_shape(encoder.init_with_output, jax.random.key(0), images)[0]
    assert mean.shape == scale.shape == (2, 16)
    assert jax.eval_shape(decoder.init_with_output, jax.random.key(0), latents)[0].shape == (
        2,
        *shape,
    )


def test_width_multiplies_all_layers_but_the_last():
    narrow = nets.RobustVAEEncoder(4, width=0.25)
    assert channels(narrow, jnp.zeros((2, 8, 8, 1))) == [16, 32, 16, 8]
    assert channels(nets.RobustVAEDecoder((8, 8, 1), 4, 0.01), jnp.zeros((2, 4))) == [1, 1, 1, 1]


def test_without_weights_the_posterior_is_standard_and_images_are_grey():
    encoder, decoder = nets.RobustVAEEncoder(3, 0.1), nets.RobustVAEDecoder((4, 4, 1), 3, 0.1)
    zeros = lambda module, x: jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape), jax.eval_shape(module.init, jax.random.key(0), x)
    )
    x, z = jnp.ones((2, 4, 4, 1)), jnp.ones((2, 3))
    variables = zeros(encoder, x), zeros(decoder, z)
    both = jax.jit(lambda e, d: (encoder.apply(e, x), decoder.apply(d, z)))
    (mean, scale), image = both(*variables)
    np.testing.assert_array_equal(mean, 0.0)
    np.testing.assert_allclose(scale, 1.0, rtol=1e-6)
    np.testing.assert_array_equal(image, 0.5)


@pytest.mark.parametrize(
    ("shape", "fix"),
    [((28, 28, 1), 32), ((8, 16, 3), 16), ((2, 2, 1), 4), ((128, 128, 3), 64), ((1, 5, 1), 8)],
)
def test_other_sizes_are_refused_with_the_size_to_take(shape, fix):
    with pytest.raises(ValueError, match=rf"{shape[0]} x {shape[1]}.*data\.image_size={fix};"):
        nets.vae_stages(shape)
