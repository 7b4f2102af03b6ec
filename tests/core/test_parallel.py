"""One step, several views of the devices: the same numbers."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec

from gmkit import core
from gmkit.core import parallel

TX = optax.sgd(0.1)


def init(key, batch):
    w = jax.random.normal(key, (batch["x"].shape[-1], 4096 // 4))
    return core.create(key, {"net": {"w": w}}, {"net": TX})


def step(state, batch):
    """A loss whose value needs the whole batch at once: a log-mean-exp, with per-example noise."""
    x = batch["x"][0]
    noise = parallel.example_normal(core.step_key(state, "noise"), x.shape[0], x.shape[1:])

    def loss_fn(params):
        logits = jnp.sum(jnp.tanh((x + 0.1 * noise) @ params["w"]), axis=1) / 50.0
        return parallel.batch_log_mean_exp(logits) - parallel.batch_mean(logits)

    loss, grads = jax.value_and_grad(loss_fn)(state.params["net"])
    return core.finish_step(core.update(state, "net", grads, TX)), {"loss": loss}


def train(devices, strategy, steps=5, fsdp=False, **options):
    mesh = parallel.make_mesh(devices)
    batch = {"x": np.random.default_rng(0).normal(size=(1, 8, 6)).astype(np.float32)}
    key = jax.random.key(1)
    example = {"x": batch["x"][0]}
    shardings = parallel.state_sharding(jax.eval_shape(init, key, example), mesh, fsdp)
    state = parallel.init_state(init, mesh, key, example, fsdp)
    compiled = parallel.compile_step(step, mesh, strategy, state_shardings=shardings, **options)
    losses = []
    for _ in range(steps):
        state, metrics = compiled(state, batch)
        losses.append(float(metrics["loss"]))
    return state, losses


@pytest.fixture(scope="module")
def reference():
    return train(1, "jit")


@pytest.mark.parametrize("view", ["jit-4", "pmap-4", "jax_pmap-4", "vmap-1", "fsdp-4", "pmap-2"])
def test_every_view_gives_the_numbers_of_one_device(reference, view):
    strategy, devices = view.split("-")
    fsdp = strategy == "fsdp"
    state, losses = train(int(devices), "jit" if fsdp else strategy, fsdp=fsdp)
    np.testing.assert_allclose(losses, reference[1], atol=1e-6)
    chex.assert_trees_all_close(state.params, reference[0].params, atol=1e-6)
    if fsdp:
        assert state.params["net"]["w"].sharding.spec == PartitionSpec(None, parallel.DATA_AXIS)


def test_scanned_steps_over_resident_data_equal_single_calls(reference):
    mesh = parallel.make_mesh(4)
    data = {"x": jnp.asarray(np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32))}
    state = parallel.init_state(init, mesh, jax.random.key(1), data)
    compiled = parallel.compile_step(
        step, mesh, fetch=lambda d, t: jax.tree.map(lambda a: a[None], d), steps_per_call=5
    )
    state, metrics = compiled(state, parallel.put_replicated(data, mesh))
    chex.assert_trees_all_close(state.params, reference[0].params, atol=1e-6)
    np.testing.assert_allclose(metrics["loss"], np.mean(reference[1]), atol=1e-6)
    assert int(state.step) == 5


def test_sgd_gradient_is_not_summed_over_devices():
    """The silent factor N of a replicated parameter: SGD on a known gradient."""

    def linear(state, batch):
        grads = jax.grad(lambda p: parallel.batch_mean(batch["x"][0] @ p["w"]))(state.params["net"])
        return core.finish_step(core.update(state, "net", grads, TX)), {}

    batch = {"x": np.ones((1, 8, 3), np.float32)}
    for strategy in ("jit", "pmap"):
        mesh = parallel.make_mesh(4)
        state = core.create(jax.random.key(0), {"net": {"w": jnp.zeros((3, 1))}}, {"net": TX})
        state, _ = parallel.compile_step(linear, mesh, strategy)(state, batch)
        np.testing.assert_allclose(state.params["net"]["w"], -0.1, rtol=1e-6)


def test_log_mean_exp_edges():
    assert float(parallel.batch_log_mean_exp(jnp.array([1000.0, 1000.0]))) == 1000.0
    assert float(parallel.batch_log_mean_exp(jnp.array([-2.0]))) == -2.0
    assert float(parallel.batch_log_mean_exp(jnp.full(3, -jnp.inf))) == -jnp.inf
    grad = jax.grad(parallel.batch_log_mean_exp)(jnp.array([0.0, jnp.log(3.0)]))
    np.testing.assert_allclose(grad, [0.25, 0.75], rtol=1e-6)


def test_errors_name_the_field():
    with pytest.raises(ValueError, match="devices=99"):
        parallel.make_mesh(99)
    with pytest.raises(ValueError, match="strategy='magic'"):
        parallel.compile_step(step, parallel.make_mesh(1), "magic")
    mesh = parallel.make_mesh(4)
    shardings = parallel.state_sharding({"w": jnp.zeros((4096, 4))}, mesh, fsdp=True)
    with pytest.raises(ValueError, match="fsdp"):
        parallel.compile_step(step, mesh, "pmap", state_shardings=shardings)
    with pytest.raises(ValueError, match="n_processes"):
        parallel.initialize("nonsense")
