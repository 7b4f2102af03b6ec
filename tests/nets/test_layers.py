"""Normalisation layers: what they normalise, what passes through them, in every view of a step."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from gmkit import nets
from gmkit.core import parallel
from gmkit.nets.layers import as_matrix, spectral_norm

# ---------------------------------------------------------------- shapes


def test_upsample_then_average_pool_is_the_identity(key):
    x = jax.random.normal(key, (2, 3, 5, 4))
    np.testing.assert_allclose(nets.average_pool(nets.upsample(x)), x, rtol=1e-6)
    np.testing.assert_array_equal(nets.upsample(x), np.asarray(x).repeat(2, 1).repeat(2, 2))


def test_average_pool_drops_odd_edges():
    x = jnp.arange(9.0).reshape(1, 3, 3, 1)
    np.testing.assert_allclose(nets.average_pool(x), [[[[2.0]]]])


@pytest.mark.parametrize(
    ("size", "n"),
    [((8, 8), 1), ((28, 28), 2), ((32, 32), 3), ((64, 64), 4), ((7, 7), 0), ((16, 8), 1)],
)
def test_halvings(size, n):
    assert nets.halvings(*size) == n


# ---------------------------------------------------------------- batch normalisation


def _batch_norm(x, train=True, stats=None):
    module = nets.BatchNorm()
    variables = module.init(jax.random.key(0), x, True)
    if stats is not None:
        variables = {**variables, "batch_stats": stats}
    return module.apply(variables, x, train, mutable=["batch_stats"])


def test_batch_norm_normalises_and_updates_running_statistics(key):
    x = 3.0 + 2.0 * jax.random.normal(key, (16, 4, 4, 5))
    y, changed = _batch_norm(x)
    np.testing.assert_allclose(y.mean((0, 1, 2)), np.zeros(5), atol=1e-6)
    np.testing.assert_allclose(y.var((0, 1, 2)), np.ones(5), rtol=1e-4)
    stats = changed["batch_stats"]
    np.testing.assert_allclose(stats["mean"], 0.1 * x.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * x.var((0, 1, 2)), rtol=1e-5)


def test_batch_norm_in_evaluation_treats_rows_alone(key):
    x = jax.random.normal(key, (6, 3))
    stats = {"mean": jnp.array([1.0, 2.0, 3.0]), "var": jnp.array([4.0, 1.0, 0.25])}
    y, changed = _batch_norm(x, train=False, stats=stats)
    expected = (np.asarray(x) - [1.0, 2.0, 3.0]) / np.sqrt(np.array([4.0, 1.0, 0.25]) + 1e-5)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(_batch_norm(x[:1], False, stats)[0], y[:1], rtol=1e-6)
    np.testing.assert_array_equal(changed["batch_stats"]["mean"], stats["mean"])


def test_batch_norm_variance_does_not_cancel():
    x = jnp.array([[4096.0], [4097.0], [4098.0], [4099.0]])
    y, _ = _batch_norm(x)
    np.testing.assert_allclose(y[:, 0], (np.arange(4) - 1.5) / np.sqrt(1.25), rtol=1e-4)


def test_batch_norm_of_one_row_is_finite():
    y, _ = _batch_norm(jnp.array([[5.0, -1.0]]))
    np.testing.assert_allclose(y, np.zeros((1, 2)), atol=1e-6)


def test_batch_norm_without_mutable_statistics_uses_the_batch_and_stores_nothing(key):
    x = jax.random.normal(key, (8, 3))
    module = nets.BatchNorm()
    variables = module.init(key, x, True)
    stored, _ = module.apply(variables, x, True, mutable=["batch_stats"])
    np.testing.assert_array_equal(module.apply(variables, x, True), stored)


class _TwoLayers(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = nn.relu(nets.BatchNorm()(nets.SNConv(4)(x, train), train))
        return nets.SNDense(1)(nets.BatchNorm()(x.reshape(x.shape[0], -1), train), train)[:, 0]


@pytest.mark.parametrize("view", ["jit on 4", "pmap", "jax_pmap", "vmap"])
def test_every_view_of_a_step_sees_the_same_batch(key, view):
    module, shape = _TwoLayers(), (8, 4, 4, 2)
    batch = {
        "image": 2.0 + 3.0 * jax.random.normal(key, (1, *shape)),
        "target": jax.random.normal(jax.random.key(1), (1, 8)),
    }
    variables = dict(module.init(jax.random.key(2), jnp.zeros(shape), True))
    state = {"params": variables.pop("params"), "variables": variables}

    def loss(params, variables, x, target):
        y, changed = module.apply({"params": params, **variables}, x, True, mutable=list(variables))
        return parallel.batch_mean(jnp.square(y - target)), changed

    def step(state, batch):
        x, target = batch["image"][0], batch["target"][0]
        (value, changed), grads = jax.value_and_grad(loss, has_aux=True)(
            state["params"], state["variables"], x, target
        )
        return {"params": parallel.mean_over_devices(grads), "variables": changed}, {"loss": value}

    def run(strategy, devices):
        mesh = parallel.make_mesh(devices)
        compiled = parallel.compile_step(step, mesh, strategy, donate=False)
        return jax.device_get(compiled(parallel.put_replicated(state, mesh), batch))

    strategy = "jit" if view == "jit on 4" else view
    got, expected = run(strategy, 1 if view == "vmap" else 4), run("jit", 1)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), got, expected)


def test_batch_norm_inside_shard_map_matches_its_own_description(key):
    x = jax.random.normal(key, (8, 3))
    module = nets.BatchNorm()
    variables = module.init(key, x, True)
    mesh = parallel.make_mesh(4)
    mapped = jax.shard_map(
        lambda rows: module.apply(variables, rows, True),
        mesh=mesh,
        in_specs=PartitionSpec("data"),
        out_specs=PartitionSpec("data"),
        check_vma=False,
    )
    np.testing.assert_allclose(mapped(x), module.apply(variables, x, True), rtol=1e-5, atol=1e-6)


# ---------------------------------------------------------------- spectral normalisation


def _matrix_with_gap(key, shape):
    """A random kernel whose largest singular value is 1.5 times the second."""
    u, s, vt = np.linalg.svd(
        np.asarray(as_matrix(jax.random.normal(key, shape))), full_matrices=False
    )
    s[0] = 1.5 * s[1]
    return jnp.asarray((u * s) @ vt).reshape(shape)


@pytest.mark.parametrize(("layer", "x_shape"), [("dense", (1, 12)), ("conv", (1, 6, 6, 3))])
def test_largest_singular_value_is_one_after_15_power_steps(key, layer, x_shape):
    module = nets.SNDense(7) if layer == "dense" else nets.SNConv(7, 4, 2)
    variables = module.init(key, jnp.zeros(x_shape), True)
    kernel = _matrix_with_gap(key, variables["params"]["kernel"].shape)
    variables = {**variables, "params": {**variables["params"], "kernel": kernel}}
    for _ in range(15):
        _, changed = module.apply(variables, jnp.zeros(x_shape), True, mutable=["spectral"])
        variables = {**variables, **changed}
    sigma = spectral_norm(as_matrix(kernel), variables["spectral"]["u"])
    normalised = np.asarray(as_matrix(kernel)) / sigma
    assert np.linalg.svd(normalised, compute_uv=False)[0] == pytest.approx(1.0, abs=1e-3)


def test_dense_layer_is_one_lipschitz_after_warm_up(key):
    module = nets.SNDense(6)
    variables = dict(module.init(key, jnp.zeros((1, 9)), True))
    params = variables.pop("params")
    variables = nets.spectral_warmup(variables, params)
    jacobian = jax.jacobian(
        lambda x: module.apply({"params": params, **variables}, x[None], False)[0]
    )
    singular = np.linalg.svd(jacobian(jnp.ones(9)), compute_uv=False)
    assert singular[0] == pytest.approx(1.0, abs=1e-5)


def test_convolution_gain_is_bounded_by_the_window(key):
    module = nets.SNConv(5, 3, 1)
    variables = dict(module.init(key, jnp.zeros((1, 6, 6, 2)), True))
    params = variables.pop("params")
    variables = nets.spectral_warmup(variables, params)

    def flat(x):
        return module.apply({"params": params, **variables}, x.reshape(1, 6, 6, 2), False).ravel()

    gain = np.linalg.svd(jax.jacobian(flat)(jnp.zeros(72)), compute_uv=False)[0]
    assert 1.0 / 3.0 < gain <= 3.0


@pytest.mark.parametrize(
    ("arch", "shape"), [("sngan", (8, 8, 1)), ("small", (8, 8, 1)), ("mlp", (2,))]
)
def test_warm_up_finds_every_norm(key, arch, shape):
    module = nets.energy(arch, shape, width=16)
    variables = dict(module.init(key, jnp.zeros((1, *shape))))
    params = variables.pop("params")
    spectral = nets.spectral_warmup(variables, params)["spectral"]

    def check(kernels, vectors):
        if "u" in vectors:
            matrix = as_matrix(kernels["kernel"])
            exact = np.linalg.svd(np.asarray(matrix), compute_uv=False)[0]
            assert exact / spectral_norm(matrix, vectors["u"]) == pytest.approx(1.0, abs=1e-3)
            return 1
        return sum(check(kernels[name], vectors[name]) for name in vectors)

    assert check(params, spectral) >= 3


def test_gradient_is_that_of_the_kernel_over_its_largest_singular_value(key):
    module = nets.SNDense(5)
    x, weight = jax.random.normal(key, (4, 6)), jax.random.normal(jax.random.key(1), (4, 5))
    variables = dict(module.init(key, x, True))
    params = variables.pop("params")
    variables = nets.spectral_warmup(variables, params)

    def through_layer(params):
        return jnp.sum(weight * module.apply({"params": params, **variables}, x, False))

    def exact(kernel):
        return jnp.sum(weight * (x @ (kernel / jnp.linalg.svd(kernel, compute_uv=False)[0])))

    got = jax.grad(through_layer)(params)["kernel"]
    np.testing.assert_allclose(got, jax.grad(exact)(params["kernel"]), rtol=1e-4, atol=1e-5)


def test_power_steps_happen_only_when_asked_and_stay_only_when_mutable(key):
    module, x = nets.SNDense(5), jax.random.normal(key, (3, 6))
    variables = module.init(key, x, True)
    frozen, unchanged = module.apply(variables, x, False, mutable=["spectral"])
    np.testing.assert_array_equal(unchanged["spectral"]["u"], variables["spectral"]["u"])
    stepped, changed = module.apply(variables, x, True, mutable=["spectral"])
    assert float(jnp.abs(changed["spectral"]["u"] - variables["spectral"]["u"]).max()) > 1e-3
    assert float(jnp.abs(stepped - frozen).max()) > 1e-3
    # A second pass of the same step that stores nothing sees the same network.
    np.testing.assert_array_equal(module.apply(variables, x, True), stepped)


def test_without_normalisation_the_layers_are_flax_layers(key):
    x = jax.random.normal(key, (2, 8, 8, 3))
    ours, theirs = nets.SNConv(4, 4, 2, normalise=False), nn.Conv(4, (4, 4), (2, 2))
    variables = ours.init(key, x, True)
    assert set(variables) == {"params"}
    np.testing.assert_allclose(
        ours.apply(variables, x, True), theirs.apply(variables, x), atol=1e-5
    )


def test_zero_kernel_gives_zero_and_not_nan(key):
    module, x = nets.SNDense(3), jnp.ones((2, 4))
    variables = module.init(key, x, True)
    params = jax.tree.map(jnp.zeros_like, variables["params"])
    variables = nets.spectral_warmup({**variables, "params": params}, params)
    np.testing.assert_array_equal(module.apply(variables, x, True), np.zeros((2, 3)))


def test_warm_up_leaves_networks_without_spectral_vectors_alone():
    variables = {"batch_stats": {"mean": jnp.zeros(3)}}
    assert nets.spectral_warmup(variables, {}) is variables
