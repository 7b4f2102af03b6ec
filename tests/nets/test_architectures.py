"""Networks: exact sizes, shapes and ranges, who depends on whom."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit import nets

SHAPES = [(8, 8, 1), (28, 28, 1), (32, 32, 3)]


@pytest.fixture
def quick_compile():
    """Compiles large networks with few optimisations: their values are not at stake."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def _count(tree):
    return sum(x.size for x in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ("role", "arch", "expected"),
    [
        ("generator", "sngan", 3_584_003),
        ("energy", "sngan", 5_860_865),
        ("generator", "resnet", 1_097_603),
        ("energy", "resnet", 1_053_825),
    ],
)
def test_parameter_counts_are_those_of_the_official_networks(key, role, arch, expected):
    if role == "generator":
        module, x = nets.generator(arch, (32, 32, 3), 100), jnp.zeros((1, 100))
    else:
        module, x = nets.energy(arch, (32, 32, 3)), jnp.zeros((1, 32, 32, 3))
    assert _count(jax.eval_shape(module.init, key, x)["params"]) == expected


@pytest.mark.parametrize("shape", [*SHAPES, (64, 64, 3), (16, 32, 2)])
@pytest.mark.parametrize("arch", sorted(nets.GENERATORS))
def test_generator_shapes(key, arch, shape):
    module = nets.generator(arch, shape, 10, width=None if arch == "affine" else 8)
    z = jnp.zeros((5, 10))
    variables = jax.eval_shape(module.init, key, z)
    out = jax.eval_shape(lambda v: module.apply(v, z, True), variables)
    assert out.shape == (5, *shape) and out.dtype == jnp.float32


@pytest.mark.parametrize("shape", [*SHAPES, (64, 64, 3), (16, 32, 2)])
@pytest.mark.parametrize("arch", sorted(nets.ENERGIES))
def test_energy_shapes(key, arch, shape):
    x = jnp.zeros((5, *shape))
    for spectral_norm in (True, False):
        module = nets.energy(arch, shape, width=8, spectral_norm=spectral_norm)
        variables = jax.eval_shape(module.init, key, x)
        assert ("spectral" in variables) == spectral_norm
        assert "batch_stats" not in variables
    out = jax.eval_shape(lambda v: module.apply(v, x, True), variables)
    assert out.shape == (5,) and out.dtype == jnp.float32


@pytest.mark.parametrize(
    ("arch", "shape"),
    [
        ("sngan", SHAPES[0]),
        ("resnet", SHAPES[0]),
        ("dcgan", SHAPES[0]),
        ("mlp", SHAPES[0]),
        ("small", SHAPES[0]),
        ("small", SHAPES[1]),
        ("small", SHAPES[2]),
    ],
)
def test_images_lie_in_range_and_rows_are_independent_in_evaluation(
    key, arch, shape, quick_compile
):
    module = nets.generator(arch, shape, 6, width=8)
    z = 3.0 * jax.random.normal(key, (4, 6))
    variables = jax.jit(module.init)(key, z)
    images = jax.jit(lambda v, z: module.apply(v, z, False))
    x = images(variables, z)
    assert float(jnp.abs(x).max()) <= 1.0 and float(jnp.abs(x[0] - x[1]).max()) > 1e-3
    other = images(variables, z.at[1:].add(1.0))
    np.testing.assert_allclose(x[0], other[0], atol=1e-6)


@pytest.mark.parametrize(
    ("arch", "options"),
    [("sngan", {}), ("resnet", {"skip_init": True}), ("dcgan", {}), ("small", {}), ("mlp", {})],
)
def test_energy_gradients_reach_every_parameter_and_the_input(key, arch, options, quick_compile):
    shape = (8, 8, 1)
    module = nets.energy(arch, shape, width=4, **options)
    x = jax.random.normal(key, (2, *shape))
    variables = dict(jax.jit(module.init)(key, x))
    params = jax.tree.map(lambda p: p + 0.01, variables.pop("params"))

    def total(params, x):
        return jnp.sum(module.apply({"params": params, **variables}, x, True))

    for g in jax.tree.leaves(jax.jit(jax.grad(total, argnums=(0, 1)))(params, x)):
        assert bool(jnp.all(jnp.isfinite(g))) and float(jnp.abs(g).max()) > 0.0


def test_vector_generators_are_unbounded_and_affine_is_affine(key):
    z = 50.0 * jax.random.normal(key, (5, 1))
    mlp, affine = nets.generator("mlp", (2,), 1, width=16), nets.generator("affine", (2,), 1)
    assert float(jnp.abs(mlp.apply(mlp.init(key, z), z)).max()) > 1.0
    variables = affine.init(key, z)
    assert _count(variables) == 4

    def face(z):
        return affine.apply(variables, z, False)

    np.testing.assert_allclose(
        face(z) - face(0 * z), 2.0 * (face(0.5 * z) - face(0 * z)), rtol=1e-4
    )


def test_batch_norm_options_of_energies(key):
    for arch in ("resnet", "dcgan"):
        module = nets.energy(arch, (16, 16, 1), width=8, batch_norm=True)
        assert "batch_stats" in jax.eval_shape(module.init, key, jnp.zeros((2, 16, 16, 1)))


@pytest.mark.slow
def test_skip_init_blocks_start_as_their_skip_connections(key):
    block = nets.EnergyBlock(4, "same", spectral_norm=False, skip_init=True)
    x = jax.random.normal(key, (2, 4, 4, 4))
    np.testing.assert_array_equal(block.apply(block.init(key, x, True), x, True), x)


def test_xavier_bound(key):
    w = np.asarray(nets.xavier_uniform(2.0)(key, (3, 3, 4, 8)))
    bound = 2.0 * np.sqrt(6.0 / (9 * 4 + 9 * 8))
    assert np.abs(w).max() <= bound and np.abs(w).max() > 0.95 * bound


def test_same_layer_sizes_as_strided_torch_layers():
    # Kernel 4, stride 2, padding 1 on each side: the output at 0 sees inputs -1 .. 2.
    x = jnp.zeros((1, 8, 8, 1)).at[0, 3, 3, 0].set(1.0)
    module = nets.SNConv(1, 4, 2, normalise=False)
    params = {"kernel": jnp.ones((4, 4, 1, 1)), "bias": jnp.zeros(1)}
    seen = np.asarray(module.apply({"params": params}, x, False))[0, :, :, 0]
    np.testing.assert_array_equal(np.argwhere(seen), [[1, 1], [1, 2], [2, 1], [2, 2]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nets.generator("vit", (8, 8, 1), 4), "choose affine"),
        (lambda: nets.energy("affine", (2,)), "choose dcgan"),
        (lambda: nets.energy("sngan", (2,)), r"needs a shape \(height, width, channels\)"),
        (lambda: nets.energy("mlp", (2,), widht=3), "no option 'widht'; it has width"),
        (lambda: nets.generator("affine", (2,), 1, width=3), "no option 'width'"),
        (lambda: nets.energy("dcgan", (7, 7, 1)), "at least 8 pixels"),
        (lambda: nets.generator("dcgan", (9, 9, 1), 4), "even sides"),
        (lambda: nets.energy("resnet", (2, 2, 1)), "at least 4 pixels"),
    ],
)
def test_errors_name_the_choices(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_latents_of_another_length_are_refused(key):
    with pytest.raises(ValueError, match=r"takes \(n, 4\)"):
        nets.generator("small", (8, 8, 1), 4).init(key, jnp.zeros((2, 5)))
