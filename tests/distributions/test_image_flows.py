"""Flows of images."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit import distributions as D

# Compiling solvers and deep stacks takes most of a minute.
pytestmark = pytest.mark.slow

FLOWS = {
    "real_nvp": lambda shape: D.real_nvp_images(shape, 2, 4),
    "glow": lambda shape: D.glow(shape, 2, 2, 4),
}


@pytest.mark.parametrize(
    ("name", "conditional"),
    [
        ("glow", True),
        pytest.param("glow", False, marks=pytest.mark.slow),
        pytest.param("real_nvp", False, marks=pytest.mark.slow),
        pytest.param("real_nvp", True, marks=pytest.mark.slow),
    ],
)
def test_protocol(name: str, conditional: bool, key: jax.Array):
    shape = (4, 4, 1)
    density = FLOWS[name](shape)
    x = 3.0 + 2.0 * jax.random.normal(key, (6, *shape))
    cond = jax.nn.one_hot(jnp.arange(6) % 2, 2) if conditional else None
    assert density.encode is not None and density.decode is not None
    encode, decode = density.encode, density.decode
    params = jax.jit(density.init)(key, x, cond)
    params = jax.tree.map(lambda p: p + 0.02 * jnp.cos(jnp.arange(p.size)).reshape(p.shape), params)

    @jax.jit
    def run(params, cond):
        loss = lambda p: -jnp.mean(density.log_prob(p, x, cond))
        value, grads = jax.value_and_grad(loss)(params)
        z = encode(params, x, cond)
        drawn, log_prob = density.sample_and_log_prob(params, key, 6, cond)
        again = density.log_prob(params, drawn, cond)
        return value, grads, z, decode(params, z, cond), drawn, log_prob, again

    value, grads, z, back, drawn, log_prob, again = run(params, cond)
    assert np.isfinite(value) and z.shape == (6, 16) and drawn.shape == (6, *shape)
    np.testing.assert_allclose(back, x, atol=2e-4)
    np.testing.assert_allclose(log_prob, again, atol=1e-3)
    for path, leaf in jax.tree.leaves_with_path(grads):
        assert np.isfinite(leaf).all(), path
        assert np.abs(leaf).max() > 0, path
    if cond is not None:
        assert np.abs(encode(params, x, 1.0 - cond) - z).max() > 1e-3


def test_glow_standardises_its_first_batch(key: jax.Array):
    # Couplings start as a scaling by sigmoid(2), so one step after actnorm has that deviation.
    density = D.glow((4, 4, 3), 1, 1, 4)
    x = 100.0 + 30.0 * jax.random.normal(key, (64, 4, 4, 3))
    params = jax.jit(density.init)(key, x)
    assert density.encode is not None
    z = jax.jit(density.encode)(params, x).reshape(64, 2, 2, 12)
    scale = jax.nn.sigmoid(2.0) + 1e-3
    np.testing.assert_allclose(z[..., 6:].std(axis=(0, 1, 2)), scale, rtol=0.3)
    assert np.abs(z.mean()) < 0.1


def test_every_level_gives_half_of_its_channels():
    # Levels that only squeeze: latents are a permutation of the pixels.
    flow = D.multi_scale([D.squeeze(), D.squeeze()], (4, 4, 1))
    x = jnp.arange(32.0).reshape(2, 4, 4, 1)
    z, log_det = flow.forward_and_log_det({"level_0": {}, "level_1": {}}, x)
    np.testing.assert_array_equal(np.sort(z, axis=1), np.arange(32.0).reshape(2, 16))
    np.testing.assert_array_equal(log_det, 0.0)
    np.testing.assert_array_equal(flow.inverse({"level_0": {}, "level_1": {}}, z), x)
