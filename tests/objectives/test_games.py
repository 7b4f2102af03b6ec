"""Games of a critic and a generator: values, conditions, optima, extremes, device independence."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit import objectives
from gmkit.core import parallel

POINTWISE = ("x", "exp", "log_sigmoid", "sqrt", "lsgan", "hinge")
VALID = ("x", "exp", "log_sigmoid", "sqrt")
WHOLE = ("relativistic", "relativistic_average", "score_distance")
NAMES = (*POINTWISE, "wasserstein", "minimax", "non_saturating", *WHOLE)

# phi and phi' at -1, 0, 1; psi at the same points.
VALUES = {
    "x": ([-1.0, 0.0, 1.0], [1.0, 1.0, 1.0], [1.0, 0.0, -1.0]),
    "exp": ([0.367879, 1.0, 2.718282], [0.367879, 1.0, 2.718282], [1.0, 0.0, -1.0]),
    "log_sigmoid": ([0.313262, 0.693147, 1.313262], [0.268941, 0.5, 0.731059], [1.0, 0.0, -1.0]),
    "sqrt": ([0.414214, 1.0, 2.414214], [0.292893, 1.0, 1.707107], [1.0, 0.0, -1.0]),
    "lsgan": ([0.0, 1.0, 4.0], [0.0, 2.0, 4.0], [4.0, 1.0, 0.0]),
    "hinge": ([0.0, 1.0, 2.0], [0.0, 1.0, 1.0], [1.0, 0.0, -1.0]),
}


def zero_of(increasing, low, high, steps=60):
    """Zero of an increasing function by bisection, entry by entry."""
    low, high = jnp.asarray(low, jnp.float32), jnp.asarray(high, jnp.float32)

    def halve(ends, _):
        middle = 0.5 * (ends[0] + ends[1])
        right = increasing(middle) > 0.0
        return (jnp.where(right, ends[0], middle), jnp.where(right, middle, ends[1])), None

    (low, high), _ = jax.lax.scan(halve, (low, high), length=steps)
    return 0.5 * (low + high)


@jax.jit
def play(u, real, fake):
    """What the point-wise games make of scores: phi, phi', varphi, psi and the critic's loss."""
    found = {}
    for name in POINTWISE:
        game = objectives.game(name)
        slopes = jax.vmap(jax.grad(game.phi))(u)
        psi = jax.vmap(lambda v, game=game: game.generator_loss(v[None], v[None]))(u)
        loss = game.critic_loss(real, fake)
        found[name] = game.phi(u), slopes, game.varphi(u), psi, loss
    return found


def test_values():
    real, fake = jnp.array([0.0, 1.0]), jnp.array([-1.0, 0.0, 1.0])
    for name, found in play(fake, real, fake).items():
        phi, slope, psi = VALUES[name]
        loss = (phi[1] + phi[0]) / 2 + np.mean(phi)
        for value, expected in zip(found, (phi, slope, phi[::-1], psi, loss), strict=True):
            np.testing.assert_allclose(value, expected, atol=2e-6, err_msg=name)
    assert not any(objectives.game(name).needs_real for name in POINTWISE)


def test_alpha_is_the_margin_and_psi_can_be_chosen():
    u = jnp.array([0.5])
    assert objectives.game("lsgan", alpha=0.1).phi(u)[0] == pytest.approx(0.36)
    assert objectives.game("lsgan", alpha=0.1).varphi(u)[0] == pytest.approx(0.16)
    assert objectives.game("hinge", alpha=2.0).phi(u)[0] == 2.5
    assert objectives.game("lsgan", psi="minus").generator_loss(u, u) == -0.5
    assert objectives.game("exp", psi="flipped").generator_loss(u, u) == pytest.approx(np.exp(-0.5))
    assert objectives.game("wasserstein").critic_loss(u, 3.0 * u) == 1.0


def test_classic_generators():
    u = jnp.array([0.3])
    p = jax.nn.sigmoid(u)[0]
    saturating = objectives.game("minimax")
    assert saturating.generator_loss(u, u) == pytest.approx(float(jnp.log1p(-p)), rel=1e-6)
    non_saturating = objectives.game("non_saturating").generator_loss(u, u)
    assert non_saturating == pytest.approx(float(-jnp.log(p)), rel=1e-6)
    cross_entropy = saturating.critic_loss(u, -u)
    assert cross_entropy == pytest.approx(float(-2.0 * jnp.log(p)), rel=1e-6)


def test_condition():
    for name in POINTWISE:
        game = objectives.game(name)
        found = objectives.condition(game.phi, game.varphi)
        assert found.holds == (name in VALID), name
        assert found.convex and found.balanced
    assert not objectives.condition(jnp.tanh, lambda u: -jnp.tanh(u)).convex
    # exp decreases nowhere fast enough to balance a slope of -2 left of log 2 only.
    assert objectives.condition(jnp.exp, lambda u: -2.0 * u).balanced
    assert not objectives.condition(lambda u: u, lambda u: -2.0 * u).balanced


def test_own_losses_warn_where_the_condition_fails():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mixed = objectives.pointwise(lambda u: u + objectives.PHI["exp"](u))
        for name in NAMES:
            objectives.game(name)
    u = jnp.array([0.0, 1.0])
    assert mixed.critic_loss(u, u) == pytest.approx(1.0 + np.cosh(1.0))
    assert mixed.generator_loss(u, u) == -0.5
    with pytest.warns(UserWarning, match="not increasing, decreasing"):
        game = objectives.pointwise(jnp.square)
    assert game.critic_loss(u, u) == 1.0


LIMITS = {  # of phi' at -inf and inf
    "x": (1.0, 1.0),
    "exp": (0.0, np.exp(10.0)),
    "log_sigmoid": (0.0, 1.0),
    "sqrt": (0.0, 2.0),
    "lsgan": (-np.inf, np.inf),
    "hinge": (0.0, 1.0),
}


def test_extremes():
    """Gradients stay finite where float32 scores do, and have their limits at infinity."""
    u = jnp.array([-jnp.inf, -1e30, -1e4, 0.0, 1e4, 1e30, jnp.inf])
    for name, (values, slopes, *_) in play(u, u, u).items():
        values, slopes = np.asarray(values), np.asarray(slopes)
        assert np.isfinite(slopes[1:-1]).all() and not np.isnan(values).any(), name
        np.testing.assert_allclose(slopes[[0, -1]], LIMITS[name], rtol=1e-6, err_msg=name)
        assert values[-1] == np.inf
        assert values[0] == {"x": -np.inf, "lsgan": np.inf}.get(name, 0.0), name
        if name != "lsgan":
            assert np.isfinite(values[1:-1]).all(), name
            np.testing.assert_allclose(slopes[[1, -2]], LIMITS[name], rtol=1e-6, err_msg=name)


def test_sqrt_keeps_its_accuracy_on_the_left():
    phi, u = objectives.PHI["sqrt"], np.array([-1e4, -100.0, -3.0, -1e-3, 2.0])
    root = np.sqrt(u**2 + 1.0)
    # u + root and 1 + u / root without cancellation, in float64.
    exact = np.where(u < 0, 1.0 / (root - u), u + root)
    values, slopes = jax.jit(jax.vmap(jax.value_and_grad(phi)))(jnp.asarray(u, jnp.float32))
    np.testing.assert_allclose(values, exact, rtol=1e-6)
    np.testing.assert_allclose(slopes, exact / root, rtol=1e-6)
    assert phi(jnp.float32(-1e4)) == pytest.approx(5e-5, rel=1e-6)


def test_exp_is_continued_by_its_tangent():
    phi = objectives.PHI["exp"]
    assert phi(jnp.float32(11.0)) == pytest.approx(2.0 * np.exp(10.0), rel=1e-6)
    assert jax.grad(phi)(100.0) == pytest.approx(np.exp(10.0), rel=1e-6)


# k* at lambda = 0.1 for two atoms at distance d.
DISTANCES = (0.1, 0.5, 1.0, 2.0, 5.0)
TWO_ATOMS = {
    "x": (0.5, 2.5, 5.0, 10.0, 25.0),
    "exp": (0.48795, 1.65353, 1.91717, 1.74553, 1.21098),
    "log_sigmoid": (0.24845, 1.08197, 1.56754, 1.63351, 1.19626),
    "sqrt": (0.48781, 1.58103, 1.72949, 1.56828, 1.22845),
}
LEVELS = {  # t at lambda = 1, d = 2
    "x": 1.0,
    "exp": 0.567143,
    "log_sigmoid": 0.401058,
    "sqrt": 0.531010,
    "lsgan": 2.0 / 3.0,
    "hinge": 1.0,
}


def best_level(name, d, weight):
    """t of the best critic f(real) = t = -f(fake) under `weight k^2` with k = 2t / d."""
    game = objectives.game(name)

    def loss(t, d):
        return game.critic_loss(t[None], -t[None]) + weight * jnp.square(2.0 * t / d)

    d = jnp.asarray(d, jnp.float32)
    return zero_of(
        lambda t: jax.vmap(jax.grad(loss))(t, d), jnp.zeros_like(d), jnp.full_like(d, 99)
    )


def test_two_atoms():
    slopes, levels = jax.jit(
        lambda: (
            {name: 2.0 * best_level(name, DISTANCES, 0.1) / np.array(DISTANCES) for name in VALID},
            {name: best_level(name, [2.0], 1.0)[0] for name in POINTWISE},
        )
    )()
    for name in POINTWISE:
        assert levels[name] == pytest.approx(LEVELS[name], rel=1e-4), name
    for name in VALID:
        np.testing.assert_allclose(slopes[name], TWO_ATOMS[name], rtol=1e-4, err_msg=name)


@functools.partial(jax.jit, static_argnums=0)
def unrestricted_critic(name, p_fake, p_real):
    """Minimiser of E_fake phi(f) + E_real varphi(f) over tables f, in [-30, 30]."""
    game = objectives.game(name)

    def gradient(f):
        return jax.grad(lambda f: jnp.sum(p_fake * game.phi(f) + p_real * game.varphi(f)))(f)

    return zero_of(gradient, jnp.full_like(p_fake, -30.0), jnp.full_like(p_fake, 30.0))


def test_critics_without_lipschitz_are_functions_of_the_local_densities():
    x = jnp.linspace(-3.0, 3.0, 121)
    p_fake, p_real = jnp.exp(-0.5 * (x + 0.5) ** 2), jnp.exp(-0.5 * (x - 0.5) ** 2)
    least_squares = (p_real - p_fake) / (p_real + p_fake)
    np.testing.assert_allclose(
        unrestricted_critic("lsgan", p_fake, p_real), least_squares, atol=1e-3
    )
    vanilla = unrestricted_critic("log_sigmoid", p_fake, p_real)
    np.testing.assert_allclose(vanilla, jnp.log(p_real / p_fake), atol=1e-3)


def test_critics_without_lipschitz_say_nothing_about_disjoint_data():
    """Uniform fakes on [0, 1], data on [2, 3]: no gradient inside either support."""
    cell = jnp.arange(61)  # of [0, 3]
    p_fake, p_real = (cell <= 20).astype(jnp.float32), (cell >= 40).astype(jnp.float32)
    f = np.asarray(unrestricted_critic("lsgan", p_fake, p_real))
    np.testing.assert_allclose(f[:21], -1.0, atol=1e-5)
    np.testing.assert_allclose(f[40:], 1.0, atol=1e-5)
    assert np.abs(np.diff(f[:21])).max() < 1e-5
    f = np.asarray(unrestricted_critic("log_sigmoid", p_fake, p_real))
    assert f[:21].max() < -29.0 and f[40:].min() > 29.0


def test_relativistic():
    real, fake = jnp.array([1.0, -0.5]), jnp.array([0.2, 0.4])
    soft = lambda u: np.log1p(np.exp(u))
    game = objectives.game("relativistic")
    assert game.critic_loss(real, fake) == pytest.approx((soft(-0.8) + soft(0.9)) / 2, rel=1e-6)
    assert game.generator_loss(real, fake) == pytest.approx((soft(0.8) + soft(-0.9)) / 2, rel=1e-6)
    game = objectives.game("relativistic_average")
    critic = (soft(0.3 - 1.0) + soft(0.3 + 0.5) + soft(0.2 - 0.25) + soft(0.4 - 0.25)) / 2
    generator = (soft(1.0 - 0.3) + soft(-0.5 - 0.3) + soft(0.25 - 0.2) + soft(0.25 - 0.4)) / 2
    assert game.critic_loss(real, fake) == pytest.approx(critic, rel=1e-6)
    assert game.generator_loss(real, fake) == pytest.approx(generator, rel=1e-6)
    for name in WHOLE:
        game = objectives.game(name)
        assert game.needs_real
        if name != "score_distance":
            # Only differences count.
            shifted = game.critic_loss(real + 3.0, fake + 3.0)
            assert shifted == pytest.approx(float(game.critic_loss(real, fake)), rel=1e-5)


@pytest.mark.parametrize("a", [1.5, -1.5])
def test_score_distance_pulls_fakes_to_the_level_of_the_data(a):
    """A linear critic f(x) = a x: one step raises the mean score if it is low, else lowers it."""
    game = objectives.game("score_distance")
    real, noise = jnp.array([-0.3, 0.2, 0.4]), jnp.array([-0.1, 0.0, 0.3, 0.5])

    @jax.jit
    def score(theta):
        return jnp.mean(jax.nn.sigmoid(a * (noise + theta)))

    @jax.jit
    def loss(theta):
        return game.generator_loss(a * real, a * (noise + theta))

    slope = jax.jit(jax.grad(loss))
    level = jnp.mean(jax.nn.sigmoid(a * real))
    for theta in (-1.0, 1.0):
        moved = theta - 0.1 * slope(theta)
        assert loss(theta) == pytest.approx(abs(float(level - score(theta))), rel=1e-5)
        assert (score(moved) > score(theta)) == (score(theta) < level)
        assert loss(moved) < loss(theta)
    same = jnp.array([0.1, 0.7])
    assert float(jnp.abs(jax.grad(game.generator_loss, argnums=1)(same, same)).max()) == 0.0


def test_shares_of_a_batch_play_the_game_of_the_whole(key):
    games = [objectives.game(name) for name in NAMES]

    def losses(theta, real, fake):
        real, fake = theta * real, theta * fake
        return jnp.stack(
            [loss(real, fake) for g in games for loss in (g.critic_loss, g.generator_loss)]
        )

    def both(real, fake):
        theta = jnp.float32(0.7)
        return losses(theta, real, fake), parallel.mean_over_devices(
            jax.jacrev(losses)(theta, real, fake)
        )

    @jax.jit
    def views(real, fake):
        shares = real.reshape(4, 2), fake.reshape(4, 2)
        return both(real, fake), jax.vmap(both, axis_name="data", out_axes=None)(*shares)

    whole, shared = views(*jax.random.normal(key, (2, 8)))
    np.testing.assert_allclose(shared, whole, rtol=1e-5, atol=1e-6)
    assert np.unique(np.round(whole[0], 5)).size > 12


def test_errors():
    with pytest.raises(ValueError, match="game 'gan' is unknown"):
        objectives.game("gan")
    with pytest.raises(ValueError, match="psi='max'"):
        objectives.game("x", psi="max")
    with pytest.raises(ValueError, match="'minimax' has its own"):
        objectives.game("minimax", psi="minus")
    with pytest.raises(ValueError, match=r"alpha=0\.0"):
        objectives.game("hinge", alpha=0.0)
    with pytest.raises(ValueError, match="equally many"):
        objectives.game("relativistic").critic_loss(jnp.zeros(2), jnp.zeros(3))
