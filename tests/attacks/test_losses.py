"""Hand-computed values, and edges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit import attacks


def test_margins_by_hand():
    logits, label = jnp.array([[2.0, 5.0, 1.0], [6.0, 5.0, 1.0]]), jnp.array([1, 1])
    np.testing.assert_array_equal(attacks.untargeted_margin(logits, label), [3.0, 0.0])
    np.testing.assert_array_equal(attacks.untargeted_margin(logits, label, 5.0), [3.0, -1.0])
    np.testing.assert_array_equal(attacks.targeted_margin(logits, jnp.array([0, 0])), [3.0, 0.0])
    np.testing.assert_array_equal(attacks.margin(logits, label), [-3.0, 1.0])


def test_dlr_by_hand_and_its_invariance():
    logits, labels = jnp.array([[4.0, 1.0, 3.0, 0.0]]), jnp.array([0])
    assert attacks.dlr(logits, labels)[0] == pytest.approx(-1.0 / 3.0)
    assert attacks.targeted_dlr(logits, jnp.array([2]), labels)[0] == pytest.approx(-1.0 / 3.5)
    moved = attacks.dlr(10.0 * logits + 7.0, labels)
    np.testing.assert_allclose(moved, attacks.dlr(logits, labels), rtol=1e-6)


def test_cross_entropy_where_it_would_overflow():
    logits = jnp.array([[1e4, 0.0], [0.0, 1e4]])
    values, grads = jax.value_and_grad(
        lambda v: jnp.sum(attacks.cross_entropy(v, jnp.array([0, 0])))
    )(logits)
    assert values == 1e4
    np.testing.assert_allclose(grads, [[0.0, 0.0], [-1.0, 1.0]])


def test_losses_refuse_what_they_cannot_be():
    with pytest.raises(ValueError, match="needs 3 classes"):
        attacks.dlr(jnp.zeros((1, 2)), jnp.zeros(1, int))
    with pytest.raises(ValueError, match="choose one of"):
        attacks.objective("hinge", False)
    with pytest.raises(ValueError, match="targeted=True"):
        attacks.objective("targeted_dlr", False)
