"""The training state: one place for updates, keys that depend on the step alone."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gmkit import core


@pytest.fixture
def state():
    params = {"net": {"w": jnp.array([1.0, 2.0])}, "other": {"w": jnp.array(3.0)}}
    txs = {"net": optax.sgd(0.1)}
    return core.create(jax.random.key(0), params, txs, ema=("net",))


def test_update_changes_one_network_only(state):
    new = core.update(state, "net", {"w": jnp.array([1.0, -1.0])}, optax.sgd(0.1))
    np.testing.assert_allclose(new.params["net"]["w"], [0.9, 2.1], rtol=1e-6)
    chex.assert_trees_all_equal(new.params["other"], state.params["other"])
    assert int(new.step) == 0


def test_ema_is_warmed_up_then_slow(state):
    tx, grads = optax.sgd(0.1), {"w": jnp.array([1.0, -1.0])}
    new = core.update(state, "net", grads, tx, ema_decay=0.5)
    # At t = 0 the decay is min(0.5, 1/10): nine tenths of the way to the new value.
    np.testing.assert_allclose(new.ema["net"]["w"], [1.0 - 0.09, 2.0 + 0.09], rtol=1e-6)
    late = core.update(state.replace(step=jnp.int32(10_000)), "net", grads, tx, ema_decay=0.5)
    np.testing.assert_allclose(late.ema["net"]["w"], [0.95, 2.05], rtol=1e-6)
    assert core.eval_params(new, "net") is new.ema["net"]
    assert core.eval_params(new, "other") is new.params["other"]


def test_network_without_optimiser_is_frozen(state):
    assert "other" not in state.opt_state
    with pytest.raises(KeyError):
        core.update(state, "other", {"w": jnp.array(1.0)}, optax.sgd(0.1))


def test_extra_arguments_reach_those_who_ask(state):
    def update_fn(updates, opt_state, params=None, *, factor, **extra):
        return jax.tree.map(lambda u: -factor * u, updates), opt_state

    tx = optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update_fn)
    state = state.replace(opt_state={"net": tx.init(state.params["net"])})
    new = core.update(state, "net", {"w": jnp.ones(2)}, tx, factor=2.0, unused=1)
    np.testing.assert_allclose(new.params["net"]["w"], [-1.0, 0.0])


def test_step_keys_depend_on_step_and_stream_only(state):
    def numbers(s, stream):
        return float(jax.random.uniform(core.step_key(s, stream)))

    later = core.finish_step(core.update(state, "net", {"w": jnp.ones(2)}, optax.sgd(0.1)))
    assert numbers(state, "a") != numbers(state, "b")
    assert numbers(state, "a") != numbers(later, "a")
    rebuilt = core.create(jax.random.key(0), state.params, {}).replace(step=later.step)
    assert numbers(later, "a") == numbers(rebuilt, "a")


def test_donation_of_a_fresh_state(state):
    """EMA starts as a copy: a donated state may not hold the same buffer twice."""
    step = jax.jit(lambda s: core.finish_step(s), donate_argnums=0)
    new = step(state)
    assert int(new.step) == 1
    assert state.params["net"]["w"].is_deleted()
