"""Path lengths of a linear generator, and the running average they are compared with."""

import jax
import jax.numpy as jnp
import numpy as np

from gmkit.objectives import path_length


def test_a_linear_generator(key):
    matrix = jax.random.normal(key, (2 * 3, 4 * 5 * 1))
    synthesis = lambda ws: (ws.reshape(-1, 6) @ matrix).reshape(-1, 4, 5, 1)
    noise = jax.random.normal(jax.random.key(1), (7, 4, 5, 1))
    ws = jax.random.normal(key, (7, 2, 3))
    # J' y for every example: matrix @ y, two rows of three.
    products = (noise.reshape(7, -1) @ matrix.T).reshape(7, 2, 3) / np.sqrt(20)
    expected = np.sqrt(np.mean(np.sum(np.square(products), axis=2), axis=1))
    found = path_length.path_lengths(synthesis, ws, noise)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_average_takes_one_percent():
    lengths = jnp.asarray([1.0, 3.0])
    penalty, new = path_length.path_length_penalty(lengths, jnp.asarray(0.0))
    np.testing.assert_allclose(new, 0.02, rtol=1e-6)
    np.testing.assert_allclose(penalty, [0.98**2, 2.98**2], rtol=1e-6)
    # The new average carries its share of the gradient: 2 (L - a)(1 - 0.01 / 2) - ...
    total = lambda v: jnp.sum(path_length.path_length_penalty(v, jnp.asarray(0.0))[0])
    slope = jax.grad(total)(lengths)
    shared = 0.005 * 2 * (0.98 + 2.98)
    np.testing.assert_allclose(slope, [2 * 0.98 - shared, 2 * 2.98 - shared], rtol=1e-5)
