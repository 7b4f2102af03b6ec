"""Rational-quadratic splines: knots, tails, edges."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit import distributions as D

K, BOUND = 6, 3.0


def rational_quadratic(n_bins: int, bound: float = 5.0) -> D.Elementwise:
    """The spline, compiled."""
    spline = D.rational_quadratic(n_bins, bound)
    return D.Elementwise(spline.n_params, jax.jit(spline.forward), jax.jit(spline.inverse))


def spline_knots(raw: jax.Array) -> D.Knots:
    return jax.jit(lambda raw: D.spline_knots(raw, K, BOUND))(raw)


@pytest.fixture
def raw() -> jax.Array:
    return 2.0 * jax.random.normal(jax.random.key(5), (3 * K - 1,))


def along(raw: jax.Array, x: jax.Array) -> jax.Array:
    """The same spline for every entry of `x (n,)`, as rows of one feature."""
    return jnp.broadcast_to(raw, (*x.shape, raw.shape[-1]))


def test_zeros_are_the_identity():
    spline = rational_quadratic(K, BOUND)
    x = jnp.linspace(-4.0, 4.0, 81)
    y, log_slope = spline.forward(x, along(jnp.zeros(3 * K - 1), x))
    np.testing.assert_allclose(y, x, atol=2e-6)
    np.testing.assert_allclose(log_slope, 0.0, atol=2e-6)


def test_values_and_slopes_at_the_knots(raw: jax.Array):
    spline, knots = rational_quadratic(K, BOUND), spline_knots(raw)
    assert knots.x.shape == knots.slopes.shape == (K + 1,)
    assert (knots.x[0], knots.x[-1], knots.y[0], knots.y[-1]) == (-BOUND, BOUND, -BOUND, BOUND)
    assert np.all(np.diff(knots.x) > 0) and np.all(np.diff(knots.y) > 0)
    y, log_slope = spline.forward(knots.x, along(raw, knots.x))
    np.testing.assert_allclose(y, knots.y, atol=1e-5)
    np.testing.assert_allclose(log_slope, jnp.log(knots.slopes), atol=1e-4)
    x, log_inverse = spline.inverse(knots.y, along(raw, knots.y))
    np.testing.assert_allclose(x, knots.x, atol=1e-4)
    np.testing.assert_allclose(log_inverse, -jnp.log(knots.slopes), atol=5e-3)


def test_gradients_are_finite_and_right_at_knots_and_bounds(raw: jax.Array):
    spline, knots = rational_quadratic(K, BOUND), spline_knots(raw)
    points = jnp.concatenate([knots.x, jnp.array([-5.0, 5.0, 0.0, BOUND - 1e-6])])

    @partial(jax.jit, static_argnums=2)
    def jacobians(x: jax.Array, raw: jax.Array, forward: bool):
        function = spline.forward if forward else spline.inverse

        def total(x: jax.Array, raw: jax.Array) -> jax.Array:
            return jnp.stack([jnp.sum(part) for part in function(x, along(raw, x))])

        return function(x, along(raw, x))[1], jax.jacrev(total, (0, 1))(x, raw)

    for forward, at in ((True, points), (False, jnp.concatenate([knots.y, points[-4:]]))):
        log_slope, gradients = jacobians(at, raw, forward)
        np.testing.assert_allclose(gradients[0][0], jnp.exp(log_slope), rtol=5e-3)
        assert all(np.isfinite(g).all() for g in gradients)


def test_tails_are_the_identity(raw: jax.Array):
    x = jnp.array([-1e3, -BOUND, BOUND, 3.5, 1e3])
    for function in rational_quadratic(K, BOUND)[1:]:
        y, log_slope = function(x, along(raw, x))
        np.testing.assert_array_equal(y, x)
        np.testing.assert_array_equal(log_slope, 0.0)


@pytest.mark.parametrize("size", [30.0, 1e3, 1e6])
def test_degenerate_bins_are_clamped(size: float):
    # One bin takes nearly everything: the others keep 1e-3 of the interval.
    raw = jnp.zeros(3 * K - 1).at[0].set(size).at[2 * K - 1].set(size).at[2 * K :].set(-size)
    knots = spline_knots(raw)
    np.testing.assert_allclose(jnp.diff(knots.x)[1:], 2 * BOUND * 1e-3, rtol=1e-3)
    assert np.min(knots.slopes) >= 1e-3
    spline = rational_quadratic(K, BOUND)
    x = jnp.linspace(-3.0, 3.0, 1001)
    y, log_slope = spline.forward(x, along(raw, x))
    back, inverse = spline.inverse(y, along(raw, y))
    assert np.isfinite(log_slope).all() and np.isfinite(inverse).all()
    assert np.all(np.diff(y) >= 0)
    # The rounding of y, amplified where the spline is flat.
    assert np.max(np.abs(back - x) * np.exp(np.minimum(log_slope, 0.0))) < 5e-6


def test_round_trip_of_random_splines_in_float32():
    spline = rational_quadratic(8)
    raw = jax.random.normal(jax.random.key(1), (4000, 23))
    x = jax.random.uniform(jax.random.key(2), (4000,), minval=-6.0, maxval=6.0)
    y, log_slope = spline.forward(x, raw)
    back, inverse = spline.inverse(y, raw)
    # The rounding of y (5 ulp of 5), amplified where the spline is flat.
    assert np.max(np.abs(back - x) * np.exp(np.minimum(log_slope, 0.0))) < 3e-6
    assert np.quantile(np.abs(back - x), 0.99) < 5e-5
    assert np.quantile(np.abs(inverse + log_slope), 0.99) < 1e-4


def test_one_bin():
    spline = rational_quadratic(1)
    x = jnp.linspace(-6.0, 6.0, 13)
    np.testing.assert_allclose(spline.forward(x, jnp.ones((13, 2)))[0], x, atol=1e-5)
