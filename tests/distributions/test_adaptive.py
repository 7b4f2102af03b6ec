"""Residuals with learned shapes and scales."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats

from gmkit.distributions import (
    RESIDUALS,
    adaptive,
    adaptive_student_t,
    affine_sigmoid,
    affine_softplus,
    inverse_affine_sigmoid,
    inverse_affine_softplus,
    robust,
)


def test_ranges_invert():
    x = jnp.array([-4.0, -0.3, 0.0, 2.0, 6.0])
    value = affine_sigmoid(x, -1.0, 3.0)
    np.testing.assert_allclose(inverse_affine_sigmoid(value, -1.0, 3.0), x, rtol=1e-4, atol=1e-6)
    value = affine_softplus(x, 0.5, 2.0)
    np.testing.assert_allclose(inverse_affine_softplus(value, 0.5, 2.0), x, rtol=1e-4, atol=1e-5)
    assert affine_softplus(jnp.float32(0.0), 0.5, 2.0) == pytest.approx(2.0)
    far = affine_softplus(jnp.float32(200.0), 0.5, 2.0)
    np.testing.assert_allclose(inverse_affine_softplus(far, 0.5, 2.0), 200.0, rtol=1e-5)


def test_starts_where_it_is_told():
    family = adaptive((3, 2), alpha=(0.0, 3.0), alpha_init=1.0, scale_lo=0.01, scale_init=0.2)
    found = family.parameters(family.init())
    np.testing.assert_allclose(found["alpha"], np.ones((3, 2)), rtol=1e-6)
    np.testing.assert_allclose(found["scale"], np.full((3, 2), 0.2), rtol=1e-6)
    x = jax.random.normal(jax.random.key(0), (4, 3, 2))
    expected = robust.log_prob(x, 1.0, 0.2)
    np.testing.assert_allclose(family.log_prob(family.init(), x), expected, rtol=1e-5)
    middle = adaptive((1,)).parameters(adaptive((1,)).init())
    np.testing.assert_allclose([middle["alpha"][0], middle["scale"][0]], [1.0, 1.0], rtol=1e-6)


def test_what_is_fixed_has_no_parameters():
    fixed = adaptive((2,), alpha=(2.0, 2.0), scale_lo=0.1, scale_init=0.1)
    assert fixed.init() == {}
    assert fixed.parameters({})["alpha"].tolist() == [2.0, 2.0]
    normal = RESIDUALS["normal"]((2,), scale_init=0.3)
    chex.assert_trees_all_equal_structs(normal.init(), {"scale": 0.0})
    x = jnp.array([[0.1, -0.4]])
    expected = scipy.stats.norm.logpdf(np.asarray(x), scale=0.3)
    np.testing.assert_allclose(normal.log_prob(normal.init(), x), expected, rtol=1e-5)
    cauchy = RESIDUALS["cauchy"]((2,)).log_prob(normal.init(), x)
    np.testing.assert_allclose(cauchy, scipy.stats.cauchy.logpdf(x, scale=np.sqrt(2)), rtol=1e-5)


@pytest.mark.parametrize("name", sorted(RESIDUALS))
def test_one_pair_for_all(name):
    family = RESIDUALS[name]((2, 2), shared=True)
    params = family.init()
    chex.assert_tree_shape_prefix(params, ())
    assert all(v.shape == () for v in params.values())
    assert all(v.shape == (2, 2) for v in family.parameters(params).values())
    grads = jax.grad(lambda p: -family.log_prob(p, jnp.ones((3, 2, 2))).sum())(params)
    assert all(np.isfinite(v) for v in grads.values())
    assert family.sample(params, jax.random.key(0), 5).shape == (5, 2, 2)


def test_samples_follow_the_density():
    family = adaptive((2,), scale_init=0.5)
    draws = family.sample(family.init(), jax.random.key(0), 4000)
    u = robust.cdf(draws, **family.parameters(family.init()))
    assert scipy.stats.kstest(np.asarray(u).ravel(), "uniform").pvalue > 0.01


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": (-1.0, 2.0)}, "alpha"),
        ({"alpha": (1.0, 0.5)}, "alpha"),
        ({"alpha": (0.0, 2.0), "alpha_init": 2.0}, "alpha_init"),
        ({"scale_lo": 0.0}, "scale_lo"),
        ({"scale_lo": 2.0}, "scale_init"),
    ],
)
def test_wrong_settings(options, message):
    with pytest.raises(ValueError, match=message):
        adaptive((1,), **options)


def fit(family, x, steps=1000, rate=0.1):
    """Location and family's parameters that maximise the likelihood of quantiles `(n, d)`."""
    params = {"loc": jnp.zeros(x.shape[1]), "family": family.init()}
    tx = optax.adam(rate)

    def loss(params):
        return -family.log_prob(params["family"], x - params["loc"][None]).sum()

    def step(carry, _):
        params, state = carry
        updates, state = tx.update(jax.grad(loss)(params), state)
        return (optax.apply_updates(params, updates), state), None

    (params, _), _ = jax.jit(lambda c: jax.lax.scan(step, c, None, steps))(
        (params, tx.init(params))
    )
    return params["loc"], family.parameters(params["family"])


@pytest.mark.parametrize(("law", "alpha"), [("cauchy", 0.0), ("norm", 2.0)])
def test_finds_the_law_of_its_data(law, alpha):
    rng = np.random.default_rng(0)
    shift, scale = rng.normal(size=8), np.exp(np.clip(rng.normal(size=8), -3, 3))
    unit = np.sqrt(2.0) if law == "cauchy" else 1.0
    quantiles = unit * getattr(scipy.stats, law).ppf((np.arange(100) + 0.5) / 100)
    x = jnp.asarray(shift + scale * quantiles[:, None], jnp.float32)
    loc, found = fit(adaptive((8,)), x)
    np.testing.assert_allclose(loc, shift, rtol=0.1, atol=0.1 * scale.max())
    np.testing.assert_allclose(found["alpha"], alpha, atol=0.1)
    np.testing.assert_allclose(found["scale"], scale, rtol=0.1)
    loc, found = fit(adaptive_student_t((8,)), x)
    log_df = np.log(found["df"])
    assert (np.abs(log_df) < 0.1).all() if law == "cauchy" else (log_df > 4).all()
