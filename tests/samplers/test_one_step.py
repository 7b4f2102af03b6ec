"""The deterministic maps, with their noise given, against values worked out by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from gmkit import samplers
from gmkit.samplers import State
from gmkit.samplers.langevin import friction_and_noise

QUADRATIC = samplers.row_value_and_grad(lambda z: 0.5 * jnp.sum(z**2, axis=1))


def column(*values: float) -> jax.Array:
    return jnp.array(values, jnp.float32)[:, None]


def test_mala_move_and_log_ratio():
    z, xi, lam = column(1.0), column(0.3), 0.5
    current = State(z, *QUADRATIC(z))
    moved = samplers.langevin_move(z, current.grad, xi, lam)
    np.testing.assert_allclose(moved, [[0.8]], atol=1e-6)
    log_ratio = samplers.mala_log_ratio(State(moved, *QUADRATIC(moved)), current, xi, lam)
    np.testing.assert_allclose(log_ratio, [0.045], atol=1e-6)


@pytest.mark.parametrize("lam", [0.05, 0.5, 2.0])
def test_reverse_proposal_is_a_density(lam, key):
    """A squared residual times lam/4 (instead of over 4 lam) accepts almost everything."""
    z, xi = jax.random.normal(key, (2, 5, 3))
    current = State(z, *QUADRATIC(z))
    moved = samplers.langevin_move(z, current.grad, xi, lam)
    proposal = State(moved, *QUADRATIC(moved))

    def log_density(new, state):
        residual = new - state.z + lam * state.grad
        return jnp.sum(-(residual**2) / (4 * lam), axis=1)

    want = current.u - proposal.u + log_density(z, proposal) - log_density(moved, current)
    got = samplers.mala_log_ratio(proposal, current, xi, lam)
    np.testing.assert_allclose(got, want, atol=2e-5)
    wrong = current.u - proposal.u + jnp.sum(xi**2, axis=1) / 2
    wrong = wrong - lam / 4 * jnp.sum((z - moved + lam * proposal.grad) ** 2, axis=1)
    assert jnp.max(jnp.abs(got - wrong)) > 0.1


def test_aboba_value():
    z, v, u, grad = samplers.aboba(column(1.0), column(0.0), column(0.0), 0.5, 1.0, QUADRATIC)
    np.testing.assert_allclose(v, [[-0.401633]], atol=1e-6)
    np.testing.assert_allclose(z, [[0.899592]], atol=1e-6)
    np.testing.assert_allclose((u[0], grad[0, 0]), (0.5, 1.0), atol=1e-6)


def test_baoab_value():
    grad = column(1.0)
    z, v, u, new_grad = samplers.baoab(
        column(1.0), column(0.0), grad, column(0.3), 0.5, 1.0, QUADRATIC
    )
    v1 = -0.25
    z1 = 1.0 + 0.25 * v1
    v2 = np.exp(-0.5) * v1 + np.sqrt(1 - np.exp(-1.0)) * 0.3
    z2 = z1 + 0.25 * v2
    np.testing.assert_allclose(z, [[z2]], atol=1e-6)
    np.testing.assert_allclose(v, [[v2 - 0.25 * z2]], atol=1e-6)
    np.testing.assert_allclose(u, [z2**2 / 2], atol=1e-6)
    np.testing.assert_allclose(new_grad, [[z2]], atol=1e-6)


@pytest.mark.parametrize(
    ("friction", "want"), [(0.0, 2.0), (1e-8, 2.0 + np.sqrt(2e-9) * 0.5), (np.inf, 0.5)]
)
def test_friction_limits(friction, want):
    v = friction_and_noise(column(2.0), column(0.5), 0.1, friction)
    np.testing.assert_allclose(v, [[want]], atol=1e-6)


def test_tiny_friction_keeps_its_noise():
    v = friction_and_noise(column(0.0), column(1.0), 0.1, 1e-8)
    np.testing.assert_allclose(v, [[np.sqrt(2e-9)]], rtol=1e-5)


def linear_map(ordering: str, h: float, kappa: float) -> tuple[np.ndarray, np.ndarray]:
    """(z, v) -> A (z, v) + c xi of one kinetic step on U = z^2 / 2."""
    z, v, xi = column(1.0, 0.0, 0.0), column(0.0, 1.0, 0.0), column(0.0, 0.0, 1.0)
    if ordering == "aboba":
        z, v, _, _ = samplers.aboba(z, v, xi, h, kappa, QUADRATIC)
    else:
        z, v, _, _ = samplers.baoab(z, v, z, xi, h, kappa, QUADRATIC)
    columns = np.stack([z[:, 0], v[:, 0]]).astype(np.float64)
    return columns[:, :2], columns[:, 2:]


@pytest.mark.parametrize("ordering", ["aboba", "baoab"])
@pytest.mark.parametrize("h", [0.1, 0.5, 1.0, 1.9])
@pytest.mark.parametrize("kappa", [0.1, 1.0, 10.0, np.inf])
def test_kinetic_stationary_covariance(ordering, h, kappa):
    a, c = linear_map(ordering, h, kappa)
    cov = scipy.linalg.solve_discrete_lyapunov(a, c @ c.T)
    velocity = 1 / (1 - h**2 / 4) if ordering == "aboba" else 1 - h**2 / 4
    np.testing.assert_allclose(cov, np.diag([1.0, velocity]), rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize(("lam", "variance"), [(0.1, 1.052632), (0.5, 1.333333)])
def test_ula_stationary_variance(lam, variance):
    z, xi = column(1.0, 0.0), column(0.0, 1.0)
    a, c = samplers.langevin_move(z, QUADRATIC(z)[1], xi, lam)[:, 0]
    np.testing.assert_allclose(c**2 / (1 - a**2), variance, atol=2e-6)


def test_leapfrog_reverses_and_keeps_volume(key):
    potential = samplers.row_value_and_grad(lambda z: jnp.sum(z**4 + jnp.sin(z), axis=1))
    z, v = jax.random.normal(key, (2, 6, 2))
    start = State(z, *potential(z), v)
    end = samplers.leapfrog(start, 0.05, 7, potential)
    back = samplers.leapfrog(end._replace(velocity=-end.velocity), 0.05, 7, potential)
    np.testing.assert_allclose(back.z, z, atol=1e-5)
    np.testing.assert_allclose(-back.velocity, v, atol=1e-5)

    def flow(phase):
        z, v = phase[None, :2], phase[None, 2:]
        end = samplers.leapfrog(State(z, *potential(z), v), 0.05, 7, potential)
        return jnp.concatenate([end.z[0], end.velocity[0]])

    jacobian = jax.jacfwd(flow)(jnp.concatenate([z[0], v[0]]))
    np.testing.assert_allclose(jnp.linalg.det(jacobian), 1.0, atol=1e-4)


def test_leapfrog_energy_error_is_second_order():
    potential = samplers.row_value_and_grad(lambda z: jnp.sum(jnp.cosh(z), axis=1))
    z, v = column(1.0), column(0.5)
    start = State(z, *potential(z), v)

    def error(n):
        end = samplers.leapfrog(start, 1 / n, n, potential)
        return abs(samplers.hamiltonian(end) - samplers.hamiltonian(start))[0]

    assert 3.5 < error(4) / error(8) < 4.5
