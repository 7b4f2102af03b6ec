"""MADE: masks, the autoregressive property, and the density with mixture heads."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit import distributions as D


@pytest.mark.parametrize("hidden", [(), (3,), (7,), (16, 5)])
@pytest.mark.parametrize("conditional", [False, True])
def test_the_jacobian_is_strictly_triangular(hidden, conditional: bool, key: jax.Array):
    network = D.made(hidden, jnp.tanh)
    x = jax.random.normal(key, (2, 5))
    cond = jnp.ones((2, 3)) if conditional else None
    params = network.init(key, x, 4, cond)
    out = network.apply(params, x, cond)
    assert out.shape == (2, 5, 4)

    def row(v: jax.Array) -> jax.Array:
        return network.apply(params, v[None], None if cond is None else cond[:1])[0]

    jacobian = np.abs(jax.jacfwd(row)(x[0])).max(axis=1)
    np.testing.assert_array_equal(np.triu(jacobian), 0.0)
    if len(hidden) < 2 and (not hidden or hidden[0] >= 5):  # wide enough: nothing is cut off
        assert np.all(jacobian[np.tril_indices(5, -1)] > 0)


def test_narrow_hidden_layers_spread_their_degrees():
    first, last = D.made_masks(10, (3,))
    assert first.sum(axis=0).tolist() == [1, 4, 7]
    assert last.sum(axis=0).tolist() == [0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_every_output_sees_the_condition(key: jax.Array):
    network = D.made((8,), jnp.tanh)
    x, cond = jnp.zeros((1, 4)), jnp.ones((1, 2))
    params = network.init(key, x, 2, cond)
    jacobian = jax.jacfwd(lambda c: network.apply(params, x, c))(cond)[0]
    assert np.all(np.abs(jacobian).max(axis=(1, 2, 3)) > 0)
    # The first output depends on it beyond a linear term: through units of degree 0.
    second = jax.jacfwd(jax.jacfwd(lambda c: network.apply(params, x, c)))(cond)[0, 0]
    assert np.abs(second).max() > 0


def test_one_feature(key: jax.Array):
    layer = D.autoregressive(D.location_scale(), D.made((4,)))
    x = jax.random.normal(key, (6, 1))
    params = layer.init(key, x)
    z, log_det = layer.forward_and_log_det(params, x)
    np.testing.assert_allclose(log_det, 0.0, atol=1e-6)  # nothing to depend on but a zero bias
    np.testing.assert_allclose(layer.inverse(params, z), x, atol=1e-6)


def test_location_scale_is_gaussian_conditionals(key: jax.Array):
    # log p(x) = sum_i log N(x_i; mu_i, exp(a_i)), from the network's outputs directly.
    network = D.made((16,))
    flow = D.flow(D.standard_normal(3), D.autoregressive(D.location_scale(None), network))
    x = jax.random.normal(key, (10, 3))
    params = flow.init(key, x)
    a, mu = jnp.moveaxis(network.apply(params["bijector"], x), -1, 0)
    expected = -0.5 * ((x - mu) * jnp.exp(-a)) ** 2 - a - 0.5 * jnp.log(2 * jnp.pi)
    np.testing.assert_allclose(flow.log_prob(params, x), expected.sum(axis=1), rtol=1e-5)


@pytest.fixture
def mixture(key: jax.Array):
    density = D.made_mixture(2, 3, (8,))
    params = jax.jit(density.init)(key, jnp.zeros((1, 2)))
    keys = iter(jax.random.split(key, 20))
    return density, jax.tree.map(lambda p: p + 0.2 * jax.random.normal(next(keys), p.shape), params)


def test_mixture_heads_integrate_to_one(mixture):
    density, params = mixture
    axis = jnp.linspace(-30.0, 30.0, 601)
    grid = jnp.stack(jnp.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    mass = jnp.sum(jnp.exp(jax.jit(density.log_prob)(params, grid))) * (axis[1] - axis[0]) ** 2
    np.testing.assert_allclose(mass, 1.0, atol=1e-3)


def test_mixture_heads_sample_what_they_score(mixture):
    density, params = mixture
    x = jax.jit(density.sample, static_argnums=2)(params, jax.random.key(9), 20_000)
    # The first coordinate's distribution function is uniform on its own samples.
    axis = jnp.linspace(-30.0, 30.0, 601)
    step = axis[1] - axis[0]
    pairs = jnp.stack(jnp.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    joint = np.exp(jax.jit(density.log_prob)(params, pairs)).reshape(601, 601)
    u = np.interp(x[:, 0], axis + step / 2, np.cumsum(joint.sum(axis=1)) * step**2)
    assert np.abs(np.sort(u) - np.linspace(0, 1, len(u))).max() < 0.02
    mean = (joint.sum(axis=0) * np.asarray(axis)).sum() / joint.sum()
    np.testing.assert_allclose(x[:, 1].mean(), mean, atol=4 * x[:, 1].std() / 141)


def test_mixture_components_can_separate(key: jax.Array):
    # Equal components would get equal gradients for ever.
    density = D.made_mixture(1, 2, (4,))
    x = jnp.array([[-2.0], [2.0]])
    params = jax.jit(density.init)(key, x)
    grad = jax.jit(jax.grad(lambda p: jnp.mean(density.log_prob(p, x))))(params)
    means = grad["dense_1"]["bias"].reshape(3, 2)[1]
    assert np.abs(means[0] - means[1]) > 0.1
