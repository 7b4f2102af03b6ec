"""The robust density against exact integrals, the Cauchy and the Normal, and itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from gmkit.distributions import robust, student_t

INF = np.inf
# Computed with 40 digits.
LOG_Z = {
    0.0: np.log(np.pi * np.sqrt(2)),
    0.001: 1.490447256908795,
    0.01: 1.483037934750453,
    0.1: 1.426633706252277,
    0.25: 1.364163412321680,
    0.5: 1.291707030992365,
    1.0: np.log(2 * np.e * scipy.special.k1(1.0)),
    1.5: 1.087188919292851,
    1.9: 0.978466411280962,
    1.99: 0.929938792134736,
    1.999: 0.920600349231607,
    2.0: 0.5 * np.log(2 * np.pi),
    2.001: 0.917278307363187,
    2.5: 0.797003736268167,
    3.0: 0.766956434606257,
    4.0: 0.742870678640372,
    8.0: 0.720032617351802,
    1000.0: 0.705357960656803,
    INF: 0.705260254417569688,
}
SLOPE = {
    0.0: -0.859772866782369,
    0.001: -0.8526938749,
    0.1: -0.5116769843,
    0.5: -0.2483381252,
    1.0: -0.1928700153,
    1.9: -0.4029379377,
    1.99: -0.8628163117,
    1.999: -1.4139150393,
    2.001: -1.4109861017,
    3.0: -0.0398839972,
    4.0: -0.0146034274,
    8.0: -0.0022387444,
    INF: 0.0,
}
Z = {
    1 / 7: 4.080330073,
    1 / 3: 3.808203509,
    3 / 4: 3.439385624,
    4 / 3: 3.068687433,
    5 / 3: 2.855391798,
    7 / 4: 2.794052016,
    7 / 3: 2.260434598,
    8 / 3: 2.190349858,
    7 / 2: 2.121140098,
    5.0: 2.080000512,
    6.0: 2.067751267,
}


@pytest.mark.parametrize("method", ["table", "quadrature"])
def test_log_partition(method):
    values = np.array(list(LOG_Z.values()))
    alpha = np.array(list(LOG_Z))
    np.testing.assert_allclose(
        robust.log_partition(jnp.asarray(alpha, jnp.float32), method), values, atol=6e-7
    )
    with jax.enable_x64(True):
        found = robust.log_partition(jnp.asarray(alpha), method)
        np.testing.assert_allclose(found, values, atol=1.1e-9)
        found = robust.log_partition(jnp.asarray(list(Z)), method)
        np.testing.assert_allclose(np.exp(found), list(Z.values()), atol=3e-9)


def test_table_and_integral_agree_in_value_and_slope():
    with jax.enable_x64(True):
        inside = jnp.linspace(1e-3, 1.999, 401)
        for method in ("value", "slope"):
            f = robust.log_partition if method == "value" else jax.grad(robust.log_partition)
            table, integral = (
                jax.vmap(lambda a, name=name, f=f: f(a, name))(inside)
                for name in ("table", "quadrature")
            )
            np.testing.assert_allclose(table, integral, atol=2e-9 if method == "value" else 4e-6)
        near = 2.0 + jnp.array([-1e-1, -1e-3, -1e-6, 1e-6, 1e-4, 1e-2])
        both = [robust.log_partition(near, name) for name in ("table", "quadrature")]
        np.testing.assert_allclose(*both, atol=1e-9)
        slopes = jax.vmap(jax.grad(robust.log_partition))(jnp.asarray(list(SLOPE)))
        np.testing.assert_allclose(slopes, list(SLOPE.values()), atol=4e-6)
    slopes = jax.vmap(jax.grad(robust.log_partition))(jnp.asarray(list(SLOPE), jnp.float32))
    np.testing.assert_allclose(slopes, list(SLOPE.values()), atol=5e-3)


def test_log_partition_outside():
    assert jnp.isnan(robust.log_partition(-0.1)) and jnp.isnan(robust.log_prob(0.0, -1.0))
    with pytest.raises(ValueError, match="choose table or quadrature"):
        robust.log_partition(1.0, "meijer")


def test_log_prob_is_cauchy_normal_and_known():
    x = jnp.linspace(-4.0, 4.0, 9)
    cauchy = scipy.stats.cauchy.logpdf(x, scale=0.3 * np.sqrt(2))
    np.testing.assert_allclose(robust.log_prob(x, 0.0, 0.3), cauchy, rtol=2e-6)
    normal = scipy.stats.norm.logpdf(x, scale=0.3)
    np.testing.assert_allclose(robust.log_prob(x, 2.0, 0.3), normal, rtol=2e-6)
    alpha = jnp.array([0.0, 0.5, 1.0, 1.5, 2.0])
    nll = [2.99538087291, 3.14300322176, 3.61545367741, 4.65019599887, 8.22579135264]
    np.testing.assert_allclose(-robust.log_prob(2.0, alpha, 0.5), nll, rtol=3e-7)


@pytest.mark.parametrize("alpha", [0.3, 1.0, 1.7, 2.0, 3.0])
def test_density_integrates_to_one(alpha):
    x = np.linspace(-400.0, 400.0, 400_001)
    p = np.exp(np.asarray(robust.log_prob(jnp.asarray(x, jnp.float32), alpha, 0.8), np.float64))
    np.testing.assert_allclose(np.trapezoid(p, x), 1.0, atol=1e-6)


def test_variance():
    bessel = scipy.special.kn(2, 1) / scipy.special.k1(1.0)
    found = robust.variance(jnp.array([0.0, 1.0, 2.0, INF]), 3.0)
    x = np.linspace(-6, 6, 20_001)
    p = np.exp(-np.expm1(x**2 / 2))
    limit = np.sum(x**2 * p) / np.sum(p)
    np.testing.assert_allclose(found, [INF, 9 * bessel, 9.0, 9 * limit], rtol=1e-5)
    assert np.isfinite(robust.variance(0.05))


@pytest.fixture(scope="module")
def distribution():
    return jax.jit(robust.cdf), jax.jit(robust.quantile)


def test_distribution_function_of_cauchy_and_normal(distribution):
    cdf, quantile = distribution
    x = jnp.array([-INF, -1e4, -3.0, -0.2, 0.0, 0.7, 2.0, 30.0, INF])
    known = {0.0: scipy.stats.cauchy(scale=np.sqrt(2)), 2.0: scipy.stats.norm()}
    p = jnp.array([0.0, 1e-10, 1e-4, 0.2, 0.5, 0.8, 0.99, 1.0])
    for alpha, exact in known.items():
        np.testing.assert_allclose(cdf(x, alpha), exact.cdf(x), rtol=1e-5, atol=1e-9)
        np.testing.assert_allclose(
            quantile(p, alpha), exact.ppf(np.asarray(p, np.float64)), rtol=1e-5, atol=2e-7
        )


@pytest.mark.parametrize("alpha", [1e-3, 0.5, 1.3, 1.999999, 2.5, 40.0, INF])
def test_quantile_inverts_the_distribution_function(distribution, alpha):
    cdf, quantile = distribution
    p = jnp.array([1e-8, 1e-4, 0.02, 0.3, 0.5, 0.7, 0.999])
    x = quantile(p, alpha, 0.2)
    np.testing.assert_allclose(cdf(x, alpha, 0.2), p, rtol=1e-5)
    np.testing.assert_allclose(x, 0.2 * quantile(p, alpha), rtol=1e-6)
    assert jnp.isnan(quantile(0.3, -1.0))


def test_gradients_of_distribution_and_quantile():
    with jax.enable_x64(True):
        quantile = jax.jit(jax.value_and_grad(robust.quantile, (0, 1, 2)))
        pdf_of = jax.jit(jax.grad(robust.cdf))
        step = 1e-5
        for alpha in (0.8, 1.9, 3.0):
            x, (by_p, by_alpha, by_scale) = quantile(0.87, alpha, 2.0)
            above, below = (quantile(0.87, alpha + s, 2.0)[0] for s in (step, -step))
            np.testing.assert_allclose(by_alpha, (above - below) / (2 * step), rtol=2e-4)
            pdf = jnp.exp(robust.log_prob(x, alpha, 2.0))
            np.testing.assert_allclose(pdf_of(x, alpha, 2.0), pdf, rtol=1e-8)
            np.testing.assert_allclose(by_p, 1 / pdf, rtol=1e-7)
            np.testing.assert_allclose(by_scale, x / 2.0, rtol=1e-12)


@pytest.mark.parametrize("sampler", [robust.sample, robust.rejection_sample])
def test_samples(sampler):
    n = 16_384
    alpha = jnp.array([0.0, 0.4, 1.0, 2.0, INF])
    draws = sampler(jax.random.key(0), alpha, 0.5, (n, 5))
    u = robust.cdf(draws, alpha, 0.5)
    for i in range(5):
        assert scipy.stats.kstest(np.asarray(u[:, i]), "uniform").pvalue > 0.01
    assert scipy.stats.kstest(np.asarray(u[:, 0]), "uniform").statistic < 0.012
    assert sampler(jax.random.key(1), 1.0).shape == ()


@pytest.mark.slow
def test_samples_are_reparameterised():
    second = lambda a, c: jnp.mean(jnp.square(robust.sample(jax.random.key(0), a, c, (4000,))))
    by_alpha, by_scale = jax.grad(second, (0, 1))(1.0, 1.5)
    exact_alpha, exact_scale = jax.grad(robust.variance, (0, 1))(1.0, 1.5)
    np.testing.assert_allclose(by_scale, exact_scale, rtol=0.1)
    np.testing.assert_allclose(by_alpha, exact_alpha, rtol=0.2)


def test_student_t():
    x = jnp.linspace(-3.0, 3.0, 7)
    df = jnp.array([0.5, 1.0, 4.0, 1e4])
    for value in df:
        exact = scipy.stats.t.logpdf(np.asarray(x), float(value), scale=2.0)
        found = student_t.log_prob(x, value, 2.0)
        np.testing.assert_allclose(found, exact, rtol=1e-5 if value < 1e3 else 1e-2)
    draws = student_t.sample(jax.random.key(0), 3.0, 2.0, (8000,))
    assert scipy.stats.kstest(np.asarray(draws) / 2, scipy.stats.t(3).cdf).pvalue > 0.01
