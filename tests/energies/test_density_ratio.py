"""An energy of two densities: what it makes of its base, and the log-partition it knows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit import distributions, samplers
from gmkit.energies import DensityRatio

LOG_G = lambda x: distributions.standard_normal(2).log_prob({}, x)


@pytest.fixture(scope="module", params=[3.0, "parameters"])
def ratio(request):
    """The energy, its parameters, and those of the flow in it."""
    module = DensityRatio(distributions.real_nvp(2, 2, (8,)), LOG_G, request.param)
    x = jax.random.normal(jax.random.key(0), (16, 2))
    params = module.init(jax.random.key(1), x)["params"]
    # A flow that is not the identity, and no heavier in its tails than the base.
    params = jax.tree.map(lambda p: p * 2.0, params)
    return module, params


def test_base_times_boltzmann_factor_is_the_flow(ratio):
    module, params = ratio
    x = jax.random.normal(jax.random.key(2), (50, 2))
    log_q = module.density.log_prob(params["density"], x)
    energies = module.apply({"params": params}, x)
    found = LOG_G(x) - energies - module.log_partition(params)
    np.testing.assert_allclose(found, log_q, atol=1e-5)


def test_log_partition_agrees_with_importance_sampling(ratio):
    module, params = ratio
    y = jax.random.normal(jax.random.key(3), (100_000, 2))
    log_z, stderr = samplers.log_partition(-module.apply({"params": params}, y))
    assert float(stderr) < 0.02
    assert abs(float(log_z - module.log_partition(params))) < 4 * float(stderr)


def test_an_offset_of_the_parameters_moves_with_them(ratio):
    module, params = ratio
    sizes = [float(jnp.mean(jnp.abs(p))) for p in jax.tree.leaves(params)]
    expected = sum(sizes) if module.offset == "parameters" else 3.0
    assert float(module.log_partition(params)) == pytest.approx(-expected, rel=1e-5)


def test_draws_are_the_flows(ratio):
    module, params = ratio
    key = jax.random.key(4)
    expected = module.density.sample(params["density"], key, 5)
    np.testing.assert_array_equal(module.sample(params, key, 5), expected)


def test_unknown_offsets_are_refused():
    with pytest.raises(ValueError, match="offset='moving'"):
        DensityRatio(distributions.real_nvp(2), LOG_G, "moving")
