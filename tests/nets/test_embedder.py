"""Classifiers of latents."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit import nets


@pytest.mark.parametrize(("d", "widths"), [(512, (384, 256, 128)), (64, (85, 106, 128))])
def test_widths_are_evenly_spaced_and_cut_off(d, widths):
    net = nets.DenseEmbedder(10)
    made = jax.eval_shape(lambda: net.init(jax.random.key(0), jnp.zeros((1, d))))["params"]
    shapes = [made[f"Dense_{i}"]["kernel"].shape for i in range(4)]
    assert shapes == list(zip((d, *widths), (*widths, 10), strict=True))


def test_weights_and_biases_are_uniform_within_the_root_of_the_fan_in():
    net = nets.DenseEmbedder(10)
    made = net.init(jax.random.key(0), jnp.zeros((1, 512)))["params"]["Dense_0"]
    for name in ("kernel", "bias"):
        values = np.asarray(made[name]).ravel()
        assert np.abs(values).max() <= 512**-0.5
        assert np.std(values) == pytest.approx((3 * 512) ** -0.5, rel=0.1)


def test_one_latent_and_a_batch_agree():
    net = nets.DenseEmbedder(3, width=8, depth=2)
    z = jax.random.normal(jax.random.key(1), (4, 5))
    variables = net.init(jax.random.key(0), z)
    np.testing.assert_allclose(net.apply(variables, z[0]), net.apply(variables, z)[0], atol=1e-6)
