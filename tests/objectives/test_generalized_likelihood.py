"""Generalized likelihood and KALE: worked values, identities, limits, views, edges."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gmkit import nets, objectives
from gmkit.core import optim, parallel

REAL = jnp.array([0.0, 1.0])
FAKE = jnp.array([0.0, math.log(2.0)])

# ---------------------------------------------------------------- worked values


def test_loss_values_of_the_worked_example():
    zero = jnp.zeros(())
    terms = objectives.kale_loss(REAL, FAKE, zero)
    assert terms.loss == pytest.approx(0.25, abs=1e-6)
    assert objectives.variational_log_likelihood(REAL, FAKE, zero) == pytest.approx(-0.25, abs=1e-6)
    assert objectives.log_partition(FAKE) == pytest.approx(-0.287682, abs=1e-6)
    likelihood = objectives.generalized_log_likelihood(REAL, FAKE)
    assert likelihood == pytest.approx(-0.212318, abs=1e-6)
    assert likelihood + terms.loss == pytest.approx(0.037682, abs=1e-6)
    assert objectives.donsker_varadhan_loss(REAL, FAKE).loss == pytest.approx(0.212318, abs=1e-6)
    np.testing.assert_allclose(objectives.importance_weights(FAKE), [2 / 3, 1 / 3], rtol=1e-6)
    np.testing.assert_allclose(objectives.importance_weights(FAKE, zero), [0.5, 0.25], rtol=1e-6)


def test_gradient_of_the_log_partition_and_its_robust_form():
    gradient = jax.grad(lambda c: objectives.kale_loss(REAL, FAKE, c).loss)(jnp.zeros(()))
    assert gradient == pytest.approx(0.25, abs=1e-6)
    transform = optim.robust_log_partition()
    assert transform.update(gradient, transform.init(gradient))[0] == pytest.approx(1 / 3, abs=1e-6)


@pytest.mark.parametrize("offset", [math.log(2.0), 0.0, -1.5, 3.0])
def test_gap_to_the_likelihood(offset, key):
    fake = jax.random.normal(key, (64,))
    c = objectives.log_partition(fake) + offset
    gap = objectives.generalized_log_likelihood(REAL, fake) - objectives.variational_log_likelihood(
        REAL, fake, c
    )
    assert gap == pytest.approx(offset + math.exp(-offset) - 1.0, abs=1e-5)
    if offset == math.log(2.0):
        assert gap == pytest.approx(0.193147, abs=1e-5)


def test_donsker_varadhan_gradient_is_the_kale_gradient_at_the_batch_log_partition(key):
    fake = jax.random.normal(key, (16,))
    c = objectives.log_partition(fake)

    def kale(real, fake):
        return objectives.kale_loss(real, fake, c).loss

    def donsker_varadhan(real, fake):
        return objectives.donsker_varadhan_loss(real, fake).loss

    for a, b in zip(
        jax.grad(kale, (0, 1))(REAL, fake),
        jax.grad(donsker_varadhan, (0, 1))(REAL, fake),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-8)


def test_contrastive_divergence_vanishes_between_equal_energies():
    assert objectives.contrastive_divergence_loss(REAL, REAL).loss == 0.0
    assert objectives.contrastive_divergence_loss(REAL, REAL - 2.0).loss == pytest.approx(2.0)


# ---------------------------------------------------------------- base


@pytest.mark.parametrize("weighting", ["softmax", "learned_c"])
def test_base_gradient_between_gaussians(weighting, key):
    # G = N(t, 1), P = N(m, 1): KL(P || G) has gradient t - m in t.
    t, m = 0.3, 1.0
    z = jax.random.normal(key, (200_000,))

    def energy(x):  # -log dP/dG at the present t, so that A = 0
        return 0.5 * jnp.square(x - m) - 0.5 * jnp.square(x - t)

    gradient = jax.grad(
        lambda t: objectives.base_loss(energy(z + t), weighting, log_z=jnp.zeros(()))
    )(t)
    assert gradient == pytest.approx(t - m, abs=1e-2)


def test_base_gradient_weights_are_the_importance_weights(key):
    fake = jax.random.normal(key, (8,))
    softmax = jax.grad(lambda e: objectives.base_loss(e))(fake)
    np.testing.assert_allclose(softmax, objectives.importance_weights(fake), rtol=1e-5)
    c = jnp.asarray(0.7)
    learned, c_gradient = jax.grad(
        lambda e, c: objectives.base_loss(e, "learned_c", c), argnums=(0, 1)
    )(fake, c)
    np.testing.assert_allclose(learned, objectives.importance_weights(fake, c), rtol=1e-5)
    assert c_gradient == 0.0


def test_base_loss_errors():
    with pytest.raises(ValueError, match="choose softmax or learned_c"):
        objectives.base_loss(FAKE, "uniform")
    with pytest.raises(ValueError, match="needs log_z"):
        objectives.base_loss(FAKE, "learned_c")


# ---------------------------------------------------------------- log-partition


@pytest.mark.parametrize("offset", [5.0, -5.0])
def test_fixed_point_finds_the_log_partition(offset, key):
    fake = jax.random.normal(key, (256,))
    target = objectives.log_partition(fake)
    c = target + offset
    c = jax.lax.fori_loop(0, 300, lambda _, c: objectives.log_partition_step(c, fake), c)
    assert c == pytest.approx(float(target), abs=1e-4)


def test_fixed_point_step_is_exact_and_bounded():
    zero = jnp.zeros(())
    step = objectives.log_partition_step(zero, FAKE, 0.05)
    assert step == pytest.approx(0.05 * math.log(0.75), abs=1e-7)
    assert objectives.log_partition_step(zero, FAKE - 1e4, 0.05) == 1.0
    assert objectives.log_partition_step(zero, FAKE + 1e4, 0.05) == -1.0
    assert jax.grad(lambda e: objectives.log_partition_step(zero, e))(FAKE).tolist() == [0.0, 0.0]


def test_average_step_is_exact_and_bounded():
    zero = jnp.zeros(())
    step = objectives.log_partition_average(zero, FAKE, 0.05)
    assert step == pytest.approx(math.log(0.95 + 0.05 * 0.75), abs=1e-7)
    assert objectives.log_partition_average(zero, FAKE - 1e4, 0.05) == 1.0
    assert objectives.log_partition_average(zero, FAKE + 1e4, 0.05) == pytest.approx(math.log(0.95))
    grads = jax.grad(lambda e: objectives.log_partition_average(zero, e))(FAKE)
    assert grads.tolist() == [0.0, 0.0]


def test_the_average_follows_the_mean_of_the_weights_and_not_of_their_logarithms():
    """Single draws of weight 1/10 and 19/10 in turn: log E = 0, E log = -0.83."""
    fakes = -jnp.log(jnp.tile(jnp.array([0.1, 1.9]), 2000))[:, None]

    def settled(rule):
        move = lambda c, fake: (rule(c, fake, 0.01), c)
        return float(jnp.mean(jax.lax.scan(move, jnp.zeros(()), fakes)[1][-1000:]))

    assert settled(objectives.log_partition_average) == pytest.approx(0.0, abs=0.01)
    logs = 0.5 * (math.log(0.1) + math.log(1.9))
    assert settled(objectives.log_partition_step) == pytest.approx(logs, abs=0.01)


def test_effective_sample_size(key):
    assert objectives.weight_ess(jnp.full((8,), 3.0)) == pytest.approx(1.0, abs=1e-6)
    assert objectives.weight_ess(jnp.array([0.0, 500.0, 500.0, 500.0])) == pytest.approx(0.25)
    assert objectives.weight_ess(jnp.array([7.0])) == pytest.approx(1.0)
    fake = jax.random.normal(key, (32,))
    w = np.asarray(objectives.importance_weights(fake))
    assert objectives.weight_ess(fake) == pytest.approx(1.0 / np.sum(w**2) / 32, rel=1e-5)
    assert objectives.weight_ess(1000.0 * fake) == pytest.approx(1.0 / 32, rel=1e-3)


# ---------------------------------------------------------------- views of a batch


def test_every_reduction_over_a_named_axis_equals_the_whole(key):
    real, fake = 3.0 * jax.random.normal(key, (2, 32))
    c = jnp.asarray(0.4)

    def everything(real, fake):
        floored, fraction = objectives.energy_floor(fake, -1.0)
        return {
            "A": objectives.log_partition(fake),
            "L": objectives.generalized_log_likelihood(real, fake),
            "F": objectives.variational_log_likelihood(real, fake, c),
            "kale": objectives.kale_loss(real, fake, c),
            "dv": objectives.donsker_varadhan_loss(real, floored),
            "cd": objectives.contrastive_divergence_loss(real, fake),
            "base": objectives.base_loss(fake),
            "base_c": objectives.base_loss(fake, "learned_c", c),
            "c": objectives.log_partition_step(c, fake),
            "c_average": objectives.log_partition_average(c, fake),
            "ess": objectives.weight_ess(fake),
            "w": jnp.sum(parallel.gather_batch(objectives.importance_weights(fake))),
            "clamped": fraction,
        }

    split = jax.vmap(everything, axis_name="data", out_axes=None)
    got = split(real.reshape(4, 8), fake.reshape(4, 8))
    expected = everything(real, fake)
    assert expected["w"] == pytest.approx(1.0, abs=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), got, expected)


@pytest.mark.parametrize("view", ["vmap", "shard_map"])
def test_gradients_over_a_named_axis_average_to_those_of_the_whole(key, view):
    fake = jax.random.normal(key, (32, 3))

    def gradient(x):
        def loss(w):
            return (
                objectives.base_loss(x @ w) + objectives.donsker_varadhan_loss(x @ w, -x @ w).loss
            )

        return parallel.mean_over_devices(jax.grad(loss)(jnp.array([0.5, -1.0, 2.0])))

    if view == "vmap":
        split = jax.vmap(gradient, axis_name="data", out_axes=None)(fake.reshape(4, 8, 3))
    else:
        spec = jax.sharding.PartitionSpec
        split = jax.jit(
            jax.shard_map(
                gradient,
                mesh=parallel.make_mesh(4),
                in_specs=spec("data"),
                out_specs=spec(),
                check_vma=False,
            )
        )(fake)
    np.testing.assert_allclose(split, gradient(fake), rtol=1e-5, atol=1e-6)


# ---------------------------------------------------------------- edges


def test_safe_exp_is_smooth_and_never_overflows():
    a = jnp.array([-jnp.inf, -200.0, 0.0, 9.999, 10.0, 10.001, 100.0, 1e30])
    value = objectives.safe_exp(a)
    slope = jax.vmap(jax.grad(objectives.safe_exp))(a)
    assert bool(jnp.all(jnp.isfinite(value))) and bool(jnp.all(jnp.isfinite(slope)))
    np.testing.assert_allclose(
        value[:5], np.exp(np.asarray(a[:5], np.float64)), rtol=1e-5, atol=1e-30
    )
    np.testing.assert_allclose(slope[4:], math.exp(10.0), rtol=1e-5)
    assert value[6] == pytest.approx(math.exp(10.0) * 91.0, rel=1e-5)
    assert objectives.safe_exp(jnp.asarray(jnp.inf)) == jnp.inf


@pytest.mark.parametrize("scale", [88.0, 1e4, 1e30])
def test_extreme_energies_have_finite_losses_and_gradients(scale):
    real, fake = jnp.array([scale, -scale]), jnp.array([-scale, 0.0, scale])
    losses = {
        "kale": lambda r, f: objectives.kale_loss(r, f, jnp.zeros(())).loss,
        "dv": lambda r, f: objectives.donsker_varadhan_loss(r, f).loss,
        "base": lambda r, f: objectives.base_loss(f),
        "base_c": lambda r, f: objectives.base_loss(f, "learned_c", jnp.zeros(())),
    }
    for loss in losses.values():
        value, gradients = jax.value_and_grad(loss, argnums=(0, 1))(real, fake)
        assert math.isfinite(value)
        assert all(bool(jnp.all(jnp.isfinite(g))) for g in gradients)


def test_an_infinite_energy_carries_no_mass():
    fake = jnp.array([jnp.inf, 0.0])
    assert objectives.log_partition(fake) == pytest.approx(-math.log(2.0))
    np.testing.assert_allclose(objectives.importance_weights(fake), [0.0, 1.0])
    for weighting in ("softmax", "learned_c"):
        gradient = jax.grad(lambda e, w=weighting: objectives.base_loss(e, w, jnp.zeros(())))(fake)
        assert gradient[0] == 0.0 and bool(jnp.all(jnp.isfinite(gradient)))
    assert objectives.log_partition(-fake) == jnp.inf
    gradient = jax.grad(lambda e: objectives.kale_loss(REAL, e, jnp.zeros(())).loss)(-fake)
    assert bool(jnp.all(jnp.isfinite(gradient)))


def test_one_sample_each():
    one = jnp.array([2.0])
    assert objectives.log_partition(one) == pytest.approx(-2.0)
    assert objectives.donsker_varadhan_loss(one, one).loss == pytest.approx(0.0, abs=1e-6)
    assert objectives.kale_loss(one, one, jnp.asarray(-2.0)).loss == pytest.approx(0.0, abs=1e-6)


def test_energy_floor():
    energies = jnp.array([-20.0, -10.0, -9.0, 5.0])
    floored, fraction = objectives.energy_floor(energies, -10.0)
    np.testing.assert_array_equal(floored, [-10.0, -10.0, -9.0, 5.0])
    assert fraction == 0.25
    gradient = jax.grad(lambda e: objectives.energy_floor(e, -10.0)[0].sum())(energies)
    assert gradient.tolist() == [0.0, 1.0, 1.0, 1.0]
    unchanged, fraction = objectives.energy_floor(energies, None)
    assert fraction == 0.0
    np.testing.assert_array_equal(unchanged, energies)


# ---------------------------------------------------------------- training reaches the divergence


@pytest.mark.parametrize(
    ("mean", "scale", "divergence"), [(1.0, 1.0, 0.5), (0.0, 0.5, 0.318147)], ids=["mean", "scale"]
)
def test_kale_of_gaussians_reaches_the_kullback_leibler_divergence(mean, scale, divergence):
    """P = N(mean, scale^2) against G = N(0, 1), energy a 1-64-64-1 SiLU network."""
    module = nets.MLP((64, 64, 1), output_shape=())
    params = module.init(jax.random.key(0), jnp.zeros((1, 1)))["params"]
    tx = optim.optimizer("adam", 2e-3, schedule="cosine", total_steps=3000)

    def draw(key, n):
        real, fake = jax.random.split(key)
        return mean + scale * jax.random.normal(real, (n, 1)), jax.random.normal(fake, (n, 1))

    def energy(params, x):
        return module.apply({"params": params}, x)

    def step(carry, key):
        params, opt_state, c = carry
        x, y = draw(key, 512)

        def loss(params):
            return objectives.kale_loss(energy(params, x), energy(params, y), c).loss

        updates, opt_state = tx.update(jax.grad(loss)(params), opt_state, params)
        params = optax.apply_updates(params, updates)
        return (params, opt_state, objectives.log_partition_step(c, energy(params, y))), None

    @jax.jit
    def train(params):
        start = (params, tx.init(params), jnp.zeros(()))
        keys = jax.random.split(jax.random.key(1), 3000)
        (params, _, c), _ = jax.lax.scan(step, start, keys)
        x, y = draw(jax.random.key(2), 200_000)
        grid = (
            jnp.linspace(-2.0, 3.0, 101)[:, None] if mean else jnp.linspace(-1.5, 1.5, 61)[:, None]
        )
        f = objectives.variational_log_likelihood(energy(params, x), energy(params, y), c)
        return f, grid[:, 0], energy(params, grid) + c

    f, x, learned = train(params)
    assert abs(float(f) - divergence) < 0.02
    optimal = 0.5 * ((x - mean) / scale) ** 2 + math.log(scale) - 0.5 * x**2
    assert float(jnp.abs(learned - optimal).max()) < 0.2
