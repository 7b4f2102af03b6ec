"""Densities: normalisation, samples against values, named flows, likelihoods with their kind."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gmkit import distributions as D

FLOWS = {
    "nice": lambda d: D.nice(d, hidden=(16,)),
    "real_nvp": lambda d: D.real_nvp(d, hidden=(16, 16)),
    "maf": lambda d: D.maf(d, 3, (16,)),
    "maf_mog": lambda d: D.maf_mog(d, 2, 3, (16,)),
    "made_gaussian": lambda d: D.made_gaussian(d, (16,)),
    "iaf": lambda d: D.iaf(d, 2, (16,)),
    "nsf_coupling": lambda d: D.nsf_coupling(d, 3, 16, 1),
    "nsf_autoregressive": lambda d: D.nsf_autoregressive(d, 2, (16,)),
    "residual": lambda d: D.residual_flow(d, 2, (16,)),
    "ffjord": lambda d: D.ffjord(d, (16,)),
}

#: Whose compilation takes long.
COSTLY = ("maf_mog", "ffjord", "nice", "iaf", "nsf_autoregressive")


def spread(density: D.Density, key: jax.Array, d: int, scale: float = 0.15, cond=None):
    """Parameters of a flow of standardised data, away from their initial values."""
    n = 64 if cond is None else cond.shape[0]
    params = jax.jit(density.init)(key, jax.random.normal(key, (n, d)), cond)
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(7), len(leaves))
    moved = [p + scale * jax.random.normal(k, p.shape) for k, p in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(tree, moved)


# ---------------------------------------------------------------- bases


def test_bases_are_scipys(key: jax.Array):
    x = 2.0 * jax.random.normal(key, (7, 3))
    normal = stats.norm.logpdf(x).sum(axis=1)
    np.testing.assert_allclose(D.standard_normal(3).log_prob({}, x), normal, rtol=1e-5)
    logistic = stats.logistic.logpdf(x).sum(axis=1)
    np.testing.assert_allclose(D.standard_logistic(3).log_prob({}, x), logistic, rtol=1e-5)

    gaussian = D.diagonal_gaussian(3)
    params = {"root_scale": jnp.array([0.5, 1.0, -2.0]), "mean": jnp.array([1.0, 0.0, -1.0])}
    scale = np.array([0.25, 1.0, 4.0]) + 1e-3
    expected = stats.norm.logpdf(x, np.array([1.0, 0.0, -1.0]), scale).sum(axis=1)
    np.testing.assert_allclose(gaussian.log_prob(params, x), expected, rtol=1e-5)
    drawn = jax.jit(lambda: gaussian.sample(params, key, 20_000))()
    np.testing.assert_allclose(drawn.std(axis=0), scale, rtol=0.03)
    np.testing.assert_allclose(drawn.mean(axis=0), params["mean"], atol=0.1)

    mixture = D.gaussian_mixture(3, 2)
    weights = np.array([0.25, 0.75])
    params = {
        "logits": jnp.log(jnp.array(weights, jnp.float32)) + 3.0,
        "mean": jnp.array([[0.0, 1.0, 2.0], [-1.0, 0.0, 1.0]]),
        "log_scale": jnp.log(jnp.array([[1.0, 2.0, 0.5], [0.5, 1.0, 1.0]])),
    }
    mean, scale = np.asarray(params["mean"]), np.exp(params["log_scale"])
    parts = [stats.norm.pdf(x, m, s).prod(axis=1) for m, s in zip(mean, scale, strict=True)]
    expected = np.log(weights @ np.stack(parts))
    np.testing.assert_allclose(mixture.log_prob(params, x), expected, rtol=1e-5)
    drawn = jax.jit(lambda: mixture.sample(params, key, 20_000))()
    np.testing.assert_allclose(drawn.mean(axis=0), weights @ mean, atol=0.05)


def test_mixture_starts_on_the_data(key: jax.Array):
    x = jnp.concatenate([jnp.full((5, 2), -10.0), jnp.full((5, 2), 10.0)])
    params = D.gaussian_mixture(2, 4).init(key, x)
    assert np.all(np.abs(np.abs(params["mean"]) - 10.0) < 5.0)
    few = D.gaussian_mixture(2, 4).init(key, x[:1])  # one row, which does not vary
    assert len(np.unique(few["mean"][:, 0])) == 4
    np.testing.assert_array_equal(few["log_scale"], 0.0)


# ---------------------------------------------------------------- every named flow


def mass(name: str, d: int, points: int, key: jax.Array) -> float:
    density = FLOWS[name](d)
    params = spread(density, key, d, 0.1)
    axis = jnp.linspace(-14.0, 14.0, points)
    grid = jnp.stack(jnp.meshgrid(*[axis] * d), axis=-1).reshape(-1, d)
    total = jnp.sum(jnp.exp(jax.jit(density.log_prob)(params, grid)))
    return float(total * (axis[1] - axis[0]) ** d)


DEFAULT = ["real_nvp", "maf", "made_gaussian", "nsf_coupling", "residual"]
OTHERS = [pytest.param(n, marks=pytest.mark.slow) for n in FLOWS if n not in DEFAULT]


@pytest.mark.parametrize("name", [*DEFAULT, *OTHERS])
def test_integrates_to_one_in_two_dimensions(name: str, key: jax.Array):
    points = 641 if name == "nsf_coupling" else 161  # splines bend at their knots
    np.testing.assert_allclose(mass(name, 2, points, key), 1.0, atol=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", FLOWS)
def test_integrates_to_one_in_one_dimension(name: str, key: jax.Array):
    np.testing.assert_allclose(mass(name, 1, 2001, key), 1.0, atol=2e-3)


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow if n in COSTLY else ()) for n in FLOWS],
)
def test_protocol(name: str, key: jax.Array):
    """Compiled: gradients, conditions, samples with their log-densities."""
    density = FLOWS[name](3)
    cond = jax.random.normal(jax.random.key(4), (8, 2))
    params = spread(density, key, 3, 0.05, cond)
    x = jax.random.normal(jax.random.key(5), (8, 3))

    @jax.jit
    def run(params, x, cond):
        def mean(params, x):
            log_prob = density.log_prob(params, x, cond)
            return jnp.mean(log_prob), log_prob

        (_, log_prob), grads = jax.value_and_grad(mean, (0, 1), has_aux=True)(params, x)
        return log_prob, grads, density.sample_and_log_prob(params, key, 8, cond)

    log_prob, grads, (drawn, log_drawn) = run(params, x, cond)
    assert log_prob.dtype == drawn.dtype == log_drawn.dtype == jnp.float32
    assert drawn.shape == (8, 3) and log_drawn.shape == (8,)
    for path, leaf in jax.tree.leaves_with_path(grads):
        assert np.isfinite(leaf).all(), path
    assert np.abs(grads[1]).max() > 0  # the score of the data
    np.testing.assert_allclose(run(params, drawn, cond)[0], log_drawn, atol=2e-3)
    assert np.max(np.abs(run(params, x, cond + 1.0)[0] - log_prob)) > 1e-3
    assert density.kind == ("ode" if name == "ffjord" else "exact")


@pytest.mark.parametrize("name", ["residual", pytest.param("maf_mog", marks=pytest.mark.slow)])
def test_sampling_alone_gives_the_same_samples(name: str, key: jax.Array):
    density = FLOWS[name](3)
    params = spread(density, key, 3)

    @jax.jit
    def run(params):
        assert density.encode is not None and density.decode is not None
        x, _ = density.sample_and_log_prob(params, key, 8)
        again = density.decode(params, density.encode(params, x))
        return density.sample(params, key, 8), x, again

    alone, x, again = run(params)
    np.testing.assert_allclose(alone, x, atol=1e-5)
    np.testing.assert_allclose(again, x, atol=1e-4)


@pytest.mark.parametrize("name", ["real_nvp", "maf"])
def test_samples_follow_the_density(name: str, key: jax.Array):
    # Two dimensions, 8 x 8 cells, chi-square of 20 000 samples against integrated densities.
    density = FLOWS[name](2)
    params = spread(density, key, 2)
    n, cells, fine = 20_000, 8, 20
    x = np.asarray(jax.jit(density.sample, static_argnums=2)(params, jax.random.key(2), n))
    low, high = np.quantile(x, 0.01, axis=0), np.quantile(x, 0.99, axis=0)
    unit = (np.arange(cells * fine) + 0.5) / (cells * fine)
    axes = [low[i] + (high[i] - low[i]) * unit for i in range(2)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    p = np.exp(jax.jit(density.log_prob)(params, jnp.asarray(grid, jnp.float32)))
    p = p.reshape(cells, fine, cells, fine).sum(axis=(1, 3)) * np.prod((high - low) / cells / fine)
    edges = [np.linspace(low[i], high[i], cells + 1) for i in range(2)]
    counts = np.histogram2d(x[:, 0], x[:, 1], edges)[0]
    observed = np.append(counts[p * n > 5], n - counts[p * n > 5].sum())
    expected = np.append(p[p * n > 5], 1.0 - p[p * n > 5].sum()) * n
    statistic = np.sum((observed - expected) ** 2 / expected)
    assert stats.chi2.sf(statistic, len(observed) - 1) > 1e-3


@pytest.mark.slow
def test_samples_do_not_depend_on_the_number_of_devices(key: jax.Array):
    for density in (D.made_mixture(2, 2, (4,)), D.gaussian_mixture(2, 3), D.real_nvp(2, 1, (4,))):

        @jax.jit
        def run(key: jax.Array, f: D.Density = density):
            params = f.init(key, jax.random.normal(key, (8, 2)))
            share = jax.vmap(lambda _: f.sample(params, key, 2), axis_name="data")
            return share(jnp.arange(4)).reshape(8, 2), f.sample(params, key, 8)

        np.testing.assert_allclose(*run(key), atol=1e-6)


def test_ensembles_of_parameters_by_vmap(key: jax.Array):
    density = D.real_nvp(2, 2, (4,))
    x = jax.random.normal(key, (5, 2))

    @jax.jit
    def run(keys: jax.Array):
        params = jax.vmap(density.init, (0, None))(keys, x)
        values = jax.vmap(density.log_prob, (0, None))(params, x)
        return values[1], density.log_prob(density.init(keys[1], x), x)

    np.testing.assert_allclose(*run(jax.random.split(key, 3)), rtol=1e-5)


# ---------------------------------------------------------------- named architectures


def test_real_nvp_has_the_papers_layers(key: jax.Array):
    params = jax.eval_shape(D.real_nvp(11).init, key, jnp.ones((2, 11)))["bijector"]
    for net in ("net_0", "net_1"):
        shapes = [params[net][f"dense_{i}"]["kernel"].shape for i in range(3)]
        assert shapes == [(5, 11, 100), (5, 100, 100), (5, 100, 11)]
    # Layer 0 keeps the odd positions: one coupling alone changes the even ones.
    layer = D.real_nvp(4, 1)
    x = jax.random.normal(key, (3, 4))
    assert layer.encode is not None
    z = layer.encode(layer.init(key, x), x)
    np.testing.assert_array_equal(z[:, 1::2], x[:, 1::2])
    assert np.all(z[:, ::2] != x[:, ::2])


def test_maf_and_its_inverse_have_one_density(key: jax.Array):
    # A flow through the inverse of a chain scores what the chain itself gives by its forward
    # map, on a grid (to 1e-6 in float64).
    with jax.enable_x64(True):
        step = D.chain([D.autoregressive(D.location_scale(), D.made((8,))), D.reverse()])
        layers = D.scanned(step, 2)
        base = D.standard_normal(2)
        inverse = D.flow(base, D.invert(layers))
        axis = jnp.linspace(-3.0, 3.0, 13)
        grid = jnp.stack(jnp.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
        params = {"base": {}, "bijector": jax.tree.map(
            lambda p: p + 0.1, layers.init(key, grid))}  # fmt: skip
        z = layers.inverse(params["bijector"], grid)
        log_det = layers.forward_and_log_det(params["bijector"], z)[1]
        expected = base.log_prob({}, z) - log_det
        np.testing.assert_allclose(inverse.log_prob(params, grid), expected, atol=1e-6)


@pytest.mark.parametrize("name", ["nsf_coupling", "nsf_autoregressive"])
def test_spline_flows_start_at_the_normalised_identity(name: str, key: jax.Array):
    density = FLOWS[name](2)
    x = jax.random.normal(key, (200, 2))
    z = D.actnorm().forward(D.actnorm().init(key, x), x)
    assert density.encode is not None
    latents = density.encode(jax.jit(density.init)(key, x), x)
    np.testing.assert_allclose(latents, z, atol=1e-4)  # two reversals of the order, if any


@pytest.mark.parametrize(
    "name", ["real_nvp", "maf", pytest.param("nsf_coupling", marks=pytest.mark.slow)]
)
def test_named_flows_at_extreme_inputs(name: str, key: jax.Array):
    density = FLOWS[name](3)
    x = jnp.array([[1e3, -1e3, 1e3], [1e-6, 0.0, 1e3], [-1e3, -1e3, 0.0]])

    @jax.jit
    def run(x: jax.Array):
        assert density.encode is not None and density.decode is not None
        params = density.init(key, jax.random.normal(key, (64, 3)))
        grad = jax.grad(lambda x: jnp.sum(density.log_prob(params, x)))(x)
        return density.log_prob(params, x), grad, density.decode(params, density.encode(params, x))

    value, grad, back = run(x)
    assert np.isfinite(value).all() and np.isfinite(grad).all()
    np.testing.assert_allclose(back, x, atol=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["real_nvp", "maf", "maf_mog", "nsf_coupling"])
def test_learns_a_distribution_that_is_not_gaussian(name: str, key: jax.Array):
    import optax

    density = FLOWS[name](2)

    def draw(key: jax.Array) -> jax.Array:  # a banana; its density is known
        a, b = jax.random.normal(key, (2, 512))
        return jnp.stack([a, 0.5 * b + a**2 - 1.0], axis=1)

    tx = optax.adam(3e-3)
    params = density.init(key, draw(key))

    @jax.jit
    def step(carry, key):
        params, opt = carry
        loss = lambda p: -jnp.mean(density.log_prob(p, draw(key)))
        value, grads = jax.value_and_grad(loss)(params)
        updates, opt = tx.update(grads, opt)
        return (optax.apply_updates(params, updates), opt), value

    (params, _), _ = jax.lax.scan(step, (params, tx.init(params)), jax.random.split(key, 1500))
    test = draw(jax.random.key(99))
    entropy = 1.0 + np.log(2 * np.pi) + np.log(0.5)
    assert -jnp.mean(density.log_prob(params, test)) < entropy + 0.15


# ---------------------------------------------------------------- likelihoods


def test_log_lik_carries_its_kind(key: jax.Array):
    x = jax.random.normal(key, (4, 2))
    small = {"residual": D.residual_flow(2, 1, (8,)), "ffjord": D.ffjord(2, (8,))}
    for name, kind in (("real_nvp", "exact"), ("ffjord", "ode"), ("residual", "exact")):
        density = small[name] if name in small else FLOWS[name](2)
        params = jax.jit(density.init)(key, x)
        exact = jax.jit(partial(D.log_lik, density))(params, x)
        assert (exact.kind, exact.quantity, exact.n_samples) == (kind, "density", 0)
        run = jax.jit(lambda p, x, f=density: D.log_lik(f, p, x, key=key, n_samples=200))
        estimate = run(params, x)
        assert estimate.kind == kind and estimate.n_samples == 200
        stderr = np.asarray(estimate.stderr)
        assert np.all(stderr == 0) == (name == "real_nvp")
        assert np.all(np.abs(estimate.value - exact.value) < 4 * stderr + 1e-4)
    with pytest.raises(ValueError, match="n_samples=1"):
        D.log_lik(D.standard_normal(2), {}, x, key=key)
