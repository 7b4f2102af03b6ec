"""Maps of intervals: slopes, ends, inverses."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from gmkit import distributions as D


@pytest.mark.parametrize("alpha", [0.0, 1e-6, 0.05, 0.4])
def test_logit_is_scipys(alpha: float):
    x = jnp.array([[0.1, 0.5], [0.9, 0.25]])
    layer = D.logit(alpha)
    z, log_det = layer.forward_and_log_det({}, x)
    p = alpha + (1 - 2 * alpha) * np.asarray(x, np.float64)
    np.testing.assert_allclose(z, special.logit(p), rtol=1e-4, atol=1e-5)
    slope = (1 - 2 * alpha) / (p * (1 - p))
    np.testing.assert_allclose(log_det, np.log(slope).sum(axis=1), rtol=1e-4)
    back, inverse_log_det = layer.inverse_and_log_det({}, z)
    np.testing.assert_allclose(back, x, atol=1e-5)
    np.testing.assert_allclose(inverse_log_det, -log_det, rtol=1e-5)


def test_logit_at_the_ends():
    ends = jnp.array([[0.0, 1.0]])
    inner = D.logit(0.05).forward({}, ends)
    np.testing.assert_allclose(inner, [[-2.944439, 2.944439]], rtol=1e-5)  # log(19)
    assert np.isfinite(D.logit(0.05).forward_and_log_det({}, ends)[1]).all()
    np.testing.assert_array_equal(D.logit(0.0).forward({}, ends), [[-np.inf, np.inf]])
    # Latents beyond the data come back somewhat outside of [0, 1], and the slope underflows
    # without becoming infinite or NaN.
    x, log_det = D.logit(0.05).inverse_and_log_det({}, jnp.array([[-200.0, 200.0]]))
    np.testing.assert_allclose(x, [[-0.05 / 0.9, 0.95 / 0.9]], rtol=1e-5)
    np.testing.assert_allclose(log_det, -400.0 - 2 * np.log(0.9), rtol=1e-5)


def test_logit_of_uniform_data_keeps_its_mass():
    """`int exp(-log_det) dz = 1`: the pushed-forward uniform density, on a grid."""
    z = jnp.linspace(-3.2, 3.2, 4001)[:, None]
    x, log_det = D.logit(0.05).inverse_and_log_det({}, z)
    density = jnp.where((x[:, 0] >= 0) & (x[:, 0] <= 1), jnp.exp(log_det), 0.0)
    assert float(jnp.sum(density)) * 6.4 / 4000 == pytest.approx(1.0, abs=2e-3)


def test_shift_and_scale_of_images():
    layer = D.shift_and_scale(0.5, 0.25)
    x = jax.random.uniform(jax.random.key(0), (3, 2, 2, 1))
    z, log_det = layer.forward_and_log_det({}, x)
    np.testing.assert_allclose(z, 4.0 * (x - 0.5), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(log_det, np.full(3, 4 * np.log(4.0)), rtol=1e-6)
    back, inverse_log_det = layer.inverse_and_log_det({}, z)
    np.testing.assert_allclose(back, x, atol=1e-6)
    np.testing.assert_allclose(inverse_log_det, -log_det)


def test_errors_name_the_values():
    for alpha in (-0.1, 0.5):
        with pytest.raises(ValueError, match="alpha="):
            D.logit(alpha)
    for scale in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="scale="):
            D.shift_and_scale(0.0, scale)
