"""Selection on held-out data: the best state is kept, whatever comes after it."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gmkit.core import Evaluation, Hook, Method, create, finish_step, keep_best, selected, update

TX = optax.sgd(1.0)
BATCH = {"x": jnp.zeros((1, 2, 1))}


def walking(hooks=()):
    """A parameter that walks 0, 1, 2, ...; its moving average and a counter go along."""

    def init(key, batch):
        params = {"net": {"w": jnp.zeros(())}, "other": {"w": jnp.zeros(())}}
        txs = {"net": TX, "other": TX}
        return create(key, params, txs, ema=("net",), memory=jnp.zeros((), jnp.int32))

    def step(state, batch):
        for name in ("net", "other"):
            state = update(state, name, {"w": jnp.float32(-1.0)}, TX, ema_decay=0.0)
        state = dataclasses.replace(state, memory=state.memory + 1)
        return finish_step(state), {"w": state.params["net"]["w"]}

    return Method(
        name="walking",
        init=init,
        step=step,
        evaluate=lambda state, dataset, key: Evaluation({"w": float(state.params["net"]["w"])}),
        sample=lambda state, key, n: jnp.full((n,), state.ema["net"]["w"]),
        figures=lambda state, dataset, key: {"w": float(state.params["net"]["w"])},
        decode=lambda state, z: z + state.params["net"]["w"],
        hooks=hooks,
    )


def walked(scores, hooks=()):
    """The wrapped method and its state after a look at every one of `scores`."""
    table = iter(scores)
    method = keep_best(walking(hooks), ("net",), lambda state, dataset: next(table), 1, "nll")
    state = jax.jit(method.init)(jax.random.key(0), BATCH)
    logged = []
    for _ in scores:
        state, _ = jax.jit(method.step)(state, BATCH)
        state, found = method.hooks[-1].run(state, None)
        logged.append({name: float(v) for name, v in found.items()})
    return method, state, logged


def test_the_best_look_wins():
    method, state, logged = walked([3.0, 1.0, 2.0, 1.0, 5.0])
    assert float(selected(state).params["net"]["w"]) == 2.0
    assert float(selected(state).params["other"]["w"]) == 5.0, "not selected: the latest"
    assert [v["validation/best_nll"] for v in logged] == [3.0, 1.0, 1.0, 1.0, 1.0]
    assert [v["validation/nll"] for v in logged] == [3.0, 1.0, 2.0, 1.0, 5.0]
    found = method.evaluate(state, None, jax.random.key(0))
    assert found.metrics == {"w": 2.0, "selected_step": 2.0}
    np.testing.assert_array_equal(method.sample(state, jax.random.key(0), 3), 2.0)
    assert method.figures(state, None, jax.random.key(0)) == {"w": 2.0}
    assert float(method.decode(state, jnp.zeros(()))) == 2.0
    assert method.encode is None and method.log_lik is None


@pytest.mark.parametrize("worst", [np.nan, np.inf])
def test_a_score_that_is_not_finite_never_wins(worst):
    _, state, _ = walked([worst, 2.0, worst])
    assert float(selected(state).params["net"]["w"]) == 2.0
    _, state, _ = walked([worst, worst])
    assert float(selected(state).params["net"]["w"]) == 2.0, "no look yet: the latest"


def test_before_a_look_it_is_the_latest_state():
    method = keep_best(walking(), ("net",), lambda state, dataset: 0.0, 10, "nll")
    state = method.init(jax.random.key(0), BATCH)
    for _ in range(3):
        state, _ = method.step(state, BATCH)
    assert float(selected(state).params["net"]["w"]) == 3.0
    chex.assert_trees_all_equal(selected(selected(state)), selected(state))


def test_selection_leaves_training_alone():
    plain = walking()
    method, state, _ = walked([1.0, 2.0, 3.0])
    other = plain.init(jax.random.key(0), BATCH)
    for _ in range(3):
        other, _ = plain.step(other, BATCH)
    chex.assert_trees_all_equal(state.params, other.params)
    assert int(state.memory.inner) == int(other.memory) == 3
    assert method.hooks[-1].splits == ("validation",)


def test_hooks_of_the_method_see_its_own_state():
    def run(state, dataset):
        return dataclasses.replace(state, memory=state.memory + 100), {"seen": state.step}

    method, state, _ = walked([2.0, 1.0], hooks=(Hook(1, run),))
    assert len(method.hooks) == 2
    state, found = method.hooks[0].run(state, None)
    assert int(state.memory.inner) == 102 and int(found["seen"]) == 2
    assert float(state.memory.score) == 1.0


def test_a_state_with_its_selection_can_be_donated():
    _, state, _ = walked([1.0])
    again = jax.jit(lambda s: finish_step(s), donate_argnums=0)(state)
    assert int(again.step) == 2


def test_looking_never_is_an_error():
    with pytest.raises(ValueError, match="every=0"):
        keep_best(walking(), ("net",), lambda state, dataset: 0.0, 0, "nll")
