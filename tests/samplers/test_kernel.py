"""The kernels' interface and the loop: caches, flags, shapes, devices, transformations."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gmkit import samplers
from gmkit.core.parallel import batch_sharding, make_mesh


def double_well(z):
    return jnp.sum((z**2 - 1) ** 2, axis=tuple(range(1, z.ndim)))


KERNELS = {
    "ula": samplers.ula(double_well),
    "mala": samplers.mala(double_well),
    "aboba": samplers.kinetic_langevin(double_well, 2.0),
    "baoab": samplers.kinetic_langevin(double_well, 2.0, "baoab"),
    "hmc": samplers.hmc(double_well, 2),
    "random_walk": samplers.random_walk_metropolis(double_well),
    "independent": samplers.independent_metropolis(double_well),
    "descent": samplers.gradient_descent(double_well),
    "transport": samplers.optimal_transport_descent(double_well, 3.0),
}
#: Compiled once per kernel and shapes; a kernel is a pair of functions, so it can be static.
run = jax.jit(samplers.run, static_argnums=1, static_argnames=("thin", "collect"))
every_kernel = pytest.mark.parametrize("name", KERNELS)


@every_kernel
def test_shapes_and_dtypes(name, key):
    z0 = jax.random.normal(key, (8, 3))
    trace = run(key, KERNELS[name], z0, samplers.constant(0.05, 6), thin=3)
    assert trace.samples.shape == (2, 8, 3) and trace.samples.dtype == jnp.float32
    np.testing.assert_array_equal(trace.samples[-1], trace.state.z)
    assert trace.info.acceptance.shape == trace.info.diverged.shape == (2, 8)
    n_grad = {"hmc": 2, "random_walk": 0, "independent": 0}.get(name, 1)
    np.testing.assert_array_equal(trace.info.n_grad, [3 * n_grad] * 2)


@every_kernel
def test_two_runs_in_one_scan_are_one_run(name, key):
    """A state carries all that the next step needs, so stopping between steps changes nothing."""
    z0 = jax.random.normal(key, (4, 2))
    kernel = KERNELS[name]
    whole = run(key, kernel, z0, samplers.constant(0.05, 2))
    first, _ = kernel.step(jax.random.fold_in(key, 0), kernel.init(z0), jnp.float32(0.05))
    second, _ = kernel.step(jax.random.fold_in(key, 1), first, jnp.float32(0.05))
    np.testing.assert_allclose(whole.state.z, second.z, atol=1e-6)
    continued = run(key, kernel, first, samplers.constant(0.05, 1))
    assert continued.state.z.shape == z0.shape


@every_kernel
def test_rows_do_not_depend_on_the_number_of_devices(name, key):
    z0 = jax.random.normal(key, (8, 2))
    steps = samplers.constant(0.05, 10)

    def chains(z):
        return run(key, KERNELS[name], z, steps, thin=5)

    alone = jax.jit(chains)(z0)
    mesh = make_mesh(4)
    shared = jax.jit(chains)(jax.device_put(z0, batch_sharding(mesh, 0)))
    assert len(shared.state.z.sharding.device_set) == 4
    assert not shared.state.z.sharding.is_fully_replicated
    np.testing.assert_allclose(shared.samples, alone.samples, atol=1e-6)
    np.testing.assert_allclose(shared.info.acceptance, alone.info.acceptance, atol=1e-6)


def test_rows_do_not_depend_on_the_view(key):
    """Per-device view with a named axis: the same numbers as the global view."""
    z0 = jax.random.normal(key, (8, 2))
    steps = samplers.constant(0.05, 10)

    def last(z):
        return run(key, KERNELS["mala"], z, steps).state.z

    split = jax.vmap(last, axis_name="data")(z0.reshape(4, 2, 2)).reshape(8, 2)
    np.testing.assert_allclose(split, last(z0), atol=1e-6)


@pytest.mark.parametrize("name", ["mala", "hmc", "ula", "baoab"])
def test_cached_gradient_belongs_to_the_position(name, key):
    """Also after rejections, where the old position must keep its old gradient."""
    z0 = jax.random.normal(key, (64, 2))
    trace = run(key, KERNELS[name], z0, samplers.constant(0.12, 7), thin=7)
    if name in ("mala", "hmc"):
        assert 0 < trace.info.accepted.mean() < 1
    u, grad = samplers.row_value_and_grad(double_well)(trace.state.z)
    np.testing.assert_allclose(trace.state.u, u, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(trace.state.grad, grad, rtol=1e-5, atol=1e-5)


def test_rejected_hmc_rows_keep_everything(key):
    kernel = samplers.hmc(double_well, 2)
    state = kernel.init(jax.random.normal(key, (256, 2)))
    new, info = kernel.step(key, state, jnp.float32(0.5))
    rejected = np.asarray(~info.accepted)
    assert 0 < rejected.sum() < 256
    for before, after in zip(jax.tree.leaves(state), jax.tree.leaves(new), strict=True):
        np.testing.assert_array_equal(np.asarray(after)[rejected], np.asarray(before)[rejected])
        assert (np.asarray(after)[~rejected] != np.asarray(before)[~rejected]).any()


def cliff(z):
    """Not a number right of 1."""
    return jnp.where(z[:, 0] < 1, 0.5 * z[:, 0] ** 2, jnp.nan)


@pytest.mark.parametrize("build", [samplers.mala, samplers.hmc, samplers.random_walk_metropolis])
def test_proposals_that_are_not_numbers_are_rejected_and_flagged(build, key):
    trace = run(key, build(cliff), jnp.zeros((500, 1)), samplers.constant(0.5, 20))
    assert jnp.isfinite(trace.state.z).all() and jnp.isfinite(trace.info.acceptance).all()
    assert (trace.samples < 1).all()
    assert (trace.info.diverged > 0).any()
    assert (trace.info.accepted[trace.info.diverged > 0] == 0).all()


@pytest.mark.parametrize("name", ["ula", "aboba", "baoab", "descent"])
def test_rows_that_blow_up_are_flagged_and_stay_alone(name, key):
    z0 = jnp.array([[0.5], [1e6], [-0.5]])
    trace = run(key, KERNELS[name], z0, samplers.constant(0.05, 10))
    np.testing.assert_array_equal(trace.info.diverged[-1], [0, 1, 0])
    assert jnp.isfinite(trace.state.z[jnp.array([0, 2])]).all()


def test_hopeless_energy_error_is_a_divergence(key):
    stiff = samplers.hmc(lambda z: 1e4 * jnp.sum(z**2, axis=1), 5)
    info = run(key, stiff, jnp.ones((8, 1)), samplers.constant(0.1, 1)).info
    assert (info.diverged == 1).all() and (info.acceptance == 0).all()


def test_infinite_start_recovers(key):
    """From a point of zero density any proposal with positive density is accepted."""

    def wall(z):
        return jnp.where(z[:, 0] > 0, 0.5 * z[:, 0] ** 2, jnp.inf)

    kernel = samplers.random_walk_metropolis(wall)
    state = run(key, kernel, jnp.full((50, 1), -0.1), samplers.constant(1.0, 30)).state
    assert (state.z > 0).all()


@pytest.mark.parametrize("name", ["hmc", "random_walk", "ula", "baoab", "descent"])
def test_step_size_zero_stays(name, key):
    z0 = jax.random.normal(key, (5, 2))
    trace = run(key, KERNELS[name], z0, samplers.constant(0.0, 3))
    np.testing.assert_allclose(trace.state.z, z0)
    np.testing.assert_allclose(trace.info.acceptance, 1.0, atol=1e-6)


def test_no_steps(key):
    z0 = jnp.ones((4, 2))
    trace = run(key, KERNELS["mala"], z0, samplers.constant(0.1, 0))
    assert trace.samples.shape == (0, 4, 2)
    np.testing.assert_array_equal(trace.state.z, z0)


def test_no_chains_and_one_chain(key):
    steps = samplers.constant(0.1, 4)
    assert run(key, KERNELS["mala"], jnp.ones((0, 2)), steps).samples.shape == (4, 0, 2)
    one = run(key, KERNELS["mala"], jnp.ones((1, 2)), steps).state.z
    many = run(key, KERNELS["mala"], jnp.ones((7, 2)), steps).state.z
    np.testing.assert_allclose(many[:1], one, atol=1e-6)
    assert len(np.unique(many[:, 0])) == 7


def test_image_shaped_rows_are_the_same_chains(key):
    z0 = jax.random.normal(key, (6, 2, 2, 3))
    images = run(key, KERNELS["baoab"], z0, samplers.constant(0.05, 5)).state.z
    flat = run(key, KERNELS["baoab"], z0.reshape(6, 12), samplers.constant(0.05, 5))
    np.testing.assert_allclose(images.reshape(6, 12), flat.state.z, atol=1e-6)


def test_half_precision_potential_keeps_float32_chains(key):
    kernel = samplers.mala(lambda z: double_well(z.astype(jnp.bfloat16)))
    z0 = jnp.ones((4, 2), jnp.bfloat16)
    state = run(key, kernel, z0, samplers.constant(0.1, 2)).state
    assert {x.dtype for x in jax.tree.leaves(state)} == {jnp.dtype(jnp.float32)}


def test_single_row_potential_through_batched(key):
    kernel = samplers.mala(samplers.batched(lambda z: jnp.sum((z**2 - 1) ** 2)))
    z0 = jax.random.normal(key, (4, 2))
    got = run(key, kernel, z0, samplers.constant(0.1, 5)).state.z
    want = run(key, KERNELS["mala"], z0, samplers.constant(0.1, 5)).state.z
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_potential_of_the_wrong_shape_is_named(key):
    kernel = samplers.ula(lambda z: jnp.sum(z**2))
    with pytest.raises(ValueError, match=r"shape \(\).*batched"):
        kernel.init(jnp.ones((4, 2)))


@pytest.mark.parametrize(
    ("steps", "thin", "message"),
    [(jnp.ones(10), 3, "thin=3"), (jnp.ones(10), 0, "thin=0"), (jnp.float32(1), 1, "step_sizes")],
)
def test_bad_run_arguments(steps, thin, message, key):
    with pytest.raises(ValueError, match=message):
        run(key, KERNELS["ula"], jnp.ones((2, 1)), steps, thin=thin)


def test_bad_kernel_arguments():
    with pytest.raises(ValueError, match="ordering='obabo'"):
        samplers.kinetic_langevin(double_well, 1.0, "obabo")
    with pytest.raises(ValueError, match="friction=-1"):
        samplers.kinetic_langevin(double_well, -1.0)
    with pytest.raises(ValueError, match="n_leap=0"):
        samplers.hmc(double_well, 0)


@pytest.mark.parametrize("name", ["ula", "aboba", "descent"])
def test_gradient_through_a_run(name, key):
    """Derivative of a chain's end with respect to the potential's parameter."""
    build = {
        "ula": samplers.ula,
        "aboba": lambda u: samplers.kinetic_langevin(u, 1.0),
        "descent": samplers.gradient_descent,
    }[name]
    z0 = jax.random.normal(key, (4, 2))

    @jax.jit
    def end(scale):
        kernel = build(lambda z: scale * double_well(z))
        return jnp.sum(run(key, kernel, z0, samplers.constant(0.05, 5)).state.z ** 2)

    slope = jax.grad(end)(1.0)
    difference = (end(1.01) - end(0.99)) / 0.02
    np.testing.assert_allclose(slope, difference, rtol=2e-2)


def test_vmap_over_temperatures(key):
    z0 = jax.random.normal(key, (4, 2))

    def last(beta):
        kernel = samplers.hmc(lambda z: beta * double_well(z), 2)
        return run(key, kernel, z0, samplers.constant(0.05, 5)).state.z

    betas = jnp.array([0.5, 2.0])
    together = jax.vmap(last)(betas)
    np.testing.assert_allclose(together[1], last(2.0), atol=1e-5)


def test_one_gradient_per_step(key):
    """The potential is evaluated once for the start, and once inside the scanned step."""
    calls = []

    def counted(z):
        calls.append(1)
        return double_well(z)

    for build in (samplers.ula, samplers.mala, lambda u: samplers.kinetic_langevin(u, 1.0)):
        calls.clear()
        kernel = build(counted)
        state = kernel.init(jnp.ones((3, 2)))
        calls.clear()
        kernel.step(key, state, jnp.float32(0.1))
        assert len(calls) == 1


def test_schedules():
    np.testing.assert_allclose(samplers.constant(0.3, 3), [0.3] * 3, rtol=1e-6)
    got = samplers.divided(1e-2, 5, every=2, factor=10)
    np.testing.assert_allclose(got, [1e-2, 1e-2, 1e-3, 1e-3, 1e-4], rtol=1e-5)
    schedule = optax.exponential_decay(0.1, 2, 0.5, staircase=True)
    got = samplers.from_schedule(schedule, 4)
    np.testing.assert_allclose(got, [0.1, 0.1, 0.05, 0.05], rtol=1e-6)
    constant = samplers.from_schedule(optax.constant_schedule(0.2), 3)
    np.testing.assert_allclose(constant, [0.2] * 3, rtol=1e-6)
    assert samplers.divided(0.1, 0, every=2).shape == (0,)
    with pytest.raises(ValueError, match="every=0"):
        samplers.divided(0.1, 5, every=0)


def test_a_loop_in_python_gives_the_numbers_of_a_scan(key):
    kernel = samplers.mala(lambda z: 0.5 * jnp.sum(z**2, axis=-1))
    z0 = jax.random.normal(key, (5, 2))
    sizes = samplers.constant(0.1, 6)
    scanned = samplers.run(key, kernel, z0, sizes, thin=3)
    called = samplers.run(key, kernel, z0, sizes, thin=3, loop="python")
    chex.assert_trees_all_close(called, scanned, atol=1e-6)
    with pytest.raises(ValueError, match="loop='while'"):
        samplers.run(key, kernel, z0, sizes, loop="while")
