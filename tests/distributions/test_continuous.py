"""Continuous flows: closed forms, both traces, solvers, failures."""

from __future__ import annotations

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit import distributions as D

# Compiling solvers and deep stacks takes most of a minute.
pytestmark = pytest.mark.slow

A = jnp.array([[0.3, 0.2], [-0.1, 0.4]])
TIGHT = D.Solver(diffrax.Dopri8(), rtol=1e-10, atol=1e-10)


def linear_field() -> D.Field:
    return D.Field(lambda key, x, cond=None: {"a": A}, lambda p, t, x, cond=None: x @ p["a"].T)


def test_linear_field_is_the_matrix_exponential(key: jax.Array):
    flow = D.continuous(linear_field())
    assert flow.kind == "ode"
    z = jax.random.normal(key, (5, 2))
    x, log_det = jax.jit(flow.inverse_and_log_det)({"a": A}, z)
    np.testing.assert_allclose(x, z @ jax.scipy.linalg.expm(A).T, atol=1e-4)
    np.testing.assert_allclose(log_det, 0.7, atol=1e-5)  # the trace: latents to data
    np.testing.assert_allclose(jax.jit(flow.forward)({"a": A}, x), z, atol=1e-4)


def variance_preserving() -> D.Field:
    """Probability-flow ODE of the VP SDE on N(0, 4), in the diffusion's own time."""

    def apply(params, t, x, cond=None):
        del params, cond
        alpha = jnp.exp(-0.25 * t**2 * (20.0 - 0.1) - 0.5 * t * 0.1)
        variance = 4.0 * alpha**2 + 1.0 - alpha**2
        beta = 0.1 + t * (20.0 - 0.1)
        return -0.5 * beta * x + 0.5 * beta * x / variance

    return D.Field(lambda key, x, cond=None: {}, apply)


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (0.0, [-1.6120209393, -1.7370371340, -2.7371666912]),
        (1e-5, [-1.6120205640, -1.7370368525, -2.7371671606]),
        (1e-3, [-1.6119797087, -1.7370062127, -2.7372182454]),
    ],
)
def test_known_likelihoods_of_a_probability_flow(start: float, expected):
    with jax.enable_x64(True):
        x = jnp.array([[0.0], [1.0], [3.0]])
        out = D.integrate(variance_preserving(), {}, x, start, 1.0, solver=TIGHT)
        assert out.log_det is not None
        log_prob = D.standard_normal(1).log_prob({}, out.x) + out.log_det
        np.testing.assert_allclose(log_prob, expected, atol=1e-7)
        assert out.success


def test_known_likelihoods_of_a_probability_flow_in_float32():
    x = jnp.array([[0.0], [1.0], [3.0]])
    out = D.integrate(variance_preserving(), {}, x, 1e-5, 1.0)
    assert out.log_det is not None
    log_prob = D.standard_normal(1).log_prob({}, out.x) + out.log_det
    np.testing.assert_allclose(log_prob, [-1.6120206, -1.7370369, -2.7371672], atol=1e-4)
    assert out.n_steps.dtype == jnp.int32


def test_hutchinson_is_unbiased(key: jax.Array):
    flow = D.continuous(D.concat_squash((8,)))
    x = jax.random.normal(key, (2, 3))
    params = jax.tree.map(lambda p: 2.0 * p, flow.init(key, x))
    exact = jax.jit(flow.forward_and_log_det)(params, x)[1]

    @jax.jit
    def run(keys: jax.Array) -> jax.Array:
        def one(carry, key):
            return carry, flow.forward_and_log_det(params, x, None, key)[1]

        return jax.lax.scan(one, None, keys)[1]

    values = run(jax.random.split(key, 400))
    stderr = values.std(axis=0) / 20.0
    assert np.all(stderr > 1e-4)
    assert np.all(np.abs(values.mean(axis=0) - exact) < 3.5 * stderr)


def test_probes_follow_rows_over_devices(key: jax.Array):
    flow = D.continuous(D.concat_squash((4,)))
    x = jax.random.normal(key, (4, 2))
    params = flow.init(key, x)
    log_det = lambda x: flow.forward_and_log_det(params, x, None, key)[1]
    shares = jax.jit(jax.vmap(log_det, axis_name="data"))(x.reshape(2, 2, 2))
    np.testing.assert_allclose(shares.reshape(4), jax.jit(log_det)(x), atol=1e-4)


def test_adjoints_agree(key: jax.Array):
    x = jax.random.normal(key, (4, 2))
    grads = []
    for adjoint in (None, diffrax.BacksolveAdjoint()):
        flow = D.continuous(D.concat_squash((4,)), D.Solver(adjoint=adjoint, max_steps=64))
        params = flow.init(key, x)
        loss = lambda p, f=flow: jnp.sum(f.forward_and_log_det(p, x)[1])
        grads.append(jax.jit(jax.grad(loss))(params))
    for a, b in zip(jax.tree.leaves(grads[0]), jax.tree.leaves(grads[1]), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-3)


def test_fixed_steps(key: jax.Array):
    solver = D.Solver(diffrax.Heun(), diffrax.ConstantStepSize(), step=0.01, max_steps=101)
    x = jax.random.normal(key, (3, 2))
    there = D.integrate(linear_field(), {"a": A}, x, 0.0, 1.0, solver=solver)
    assert there.n_steps in (100, 101) and there.log_det is not None
    np.testing.assert_allclose(there.log_det, 0.7, atol=1e-5)
    back = D.integrate(linear_field(), {"a": A}, there.x, 1.0, 0.0, log_det=False, solver=solver)
    assert back.log_det is None
    np.testing.assert_allclose(back.x, x, atol=1e-4)


def test_a_failed_solve_is_nan_and_says_so(key: jax.Array):
    stiff = D.Field(lambda key, x, cond=None: {}, lambda p, t, x, cond=None: -1e4 * jnp.sin(40 * x))
    solver = D.Solver(max_steps=8)
    x = jax.random.normal(key, (3, 2))
    assert not D.integrate(stiff, {}, x, 0.0, 1.0, solver=solver).success
    z, log_det = D.continuous(stiff, solver).forward_and_log_det({}, x)
    assert np.isnan(z).all() and np.isnan(log_det).all()
    assert np.isnan(D.continuous(stiff, solver).inverse({}, x)).all()


def test_images_flow_too(key: jax.Array):
    flow = D.continuous(D.concat_squash((4,)))
    x = jax.random.normal(key, (2, 2, 2, 1))
    params = flow.init(key, x)
    z = jax.jit(flow.forward)(params, x)
    assert z.shape == x.shape
    np.testing.assert_allclose(jax.jit(flow.inverse)(params, z), x, atol=1e-4)
