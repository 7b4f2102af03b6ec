"""What every attack keeps, closed forms on linear classifiers, and who is stronger than whom."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit import attacks

EPSILON = 0.1
N, SHAPE, K = 16, (6, 6, 1), 5


@functools.cache
def weights():
    keys = jax.random.split(jax.random.key(0), 3)
    hidden = jax.random.normal(keys[0], (36, 24)) / 3.0
    return hidden, jax.random.normal(keys[1], (24, K)) / 2.0


def model(x):
    first, last = weights()
    return jnp.tanh((x.reshape(x.shape[0], -1) - 0.5) @ first) @ last


@functools.cache
def problem():
    x = jax.random.uniform(jax.random.key(1), (N, *SHAPE))
    return x, jnp.argmax(model(x), axis=-1).astype(jnp.int32)


MAKERS = {
    "fgsm": lambda m=model: attacks.fgsm(m, epsilon=EPSILON),
    "random_fgsm": lambda m=model: attacks.random_fgsm(m, epsilon=EPSILON, alpha=0.03),
    "bim": lambda m=model: attacks.bim(m, epsilon=EPSILON, step_size=0.02, n_steps=8),
    "pgd": lambda m=model: attacks.pgd(m, epsilon=EPSILON, step_size=0.02, n_steps=8),
    "pgd_restarts": lambda m=model: attacks.pgd(
        m, epsilon=EPSILON, step_size=0.02, n_steps=8, restarts=2, loss="margin"
    ),
    "mi_fgsm": lambda m=model: attacks.mi_fgsm(m, epsilon=EPSILON, n_steps=8),
    "apgd": lambda m=model: attacks.apgd(m, epsilon=EPSILON, n_steps=12, restarts=2),
    "apgd_dlr": lambda m=model: attacks.apgd(m, epsilon=EPSILON, n_steps=12, loss="dlr"),
    "apgd_targeted": lambda m=model: attacks.apgd_targeted(
        m, epsilon=EPSILON, n_steps=8, n_targets=3
    ),
    "square": lambda m=model: attacks.square(m, epsilon=EPSILON, n_queries=60),
}


@functools.cache
def examples(name):
    attack = MAKERS[name]()
    return np.asarray(
        jax.jit(functools.partial(attacks.perturb, attack))(jax.random.key(2), *problem())
    )


def accuracy(x):
    return float(jnp.mean(jnp.argmax(model(jnp.asarray(x)), axis=-1) == problem()[1]))


@pytest.mark.parametrize("name", MAKERS)
def test_examples_keep_to_the_ball_and_the_box_and_fool(name):
    x_adv, x = examples(name), np.asarray(problem()[0])
    assert np.abs(x_adv - x).max() <= EPSILON + 1e-6
    assert x_adv.min() >= 0.0 and x_adv.max() <= 1.0
    assert accuracy(x_adv) <= 0.7


@pytest.mark.parametrize(
    "name", ["pgd_restarts", pytest.param("apgd_targeted", marks=pytest.mark.slow), "square"]
)
def test_step_by_step_is_the_scan(name):
    x, labels = (np.asarray(a) for a in problem())
    attack = MAKERS[name]()
    run = lambda stepwise: attacks.attack_images(
        attack, jax.random.key(2), x, labels, batch_size=N, stepwise=stepwise
    )
    np.testing.assert_allclose(run(True), run(False), atol=1e-6)


def test_any_number_of_images_in_batches():
    x, labels = (np.asarray(a) for a in problem())
    attack = MAKERS["fgsm"]()
    whole = attacks.attack_images(attack, jax.random.key(0), x, labels, batch_size=N)
    parts = attacks.attack_images(attack, jax.random.key(0), x, labels, batch_size=5)
    np.testing.assert_allclose(parts, whole, atol=1e-6)
    none = attacks.attack_images(attack, jax.random.key(0), x[:0], labels[:0])
    assert none.shape == (0, *SHAPE)
    with pytest.raises(ValueError, match="decode to floats"):
        attacks.attack_images(attack, jax.random.key(0), x.astype(np.uint8), labels)
    with pytest.raises(ValueError, match="one integer per image"):
        attacks.attack_images(attack, jax.random.key(0), x, labels[:3])


def test_the_more_steps_the_larger_the_loss():
    labels = problem()[1]
    loss = lambda x: np.asarray(attacks.cross_entropy(model(jnp.asarray(x)), labels))
    from_image = loss(examples("bim"))
    assert (from_image >= loss(examples("fgsm")) - 1e-5).mean() >= 0.9
    assert from_image.mean() > loss(examples("fgsm")).mean()
    assert loss(examples("apgd")).mean() >= loss(examples("pgd")).mean() - 1e-3


@pytest.mark.slow
def test_restarts_never_hurt():
    labels = problem()[1]
    make = lambda restarts: attacks.pgd(
        model, epsilon=0.05, step_size=0.02, n_steps=5, loss="margin", restarts=restarts
    )
    margins = []
    for restarts in (2, 4):
        x = attacks.perturb(make(restarts), jax.random.key(0), *problem())
        margins.append(np.asarray(attacks.margin(model(x), labels)))
    assert (margins[1] >= margins[0] - 1e-6).all()


def test_targeted_attacks_reach_their_targets():
    x, labels = problem()
    targets = (labels + 1) % K
    wide = {"epsilon": 0.5, "step_size": 0.05, "n_steps": 40}
    attack = attacks.pgd(model, targeted=True, **wide)
    found = jnp.argmax(model(attacks.perturb(attack, jax.random.key(0), x, targets)), axis=-1)
    assert float(jnp.mean(found == targets)) >= 0.9


# ---------------------------------------------------------------- closed forms


def linear(x):
    return x @ jnp.stack([jnp.array([0.5, -1.0, 2.0]), jnp.array([0.0, 1.0, -0.5])], axis=1)


GAP = np.array([0.5, -2.0, 2.5])  # difference of the two columns
BOX = (-10.0, 10.0)


def test_fgsm_of_two_linear_classes():
    x, labels = jnp.array([[0.3, 0.1, 0.2], [-0.2, 0.4, 0.1]]), jnp.array([0, 1])
    attack = attacks.fgsm(linear, epsilon=0.01, bounds=BOX)
    x_adv = attacks.perturb(attack, jax.random.key(0), x, labels)
    signs = np.array([[-1.0], [1.0]]) * np.sign(GAP)
    np.testing.assert_allclose(x_adv - x, 0.01 * signs, atol=1e-7)
    drop = attacks.margin(linear(x_adv), labels) - attacks.margin(linear(x), labels)
    np.testing.assert_allclose(drop, 0.01 * np.abs(GAP).sum(), rtol=1e-4)


def test_carlini_wagner_finds_the_distance_to_a_plane():
    x = jnp.array([[0.3, 0.1, 0.2], [-0.2, 0.4, 0.1], [1.0, 0.0, 1.0]])
    labels = jnp.argmax(linear(x), axis=-1)
    margins = np.abs(np.asarray(x) @ GAP)
    search = {"n_steps": 400, "n_searches": 10, "initial_const": 0.1, "bounds": (-3.0, 3.0)}
    attack = attacks.carlini_wagner_l2(linear, **search)
    x_adv = jax.jit(functools.partial(attacks.perturb, attack))(jax.random.key(0), x, labels)
    assert (np.argmax(linear(x_adv), axis=-1) != labels).all()
    distances = np.linalg.norm(x_adv - x, axis=1)
    np.testing.assert_allclose(distances, margins / np.linalg.norm(GAP), rtol=0.01)


def test_carlini_wagner_in_the_largest_norm_finds_its_distance():
    x = jnp.array([[0.3, 0.1, 0.2], [-0.2, 0.4, 0.1]])
    labels = jnp.argmax(linear(x), axis=-1)
    attack = attacks.carlini_wagner_linf(
        linear, n_steps=100, n_rounds=40, learning_rate=2e-3, bounds=(-3.0, 3.0)
    )
    x_adv = jax.jit(functools.partial(attacks.perturb, attack))(jax.random.key(0), x, labels)
    assert (np.argmax(linear(x_adv), axis=-1) != labels).all()
    distances = np.abs(np.asarray(x_adv - x)).max(axis=1)
    expected = np.abs(np.asarray(x) @ GAP) / np.abs(GAP).sum()
    assert (distances >= expected - 1e-5).all() and (distances <= 1.15 * expected).all()


def test_what_cannot_be_fooled_comes_back_as_it_was():
    attack = attacks.carlini_wagner_l2(
        lambda x: jnp.stack([0.0 * x[:, 0], 0.0 * x[:, 0] - 1.0], axis=1), n_steps=3, n_searches=2
    )
    x = jnp.full((2, 3), 0.4)
    found = attacks.perturb(attack, jax.random.key(0), x, jnp.zeros(2, int))
    np.testing.assert_array_equal(found, x)


# ---------------------------------------------------------------- edges


def test_gradients_that_are_not_finite_move_nothing():
    broken = lambda x: jnp.sqrt(x[:, :2] - x[:, :2])
    x = jnp.full((3, 4), 0.5)
    attack = attacks.pgd(broken, epsilon=0.1, step_size=0.1, n_steps=2, random_start=False)
    found = attacks.perturb(attack, jax.random.key(0), x, jnp.zeros(3, int))
    np.testing.assert_array_equal(found, x)


def test_checkpoints_are_the_published_ones():
    assert attacks.checkpoints(100).tolist() == [22, 41, 57, 70, 80, 87, 93, 99]


def test_a_function_of_the_host_is_a_model():
    first, last = (np.asarray(w) for w in weights())
    host = attacks.host_model(
        lambda x: np.tanh((x.reshape(len(x), -1) - 0.5) @ first) @ last, n_classes=K
    )
    attack = attacks.square(host, epsilon=EPSILON, n_queries=20)
    x_adv = jax.jit(functools.partial(attacks.perturb, attack))(jax.random.key(0), *problem())
    assert accuracy(x_adv) < 1.0
    with pytest.raises(ValueError, match="has no gradient"):
        attacks.perturb(attacks.fgsm(host, epsilon=0.1), jax.random.key(0), *problem())


@pytest.mark.slow
def test_the_ensemble_is_at_least_as_strong_as_its_first_member():
    x, labels = (np.asarray(a) for a in problem())
    found = attacks.auto_attack(
        model, jax.random.key(0), x, labels, epsilon=0.03, n_steps=8, n_targets=3, n_queries=30
    )
    single = attacks.attack_images(
        attacks.apgd(model, epsilon=0.03, n_steps=8),
        jax.random.fold_in(jax.random.key(0), 0),
        x,
        labels,
    )
    assert accuracy(found) <= accuracy(single)
    assert np.abs(found - x).max() <= 0.03 + 1e-6


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: attacks.pgd(model, epsilon=0.1, step_size=0.1, n_steps=0), "n_steps=0"),
        (lambda: attacks.pgd(model, epsilon=0.1, step_size=0.1, n_steps=1, norm="l1"), "norm='l1'"),
        (lambda: attacks.random_fgsm(model, epsilon=0.1, alpha=0.2), "alpha=0.2"),
        (lambda: attacks.carlini_wagner_l2(model, n_searches=0), "n_searches=0"),
        (lambda: attacks.square(model, epsilon=0.1, n_queries=1), "n_queries=1"),
        (lambda: attacks.apgd(model, epsilon=0.1, restarts=0), "restarts or n_targets=0"),
    ],
)
def test_settings_that_make_no_attack(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_more_targets_than_wrong_classes():
    attack = attacks.apgd_targeted(model, epsilon=0.1, n_targets=K)
    with pytest.raises(ValueError, match=f"n_targets={K}"):
        attacks.perturb(attack, jax.random.key(0), *problem())
