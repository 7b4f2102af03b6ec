"""Critics: checkpoint paths, features, gains of normalised layers, named options."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from gmkit import nets


def _paths(params):
    return {"/".join(path) for path in traverse_util.flatten_dict(params)}


def _filled(module, x):
    """Variables drawn by numpy: compiling every layer's initialiser takes longer."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(module.init, jax.random.key(0), x)
    return jax.tree.map(lambda leaf: 0.5 * rng.standard_normal(leaf.shape, np.float32), shapes)


def _shapes(module, x, method=None):
    variables = jax.eval_shape(module.init, jax.random.key(0), x)
    return jax.eval_shape(lambda v: module.apply(v, x, True, method=method), variables)


# ---------------------------------------------------------------- features


_SKIP = [f"EnergyBlock_{i}/skip_{p}" for i in range(4) for p in ("scale", "bias")]
_LAYERS = {
    "mlp": [f"MLP_0/SNDense_{i}" for i in range(3)],
    "dcgan": ["SNConv_0", "SNDense_0"],
    "sngan": ["SNConv_0", "SNConv_1", "SNConv_2", "Dense_0"],
    "small": ["SNConv_0", "SNDense_0", "SNDense_1"],
    "resnet": [
        *(f"EnergyBlock_{i}/SNConv_{j}" for i in range(4) for j in range(3 if i < 2 else 2)),
        "SNDense_0",
    ],
}


@pytest.mark.parametrize("arch", sorted(_LAYERS))
def test_parameters_keep_the_paths_that_checkpoints_have(key, arch):
    skip = arch == "resnet"
    module = nets.energy(arch, (8, 8, 1), width=4, **({"skip_init": True} if skip else {}))
    params = jax.eval_shape(module.init, key, jnp.zeros((1, 8, 8, 1)))["params"]
    expected = {f"{layer}/{leaf}" for layer in _LAYERS[arch] for leaf in ("kernel", "bias")}
    assert _paths(params) == (expected | set(_SKIP) if skip else expected)


@pytest.mark.parametrize(
    ("arch", "shape", "options", "size"),
    [
        ("mlp", (2,), {"width": 128, "depth": 3}, 128),
        ("mlp", (5,), {"depth": 0}, 5),
        ("equalised", (2,), {}, 1024),
        ("dense_mlp", (2,), {"width": 16, "depth": 3}, 50),
        ("small", (28, 28, 1), {"width": 8}, 32),
        ("dcgan", (32, 32, 3), {}, 4096),
        ("sngan", (32, 32, 3), {}, 8192),
        ("sngan", (48, 48, 3), {}, 18432),
        ("resnet", (32, 32, 3), {}, 8192),
        ("dist_resnet", (32, 32, 3), {}, 8192),
        ("dist_dcgan", (28, 28, 1), {"width": 64}, 4096),
        ("dist_dcgan", (32, 32, 3), {"width": 128}, 8192),
        ("dist_dcgan", (64, 64, 3), {"width": 128}, 16384),
        ("stacked", (28, 28, 3), {"width": 2}, 128),
    ],
)
def test_features_have_the_size_of_the_last_hidden_layer(arch, shape, options, size):
    module = nets.energy(arch, shape, **options)
    values, features = _shapes(module, jnp.zeros((3, *shape)), "with_features")
    assert values.shape == (3,) and features.shape == (3, size)


@pytest.mark.parametrize("arch", sorted(nets.ENERGIES))
def test_values_are_affine_in_the_features_and_rows_are_independent(key, arch):
    depth = {"depth": 2} if arch in ("dense_mlp", "equalised") else {}
    module = nets.energy(arch, (8, 8, 1), width=4, spectral_norm=False, **depth)
    x = jax.random.normal(key, (3, 8, 8, 1))
    variables = _filled(module, x)
    values, features = module.apply(variables, x, True, method="with_features")
    np.testing.assert_array_equal(module.apply(variables, x, True), values)
    params = variables["params"]
    flat = traverse_util.flatten_dict(params)
    (last,) = (p[:-1] for p in flat if flat[p].shape[-1:] == (1,) and flat[p].ndim == 2)
    kernel, bias = flat[*last, "kernel"][:, 0], flat[*last, "bias"]
    h = np.asarray(features)
    if h.shape[1] != kernel.shape[0]:
        # Residual networks pool over pixels between the two.
        h = h.reshape(3, -1, kernel.shape[0])
        h = h.sum(1) if arch == "dist_resnet" else h.mean(1)
    scale = float(jnp.abs(values).max())
    if arch == "equalised":
        kernel = kernel * np.float32(np.sqrt(2.0 / 4.0))
    np.testing.assert_allclose(h @ kernel + bias, values, rtol=1e-4, atol=1e-5 * scale)
    # The last row is left alone, the others change.
    other = module.apply(variables, jnp.concatenate([-2.0 * x[:2], x[2:]]), True)
    np.testing.assert_allclose(other[2], values[2], rtol=1e-4, atol=1e-5 * scale)
    assert float(jnp.abs(other[:2] - values[:2]).max()) > 1e-3 * scale


# ---------------------------------------------------------------- equalised learning rate


def test_equalised_layers_start_with_unit_variance(key):
    module = nets.energy("equalised", (256,), width=256, depth=3, spectral_norm=False)
    x = jax.random.normal(key, (256, 256))
    variables = module.init(jax.random.key(1), x)
    params = variables["params"]
    h = np.asarray(x)
    for i in range(3):
        kernel = params[f"SNDense_{i}"]["kernel"]
        assert float(kernel.std()) == pytest.approx(1.0, abs=0.03)
        h = np.sqrt((2.0 if i else 1.0) / 256) * (np.maximum(h, 0) if i else h) @ np.asarray(kernel)
        assert float(np.square(h).mean()) == pytest.approx(1.0, abs=0.1)
    _, features = module.apply(variables, x, method="with_features")
    np.testing.assert_allclose(features, np.maximum(h, 0), rtol=1e-3, atol=1e-4)


# ---------------------------------------------------------------- trainable gains


def test_gains_of_one_are_plain_spectral_normalisation_and_scale_their_layer(key):
    x = jax.random.normal(key, (2, 8, 8, 1))
    plain = nets.energy("small", (8, 8, 1), width=2)
    gained = nets.energy("small", (8, 8, 1), width=2, trainable_gain=True)
    new = _filled(gained, x)
    for layer in new["params"].values():
        layer["gain"] = np.float32(1.0)
    old = {**new, "params": {}}
    for layer, leaves in new["params"].items():
        old["params"][layer] = {k: v for k, v in leaves.items() if k != "gain"}
    assert _paths(jax.eval_shape(plain.init, key, x)["params"]) == _paths(old["params"])
    assert _paths(new["params"]) - _paths(old["params"]) == {
        f"{layer}/gain" for layer in ("SNConv_0", "SNDense_0", "SNDense_1")
    }
    values = plain.apply(old, x)
    np.testing.assert_array_equal(gained.apply(new, x), values)
    np.testing.assert_array_equal(nets.gains(new["params"]), np.ones(3))
    params = dict(new["params"])
    params["SNDense_1"] = {**params["SNDense_1"], "gain": jnp.float32(-3.0)}
    bias = params["SNDense_1"]["bias"]
    got = gained.apply({**new, "params": params}, x)
    np.testing.assert_allclose(got - bias, -3.0 * (values - bias), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(nets.gains(params), [1.0, 1.0, -3.0])
    assert nets.gains(old["params"]).shape == (0,)


def test_gain_is_the_norm_of_its_layer(key):
    module = nets.SNDense(4, gain=True)
    variables = dict(module.init(key, jnp.zeros((1, 6)), True))
    params = variables.pop("params")
    assert params["gain"] == 1.0
    params = {**params, "gain": jnp.float32(2.5)}
    variables = nets.spectral_warmup(variables, params)
    jacobian = module.apply({"params": params, **variables}, jnp.eye(6), False)
    assert np.linalg.svd(jacobian, compute_uv=False)[0] == pytest.approx(2.5, rel=1e-4)


@pytest.mark.parametrize(
    ("arch", "count"),
    [
        ("dcgan", 2),
        ("dense_mlp", 9),
        ("dist_dcgan", 2),
        ("dist_resnet", 11),
        ("equalised", 5),
        ("lgan", 11),
        ("mlp", 3),
        ("resnet", 11),
        ("small", 3),
        ("sngan", 3),
        ("stacked", 4),
    ],
)
def test_every_normalised_layer_has_a_gain(key, arch, count):
    module = nets.energy(arch, (8, 8, 1), width=2, trainable_gain=True)
    variables = jax.eval_shape(module.init, key, jnp.zeros((1, 8, 8, 1)))
    assert jax.eval_shape(nets.gains, variables["params"]).shape == (count,)
    assert len(jax.tree.leaves(variables["spectral"])) == count


def test_a_gain_without_normalisation_is_refused(key):
    with pytest.raises(ValueError, match="trainable_gain=True needs spectral_norm=True"):
        nets.energy("mlp", (2,), spectral_norm=False, trainable_gain=True)
    with pytest.raises(ValueError, match="set spectral_norm=True or trainable_gain=False"):
        nets.MLPEnergy(spectral_norm=False, trainable_gain=True).init(key, jnp.zeros((1, 2)))


# ---------------------------------------------------------------- named options


def test_names_stand_for_functions(key):
    z = jax.random.normal(key, (3, 4))
    named = nets.generator("mlp", (2,), 4, 8, activation="selu", kernel_init="he_normal")
    given = nets.MLPGenerator(
        (2,), 4, 8, activation=jax.nn.selu, kernel_init=nets.INITIALISERS["he_normal"]
    )
    variables = given.init(key, z)
    jax.tree.map(np.testing.assert_array_equal, named.init(key, z), variables)
    np.testing.assert_array_equal(named.apply(variables, z), given.apply(variables, z))


@pytest.mark.parametrize(
    ("name", "variance"),
    [("he_normal", 2 / 400), ("he_uniform", 2 / 400), ("lecun_normal", 1 / 400)],
)
def test_initialisers_have_their_variance(key, name, variance):
    w = nets.INITIALISERS[name](key, (400, 300), jnp.float32)
    assert float(w.var()) == pytest.approx(variance, rel=0.02)
    bound = np.abs(w).max() / np.sqrt(variance)
    assert bound == pytest.approx(np.sqrt(3.0), rel=1e-3) if "uniform" in name else bound > 4.0


@pytest.mark.slow
def test_deep_selu_network_of_64_layers_keeps_a_signal(key):
    module = nets.energy(
        "mlp", (2,), 128, False, depth=64, activation="selu", kernel_init="lecun_normal"
    )
    x = jax.random.normal(key, (8, 2))
    _, features = module.apply(module.init(key, x), x, method="with_features")
    assert 0.3 < float(features.std()) < 3.0


def test_initialisation_of_the_lgan_critic(key):
    assert nets.energy("lgan", (8, 8, 3)).he_init
    block = nets.EnergyBlock(16, "down", spectral_norm=False, he_init=True)
    params = block.init(key, jnp.zeros((1, 2, 2, 16)), False)["params"]
    main, skip = np.asarray(params["SNConv_0"]["kernel"]), np.asarray(params["SNConv_2"]["kernel"])
    assert np.abs(main).max() == pytest.approx(np.sqrt(6.0 / (9 * 16)), rel=0.01)
    assert np.abs(skip).max() == pytest.approx(np.sqrt(6.0 / 32), rel=0.03)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nets.energy("mlp", (2,), activation="rleu"), "activation='rleu' is not known"),
        (lambda: nets.energy("mlp", (2,), activation="rleu"), "choose leaky_relu, relu"),
        (lambda: nets.generator("mlp", (2,), 1, kernel_init="he"), "choose he_normal"),
        (lambda: nets.energy("dist_dcgan", (9, 9, 1)), "needs even sides"),
        (lambda: nets.energy("lgan", (2, 2, 1)), "at least 4 pixels"),
        (lambda: nets.energy("dist_dcgan", (2,)), "use dense_mlp or equalised or mlp"),
    ],
)
def test_errors_name_the_choices(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_pooling_must_exist(key):
    with pytest.raises(ValueError, match="pooling='max': choose mean or sum"):
        nets.ResNetEnergy(pooling="max").init(key, jnp.zeros((1, 8, 8, 1)))
