"""The cosine transform against scipy's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft

from gmkit.transforms import cosine_matrix, dct2, idct2


@pytest.mark.parametrize("shape", [(1, 1, 1), (8, 8, 1), (2, 3, 5, 12, 3)])
def test_it_is_that_of_scipy(shape):
    with jax.enable_x64(True):
        x = np.random.default_rng(0).normal(size=shape)
        y = dct2(jnp.asarray(x))
        known = scipy.fft.dctn(x, axes=(-3, -2), norm="ortho")
        np.testing.assert_allclose(y, known, atol=1e-12)
        np.testing.assert_allclose(idct2(y), x, atol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 7, 64])
def test_the_basis_is_orthonormal(n):
    basis = cosine_matrix(n)
    np.testing.assert_allclose(basis @ basis.T, np.eye(n), atol=1e-13)
    # Low frequencies first: the row k changes its sign k times.
    np.testing.assert_array_equal(np.sum(np.diff(np.sign(basis), axis=1) != 0, 1), np.arange(n))


def test_float32_keeps_its_digits():
    x = jax.random.uniform(jax.random.key(0), (2, 32, 27, 1), minval=-1.0)
    y = jax.jit(dct2)(x)
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(idct2(y), x, atol=1e-6)
    # An isometry: the gradient of half the squared length is the image itself.
    grad = jax.grad(lambda x: 0.5 * jnp.sum(dct2(x) ** 2))(x)
    np.testing.assert_allclose(grad, x, atol=1e-6)
