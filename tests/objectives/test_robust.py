"""The general loss against values to twelve digits, its limits and its derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit.objectives import (
    general_loss,
    general_loss_curvature,
    general_loss_derivative,
    general_loss_weight,
)

INF = np.inf
X = np.array([0.1, 0.5, 1.0, 2.0, 5.0])
# Computed with 40 digits.
LOSS = {
    -INF: (0.00498752080732, 0.117503097415, 0.393469340287, 0.864664716763, 0.999996273347),
    -10.0: (0.00498752426511, 0.117552023824, 0.395787693277, 0.915234375, 1.19569395211),
    -2.0: (0.00498753117207, 0.117647058824, 0.4, 1.0, 1.72413793103),
    -0.5: (0.00498753737854, 0.117729551618, 0.403386423875, 1.06244468945, 2.25449756612),
    0.0: (0.00498754151104, 0.117783035656, 0.405465108108, 1.09861228867, 2.60268968544),
    0.25: (0.00498754446031, 0.117820529334, 0.406872530271, 1.12225770013, 2.84314215446),
    0.5: (0.00498754838942, 0.117869632876, 0.408658099402, 1.15134772569, 3.15049271512),
    1.0: (0.00498756211209, 0.118033988750, 0.414213562373, 1.2360679775, 4.09901951359),
    1.5: (0.00498760300981, 0.118467668472, 0.426502352318, 1.39871747424, 6.02812046501),
    1.9: (0.00498791635973, 0.120394290879, 0.460902713525, 1.73958736244, 9.96895388434),
    2.0: (0.005, 0.125, 0.5, 2.0, 12.5),
    3.0: (0.0050124792444, 0.132514161979, 0.609475708249, 3.39344662917, 43.8581691178),
    INF: (0.0050125208594, 0.133148453067, 0.6487212707, 6.38905609893, np.expm1(12.5)),
}
SLOPE = {
    0.0: (0.0995024875622, 0.444444444444, 2 / 3, 2 / 3, 0.370370370370),
    0.5: (0.0995028989533, 0.445409947554, 0.68173161988, 0.75479049558, 0.580235161804),
    1.5: (0.099506157748, 0.451801001805, 0.759835685652, 1.15470053838, 1.87101582304),
    3.0: (0.100498756211, 0.559016994375, 1.41421356237, 4.472135955, 25.495097568),
}
ALPHA_SLOPE = {
    -2.0: (2.58796e-9, 3.49580136e-5, 0.001485158949, 0.02842640972, 0.217245933),
    0.0: (1.032611627e-8, 1.322485995e-4, 0.005034601086, 0.0857644292, 0.8551165199),
    1.0: (4.110003894e-8, 4.76458745e-4, 0.01525533758, 0.2216975249, 2.559961574),
    1.9: (3.770896557e-6, 0.01517599279, 0.1991621049, 1.627130879, 17.57630161),
}


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request):
    with jax.enable_x64(request.param is np.float64):
        yield request.param


def table(values, dtype):
    alpha = np.array(list(values), dtype)[:, None]
    x = np.broadcast_to(X.astype(dtype), (len(alpha), len(X)))
    return jnp.asarray(x), jnp.asarray(alpha), np.array(list(values.values()))


def test_values(dtype):
    x, alpha, expected = table(LOSS, dtype)
    # exp(12.5) magnifies the rounding of its exponent.
    rtol = 2e-6 if dtype is np.float32 else 1e-11
    np.testing.assert_allclose(general_loss(x, alpha), expected, rtol=rtol)
    rtol = min(rtol, 4e-7)
    np.testing.assert_allclose(general_loss(x, alpha)[:, :4], expected[:, :4], rtol=rtol)
    np.testing.assert_allclose(general_loss(-3.0 * x, alpha, 3.0), expected, rtol=5 * rtol)


def test_slopes_weights_and_shape_gradients(dtype):
    rtol = 4e-7 if dtype is np.float32 else 1e-11
    x, alpha, expected = table(SLOPE, dtype)
    np.testing.assert_allclose(general_loss_derivative(x, alpha), expected, rtol=rtol)
    np.testing.assert_allclose(general_loss_weight(x, alpha) * x, expected, rtol=2 * rtol)
    x, alpha, expected = table(ALPHA_SLOPE, dtype)
    grad = jax.grad(lambda a: general_loss(x, a).sum())(jnp.broadcast_to(alpha, x.shape))
    visible = expected > 1e-3
    rtol = 1e-3 if dtype is np.float32 else 1e-7
    np.testing.assert_allclose(grad[visible], expected[visible], rtol=rtol)
    np.testing.assert_allclose(grad, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("alpha", [-INF, -3.0, 0.0, 1.0, 1.999, 2.0, 2.4, 4.0])
def test_derivatives_agree_with_automatic_ones(alpha):
    with jax.enable_x64(True):
        x, c = jnp.linspace(-3.0, 3.0, 13), 0.7
        f = lambda v: general_loss(v, alpha, c)
        slope = jax.vmap(jax.grad(f))(x)
        np.testing.assert_allclose(slope, general_loss_derivative(x, alpha, c), rtol=1e-12)
        step = 1e-6
        np.testing.assert_allclose(slope, (f(x + step) - f(x - step)) / (2 * step), atol=1e-7)
        curvature = general_loss_curvature(x, alpha, c)
        derivative = lambda v: general_loss_derivative(v, alpha, c)
        numerical = (derivative(x + step) - derivative(x - step)) / (2 * step)
        np.testing.assert_allclose(curvature, numerical, rtol=1e-6, atol=1e-6)
        twice = jax.vmap(jax.grad(jax.grad(f)))(x)
        np.testing.assert_allclose(twice, curvature, rtol=1e-6)
        scale_slope = jax.grad(lambda s: general_loss(x, alpha, s).sum())(c)
        np.testing.assert_allclose(scale_slope, -(x / c * slope).sum(), rtol=1e-12)
        assert bool((curvature >= 0).all()) == (alpha >= 1.0)


@pytest.mark.parametrize("near", [0.0, 1e-8, -1e-6, 2e-4])
@pytest.mark.parametrize("special", [0.0, 2.0])
def test_nothing_happens_at_the_special_shapes(special, near):
    x = jnp.geomspace(1e-4, 1e3, 29)
    with jax.enable_x64(True):
        exact = general_loss(jnp.asarray(x, jnp.float64), np.float64(np.float32(special + near)))
    np.testing.assert_allclose(general_loss(x, np.float32(special + near)), exact, rtol=5e-7)


def test_small_residuals_keep_their_digits():
    x = jnp.geomspace(1e-12, 1e-3, 10)
    for alpha in (-INF, -1.0, 0.0, 1e-6, 1.0, 1.5001, 2.0, 3.0, INF):
        np.testing.assert_allclose(general_loss(x, alpha), x**2 / 2, rtol=1e-5)


def test_monotone_bounded_and_ordered():
    x = jnp.linspace(0.01, 20.0, 50)
    alphas = (-INF, -2.0, -0.5, 0.0, 0.7, 1.0, 1.5, 2.0, 3.0)
    losses = jnp.stack([general_loss(x, a) for a in alphas])
    assert (jnp.diff(losses, axis=1) >= -1e-6).all()
    assert (jnp.diff(losses, axis=0) >= -1e-6 * losses[1:]).all()
    for alpha, loss in zip(alphas, losses, strict=True):
        slope = general_loss_derivative(x, alpha, 2.0)
        if alpha < 0:
            assert (loss <= (1.0 if alpha == -INF else (alpha - 2) / alpha) + 1e-6).all()
        if alpha <= 1:
            assert (slope <= 1 / 2.0 + 1e-6).all()
        if -INF < alpha < 1:
            top = 2.0 * np.sqrt((2 - alpha) / (1 - alpha))
            value = 0.5 * ((2 - alpha) / (1 - alpha)) ** ((alpha - 1) / 2)
            found = general_loss_derivative(jnp.float32(top), alpha, 2.0)
            np.testing.assert_allclose(found, value, rtol=1e-6)


def test_gradients_are_finite_everywhere(dtype):
    keys = jax.random.split(jax.random.key(0), 3)
    n = 100_000
    x = jax.random.normal(keys[0], (n,), dtype)
    alpha = jax.random.uniform(keys[1], (n,), dtype, -16.0, 3.0)
    scale = jnp.exp(4.0 * jax.random.normal(keys[2], (n,), dtype)) + 1e-5
    value, grads = jax.vmap(jax.value_and_grad(general_loss, (0, 1, 2)))(x, alpha, scale)
    assert all(bool(jnp.isfinite(v).all()) for v in (value, *grads))
    edges = jnp.array([0.0, 1e-30, 1e15, -1e15], dtype)
    for alpha in (-INF, 0.0, 2.0):
        grads = jax.vmap(jax.grad(general_loss, (0, 1, 2)), (0, None, None))(
            edges, jnp.asarray(alpha, dtype), jnp.asarray(1.0, dtype)
        )
        assert all(bool(jnp.isfinite(v).all()) for v in grads)
    for alpha in (0.0, 3.0, INF):
        far = jnp.array([-1e30, 1e30], dtype)
        assert jnp.isfinite(general_loss(far, alpha)).all()
        assert jnp.isfinite(general_loss_derivative(far, alpha)).all()
    assert jnp.isnan(general_loss(jnp.nan, 1.0))


def test_integers_and_empty_arrays():
    assert general_loss(jnp.array([1, 2]), 2).tolist() == [0.5, 2.0]
    assert general_loss(jnp.zeros((0, 3)), jnp.ones(3)).shape == (0, 3)
