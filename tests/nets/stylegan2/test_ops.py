"""Resampling and convolutions against worked numbers and plain definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit.nets.stylegan2 import ops

SMALL = np.asarray([[1.0, 2.0], [3.0, 4.0]], np.float32)
RAMP = np.arange(16, dtype=np.float32).reshape(4, 4)
KERNEL = np.arange(9, dtype=np.float32).reshape(3, 3, 1, 1)
ASYMMETRIC = (1.0, 2.0, 4.0, 3.0)


#: What runs once need not be fast.
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def plane(function, x, *arguments, **options):
    """Of one image with one channel."""
    run = jax.jit(lambda y: function(y, *arguments, **options), compiler_options=QUICK)
    return np.asarray(run(jnp.asarray(x)[None, :, :, None]))[0, :, :, 0]


def test_leaky_relu_has_its_gain_and_a_slope_at_zero():
    x = jnp.asarray([-2.0, -0.5, 0.0, 0.5, 2.0])
    y = ops.bias_act(x, activation="lrelu")
    np.testing.assert_allclose(y, [-0.565685, -0.141421, 0, 0.707107, 2.828427], atol=1e-6)
    slope = jax.grad(lambda v: ops.bias_act(v, activation="lrelu"))(0.0)
    np.testing.assert_allclose(slope, np.sqrt(2), rtol=1e-6)


def test_the_clamp_comes_after_the_gain():
    y = ops.bias_act(jnp.asarray([[3.0]]), jnp.ones(1), "linear", gain=2.0, clamp=5.0)
    assert float(y[0, 0]) == 5.0
    with pytest.raises(ValueError, match="activation='gelu'"):
        ops.bias_act(jnp.zeros(1), activation="gelu")


def test_filter_is_the_outer_product():
    expected = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64
    np.testing.assert_array_equal(ops.setup_filter(), expected.astype(np.float32))


@pytest.mark.parametrize(
    ("taps", "expected"),
    [
        (
            ops.TAPS,
            [
                [0.5625, 0.9375, 1.3125, 1.125],
                [1.125, 1.75, 2.25, 1.875],
                [1.875, 2.75, 3.25, 2.625],
                [1.6875, 2.4375, 2.8125, 2.25],
            ],
        ),
        (
            ASYMMETRIC,
            [
                [0.16, 0.48, 0.56, 0.64],
                [0.56, 1.6, 1.8, 1.92],
                [0.72, 2, 2.2, 2.24],
                [0.96, 2.56, 2.72, 2.56],
            ],
        ),
    ],
)
def test_upsampling(taps, expected):
    np.testing.assert_allclose(plane(ops.upsample2d, SMALL, taps), expected, atol=1e-6)


def test_downsampling():
    expected = [[2.734375, 3.9375], [7.546875, 8.75]]
    np.testing.assert_allclose(plane(ops.downsample2d, RAMP), expected, atol=1e-6)


def test_a_constant_stays_one_inside():
    y = plane(ops.upsample2d, np.ones((5, 5), np.float32))
    np.testing.assert_allclose(y[2:-2, 2:-2], 1.0, rtol=1e-6)


def definition(x, f, up, down, pad, gain, flip):
    """`upfirdn2d` of one plane, by its four steps."""
    h, w = x.shape
    stuffed = np.zeros((h * up, w * up))
    stuffed[::up, ::up] = x
    x0, x1, y0, y1 = pad
    stuffed = np.pad(stuffed, ((max(y0, 0), max(y1, 0)), (max(x0, 0), max(x1, 0))))
    stuffed = stuffed[max(-y0, 0) : len(stuffed) - max(-y1, 0)]
    stuffed = stuffed[:, max(-x0, 0) : stuffed.shape[1] - max(-x1, 0)]
    g = (f if flip else f[::-1, ::-1]) * gain
    k = len(f)
    rows, columns = stuffed.shape[0] - k + 1, stuffed.shape[1] - k + 1
    y = [[np.sum(g * stuffed[i : i + k, j : j + k]) for j in range(columns)] for i in range(rows)]
    return np.asarray(y)[::down, ::down]


@pytest.mark.parametrize(
    ("up", "down", "pad", "flip"),
    [(2, 1, (3, 2, 1, 4), False), (1, 2, (-1, 2, 0, 1), True), (3, 2, (2, 1, 1, 1), False)],
)
def test_upfirdn_is_its_definition(up, down, pad, flip):
    x = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)
    y = plane(ops.upfirdn2d, x, ASYMMETRIC, up=up, down=down, pad=pad, gain=2.0, flip=flip)
    expected = definition(x, ops.setup_filter(ASYMMETRIC), up, down, pad, 2.0, flip)
    np.testing.assert_allclose(y, expected, atol=1e-5)


UP_TRUE = [
    [11.5625, 20.8125, 26.875, 25.4375],
    [25.8125, 44.8125, 55.5625, 50.375],
    [43.0625, 70.6875, 83.3125, 72.125],
    [52.4375, 82.3125, 93.25, 77.5625],
]
UP_FLIPPED = [
    [32.4375, 50.1875, 56.125, 42.5625],
    [55.6875, 81.6875, 87.4375, 64.125],
    [62.4375, 88.8125, 92.6875, 66.375],
    [39.5625, 54.6875, 55.75, 38.4375],
]


@pytest.mark.parametrize("impl", ["phase", "matmul", "dilated"])
def test_doubling_convolutions(impl):
    true = plane(ops.conv2d_resample, SMALL, KERNEL, up=2, flip_weight=False, impl=impl)
    np.testing.assert_allclose(true, UP_TRUE, rtol=1e-6)
    flipped = plane(ops.conv2d_resample, SMALL, KERNEL, up=2, flip_weight=True, impl=impl)
    np.testing.assert_allclose(flipped, UP_FLIPPED, rtol=1e-6)


@pytest.mark.parametrize("impl", ["phase", "matmul"])
def test_halving_convolutions(impl):
    y = plane(ops.conv2d_resample, RAMP, KERNEL, down=2, impl=impl)
    np.testing.assert_allclose(y, [[157.20312, 173.51562], [212.70312, 210.64062]], rtol=1e-6)


def test_one_by_one_convolutions():
    two = np.full((1, 1, 1, 1), 2.0, np.float32)
    up = plane(ops.conv2d_resample, SMALL, two, up=2)
    np.testing.assert_allclose(up[0], [1.125, 1.875, 2.625, 2.25], rtol=1e-6)
    down = plane(ops.conv2d_resample, RAMP, two, down=2)
    np.testing.assert_allclose(down, [[5.46875, 7.875], [15.09375, 17.5]], rtol=1e-6)


def test_both_forms_of_doubling_agree_with_an_asymmetric_filter(key):
    x = jax.random.normal(key, (2, 5, 4, 3))
    w = jax.random.normal(key, (3, 3, 3, 2))
    resample = jax.jit(ops.conv2d_resample, static_argnums=(2, 3, 4, 5, 6))
    forms = [resample(x, w, ASYMMETRIC, 2, 1, False, impl) for impl in ("phase", "dilated")]
    np.testing.assert_allclose(*forms, atol=2e-5)
    # The plain definition: resample, then convolve.
    plain = ops.upfirdn2d(x, ASYMMETRIC, up=2, pad=(3, 2), gain=4.0)
    plain = ops._conv(plain, w[::-1, ::-1])
    np.testing.assert_allclose(forms[0], plain, atol=2e-5)


def test_modulation_equals_kernels_per_sample(key):
    keys = jax.random.split(key, 3)
    x = jax.random.normal(keys[0], (2, 4, 4, 3))
    w = jax.random.normal(keys[1], (3, 3, 3, 5))
    styles = jax.random.normal(keys[2], (2, 3)) + 1.0
    modulated = jax.jit(ops.modulated_conv2d)
    found = modulated(x, w, styles)
    for i in range(2):
        own = w * styles[i][None, None, :, None]
        own = own * jax.lax.rsqrt(jnp.sum(own**2, axis=(0, 1, 2)) + 1e-8)[None, None, None]
        expected = ops.conv2d_resample(x[i : i + 1], own)
        np.testing.assert_allclose(found[i : i + 1], expected, atol=1e-5)
    scaled = modulated(x, 7.0 * w, 0.3 * styles)
    np.testing.assert_allclose(found, scaled, atol=1e-5)


def test_float16_modulation_does_not_overflow(key):
    x = jax.random.normal(key, (1, 4, 4, 64)).astype(jnp.float16)
    w = 300.0 * jax.random.normal(key, (3, 3, 64, 8))
    styles = jnp.full((1, 64), 200.0)
    modulated = jax.jit(ops.modulated_conv2d)
    half = modulated(x, w, styles)
    full = modulated(x.astype(jnp.float32), w, styles)
    np.testing.assert_allclose(half.astype(jnp.float32), full, atol=0.02)


def test_minibatch_std_of_strided_groups():
    x = np.zeros((4, 2, 2, 2), np.float32)
    x[0], x[2] = 1.0, 3.0
    y = np.asarray(ops.minibatch_std(jnp.asarray(x), 2))
    # Groups {0, 2} with deviation 1, {1, 3} with none.
    np.testing.assert_allclose(y[[0, 2], ..., 2], 1.0, rtol=1e-6)
    np.testing.assert_allclose(y[[1, 3], ..., 2], 1e-4, rtol=1e-5)
    np.testing.assert_array_equal(y[..., :2], x)


def test_minibatch_std_refuses_what_it_cannot_group():
    with pytest.raises(ValueError, match="group_size=3 must divide the batch of 4"):
        ops.minibatch_std(jnp.zeros((4, 2, 2, 2)), 3)


def test_convolutions_that_do_not_exist():
    with pytest.raises(ValueError, match="up=2, down=2"):
        ops.conv2d_resample(jnp.zeros((1, 4, 4, 1)), jnp.zeros((3, 3, 1, 1)), up=2, down=2)
    with pytest.raises(ValueError, match="conv_impl='fast'"):
        ops.conv2d_resample(jnp.zeros((1, 4, 4, 1)), jnp.zeros((3, 3, 1, 1)), up=2, impl="fast")
