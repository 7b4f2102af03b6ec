"""Flows by name: every one runs on the shapes it is for, and mistakes are one line."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit import distributions as D

SMALL = {
    "ffjord": {"hidden": (8,), "tolerance": 1e-3},
    "glow": {"levels": 1, "depth": 2, "width": 4},
    "iaf": {"n_layers": 2, "hidden": (16,)},
    "made": {"hidden": (16,)},
    "maf": {"n_layers": 2, "hidden": (16,)},
    "maf_mog": {"n_layers": 2, "n_components": 2, "hidden": (16,)},
    "nice": {"hidden": (8,)},
    "nsf_autoregressive": {"n_layers": 2, "hidden": (16,)},
    "nsf_coupling": {"n_layers": 2, "width": 8, "blocks": 1},
    "real_nvp": {"n_layers": 2, "hidden": (8,)},
    "real_nvp_images": {"levels": 1, "width": 4},
    "residual": {"n_blocks": 2, "hidden": (8,)},
}


def made(name: str, shape: tuple[int, ...]):
    """The flow, its parameters and rows of that shape."""
    x = jax.random.normal(jax.random.key(0), (6, *shape))
    density = D.named(name, shape, **SMALL.get(name, {}))
    return density, jax.jit(density.init)(jax.random.key(1), x), x


@pytest.mark.parametrize("name", D.FLOWS)
def test_every_name_is_a_density_of_its_examples(name: str):
    shape = (4, 4, 1) if D.FLOWS[name].images else (4,)
    density, params, x = made(name, shape)
    values = jax.jit(density.log_prob)(params, x)
    assert values.shape == (6,) and np.isfinite(values).all()
    drawn = jax.jit(density.sample, static_argnums=2)(params, jax.random.key(2), 3)
    assert drawn.shape == (3, *shape) and np.isfinite(drawn).all()


@pytest.mark.parametrize("name", ["maf", "real_nvp"])
def test_flows_of_vectors_take_images_flattened(name: str):
    density, params, x = made(name, (2, 2, 1))
    flat, _, _ = made(name, (4,))
    # The same numbers as of the flat rows: flattening has determinant 1.
    expected = flat.log_prob(params["base"], x.reshape(6, 4))
    np.testing.assert_allclose(density.log_prob(params, x), expected, rtol=1e-5)
    assert density.encode is not None and density.decode is not None
    z = density.encode(params, x)
    assert z.shape == (6, 4)
    np.testing.assert_allclose(density.decode(params, z), x, atol=1e-4)


@pytest.mark.parametrize("name", ["gaussian", "maf", "nice", "real_nvp"])
def test_normal_latents_are_those_that_are_sampled(name: str):
    """Decoding `N(0, I)` draws of the key that `sample` uses gives its samples, or does not."""
    density, params, _ = made(name, (4,))
    key = jax.random.key(3)
    z = D.standard_normal(4).sample({}, key, 5)
    drawn = density.sample(params, key, 5)
    assert density.decode is not None
    same = np.allclose(density.decode(params, z), drawn, atol=1e-5)
    assert same == D.has_normal_latents(name)


def test_the_gaussian_is_a_gaussian():
    density, params, x = made("gaussian", (3,))
    np.testing.assert_allclose(
        density.log_prob(params, x), D.standard_normal(3).log_prob({}, x), rtol=1e-6
    )
    params["bijector"] = {"log_scale": jnp.log(jnp.full(3, 2.0)), "bias": jnp.full(3, -1.0)}
    expected = D.standard_normal(3).log_prob({}, 2.0 * (x - 1.0)) + 3 * np.log(2.0)
    np.testing.assert_allclose(density.log_prob(params, x), expected, rtol=1e-5)


def test_mistakes_are_one_line():
    with pytest.raises(ValueError, match="real_nvp"):
        D.named("realnvp", (2,))
    with pytest.raises(ValueError, match="n_layers"):
        D.named("maf", (2,), layers=3)
    with pytest.raises(ValueError, match="images"):
        D.named("glow", (2,))
    with pytest.raises(ValueError, match="adjoint"):
        D.named("ffjord", (2,), adjoint="none")
