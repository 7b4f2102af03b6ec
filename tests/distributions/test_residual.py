"""Residual flows: the series for the log-determinant, the bound, the fixed point."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit import distributions as D

A = jnp.array([[0.3, 0.2], [-0.1, 0.4]])
LOG_DET = 0.6097655716


def linear(x: jax.Array, cond=None) -> jax.Array:
    del cond
    return x @ A.T


def estimates(n: int, n_exact: int, survival: float = 0.5) -> np.ndarray:
    x = jnp.ones((1, 2))

    @jax.jit
    def run(keys: jax.Array) -> jax.Array:
        one = lambda k: D.estimated_log_det(k, linear, linear, x, n_exact, survival)[0]
        return jax.vmap(one)(keys)

    return np.asarray(run(jax.random.split(jax.random.key(1), n)))


def test_known_log_determinant():
    np.testing.assert_allclose(D.exact_log_det(linear, jnp.ones((3, 2))), LOG_DET, rtol=1e-6)
    np.testing.assert_allclose(D.spectral_bound(A), 0.4514993, rtol=6e-3)


@pytest.mark.slow
def test_the_series_has_the_known_partial_sums():
    # With survival near 0 no further terms are drawn, and Rademacher probes average exactly
    # over the four sign vectors: v'A v with v = (1, 1) and (1, -1).
    sums = [0.7, 0.595, 0.6113333, 0.6101083, 0.6094223, 0.6099368, 0.6096967, 0.6097898]
    for k, expected in enumerate(sums, start=1):
        values = estimates(200, k, 1e-12)
        assert len(np.unique(np.round(values, 5))) == 2
        halves = (values.min() + values.max()) / 2
        np.testing.assert_allclose(halves, expected, atol=2e-6)
    np.testing.assert_allclose(estimates(4000, 1, 1e-12).var(), 0.01, rtol=0.05)


@pytest.mark.parametrize("n_exact", [0, 2, 6])
def test_the_roulette_is_unbiased(n_exact: int):
    values = estimates(20_000, n_exact)
    stderr = values.std() / np.sqrt(len(values))
    assert stderr < 0.01
    assert abs(values.mean() - LOG_DET) < 3.5 * stderr


@pytest.mark.slow
def test_a_blocks_estimate_and_its_gradient_are_unbiased(key: jax.Array):
    layer = D.residual((16, 16), coefficient=0.8)
    x = jax.random.normal(key, (2, 2))
    params = jax.tree.map(lambda p: 1.5 * p, layer.init(key, x))

    def log_det(params, x, key):
        return jnp.sum(layer.forward_and_log_det(params, x, None, key)[1])

    exact = jax.jit(jax.value_and_grad(log_det, (0, 1)))(params, x, None)

    @jax.jit
    def run(keys: jax.Array):
        return jax.vmap(jax.value_and_grad(log_det, (0, 1)), (None, None, 0))(params, x, keys)

    drawn = run(jax.random.split(key, 4000))
    for estimate, truth in zip(jax.tree.leaves(drawn), jax.tree.leaves(exact), strict=True):
        stderr = estimate.std(axis=0) / np.sqrt(4000) + 1e-6
        assert np.max(np.abs(estimate.mean(axis=0) - truth) / stderr) < 5.0


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (3, 5), (64, 64)])
def test_the_spectral_bound_bounds_tightly(shape):
    matrix = jax.random.normal(jax.random.key(2), shape)
    largest = np.linalg.norm(np.asarray(matrix, np.float64), 2)
    compiled = jax.jit(jax.value_and_grad(D.spectral_bound))
    bound, _ = compiled(matrix)
    assert largest * (1 - 1e-5) <= bound <= largest * 1.017
    tiny, _ = compiled(matrix * 1e-4)
    np.testing.assert_allclose(tiny, 1e-4 * bound, rtol=1e-3)
    big, _ = compiled(matrix * 1e6)
    np.testing.assert_allclose(big, 1e6 * bound, rtol=1e-3)
    zero = compiled(jnp.zeros(shape))
    assert all(np.isfinite(leaf).all() for leaf in zero)


def test_blocks_contract_whatever_their_parameters(key: jax.Array):
    layer = D.residual((16, 16), coefficient=0.9)
    x = jax.random.normal(key, (50, 3))
    params = jax.tree.map(lambda p: 30.0 * p, layer.init(key, x))

    def g(v: jax.Array) -> jax.Array:
        return layer.forward(params, v[None])[0] - v

    @jax.jit
    def run(x: jax.Array):
        return jax.vmap(jax.jacfwd(g))(x), layer.inverse(params, layer.forward(params, x))

    jacobians, back = run(x)
    norms = np.linalg.norm(jacobians, 2, axis=(1, 2))
    assert norms.max() <= 0.9**3 + 1e-5
    np.testing.assert_allclose(back, x, atol=1e-4)


def test_gradients_pass_through_the_fixed_point():
    z = jnp.array([[1.0, -2.0], [0.5, 3.0]])

    def solved(a: jax.Array, z: jax.Array) -> jax.Array:
        return D.fixed_point(lambda x: x @ a.T, z)

    inverse = jnp.linalg.inv(jnp.eye(2) + A)
    np.testing.assert_allclose(solved(A, z), z @ inverse.T, atol=1e-5)
    weights = jnp.array([[1.0, 2.0], [-1.0, 0.5]])
    closed = lambda a, z: jnp.sum(weights * (z @ jnp.linalg.inv(jnp.eye(2) + a).T))
    for argument in (0, 1):
        ours = jax.grad(lambda a, z: jnp.sum(weights * solved(a, z)), argument)(A, z)
        np.testing.assert_allclose(ours, jax.grad(closed, argument)(A, z), atol=1e-4)


def test_rows_of_a_fixed_point_do_not_know_each_other():
    z = jnp.array([[1.0, -2.0], [500.0, 3.0]])
    g = lambda x: 0.9 * jnp.sin(x)
    np.testing.assert_array_equal(D.fixed_point(g, z)[:1], D.fixed_point(g, z[:1]))


def test_a_row_that_does_not_converge_is_nan():
    z = jnp.array([[0.0], [1.0]])
    x = D.fixed_point(lambda x: 1.5 * x, z, max_iterations=20)  # no contraction
    np.testing.assert_array_equal(jnp.isnan(x)[:, 0], [False, True])
