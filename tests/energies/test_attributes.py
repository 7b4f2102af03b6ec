"""Log-probabilities of single attributes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit import energies

LOGITS = jnp.array([0.3, -1.2, 2.5])


@pytest.mark.parametrize("temperature", [1.0, 0.7, 3.0])
def test_a_discrete_attribute_is_a_tempered_softmax(temperature):
    p = np.exp(np.asarray(LOGITS, np.float64) / temperature)
    one = jax.vmap(lambda label: energies.discrete_log_prob(LOGITS, label, temperature))
    np.testing.assert_allclose(jax.jit(one)(jnp.arange(3)), np.log(p / p.sum()), rtol=1e-5)


def test_the_official_temperature_misses_the_normaliser():
    read = lambda *how: energies.discrete_log_prob(LOGITS, 2, *how)
    cold, plain, normalised = jax.jit(
        lambda: (read(0.7, "unnormalised"), read(1.0, "unnormalised"), read(1.0))
    )()
    expected = 2.5 / 0.7 - np.log(np.exp(np.asarray(LOGITS)).sum())
    np.testing.assert_allclose(cold, expected, rtol=1e-5)
    assert cold > 0
    np.testing.assert_allclose(plain, normalised, rtol=1e-6)


@pytest.mark.parametrize("mode", ["normalised", "unnormalised"])
def test_sure_classifiers_give_finite_numbers(mode):
    logits = jnp.array([1e4, -1e4])
    log_prob = lambda x: energies.discrete_log_prob(x, 1, 1.0, mode)
    value, grad = jax.jit(jax.value_and_grad(log_prob))(logits)
    np.testing.assert_allclose(value, -2e4)
    np.testing.assert_allclose(grad, [-1.0, 1.0])
    assert energies.discrete_log_prob(logits, 0, 1.0, mode) == 0.0


def test_rows_of_latents_and_labels():
    logits = jnp.stack([LOGITS, LOGITS[::-1]])
    both = energies.discrete_log_prob(logits, jnp.array([0, 1]))
    one = [energies.discrete_log_prob(logits[i], i) for i in range(2)]
    np.testing.assert_allclose(both, jnp.stack(one), rtol=1e-6)


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_that_does_not_exist_is_not_a_number(label):
    assert jnp.isnan(energies.discrete_log_prob(LOGITS, label))


def test_a_continuous_attribute_is_a_gaussian_without_its_constant():
    value, grad = jax.value_and_grad(energies.gaussian_log_prob)(1.83, 0.5)
    np.testing.assert_allclose(value, -88.445, rtol=1e-5)
    np.testing.assert_allclose(grad, -133.0, rtol=1e-5)
    assert energies.gaussian_log_prob(jnp.float32(0.5), 0.5) == 0.0
    np.testing.assert_allclose(energies.gaussian_log_prob(0.0, jnp.ones(2), 1.0), [-0.5, -0.5])


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="temperature=0"):
        energies.discrete_log_prob(LOGITS, 0, 0.0)
    with pytest.raises(ValueError, match="temperature_mode='paper'"):
        energies.discrete_log_prob(LOGITS, 0, 1.0, "paper")
    with pytest.raises(ValueError, match="sigma=-1"):
        energies.gaussian_log_prob(0.0, 0.0, -1.0)
