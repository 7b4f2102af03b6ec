"""Optimisers, schedules and gradient transformations."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gmkit.core import optim, state


def _once(tx, grads, params=None, **extra):
    params = jax.tree.map(jnp.zeros_like, grads) if params is None else params
    return tx.update(grads, tx.init(params), params, **extra)[0]


# ---------------------------------------------------------------- transformations


def test_robust_is_odd_bounded_and_re_descending():
    g = jnp.array([0.0, 1e-3, 1.0, -1.0, 3.0, 1e6, 1e30, -1e30])
    out = _once(optim.robust(), g)
    np.testing.assert_allclose(out[:5], [0.0, 2e-3, 1.0, -1.0, 0.6], rtol=1e-5)
    assert float(jnp.abs(out).max()) <= 1.0
    assert out[5] == pytest.approx(2e-6) and out[6] == 0.0 and out[7] == 0.0


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf, -jnp.inf])
@pytest.mark.parametrize("transform", [optim.robust, optim.robust_log_partition])
def test_a_non_finite_tensor_becomes_zero_and_the_others_stay(transform, bad):
    out = _once(transform(), {"bad": jnp.array([1.0, bad]), "good": jnp.array([0.5])})
    assert out["bad"].tolist() == [0.0, 0.0]
    assert out["good"][0] != 0.0


def test_robust_log_partition_is_one_over_mass_minus_one():
    mass = jnp.array([0.75, 1.0, 4.0, 1e5])
    out = _once(optim.robust_log_partition(), 1.0 - mass)
    np.testing.assert_allclose(out, 1.0 / mass - 1.0, rtol=1e-5, atol=1e-7)
    assert _once(optim.robust_log_partition(1e-3), jnp.array(1.0)) == pytest.approx(1e3)


def test_factor_multiplies_updates_only_when_given():
    tx, grads = optim.optimizer("sgd", 0.1), {"w": jnp.array([1.0, -2.0])}
    np.testing.assert_allclose(_once(tx, grads)["w"], [-0.1, 0.2], rtol=1e-6)
    np.testing.assert_allclose(_once(tx, grads, lr_factor=0.5)["w"], [-0.05, 0.1], rtol=1e-6)
    np.testing.assert_allclose(_once(tx, grads, lr_factor=jnp.zeros(()))["w"], [0.0, 0.0])


def test_factor_passes_through_state_update(key):
    tx = optim.optimizer("adam", 0.1)
    start = state.create(key, {"net": {"w": jnp.ones(2)}}, {"net": tx})
    grads = {"w": jnp.ones(2)}
    whole = state.update(start, "net", grads, tx)
    half = jax.jit(lambda s, f: state.update(s, "net", grads, tx, lr_factor=f))(start, 0.5)
    np.testing.assert_allclose(
        1.0 - half.params["net"]["w"], 0.5 * (1.0 - whole.params["net"]["w"]), rtol=1e-5
    )


# ---------------------------------------------------------------- schedules


def test_decay_boundaries_of_the_official_run():
    boundaries = optim.decay_boundaries(150_000)
    assert boundaries == tuple(range(5000, 150_000, 10_000)) and len(boundaries) == 15
    assert optim.decay_boundaries(4999) == ()
    assert optim.decay_boundaries(5000) == (5000,)


def test_exponential_steps():
    rate = optim.learning_rate_schedule("exponential_steps", 1.0, 30_000)
    values = [float(rate(t)) for t in (0, 4999, 5000, 14_999, 15_000, 25_000, 100_000)]
    np.testing.assert_allclose(values, [1.0, 1.0, 0.8, 0.8, 0.64, 0.512, 0.512], rtol=1e-6)


def test_annealed_schedules_end_at_zero():
    for name in ("cosine", "linear"):
        rate = optim.learning_rate_schedule(name, 2.0, 10)
        np.testing.assert_allclose([rate(0), rate(5), rate(10)], [2.0, 1.0, 0.0], atol=1e-6)
    late = optim.learning_rate_schedule("late_cosine", 2.0, 10)
    found = [late(t) for t in (0, 7, 8, 9, 10)]
    np.testing.assert_allclose(found, [2.0, 2.0, 2.0, 1.0, 0.0], atol=1e-6)


def test_constant_schedule():
    rate = optim.learning_rate_schedule("constant", 0.3)
    assert rate(0) == rate(10**6) == pytest.approx(0.3)


# ---------------------------------------------------------------- optimisers


def test_adam_is_optax_adam():
    params, grads = {"w": jnp.array([1.0, 2.0])}, {"w": jnp.array([0.3, -4.0])}
    ours = optim.optimizer("adam", 1e-2, b1=0.5, b2=0.9)
    theirs = optax.adam(1e-2, b1=0.5, b2=0.9)
    a, b = ours.init(params), theirs.init(params)
    for _ in range(3):
        u, a = ours.update(grads, a, params)
        v, b = theirs.update(grads, b, params)
        np.testing.assert_allclose(u["w"], v["w"], rtol=1e-6)


def test_adashift_follows_a_sequence_by_hand():
    # Means of squares 12.5, 50, 0.5 and 8; v = 0, 12.5, 50, max(25, 0.5) with b2 = 1/2.
    sequence = [[3.0, 4.0], [-6.0, 8.0], [1.0, 0.0], [0.0, 4.0]]
    expected = [[0.0, 0.0], [-6.0, 8.0] / np.sqrt(12.5), [1.0, 0.0] / np.sqrt(50), [0.0, 0.8]]
    tx, params = optim.scale_by_adashift(b2=0.5, eps=0.0), {"w": jnp.zeros(2), "b": jnp.zeros(())}
    state = tx.init(params)
    for g, out in zip(sequence, expected, strict=True):
        # The scale of one tensor does not enter another.
        got, state = tx.update({"w": jnp.array(g), "b": 100.0 * jnp.array(g[1])}, state)
        np.testing.assert_allclose(got["w"], out, rtol=1e-6)
    assert got["b"] == pytest.approx(400.0 / np.sqrt(0.5 * 640_000.0))


def test_adashift_waits_for_a_gradient_that_is_not_zero():
    tx = optim.optimizer("adashift", 0.1, b2=0.9)
    state = tx.init(jnp.zeros(2))
    for g, out in [([0.0, 0.0], [0.0, 0.0]), ([2.0, 2.0], [0.0, 0.0]), ([4.0, 0.0], [-0.2, 0.0])]:
        got, state = tx.update(jnp.array(g), state, jnp.zeros(2))
        np.testing.assert_allclose(got, out, rtol=1e-6)


def test_rmsprop_first_step():
    out = _once(optim.optimizer("rmsprop", 0.1, b2=0.75), jnp.array([2.0, -8.0]))
    np.testing.assert_allclose(out, [-0.2, 0.2], rtol=1e-5)


def test_gradient_transforms_of_an_optimiser():
    grads = jnp.array([3.0, 4.0])
    clipped = _once(optim.optimizer("sgd", 1.0, clip=1.0, grad_transform="clip"), grads)
    np.testing.assert_allclose(clipped, [-0.6, -0.8], rtol=1e-6)
    robust = _once(optim.optimizer("sgd", 1.0, grad_transform="robust"), grads)
    np.testing.assert_allclose(robust, [-0.6, -8.0 / 17.0], rtol=1e-6)


def test_weight_decay_is_decoupled_and_follows_the_schedule():
    tx = optim.optimizer("adam", optax.constant_schedule(0.1), weight_decay=0.5)
    out = _once(tx, jnp.zeros(2), jnp.array([1.0, -2.0]))
    np.testing.assert_allclose(out, [-0.05, 0.1], rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "lion"}, "choose adam, adashift, rmsprop, sgd"),
        ({"schedule": "cosin", "total_steps": 3}, "choose constant, cosine"),
        ({"schedule": "cosine"}, "needs total_steps"),
        ({"grad_transform": "clip"}, "needs clip > 0"),
        ({"grad_transform": "clip", "clip": -1.0}, "needs clip > 0"),
        ({"grad_transform": "clipped"}, "choose none, clip or robust"),
        ({"learning_rate": optax.constant_schedule(1.0), "schedule": "cosine"}, "already"),
    ],
)
def test_errors_name_the_field_and_the_fix(arguments, message):
    with pytest.raises(ValueError, match=message):
        optim.optimizer(**arguments)
