"""Likelihoods carry their kind; bits per dimension come from the domain alone."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit.core import Domain, LogLik, bits_per_dim, dequantised

IMAGES = Domain("integers", (4, 4, 3), 256)


def test_uniform_density_is_eight_bits_in_every_scaling():
    d = IMAGES.dim
    unit = LogLik(jnp.zeros(2))
    signed = LogLik(jnp.full(2, -d * math.log(2.0)))
    np.testing.assert_allclose(bits_per_dim(unit, IMAGES), 8.0, rtol=1e-6)
    np.testing.assert_allclose(bits_per_dim(signed, IMAGES, (-1.0, 1.0)), 8.0, rtol=1e-6)
    digits = Domain("integers", (8, 8, 1), 17)
    np.testing.assert_allclose(bits_per_dim(unit, digits), math.log2(17), rtol=1e-6)


def test_uniform_pmf_is_eight_bits():
    pmf = LogLik(jnp.full(3, -IMAGES.dim * math.log(256.0)), quantity="pmf")
    np.testing.assert_allclose(bits_per_dim(pmf, IMAGES), 8.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "after", "sign"),
    [
        ("exact", "lower", "<="),
        ("ode", "lower_ode", "~<="),
        ("lower", "lower", "<="),
        ("upper", "mixed", "?"),
    ],
)
def test_dequantising_changes_the_kind_and_keeps_the_bits(kind, after, sign):
    density = LogLik(jnp.array([-3.0]), kind=kind)
    pmf = dequantised(density, IMAGES)
    assert (pmf.kind, pmf.quantity, pmf.nll_sign) == (after, "pmf", sign)
    np.testing.assert_allclose(bits_per_dim(pmf, IMAGES), bits_per_dim(density, IMAGES), rtol=1e-6)


def test_kind_survives_jit():
    out = jax.jit(lambda x: LogLik(x, kind="upper", n_samples=7))(jnp.ones(2))
    assert (out.kind, out.n_samples) == ("upper", 7)


def test_errors_name_the_field():
    with pytest.raises(ValueError, match="nvals=0"):
        Domain("integers", (2,))
    with pytest.raises(ValueError, match="nats"):
        bits_per_dim(LogLik(jnp.zeros(1)), Domain("reals", (2,)))
    with pytest.raises(ValueError, match="pmf statement"):
        dequantised(LogLik(jnp.zeros(1), quantity="pmf"), IMAGES)
