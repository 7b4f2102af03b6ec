"""Adversarial losses in the energy's sign."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit import objectives


def test_wasserstein():
    real, fake = jnp.array([0.0, 2.0]), jnp.array([3.0, 5.0, 7.0])
    assert objectives.wasserstein_loss(real, fake) == -4.0
    assert objectives.wasserstein_base_loss(fake) == 5.0


def test_logistic_at_indifference_is_log_four():
    zero = jnp.zeros(3)
    assert objectives.logistic_loss(zero, zero) == pytest.approx(math.log(4.0), rel=1e-6)
    assert objectives.logistic_base_loss(zero) == pytest.approx(math.log(2.0), rel=1e-6)


def test_logistic_is_the_cross_entropy_of_minus_the_energy():
    real, fake = jnp.array([-1.0, 0.3]), jnp.array([0.7, -2.0])
    p_real, p_fake = jax.nn.sigmoid(-real), jax.nn.sigmoid(-fake)
    expected = -np.mean(np.log(p_real)) - np.mean(np.log(1.0 - p_fake))
    assert objectives.logistic_loss(real, fake) == pytest.approx(float(expected), rel=1e-5)
    assert objectives.logistic_base_loss(fake) == pytest.approx(
        float(-np.mean(np.log(p_fake))), rel=1e-5
    )


@pytest.mark.parametrize("loss", [objectives.wasserstein_loss, objectives.logistic_loss])
def test_energy_falls_on_data_and_rises_on_fakes(loss):
    on_real, on_fake = jax.grad(loss, argnums=(0, 1))(jnp.zeros(2), jnp.zeros(2))
    assert bool(jnp.all(on_real > 0)) and bool(jnp.all(on_fake < 0))
