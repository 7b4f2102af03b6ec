"""Wavelets against published filters, known coefficients, inverses and volumes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit.transforms import (
    WAVELETS,
    inverse_wavelet,
    wavelet,
    wavelet_levels,
    wavelet_log_det,
)

# Analysis filters from their centre outward: low, high.
FILTERS = {
    "cdf97": (
        (0.852698679009, 0.377402855613, -0.110624404418, -0.023849465020, 0.037828455507),
        (0.788485616406, -0.418092273222, -0.040689417609, 0.064538882629),
    ),
    "legall53": (
        tuple(np.sqrt(2) * np.array([0.75, 0.25, -0.125])),
        tuple(np.array([1, -0.5]) / np.sqrt(2)),
    ),
}

forward, backward = (jax.jit(f, static_argnums=(1, 2, 3)) for f in (wavelet, inverse_wavelet))


def filtered(x, taps, start):
    """Every second value, from `start` on, of a convolution; reflected as often as need be."""
    n, reach = len(x), len(taps) - 1
    index = np.arange(-reach, n + reach) % (2 * (n - 1))
    mirrored = x[np.minimum(2 * (n - 1) - index, index)]
    return np.convolve(mirrored, np.r_[taps[:0:-1], taps], mode="valid")[start::2]


def filter_bank(n, name):
    """`(n, n)`: lows, then highs, of the unit impulses."""
    impulse = lambda x: np.concatenate([filtered(x, f, i) for i, f in enumerate(FILTERS[name])])
    return np.stack([impulse(x) for x in np.eye(n)], 1)


def column(x):
    """One level of CDF 9/7 of signals `(n, k)`."""
    # Of two equal columns, the low band across them is sqrt(2) times either.
    images = np.repeat(np.asarray(x).T[:, :, None, None], 2, axis=2)
    return np.asarray(forward(jnp.asarray(images), 1))[:, :, 0, 0].T / np.sqrt(2.0)


@pytest.mark.parametrize("name", WAVELETS)
@pytest.mark.parametrize("shape", [(2, 3), (3, 5), (5, 7), (7, 8), (8, 2)])
def test_it_is_the_filter_bank(name, shape):
    with jax.enable_x64(True):
        x = np.random.default_rng(0).normal(size=shape)
        rows, columns = (filter_bank(n, name) for n in shape)
        found = forward(x[:, :, None], 1, name)[:, :, 0]
        np.testing.assert_allclose(found, rows @ x @ columns.T, atol=1e-10)


def test_known_coefficients():
    with jax.enable_x64(True):
        known = np.array(
            [
                [3.00892214, 13.58618253, 34.79585916, 71.38231021],
                [0.35355339, 0, -2.06524424, 9.78734274],
                [-0.04769893, 0.37740286, 0.37740286, -0.02384947],
                [-0.04068942, 0.78848562, -0.04068942, 0],
            ]
        ).reshape(2, 8)
        signals = np.stack([np.arange(1.0, 9.0) ** 2, np.eye(8)[3]], 1)
        np.testing.assert_allclose(column(signals), known.T, atol=1e-8)


def test_determinants_of_signals():
    with jax.enable_x64(True):
        even, odd = column(np.eye(8)), column(np.eye(7))
    np.testing.assert_allclose(abs(np.linalg.det(even)), 1.0, rtol=1e-12)
    np.testing.assert_allclose(np.linalg.cond(even), 1.6447, atol=5e-5)
    np.testing.assert_allclose(abs(np.linalg.det(odd)), 1.1496044, rtol=1e-7)


@pytest.mark.parametrize("name", WAVELETS)
def test_flat_images_have_no_details(name):
    found = forward(jnp.ones((7, 5, 1)), 3, name)
    # Each level doubles the rest: by sqrt(2) along either axis.
    np.testing.assert_allclose(found, 8.0 * (jnp.arange(35) == 0).reshape(7, 5, 1), atol=1e-5)


def test_levels_nest_and_are_scaled():
    with jax.enable_x64(True):
        x = np.random.default_rng(0).normal(size=(7, 10, 2))
        once, twice, scaled = (np.array(forward(x, *of)) for of in [(1,), (2,), (2, "cdf97", 3.0)])
        scale = np.ones((7, 10, 1))
        scale[:4, :5], scale[:2, :3] = 3.0, 9.0
        np.testing.assert_allclose(scaled, scale * twice, atol=1e-13)
        once[:4, :5] = forward(once[:4, :5], 1)
        np.testing.assert_allclose(twice, once, atol=1e-13)


@pytest.mark.parametrize("name", WAVELETS)
@pytest.mark.parametrize("shape", [(1, 4, 1), (3, 7, 5, 2), (33, 28, 3)])
def test_inverse(name, shape):
    x = jax.random.uniform(jax.random.key(0), shape, minval=-1.0)
    levels = wavelet_levels(shape)
    y = forward(x, levels, name, 1.7)
    assert y.shape == shape and y.dtype == jnp.float32
    np.testing.assert_allclose(backward(y, levels, name, 1.7), x, atol=1e-6)


def test_float64():
    with jax.enable_x64(True):
        x = np.random.default_rng(0).normal(size=(9, 6, 1))
        y = forward(x, 3, "cdf97", 0.5)
        np.testing.assert_allclose(backward(y, 3, "cdf97", 0.5), x, atol=1e-13)


@pytest.mark.parametrize("name", WAVELETS)
@pytest.mark.parametrize(
    ("shape", "base"), [((4, 8, 1), 1.0), ((7, 3, 1), 1.0), ((6, 5, 2), 0.8), ((1, 3, 1), 2.0)]
)
def test_log_det_is_that_of_the_jacobian(name, shape, base):
    levels = wavelet_levels(shape)
    with jax.enable_x64(True):
        of = jax.jit(jax.jacfwd(lambda x: wavelet(x, levels, name, base)))
        size = int(np.prod(shape))
        found = np.linalg.slogdet(np.asarray(of(jnp.zeros(shape))).reshape(size, size))[1]
    log_det = wavelet_log_det(shape, levels, name, base)
    np.testing.assert_allclose(log_det, found, atol=1e-11)
    if shape == (4, 8, 1):
        assert log_det == 0.0


def test_how_many_levels():
    sizes = {(1, 9): 0, (2, 2): 1, (3, 9): 2, (4, 9): 2, (5, 8): 3, (64, 64): 6, (65, 99): 7}
    for size, most in sizes.items():
        assert wavelet_levels((*size, 3)) == most


def test_errors_name_the_field():
    x = jnp.zeros((5, 8, 1))
    for function in (wavelet, inverse_wavelet, lambda x, *rest: wavelet_log_det(x.shape, *rest)):
        for levels in (-1, 4):
            with pytest.raises(ValueError, match=f"levels={levels}: .* take 0 to 3"):
                function(x, levels)
        with pytest.raises(ValueError, match=r"haar.*cdf97, legall53"):
            function(x, 1, "haar")
        for base in (0.0, float("inf"), float("nan")):
            with pytest.raises(ValueError, match="base="):
                function(x, 1, "cdf97", base)
