"""A finished stage acts with the weights it is given, and with averaged ones by default."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit.core import FinishedStage, Method, create, eval_params


def refuse(*_):
    pytest.fail("not part of a finished stage")


def stage(**offers):
    state = create(jax.random.key(0), {"net": jnp.float32(2.0)}, {}, ema=("net",))
    state = state.replace(ema={"net": jnp.float32(3.0)}, variables={"net": jnp.float32(1.0)})
    return FinishedStage("first", Method("linear", *(refuse,) * 6, **offers), state)


def logits(state, x):
    return eval_params(state, "net") * x + state.variables["net"]


def test_weights_are_the_averaged_ones_until_others_are_given():
    finished = stage(logits=logits)
    x = jnp.ones((2, 3))
    found = finished.logits(finished.params, finished.variables, x)
    np.testing.assert_array_equal(found, jnp.full((2, 3), 4.0))
    other = jax.jit(finished.logits)({"net": 5.0}, {"net": 0.0}, x)
    np.testing.assert_array_equal(other, jnp.full((2, 3), 5.0))


def test_what_a_method_does_not_offer_is_an_error():
    finished, x = stage(), jnp.ones((1, 1))
    with pytest.raises(ValueError, match="'first' is a linear, which has no logits"):
        finished.logits(finished.params, finished.variables, x)
    with pytest.raises(ValueError, match="perturbs nothing"):
        finished.perturb(finished.params, finished.variables, jax.random.key(0), x, x)
