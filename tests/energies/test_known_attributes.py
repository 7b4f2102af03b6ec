"""Guided sampling of a scene whose attributes are exact functions of the latent.

Eight normal latents make a scene by their distribution functions: position, size and hue of one
dot, each uniform on [0, 1]. Nothing is learned, so every miss is the sampler's.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit import samplers
from gmkit.energies import compose, discrete_log_prob, gaussian_log_prob, parse

NAMES = ("x", "y", "size", "hue")
KNOWN = {"x": None, "y": None, "size": ("small", "large"), "hue": ("red", "green", "blue")}
#: Sharpness of the two classifiers.
STEEP = 40.0
MIX = jax.random.orthogonal(jax.random.key(0), 8)


def scene(z):
    """`(8,)` -> position, size and hue, `(4,)`."""
    return jax.scipy.stats.norm.cdf((MIX @ z)[:4])


def log_prob_of(text):
    """`log_prob(z, args)` of an expression."""
    expression = parse(text, attributes=KNOWN)

    def log_prob(z, args):
        x, y, size, hue = scene(z)
        thirds = jnp.arange(1, 6, 2) / 6
        read = {
            "x": lambda value: gaussian_log_prob(x, value),
            "y": lambda value: gaussian_log_prob(y, value),
            "size": lambda value: discrete_log_prob(
                STEEP * jnp.stack([0.5 - size, size - 0.5]), value
            ),
            "hue": lambda value: discrete_log_prob(-STEEP * jnp.square(hue - thirds), value),
        }
        return compose(expression, lambda atom: read[atom.name](atom.value))

    return log_prob


def scenes(sampler, text, n=200):
    """Scenes `(n, 4)` of latents guided to an expression."""
    z = jax.random.normal(jax.random.key(1), (n, 8))
    sample = jax.jit(lambda z: sampler(log_prob_of(text), z))(z)
    assert not sample.failed.any()
    return np.asarray(jax.vmap(scene)(sample.latents))


def exact(log_prob, z):
    return samplers.exact_ode(log_prob, z, jax.random.key(2), rtol=1e-2, atol=1e-2)


def hues(found):
    """Shares of the three hues."""
    return np.bincount(np.minimum(3 * found[:, 3], 2).astype(int), minlength=3) / len(found)


@pytest.mark.slow
def test_a_conjunction_is_reached():
    found = scenes(samplers.lace_ode, "x~0.2 & size=large & hue=blue")
    reached = (abs(found[:, 0] - 0.2) < 0.1) & (found[:, 2] > 0.5) & (found[:, 3] > 2 / 3)
    assert reached.mean() >= 0.99
    # What no atom names stays uniform.
    assert abs(found[:, 1].mean() - 0.5) < 0.08 and found[:, 1].std() == pytest.approx(
        12**-0.5, rel=0.15
    )


@pytest.mark.slow
@pytest.mark.parametrize("text", ["x~0.8", "y~0.35", "size=small", "hue=green"])
def test_single_targets_are_reached(text):
    found = scenes(samplers.lace_ode, text)
    reached = {
        "x~0.8": abs(found[:, 0] - 0.8) < 0.1,
        "y~0.35": abs(found[:, 1] - 0.35) < 0.1,
        "size=small": found[:, 2] < 0.5,
        "hue=green": abs(found[:, 3] - 0.5) < 1 / 6,
    }
    assert reached[text].mean() >= 0.99


@pytest.mark.slow
def test_a_disjunction_of_hues_has_both():
    shares = hues(scenes(exact, "hue=red | hue=blue"))
    assert min(shares[0], shares[2]) > 0.25 and shares[1] < 0.1


@pytest.mark.slow
def test_a_negated_hue_is_removed():
    shares = hues(scenes(samplers.lace_ode, "~hue=green"))
    assert shares[1] < 0.05
