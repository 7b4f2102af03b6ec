"""YUV of the volume of RGB."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit.transforms import rgb_to_yuv, yuv_to_rgb


def test_the_volume_is_kept_in_yuv():
    with jax.enable_x64(True):
        matrix = rgb_to_yuv(jnp.eye(3))
        np.testing.assert_allclose(abs(np.linalg.det(matrix)), 1.0, rtol=1e-14)
        # Grey has no chroma, and luma is scaled by what keeps the volume.
        np.testing.assert_allclose(matrix.sum(0), [1.580227820074, 0.0, 0.0], atol=2e-8)
        weights = np.array([0.299, 0.587, 0.114])
        np.testing.assert_allclose(matrix[:, 0], 1.580227820074 * weights, rtol=1e-9)


def test_rgb_of_yuv():
    published = np.array([[1, 1, 1], [0, -0.394642334, 2.03206185], [1.13988303, -0.58062185, 0]])
    np.testing.assert_allclose(yuv_to_rgb(jnp.eye(3)), published / 1.580227820074, atol=1e-6)
    x = jax.random.uniform(jax.random.key(0), (2, 4, 5, 3), minval=-1.0)
    y = rgb_to_yuv(x)
    assert y.shape == x.shape and y.dtype == jnp.float32
    np.testing.assert_allclose(yuv_to_rgb(y), x, atol=1e-6)
    np.testing.assert_allclose(rgb_to_yuv(x[1, 2, 3]), y[1, 2, 3], atol=1e-6)


def test_other_channels_are_refused():
    for function in (rgb_to_yuv, yuv_to_rgb):
        with pytest.raises(ValueError, match="must be 3"):
            function(jnp.zeros((4, 4, 1)))
