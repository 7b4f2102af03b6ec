"""Whole image spaces: colour and basis together."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit.transforms import SPACES, dct2, image_space, rgb_to_yuv, wavelet, wavelet_log_det


@pytest.mark.parametrize(
    ("name", "shape", "colour"),
    [*((name, (4, 4, 3), "yuv") for name in SPACES), ("cdf97", (5, 6, 1), "rgb")],
)
def test_spaces_invert_and_know_their_volume(name, shape, colour):
    space = image_space(name, shape, colour=colour)
    x = jax.random.uniform(jax.random.key(1), (2, 3, *shape), minval=-1.0)
    y = jax.jit(space.forward)(x)
    assert y.shape == x.shape and y.dtype == x.dtype
    np.testing.assert_allclose(jax.jit(space.inverse)(y), x, atol=1e-6)
    with jax.enable_x64(True):
        size = int(np.prod(shape))
        jacobian = jax.jit(jax.jacfwd(space.forward))(jnp.zeros(shape)).reshape(size, size)
        np.testing.assert_allclose(
            np.linalg.slogdet(np.asarray(jacobian))[1], space.log_det, atol=1e-10
        )
    np.testing.assert_allclose(
        np.asarray(y)[1, 2].ravel(), np.asarray(jacobian) @ np.asarray(x)[1, 2].ravel(), atol=2e-6
    )
    assert (space.log_det == 0.0) == (shape == (4, 4, 3))


@pytest.mark.parametrize("name", ["dct", "cdf97"])
def test_spaces_are_mapped_and_differentiated(name):
    space = image_space(name, (4, 4, 3), colour="yuv")
    x = jax.random.normal(jax.random.key(0), (5, 4, 4, 3))

    @jax.jit
    def together(x):
        length = lambda x: 0.5 * jnp.sum(space.forward(x) ** 2)
        return space.forward(x), jax.vmap(space.forward)(x), jax.grad(length)(x)

    y, mapped, grad = together(x)
    np.testing.assert_allclose(mapped, y, atol=2e-6)
    # A linear map's gradient is its transpose: <grad, x> of half the squared length is <y, y>.
    np.testing.assert_allclose(np.vdot(grad, x), np.vdot(y, y), rtol=1e-5)


def test_settings_reach_the_pieces():
    x = jax.random.normal(jax.random.key(0), (4, 4, 3))
    space = image_space("legall53", x.shape, colour="yuv", levels=1, base=0.5)
    expected = wavelet(rgb_to_yuv(x), 1, "legall53", 0.5)
    np.testing.assert_array_equal(space.forward(x), expected)
    np.testing.assert_array_equal(image_space("dct", x.shape).forward(x), dct2(x))
    np.testing.assert_array_equal(image_space("pixels", x.shape).forward(x), x)


def test_wavelets_have_five_levels_or_all():
    for size, levels in {8: 3, 64: 5}.items():
        base = 2.0 ** (-1 / size)
        log_det = image_space("cdf97", (size, size, 1), base=base).log_det
        np.testing.assert_allclose(log_det, wavelet_log_det((size, size, 1), levels, base=base))
        assert log_det != wavelet_log_det((size, size, 1), levels - 1, base=base)


@pytest.mark.parametrize(
    ("name", "shape", "options", "message"),
    [
        ("fourier", (4, 4, 3), {}, r"fourier.*pixels, dct, cdf97, legall53"),
        ("dct", (4, 4), {}, r"shape=\(4, 4\)"),
        ("dct", (0, 4, 1), {}, r"shape=\(0, 4, 1\)"),
        ("dct", (4, 4, 3), {"colour": "lab"}, r"lab.*rgb or yuv"),
        ("dct", (4, 4, 1), {"colour": "yuv"}, r"yuv.*3 channels"),
        ("cdf97", (4, 4, 1), {"levels": 3}, r"levels=3.*0 to 2"),
        ("cdf97", (4, 4, 1), {"base": -1.0}, "base=-1"),
    ],
)
def test_errors_name_the_field(name, shape, options, message):
    with pytest.raises(ValueError, match=message):
        image_space(name, shape, **options)


def test_images_of_another_shape_are_refused():
    space = image_space("pixels", (4, 4, 3))
    for function in (space.forward, space.inverse):
        with pytest.raises(ValueError, match="images"):
            function(jnp.zeros((2, 4, 5, 3)))
