"""Every bijector: inverse, log-determinants against automatic differentiation, extremes."""

from __future__ import annotations

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit import distributions as D

N, DIM = 3, 4
IMAGE = (4, 4, 2)


def rotations() -> jax.Array:
    return jnp.asarray(D.random_rotations(3, 2))


def tight() -> D.Solver:
    return D.Solver(diffrax.Tsit5(), rtol=1e-9, atol=1e-9)


VECTORS = {
    "diagonal": lambda: D.diagonal(),
    "actnorm": lambda: D.actnorm(),
    "batch_norm": lambda: D.batch_norm(),
    "reverse": lambda: D.reverse(),
    "permute": lambda: D.permute(jnp.array([2, 0, 3, 1])),
    "linear": lambda: D.invertible_1x1(D.random_rotations(1, DIM)[0]),
    "additive": lambda: D.coupling(D.checker_mask(DIM), D.additive(), D.mlp((8,))),
    "affine": lambda: D.coupling(
        D.checker_mask(DIM, 1), D.affine(), D.separate(D.mlp((8,), jnp.tanh), D.mlp((8,)))
    ),
    "sigmoid": lambda: D.coupling(D.checker_mask(DIM), D.sigmoid_affine(), D.mlp((8,))),
    "spline": lambda: D.coupling(D.checker_mask(DIM), D.rational_quadratic(5), D.residual_mlp(8)),
    "alternating": lambda: D.alternating_coupling(1, D.rational_quadratic(5), D.residual_mlp(8)),
    "maf": lambda: D.autoregressive(D.location_scale(), D.made((8, 8))),
    "gated": lambda: D.autoregressive(D.gated(), D.made((8,))),
    "iaf": lambda: D.invert(D.autoregressive(D.location_scale(), D.made((8,)))),
    "spline_maf": lambda: D.autoregressive(D.rational_quadratic(5), D.made((8,))),
    "residual": lambda: D.residual((8, 8), tolerance=1e-13),
    "continuous": lambda: D.continuous(D.concat_squash((8,)), tight()),
    "scanned": lambda: D.scanned(
        lambda i: D.coupling(D.checker_mask(DIM, i), D.affine(2.0), D.mlp((8,))), 3
    ),
    "chain": lambda: D.chain(
        [D.actnorm(), D.autoregressive(D.location_scale(), D.made((8,))), D.reverse()]
    ),
}
IMAGES = {
    "actnorm": lambda: D.actnorm(),
    "batch_norm": lambda: D.batch_norm(),
    "squeeze": lambda: D.squeeze(),
    "checker": lambda: D.coupling(D.checker_mask(IMAGE), D.affine(2.0), D.convolutional(4)),
    "channel": lambda: D.coupling(D.channel_mask(2), D.sigmoid_affine(), D.convolutional(4)),
    "1x1": lambda: D.scanned(lambda i: D.invertible_1x1(rotations()[i]), 3),
    "multi_scale": lambda: D.multi_scale(
        [
            D.chain([D.squeeze(), D.coupling(D.channel_mask(c), D.affine(2.0), D.convolutional(4))])
            for c in (8, 16)
        ],
        IMAGE,
    ),
}
CASES = [("vector", name) for name in VECTORS] + [("image", name) for name in IMAGES]
SLOW = pytest.mark.slow
CONDITIONAL = ["affine", "spline", "maf", "residual"]
CONDITIONAL += [pytest.param(n, marks=SLOW) for n in ("additive", "iaf", "continuous", "scanned")]
WILD = ["linear", "affine", "sigmoid", "spline", "maf", "gated", "spline_maf", "scanned"]
WILD += [pytest.param(n, marks=SLOW) for n in ("actnorm", "batch_norm", "additive", "iaf", "chain")]


def case(kind: str, name: str) -> tuple[D.Bijector, tuple[int, ...]]:
    return (VECTORS[name](), (DIM,)) if kind == "vector" else (IMAGES[name](), IMAGE)


def perturbed(params, scale: float = 0.2):
    """Parameters away from any special initial value; reproducible."""
    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(0)
    moved = [leaf + scale * rng.standard_normal(leaf.shape).astype(leaf.dtype) for leaf in leaves]
    return jax.tree.unflatten(tree, [jnp.asarray(leaf) for leaf in moved])


def identities(bijector: D.Bijector, params, x: jax.Array, cond: jax.Array | None = None):
    """(z, log-det, log-det by Jacobian, x from z, log-det of the inverse), compiled."""

    def jacobian_log_det(row: jax.Array, cond: jax.Array | None) -> jax.Array:
        with_axis = None if cond is None else cond[None]

        def flat(v: jax.Array) -> jax.Array:
            return bijector.forward(params, v.reshape(1, *x.shape[1:]), with_axis).reshape(-1)

        return jnp.linalg.slogdet(jax.jacrev(flat)(row.reshape(-1)))[1]

    @jax.jit
    def run(x: jax.Array, cond: jax.Array | None):
        z, log_det = bijector.forward_and_log_det(params, x, cond)
        back, inverse_log_det = bijector.inverse_and_log_det(params, z, cond)
        by_rows = jax.vmap(jacobian_log_det, (0, None if cond is None else 0))
        alone = bijector.forward(params, x, cond), bijector.inverse(params, z, cond)
        return z, log_det, by_rows(x, cond), back, inverse_log_det, alone

    return run(x, cond)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        pytest.param(
            *c, id="-".join(c), marks=SLOW if c[1] in ("continuous", "multi_scale") else ()
        )
        for c in CASES
    ],
)
def test_inverse_and_log_det_in_float64(kind: str, name: str, key: jax.Array):
    with jax.enable_x64(True):
        bijector, shape = case(kind, name)
        x = 1.5 * jax.random.normal(key, (N, *shape), jnp.float64)
        params = jax.jit(bijector.init)(key, x)
        if name != "batch_norm":  # its variances are not free
            params = perturbed(params)
        z, log_det, expected, back, inverse, alone = identities(bijector, params, x)
        assert z.dtype == log_det.dtype == jnp.float64
        assert log_det.shape == (N,)
        tolerance = 1e-7 if name == "continuous" else 1e-10
        np.testing.assert_allclose(back, x, atol=tolerance)
        np.testing.assert_allclose(log_det, expected, atol=tolerance)
        np.testing.assert_allclose(inverse, -log_det, atol=tolerance)
        np.testing.assert_allclose(alone[0], z, atol=tolerance)
        np.testing.assert_allclose(alone[1], x, atol=tolerance)
        assert np.ptp(z - x) > 1e-3 if z.shape == x.shape else True


@pytest.mark.parametrize("name", CONDITIONAL)
def test_conditions_matter_and_keep_the_identities(name: str, key: jax.Array):
    with jax.enable_x64(True):
        bijector = VECTORS[name]()
        x = jax.random.normal(key, (N, DIM), jnp.float64)
        cond = jax.random.normal(jax.random.key(1), (N, 2), jnp.float64)
        params = perturbed(jax.jit(bijector.init)(key, x, cond))
        z, log_det, expected, back, _, _ = identities(bijector, params, x, cond)
        tolerance = 1e-7 if name == "continuous" else 1e-10
        np.testing.assert_allclose(back, x, atol=tolerance)
        np.testing.assert_allclose(log_det, expected, atol=tolerance)
        forward = jax.jit(bijector.forward)
        other = forward(params, x, cond + 1.0)
        assert np.all(np.max(np.abs(other - z), axis=1) > 1e-3)
        # Rows are conditioned by their own row of cond.
        first = forward(params, x, cond.at[1:].add(1.0))[0]
        np.testing.assert_allclose(first, z[0], atol=tolerance)
        with pytest.raises(ValueError, match="cond"):
            bijector.forward(params, x)


@pytest.mark.parametrize("name", WILD)
def test_extreme_inputs_in_float32(name: str, key: jax.Array):
    # Up to 1e3, far outside any data. Numbers are finite, and latents come back from their data
    # to 1e-4 of the row's largest number. Where a map is flat, data cannot come back as exactly
    # from latents: a spline that a wild input has bent may have slopes of 1e-8.
    bijector = VECTORS[name]()
    x = jax.random.normal(key, (16, DIM))
    params = perturbed(jax.jit(bijector.init)(key, x), 0.05)
    sign = jnp.where(jax.random.bernoulli(key, 0.5, (64, DIM)), 1.0, -1.0)
    size = 10.0 ** jax.random.uniform(jax.random.key(3), (64, DIM), minval=-4.0, maxval=3.0)
    x = jnp.concatenate([sign * size, jnp.zeros((1, DIM)), jnp.full((1, DIM), -1e3)])

    @jax.jit
    def run(x: jax.Array):
        z, log_det = bijector.forward_and_log_det(params, x)
        gradient = jax.grad(lambda x: jnp.sum(bijector.forward_and_log_det(params, x)[1]))(x)
        back, inverse = bijector.inverse_and_log_det(params, z)
        return z, log_det, gradient, back, inverse, bijector.forward(params, back)

    arrays = run(x)
    assert all(np.isfinite(array).all() for array in arrays)
    z, log_det, _, back, inverse, again = arrays
    scale = np.maximum(1.0, np.maximum(np.abs(x), np.abs(z)).max(axis=1, keepdims=True))
    assert np.max(np.abs(again - z) / scale) < 1e-4
    if "spline" not in name:
        assert np.max(np.abs(back - x) / scale) < 1e-4
        np.testing.assert_allclose(inverse, -log_det, atol=2e-3)


@pytest.mark.parametrize("name", ["continuous", "residual"])
def test_iterative_layers_at_extreme_inputs_in_float32(name: str, key: jax.Array):
    layers = {"residual": D.residual((8,)), "continuous": D.continuous(D.concat_squash((8,)))}
    x = jnp.array([[1e3, -1e3, 0.0, 1.0], [0.0] * 4, [-1e3] * 4])
    params = layers[name].init(key, x)
    z = jax.jit(layers[name].forward)(params, x)
    back = jax.jit(layers[name].inverse)(params, z)
    np.testing.assert_allclose(back, x, rtol=1e-5, atol=1e-2)


@pytest.mark.parametrize("kind", ["coupling", "batch_norm", pytest.param("maf", marks=SLOW)])
def test_scanned_is_the_unrolled_chain(kind: str, key: jax.Array):
    def layer(i) -> D.Bijector:
        if kind == "coupling":
            return D.coupling(D.checker_mask(DIM, i), D.affine(), D.mlp((8,)))
        norm = D.actnorm() if kind == "maf" else D.batch_norm()
        maf = D.autoregressive(D.location_scale(), D.made((8,)))
        return D.chain([maf, norm, D.reverse()])

    scanned = D.scanned(layer, 3)
    unrolled = D.chain([layer(i) for i in range(3)])
    x = 1.0 + 2.0 * jax.random.normal(key, (20, DIM))
    params = jax.jit(scanned.init)(key, x)
    chained = jax.jit(unrolled.init)(key, x)
    for i in range(3):  # data initialisation goes through the scan as through the chain
        mine = jax.tree.map(lambda p, i=i: p[i], params)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-5),
            mine,
            chained[f"layer_{i}"],
        )

    @jax.jit
    def run(x: jax.Array):
        def both(bijector: D.Bijector, params):
            z, log_det = bijector.forward_and_log_det(params, x)
            return z, log_det, *bijector.inverse_and_log_det(params, z)

        return both(scanned, params), both(unrolled, chained)

    a, b = run(x)
    for left, right in zip(a, b, strict=True):
        np.testing.assert_allclose(left, right, atol=1e-4)


def test_gradients_of_scanned_are_those_of_the_chain(key: jax.Array):
    def layer(i) -> D.Bijector:
        return D.alternating_coupling(i, D.affine(), D.mlp((8,)))

    scanned, unrolled = D.scanned(layer, 3), D.chain([layer(i) for i in range(3)])
    x = jax.random.normal(key, (20, DIM))
    params = perturbed(jax.jit(scanned.init)(key, x))
    parts = {f"layer_{i}": jax.tree.map(lambda p, i=i: p[i], params) for i in range(3)}

    def loss(bijector: D.Bijector, params, x: jax.Array) -> jax.Array:
        z, log_det = bijector.forward_and_log_det(params, x)
        return jnp.sum(jnp.square(z)) - jnp.sum(log_det)

    of_params, of_x = jax.jit(jax.grad(lambda p, x: loss(scanned, p, x), (0, 1)))(params, x)
    expected, expected_x = jax.jit(jax.grad(lambda p, x: loss(unrolled, p, x), (0, 1)))(parts, x)
    np.testing.assert_allclose(of_x, expected_x, rtol=1e-4, atol=1e-4)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *expected.values())
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3), of_params, stacked
    )


def test_scanned_compiles_one_layer(key: jax.Array):
    traces = []

    def layer(i: jax.Array) -> D.Bijector:
        inner = D.coupling(D.checker_mask(2, i), D.affine(), D.mlp((4,)))

        def counted(params, x, cond):
            traces.append(1)
            return inner.forward_and_log_det(params, x, cond)

        return D.closed_form(lambda key, x, cond: inner.init(key, x), counted, counted)

    flow = D.scanned(layer, 20)
    params = jax.eval_shape(flow.init, key, jnp.ones((3, 2)))
    traces.clear()
    jax.eval_shape(flow.forward, params, jnp.ones((3, 2)))
    assert len(traces) <= 2


def test_actnorm_starts_from_the_data(key: jax.Array):
    x = 3.0 + 2.0 * jax.random.normal(key, (50, 4, 4, 3))
    x = x.at[..., 2].set(7.0)  # a constant channel keeps its scale
    layer = D.actnorm()
    z = layer.forward(layer.init(key, x), x)
    np.testing.assert_allclose(jnp.mean(z, (0, 1, 2)), 0.0, atol=1e-5)
    np.testing.assert_allclose(jnp.std(z, (0, 1, 2)), [1.0, 1.0, 0.0], atol=1e-5)
    one = layer.init(key, x[:1, :1, :1])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(one))


def test_batch_norm_takes_and_follows_statistics(key: jax.Array):
    flow = D.real_nvp(2, 2, (4,), norm="batch_norm")
    x = 5.0 + 2.0 * jax.random.normal(key, (200, 2))
    params = jax.jit(flow.init)(key, x)
    shifted = x + 10.0

    def loss(params):
        return -jnp.mean(flow.log_prob(flow.renew(params, shifted), shifted))

    value, grads = jax.jit(jax.value_and_grad(loss))(params)
    statistics = grads["bijector"]["layer_1"]
    assert float(value) < 6.0 < -float(jnp.mean(jax.jit(flow.log_prob)(params, shifted)))
    np.testing.assert_array_equal(statistics["mean"], 0.0)
    np.testing.assert_array_equal(statistics["var"], 0.0)
    assert np.abs(statistics["bias"]).max() > 0
    # The running mean closes a tenth of the distance; momentum 1 changes nothing.
    renew = jax.jit(lambda momentum: flow.renew(params, shifted, momentum=momentum))
    new = renew(0.9)["bijector"]["layer_1"]["mean"]
    old = params["bijector"]["layer_1"]["mean"]
    full = renew(0.0)["bijector"]["layer_1"]["mean"]
    np.testing.assert_allclose(new, 0.9 * old + 0.1 * full, rtol=1e-4, atol=1e-5)
    kept = renew(1.0)
    jax.tree.map(np.testing.assert_array_equal, kept, params)


def test_batch_norm_sees_all_devices(key: jax.Array):
    layer = D.batch_norm()
    x = jax.random.normal(key, (8, 3))
    params = layer.init(key, x)
    assert layer.renew is not None
    renew = layer.renew
    shares = jax.vmap(lambda x: renew(params, x)[0], axis_name="data", out_axes=None)
    whole, _ = renew(params, x)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
        shares(x.reshape(4, 2, 3)),
        whole,
    )


def test_batch_norm_cannot_be_inverted():
    with pytest.raises(ValueError, match="actnorm"):
        D.invert(D.chain([D.batch_norm()]))


def test_permutations_move_what_they_say():
    x = jnp.arange(8.0).reshape(2, 4)
    order = jnp.array([2, 0, 3, 1])
    np.testing.assert_array_equal(D.permute(order).forward({}, x)[0], [2, 0, 3, 1])
    np.testing.assert_array_equal(D.reverse().forward({}, x)[0], [3, 2, 1, 0])
    image = jnp.arange(16.0).reshape(1, 4, 4, 1)
    squeezed = D.squeeze().forward({}, image)
    assert squeezed.shape == (1, 2, 2, 4)
    np.testing.assert_array_equal(squeezed[0, 0, 1], [2, 3, 6, 7])
    with pytest.raises(ValueError, match="3 x 4"):
        D.squeeze().forward({}, jnp.ones((1, 3, 4, 1)))


def test_masks():
    np.testing.assert_array_equal(D.checker_mask(5), [False, True, False, True, False])
    np.testing.assert_array_equal(D.checker_mask((5,), 1), ~D.checker_mask(5))
    board = D.checker_mask((3, 3, 7))
    assert board.shape == (3, 3, 1)
    np.testing.assert_array_equal(board[..., 0], [[0, 1, 0], [1, 0, 1], [0, 1, 0]])
    np.testing.assert_array_equal(D.channel_mask(4).reshape(-1), [True, True, False, False])
    np.testing.assert_array_equal(D.channel_mask(4, 1), ~D.channel_mask(4))
    traced = jax.jit(lambda i: D.channel_mask(4, i))(jnp.int32(1))
    np.testing.assert_array_equal(traced, D.channel_mask(4, 1))


def test_a_coupling_keeps_what_its_mask_keeps(key: jax.Array):
    mask = D.checker_mask(DIM)
    layer = D.coupling(mask, D.affine(), D.mlp((8,)))
    x = jax.random.normal(key, (5, DIM))
    z = layer.forward(perturbed(layer.init(key, x)), x)
    np.testing.assert_array_equal(z[:, mask], x[:, mask])
    assert np.all(np.abs(z - x)[:, ~mask] > 0)


def test_coupling_on_one_feature(key: jax.Array):
    flow = D.real_nvp(1, 2, (4,))
    x = jax.random.normal(key, (5, 1))
    params = perturbed(flow.init(key, x))
    assert flow.encode is not None and flow.decode is not None
    np.testing.assert_allclose(flow.decode(params, flow.encode(params, x)), x, atol=1e-5)


@pytest.mark.parametrize("d", [1, 2, 3, 4])
def test_an_alternating_coupling_is_the_masked_one(d: int, key: jax.Array):
    """With a conditioner that is a symmetric function of what it sees."""

    def apply(params, x: jax.Array, cond: jax.Array | None) -> jax.Array:
        raw = jnp.sum(jnp.sin(x), axis=1)[:, None, None] * params
        return jnp.broadcast_to(raw, (*x.shape, 2))

    conditioner = D.Conditioner(lambda *_: jnp.array([[[0.3, -0.7]]]), apply)
    x = jax.random.normal(key, (N, d))

    @jax.jit  # the layer's number is traced, as in a scan
    def both(i: jax.Array, x: jax.Array):
        masked = D.coupling(D.checker_mask(d, i), D.affine(), conditioner)
        halved = D.alternating_coupling(i, D.affine(), conditioner)
        params = masked.init(key, x)
        return [
            (b.forward_and_log_det(params, x), b.inverse_and_log_det(params, x))
            for b in (masked, halved)
        ]

    for i in range(2):
        expected, got = both(jnp.int32(i), x)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), got, expected)


def test_rotations_are_rotations():
    q = D.random_rotations(4, 5)
    np.testing.assert_allclose(q @ q.transpose(0, 2, 1), np.tile(np.eye(5), (4, 1, 1)), atol=1e-6)
    np.testing.assert_allclose(np.linalg.det(q), 1.0, atol=1e-5)
    assert np.abs(q[0] - q[1]).max() > 0.1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: D.scanned(D.reverse(), 0), "n=0"),
        (lambda: D.residual(coefficient=1.0), "coefficient"),
        (lambda: D.rational_quadratic(8, min_size=0.2), "min_size"),
        (lambda: D.multi_scale([D.squeeze()] * 2, (6, 6, 1)), "divisible by 4"),
        (lambda: D.real_nvp(2, norm="layer"), "norm='layer'"),  # type: ignore[arg-type]
        (
            lambda: D.invertible_1x1(np.eye(3)).init(jax.random.key(0), jnp.ones((2, 4))),
            "4 channels",
        ),
        (lambda: D.made().init(jax.random.key(0), jnp.ones((2, 4, 4, 1)), 2), "flatten"),
        (
            lambda: D.alternating_coupling(0, D.affine(), D.mlp()).init(
                jax.random.key(0), jnp.ones((2, 4, 4, 1))
            ),
            "vectors",
        ),
    ],
)
def test_errors_name_the_value(call, message: str):
    with pytest.raises(ValueError, match=message):
        call()
