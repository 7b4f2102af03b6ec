"""Sequential editing: what is climbed, what is held still, and in which layers."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit import samplers
from gmkit.energies import discrete_log_prob, gaussian_log_prob

D, W, N = 6, 5, 16
WEIGHTS = jax.random.normal(jax.random.key(0), (W, D)) / 2
HEADS = [jax.random.normal(jax.random.key(k), (n, W)) for k, n in ((1, 2), (2, 1), (3, 3))]
TARGETS = (jnp.int32(1), jnp.float32(0.7), jnp.int32(2))


def mapping(z):
    return jnp.tanh(WEIGHTS @ z)


def outputs(w):
    first, second, third = (head @ w for head in HEADS)
    return first, second[0], third


def log_probs(out, targets):
    return jnp.stack(
        [
            discrete_log_prob(out[0], targets[0]),
            gaussian_log_prob(out[1], targets[1], 0.3),
            discrete_log_prob(out[2], targets[2]),
        ]
    )


READOUT = samplers.Readout(mapping, outputs, log_probs)
Z = jax.random.normal(jax.random.key(4), (N, D))


@jax.jit
def edited(z, latent, logits):
    """One program for all penalties."""
    held = samplers.Penalties(latent, logits)
    return samplers.edit(
        READOUT, z, (0, 2), TARGETS, penalties=held, rtol=1e-5, atol=1e-5, max_steps=2**14
    )


def test_the_energy_of_an_edit_and_its_gradient_at_the_anchor():
    readout = READOUT._replace(features=lambda w: jnp.square(w) + 1.0)
    log_prob = samplers.edit_log_prob(readout, samplers.Penalties(0.3, 0.2, 0.5))

    @jax.jit
    def value_and_slopes(a, b):
        weights, active = jnp.array([0.1, 0.0, 10.0]), jnp.array([True, False, True])
        args = samplers.EditArgs(samplers.anchor(readout, b), weights, active, TARGETS)
        wanted = lambda z: weights @ log_probs(outputs(mapping(z)), TARGETS)
        wa, wb = mapping(a), mapping(b)
        ra, rb = readout.features(wa), readout.features(wb)
        expected = wanted(a) - 0.3 * (jnp.sum((wa - wb) ** 2) + jnp.sum((a - b) ** 2))
        expected -= 0.2 * jnp.sum((outputs(wa)[1] - outputs(wb)[1]) ** 2)
        expected -= 0.5 * (1.0 - ra @ rb / jnp.linalg.norm(ra) / jnp.linalg.norm(rb))
        return log_prob(a, args), expected, jax.grad(log_prob)(b, args), jax.grad(wanted)(b)

    value, expected, slope, free_slope = value_and_slopes(Z[0], Z[1])
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    # The penalties are flat where every edit starts.
    assert jnp.isfinite(slope).all()
    np.testing.assert_allclose(slope, free_slope, rtol=1e-5, atol=1e-6)


def test_an_image_without_features_has_no_direction():
    readout = READOUT._replace(features=lambda w: 0.0 * w)
    log_prob = samplers.edit_log_prob(readout, samplers.Penalties(identity=1.0))

    @jax.jit
    def slope(z):
        none = jnp.zeros(3)
        args = samplers.EditArgs(samplers.anchor(readout, z), none, none > 0, TARGETS)
        return jax.grad(log_prob)(z, args)

    np.testing.assert_array_equal(slope(Z[0]), 0.0)


def test_edits_reach_their_targets_one_after_the_other():
    sample = edited(Z, 0.0, 0.0)
    assert sample.latents.shape == (2, N, D) and sample.steps.shape == (2, N)
    assert not sample.failed.any()
    reached = jax.jit(jax.vmap(jax.vmap(lambda z: log_probs(outputs(mapping(z)), TARGETS))))
    first, second = reached(sample.latents)
    assert first[:, 0].min() > -0.4
    # The earlier edit stays active in the later one.
    assert second[:, 0].min() > -0.4
    assert (second[:, 2] > np.log(0.5)).mean() > 0.9


def test_penalties_hold_still():
    stuck = edited(Z, 100.0, 0.0)
    assert not stuck.failed.any()
    # What is left is at most |grad log p| / (2 lambda).
    assert jnp.abs(stuck.latents[0] - Z).max() < 0.02

    @jax.jit
    @jax.vmap
    def others(z, start):
        moved = outputs(mapping(z) - mapping(start))  # linear
        return sum(jnp.sum(x**2) for x in moved[1:])

    strengths = (0.0, 0.01, 0.1, 1.0)
    drift = [others(edited(Z, 0.0, logits).latents[0], Z).mean() for logits in strengths]
    assert drift[0] > drift[1] > drift[2] > drift[3]
    assert drift[3] < 0.3 * drift[0]


@pytest.mark.slow
def test_a_large_penalty_keeps_the_latent():
    held = samplers.Penalties(1e3, 0.0)
    run = lambda z: samplers.edit(
        READOUT, z, (0,), TARGETS, penalties=held, rtol=1e-4, atol=1e-5, max_steps=2**15
    )
    sample = jax.jit(run)(Z)
    assert not sample.failed.any()
    assert jnp.abs(sample.latents[0] - Z).max() < 1e-3


@pytest.mark.slow
def test_any_sampler_can_edit_with_targets_per_row():
    def sampler(log_prob, z, key, args, axis):
        return samplers.guided_langevin(log_prob, z, key, args, args_axis=axis, noise="langevin")

    labels = jnp.arange(N) % 2
    targets = (labels, *(jnp.broadcast_to(t, N) for t in TARGETS[1:]))
    run = functools.partial(samplers.edit, READOUT, sequence=(0,), targets=targets, targets_axis=0)
    moved = run(Z, sampler=sampler, key=jax.random.key(5))
    assert (moved.evaluations == 101).all()
    with pytest.raises(ValueError, match="rtol: settings of lace_ode"):
        run(Z, sampler=sampler, rtol=1e-2)
    reached = run(Z, penalties=samplers.Penalties(0.0, 0.0)).latents[0]
    predicted = jax.vmap(lambda z: jnp.argmax(outputs(mapping(z))[0]))(reached)
    np.testing.assert_array_equal(predicted, labels)


def test_masks_of_both_methods():
    active, weights = samplers.edit_masks((2, 0), 3)
    np.testing.assert_array_equal(active, [[0, 0, 1], [1, 0, 1]])
    np.testing.assert_array_equal(weights, active)
    active, _ = samplers.edit_masks((2, 0), 3, cumulative=False)
    np.testing.assert_array_equal(active, [[0, 0, 1], [1, 0, 0]])
    _, weights = samplers.edit_masks((2, 0, 1), 3, reweight=True, continuous=(False, True, False))
    np.testing.assert_allclose(weights, [[0, 0, 1], [1, 0, 0.1], [0.1, 10, 0.1]])


def test_layers_change_only_where_they_may():
    masks = samplers.layer_masks(("smile", "yaw", "width"), (0, 1, 2), 18)
    changed = [np.flatnonzero(row).tolist() for row in masks]
    assert changed == [[4, 5], [0, 1, 2, 3, 4, 5], list(range(18))]
    alone = samplers.layer_masks(("smile", "yaw"), (0, 1), 10, cumulative=False)
    assert np.flatnonzero(alone[1]).tolist() == [0, 1, 2, 3]
    w = jnp.arange(3.0)[:, None, None] * jnp.ones((3, 2, 4))
    ws = samplers.edit_layers(w, alone)
    assert ws.shape == (3, 2, 10, 4)
    np.testing.assert_array_equal(ws[2, 1, :, 0], [2, 2, 2, 2, 1, 1, 0, 0, 0, 0])
    np.testing.assert_array_equal(ws[0], 0.0)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match=r"sequence=\[3\]: give attributes in 0 .. 2"):
        samplers.edit(READOUT, Z, (3,), TARGETS)
    with pytest.raises(ValueError, match="reweight needs continuous"):
        samplers.edit_masks((0,), 3, reweight=True)
    with pytest.raises(ValueError, match=r"identity=0.5 needs Readout\.features"):
        samplers.edit_log_prob(READOUT, samplers.Penalties(identity=0.5))
