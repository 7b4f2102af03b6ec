"""Optimisation baselines."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from gmkit import samplers
from gmkit.samplers.descent import without_radial_part


def test_descent_finds_the_posterior_mode(model, key):
    z0 = jax.random.normal(key, (16, 2))
    kernel = samplers.gradient_descent(model.potential)
    trace = samplers.run(key, kernel, z0, samplers.constant(0.2, 100))
    np.testing.assert_allclose(trace.state.z, np.tile(model.mean, (16, 1)), atol=1e-4)
    first = samplers.row_value_and_grad(model.potential)(trace.samples[0])[0]
    assert (trace.state.u <= first).all()


def test_descent_is_langevin_without_noise():
    value_and_grad = samplers.row_value_and_grad(lambda z: jnp.sum(jnp.cosh(z), axis=1))
    z = jnp.array([[0.3, -1.0]])
    kernel = samplers.gradient_descent(lambda z: jnp.sum(jnp.cosh(z), axis=1))
    state, _ = kernel.step(jax.random.key(0), kernel.init(z), jnp.float32(0.1))
    want = samplers.langevin_move(z, value_and_grad(z)[1], jnp.zeros_like(z), 0.1)
    np.testing.assert_allclose(state.z, want, rtol=1e-6)


def test_radial_part_is_removed(key):
    direction, z = jax.random.normal(key, (2, 5, 3))
    z = z.at[0].set(0.0)
    tangent = without_radial_part(direction, z)
    np.testing.assert_allclose(jnp.sum(tangent * z, axis=1), 0.0, atol=1e-5)
    np.testing.assert_array_equal(tangent[0], direction[0])


def test_largest_gradient_norm():
    z = jnp.array([[0.0, 0.0], [3.0, 4.0], [1.0, 0.0]])
    norm = samplers.max_gradient_norm(lambda z: jnp.sum(z**2, axis=1), z)
    np.testing.assert_allclose(norm, 10.0, rtol=1e-6)


def test_transport_first_step_and_pull_home():
    """At the origin the distance has subgradient 0; afterwards it pulls with slope 1."""
    kernel = samplers.optimal_transport_descent(lambda z: 2.0 * z[:, 1], 4.0)
    key = jax.random.key(0)
    start = kernel.init(jnp.array([[1.0, 0.0]]))
    one, _ = kernel.step(key, start, jnp.float32(0.1))
    np.testing.assert_allclose(one.z, [[1.0, -0.05]], atol=1e-6)
    two, _ = kernel.step(key, one, jnp.float32(0.1))
    direction = np.array([0.0, 0.5 - 1.0])
    here = np.array([1.0, -0.05])
    direction -= direction @ here / (here @ here) * here
    np.testing.assert_allclose(two.z[0], here - 0.1 * direction, atol=1e-6)
    assert jnp.isfinite(two.z).all()


def test_transport_stays_where_the_energy_is_flatter_than_the_bound(key):
    """With slopes below the Lipschitz bound every point is its own optimum."""
    kernel = samplers.optimal_transport_descent(lambda z: 0.1 * jnp.sin(z[:, 0]), 1.0)
    z0 = jax.random.normal(key, (8, 3))
    state = samplers.run(key, kernel, z0, samplers.constant(0.01, 200)).state
    assert jnp.max(jnp.abs(state.z - z0)) < 0.02
    np.testing.assert_array_equal(state.origin, z0)
