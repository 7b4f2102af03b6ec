"""Dequantisation: bins, their inverse, and noise that belongs to the example."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit.core import Domain
from gmkit.transforms import dequantise, from_unit, quantise, to_unit

RANGE = (-1.0, 1.0)


def every_value(nvals, rows=1):
    """All integers, decoded to [-1, 1]: `(rows, nvals)`, and their domain."""
    k = np.tile(np.arange(nvals, dtype=np.float32), (rows, 1))
    return jnp.asarray(k / ((nvals - 1) / 2) - 1.0), Domain(
        "binary" if nvals == 2 else "integers", (nvals,), nvals
    )


@pytest.mark.parametrize("nvals", [2, 17, 256])
def test_every_integer_stays_in_its_bin(nvals):
    x, domain = every_value(nvals, rows=2000)
    u = jax.jit(lambda k: dequantise(k, x, domain, RANGE))(jax.random.key(0))
    assert u.dtype == jnp.float32 and u.min() >= 0.0 and u.max() < 1.0
    np.testing.assert_array_equal(np.floor(u * nvals), np.tile(np.arange(nvals), (2000, 1)))
    np.testing.assert_allclose(quantise(u, domain, RANGE), x, atol=1e-6)


def test_noise_that_rounds_up_stays_in_its_bin(monkeypatch):
    """The largest number below 1 plus 255 rounds to 256 in float32."""
    x, domain = every_value(256)
    largest = lambda key, shape, dtype: jnp.full(shape, np.nextafter(np.float32(1), np.float32(0)))
    monkeypatch.setattr(jax.random, "uniform", largest)
    u = dequantise(jax.random.key(0), x, domain, RANGE)
    np.testing.assert_array_equal(np.floor(u[0] * 256), np.arange(256))


def test_noise_is_uniform_and_keyed_per_example():
    x, domain = every_value(17, rows=500)
    u = dequantise(jax.random.key(0), x, domain, RANGE)
    noise = np.asarray(u * 17 - np.arange(17)[None])
    # 8500 uniform numbers: the mean has a standard error of 0.003.
    assert abs(noise.mean() - 0.5) < 0.015 and abs(noise.var() - 1 / 12) < 0.005
    few = dequantise(jax.random.key(0), x[:3], domain, RANGE)
    np.testing.assert_array_equal(few, u[:3])
    assert len(np.unique(noise[:, 0])) > 490
    split = jax.vmap(lambda v: dequantise(jax.random.key(0), v, domain, RANGE), axis_name="data")
    np.testing.assert_array_equal(split(x.reshape(4, 125, 17)).reshape(500, 17), u)


def test_the_unit_interval_and_back():
    x, domain = every_value(17)
    u = to_unit(x, domain, RANGE)
    np.testing.assert_allclose(u[0] * 17, np.arange(17) + 0.5, rtol=1e-6)
    np.testing.assert_allclose(from_unit(u, domain, RANGE), x, atol=1e-6)
    np.testing.assert_allclose(quantise(u, domain, RANGE), x, atol=1e-6)
    # Half a bin beyond the values.
    ends = from_unit(jnp.array([[0.0, 1.0]]), domain, RANGE)
    np.testing.assert_allclose(ends, [[-1.0 - 1 / 16, 1.0 + 1 / 16]], rtol=1e-6)


def test_outside_the_unit_interval_is_the_nearest_bin():
    domain = Domain("integers", (4,), 17)
    u = jnp.array([[-0.2, -jnp.inf, 1.0, jnp.inf]])
    np.testing.assert_array_equal(quantise(u, domain, RANGE), [[-1.0, -1.0, 1.0, 1.0]])


def test_errors_name_the_field():
    x, domain = every_value(17)
    with pytest.raises(ValueError, match="reals"):
        dequantise(jax.random.key(0), x, Domain("reals", (17,)))
    for function in (quantise, to_unit, from_unit):
        with pytest.raises(ValueError, match="value_range"):
            function(x, domain, (1.0, 1.0))
