"""Networks of Lipschitz GANs and Dist-GAN: sizes, shapes, ranges, encoders."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit import nets

MNIST, STACKED, CIFAR, CELEBA = (28, 28, 1), (28, 28, 3), (32, 32, 3), (64, 64, 3)


def _filled(module, x):
    """Variables drawn by numpy: compiling every layer's initialiser takes longer."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(module.init, jax.random.key(0), x)

    def draw(leaf):
        # Variances are vectors, and positive.
        low = -0.3 if leaf.ndim > 1 else 0.1
        return rng.uniform(low, 0.3, leaf.shape).astype(np.float32)

    return jax.tree.map(draw, shapes)


def _count(module, x):
    variables = jax.eval_shape(module.init, jax.random.key(0), x)
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


@pytest.mark.parametrize(
    ("arch", "shape", "latents", "options", "expected"),
    [
        ("lgan", CIFAR, 128, {}, 1_204_483),
        ("dist_resnet", CIFAR, 128, {}, 4_276_739),
        ("dist_dcgan", MNIST, 100, {}, 52_826_881),
        ("dist_dcgan", CIFAR, 100, {"width": 128}, 4_935_171),
        ("dist_dcgan", CELEBA, 100, {"width": 128}, 18_872_323),
        ("sngan", CIFAR, 128, {"width": 128, "dense_norm": False}, 13_129_731),
        ("stacked", STACKED, 256, {}, 287_875),
        ("mlp", (2,), 2, {"depth": 3}, 33_666),
        ("mlp", (1,), 1, {"width": 4, "depth": 1}, 13),
    ],
)
def test_generator_sizes(arch, shape, latents, options, expected):
    module = nets.generator(arch, shape, latents, **options)
    assert _count(module, jnp.zeros((1, latents))) == expected


@pytest.mark.parametrize(
    ("arch", "shape", "options", "expected"),
    [
        ("lgan", CIFAR, {}, 1_053_825),
        ("dist_resnet", CIFAR, {}, 1_053_825),
        ("dist_dcgan", MNIST, {}, 1_030_145),
        ("dist_dcgan", CIFAR, {"width": 128}, 4_114_689),
        ("dist_dcgan", CELEBA, {"width": 128}, 17_231_105),
        ("sngan", CIFAR, {"narrow_strides": True}, 2_935_873),
        ("stacked", STACKED, {"width": 2}, 557),
        ("stacked", STACKED, {"width": 4}, 1_833),
        ("stacked", STACKED, {"width": 2, "batch_norm": True}, 557 + 28),
        ("equalised", (2,), {}, 3_152_897),
        ("dense_mlp", CIFAR, {}, 8_133_633),
        ("mlp", (2,), {"depth": 64}, 1_040_769),
    ],
)
def test_critic_sizes(arch, shape, options, expected):
    module = nets.energy(arch, shape, spectral_norm=False, **options)
    assert _count(module, jnp.zeros((1, *shape))) == expected


@pytest.mark.parametrize(
    ("arch", "shape", "latents", "options", "expected"),
    [
        ("dist_dcgan", MNIST, 100, {}, 1_436_516),
        ("dist_dcgan", CIFAR, 100, {"width": 128}, 4_927_332),
        ("dist_dcgan", CELEBA, 100, {"width": 128}, 18_856_804),
        ("dist_resnet", CIFAR, 128, {}, 4_273_024),
        ("stacked", STACKED, 256, {}, 286_208),
        ("mlp", (2,), 2, {"depth": 3}, 33_666),
    ],
)
def test_encoder_sizes(arch, shape, latents, options, expected):
    assert _count(nets.encoder(arch, shape, latents, **options), jnp.zeros((1, *shape))) == expected


@pytest.mark.parametrize("shape", [(14, 14, 1), (48, 48, 3), (16, 32, 2)])
@pytest.mark.parametrize("arch", sorted(nets.ENCODERS))
def test_encoder_shapes(key, arch, shape):
    module = nets.encoder(arch, shape, 10, width=8)
    x = jnp.zeros((5, *shape))
    variables = jax.eval_shape(module.init, key, x)
    out = jax.eval_shape(lambda v: module.apply(v, x, True), variables)
    assert out.shape == (5, 10) and out.dtype == jnp.float32
    assert ("batch_stats" in variables) == (arch != "mlp")


@pytest.mark.parametrize("arch", ["dist_dcgan", "dist_resnet", "stacked"])
def test_encoders_without_batch_norm_have_no_statistics(key, arch):
    module = nets.encoder(arch, (8, 8, 1), 4, width=4, batch_norm=False)
    assert set(jax.eval_shape(module.init, key, jnp.zeros((1, 8, 8, 1)))) == {"params"}


@pytest.mark.parametrize("arch", sorted(nets.ENCODERS))
def test_encoders_treat_rows_alone_in_evaluation(key, arch):
    module = nets.encoder(arch, (8, 8, 1), 3, width=4)
    x = jax.random.normal(key, (3, 8, 8, 1))
    variables = _filled(module, x)
    z = module.apply(variables, x, False)
    other = module.apply(variables, jnp.concatenate([-2.0 * x[:2], x[2:]]), False)
    np.testing.assert_allclose(other[2], z[2], rtol=1e-4, atol=1e-5)
    assert float(jnp.abs(other[0] - z[0]).max()) > 1e-3


@pytest.mark.parametrize("arch", ["dist_dcgan", "lgan", "stacked"])
def test_generated_images_lie_in_range_and_rows_are_independent(key, arch):
    # 14 -> 7 goes through the second dense layer of "dist_dcgan", the cut of "stacked".
    module = nets.generator(arch, (14, 14, 2), 3, width=2)
    z = jax.random.normal(key, (3, 3))
    variables = _filled(module, z)
    x = module.apply(variables, z, False)
    assert x.shape == (3, 14, 14, 2) and float(jnp.abs(x).max()) <= 1.0
    other = module.apply(variables, jnp.concatenate([-2.0 * z[:2], z[2:]]), False)
    np.testing.assert_allclose(other[2], x[2], atol=1e-5)
    assert float(jnp.abs(other[:2] - x[:2]).max()) > 1e-3


def test_statistics_of_the_lgan_generator_are_slow(key):
    module = nets.generator("lgan", (8, 8, 1), 3, width=2)
    z = jax.random.normal(key, (4, 3))
    variables = _filled(module, z)
    before = variables["batch_stats"]["ProjectedUpBlock_0"]["BatchNorm_0"]["var"]
    assert set(variables["params"]) == {
        *("BatchNorm_0", "Conv_0", "Dense_0", "ProjectedUpBlock_0"),
    }
    _, changed = module.apply(variables, z, True, mutable=["batch_stats"])
    first = np.asarray(z) @ variables["params"]["Dense_0"]["kernel"]
    first += variables["params"]["Dense_0"]["bias"]
    var = first.reshape(-1, 2).var(0)
    stats = changed["batch_stats"]["ProjectedUpBlock_0"]["BatchNorm_0"]
    np.testing.assert_allclose(stats["var"], 0.99 * before + 0.01 * var, rtol=1e-5)


def test_projected_shortcut_is_a_convolution_of_the_upsampled_input(key):
    block = nets.projected.ProjectedUpBlock(3)
    x = np.asarray(jax.random.normal(key, (2, 4, 4, 2)))
    variables = jax.tree.map(
        lambda leaf: np.ones(leaf.shape, np.float32),
        jax.eval_shape(lambda k: block.init(k, x, False), key),
    )
    variables["params"]["Conv_2"]["kernel"] *= np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3)
    params = jax.tree.map(np.zeros_like, variables["params"])
    kernel = variables["params"]["Conv_2"]["kernel"]
    params = {**params, "Conv_2": {"kernel": kernel, "bias": np.ones(3, np.float32)}}
    got = block.apply({**variables, "params": params}, x, False)
    expected = x.repeat(2, 1).repeat(2, 2) @ kernel[0, 0] + 1.0
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_outputs_of_vector_generators(key):
    z = 50.0 * jax.random.normal(key, (20, 2))
    linear = nets.generator("mlp", (2,), 2, 8)
    variables = linear.init(key, z)
    raw = linear.apply(variables, z)
    assert float(jnp.abs(raw).max()) > 1.0
    for output, function in [
        ("sigmoid", jax.nn.sigmoid),
        ("tanh", jnp.tanh),
        ("linear", lambda x: x),
    ]:
        module = nets.generator("mlp", (2,), 2, 8, output=output)
        np.testing.assert_allclose(module.apply(variables, z), function(raw), rtol=1e-6)
    with pytest.raises(ValueError, match="output='relu': choose auto, linear, sigmoid or tanh"):
        nets.generator("mlp", (2,), 2, 8, output="relu").init(key, z)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nets.encoder("vae", (8, 8, 1), 4), "choose dist_dcgan, dist_resnet, mlp"),
        (lambda: nets.encoder("stacked", (2,), 4), r"shape \(height, width, channels\).*use mlp"),
        (lambda: nets.encoder("mlp", (2,), 4, widht=3), "no option 'widht'; it has latent_dim"),
        (lambda: nets.encoder("dist_dcgan", (4, 4, 1), 4), "at least 8 pixels.*use arch='mlp'"),
    ],
)
def test_errors_name_the_choices(call, message):
    with pytest.raises(ValueError, match=message):
        call()
