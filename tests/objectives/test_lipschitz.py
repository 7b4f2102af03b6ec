"""Lipschitz penalties: known critics, interpolation, buffer, search, independence of devices."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gmkit import nets, objectives
from gmkit.core import parallel


def test_penalty_of_a_linear_energy_is_the_squared_norm(key):
    w = jnp.array([1.0, -2.0, 0.5])
    real, fake = jax.random.normal(key, (2, 16, 3))
    penalty = objectives.gradient_penalty(lambda x: x @ w, real, fake, key)
    assert penalty == pytest.approx(5.25, rel=1e-6)
    gradient = jax.grad(lambda w: objectives.gradient_penalty(lambda x: x @ w, real, fake, key))(w)
    np.testing.assert_allclose(gradient, 2.0 * w, rtol=1e-6)


def test_penalty_of_a_constant_is_zero_with_zero_gradient(key):
    x = jax.random.normal(key, (4, 3))

    def penalty(w):
        return objectives.gradient_penalty(lambda x: x @ w, x, -x, key)

    value, gradient = jax.value_and_grad(penalty)(jnp.zeros(3))
    assert value == 0.0 and gradient.tolist() == [0.0, 0.0, 0.0]


def test_squared_gradient_norms_of_images(key):
    x = jax.random.normal(key, (5, 4, 4, 2))
    norms = objectives.squared_gradient_norms(lambda y: 0.5 * jnp.sum(y**2, axis=(1, 2, 3)), x)
    np.testing.assert_allclose(norms, jnp.sum(x**2, axis=(1, 2, 3)), rtol=1e-5)


def test_interpolates_lie_between_and_differ_by_example(key):
    points = objectives.interpolate(key, jnp.ones((1000, 2)), jnp.zeros((1000, 2)))
    alpha = np.asarray(points[:, 0])
    np.testing.assert_array_equal(points[:, 0], points[:, 1])
    assert alpha.min() >= 0.0 and alpha.max() <= 1.0
    assert alpha.mean() == pytest.approx(0.5, abs=0.03)
    assert alpha.var() == pytest.approx(1.0 / 12.0, abs=0.01)
    assert np.unique(alpha).size > 990


def test_no_gradient_reaches_the_examples(key):
    x = jax.random.normal(key, (4, 2))
    gradient = jax.grad(
        lambda x: objectives.gradient_penalty(lambda y: jnp.sum(y**3, axis=1), x, -x, key)
    )(x)
    assert float(jnp.abs(gradient).max()) == 0.0


def test_second_order_gradient_through_a_normalised_network(key):
    module = nets.energy("mlp", (2,), width=8)
    real, fake = jax.random.normal(key, (2, 8, 2))
    variables = dict(module.init(key, real))
    params = variables.pop("params")

    def penalty(params):
        return objectives.gradient_penalty(
            lambda x: module.apply({"params": params, **variables}, x), real, fake, key
        )

    gradient = jax.jit(jax.grad(penalty))(params)["MLP_0"]["SNDense_0"]["kernel"]
    kernel, h = params["MLP_0"]["SNDense_0"]["kernel"], 1e-2

    def shifted(delta):
        layer = {**params["MLP_0"]["SNDense_0"], "kernel": kernel.at[0, 0].add(delta)}
        return penalty({"MLP_0": {**params["MLP_0"], "SNDense_0": layer}})

    numeric = (shifted(h) - shifted(-h)) / (2 * h)
    # |W u| at fixed u has the derivative v u', so the two agree whether u has converged or not.
    assert gradient[0, 0] == pytest.approx(float(numeric), rel=0.02, abs=1e-4)


def test_penalty_over_a_named_axis_equals_the_whole(key):
    real, fake = jax.random.normal(key, (2, 16, 3))

    def energy(x):
        return jnp.sum(x**3, axis=-1)

    split = jax.vmap(
        lambda r, f: objectives.gradient_penalty(energy, r, f, key), axis_name="data", out_axes=None
    )(real.reshape(4, 4, 3), fake.reshape(4, 4, 3))
    whole = objectives.gradient_penalty(energy, real, fake, key)
    assert split == pytest.approx(float(whole), rel=1e-5)


def test_unequal_numbers_are_refused(key):
    with pytest.raises(ValueError, match="equally many"):
        objectives.interpolate(key, jnp.zeros((4, 2)), jnp.zeros((8, 2)))


def test_mean_squared_parameters():
    params = {"a": jnp.array([[1.0, 2.0]]), "b": jnp.array(3.0), "c": jnp.zeros((2, 2))}
    assert objectives.mean_squared_parameters(params) == pytest.approx(2.0)


# ---------------------------------------------------------------- the family of penalties

FORMULAS = {
    "zero": lambda s: 0.5 * s**2,
    "one": lambda s: 0.5 * (s - 1.0) ** 2,
    "hinge_one": lambda s: 0.5 * max(0.0, s - 1.0) ** 2,
    "al": lambda s: 2.0 * (s - 1.0) ** 2 + 0.3 * (s - 1.0),
    "ali": lambda s: (
        2.0 * (s - 1.0) ** 2 + 0.3 * (s - 1.0) if s - 1.0 > -0.3 / 4.0 else -(0.3**2) / 8.0
    ),
}


#: `apply` in one compilation: (penalty, critic, real, fake, key, memory).
apply = jax.jit(objectives.LipschitzPenalty.apply, static_argnums=(0, 1))


def half_square(x):
    """A critic with the gradient x, so that its slopes show the points."""
    return 0.5 * jnp.sum(jnp.square(x), axis=1)


def remembering(penalty, real, multiplier=0.3):
    memory = penalty.init(real)
    return memory | {"multiplier": jnp.float32(multiplier)} if "multiplier" in memory else memory


@pytest.fixture(scope="module")
def linear_critics():
    """Losses and gradients of f = w.x for every kind and reduction, |w| = 0.5, 1.5, 0."""
    weights = jnp.array([[0.3, -0.4], [1.2, 0.9], [0.0, 0.0]])
    key = jax.random.key(0)

    @jax.jit
    def every(real, fake):
        found = {}
        for kind, reduce in itertools.product(FORMULAS, ["mean", "max", "topk", "softmax"]):
            penalty = objectives.LipschitzPenalty(
                kind, reduce, weight=0.5, rho=2.0, topk=3, temperature=0.1
            )
            memory = remembering(penalty, real)
            loss = lambda w, p=penalty, m=memory: p.apply(lambda x: x @ w, real, fake, key, m).loss
            found[f"{kind} {reduce}"] = jax.vmap(jax.value_and_grad(loss))(weights)
        return found

    return weights, every(*jax.random.normal(key, (2, 6, 2)))


@pytest.mark.parametrize("kind", FORMULAS)
def test_linear_critic(linear_critics, kind):
    """Every slope is |w|: all reductions agree with the formula."""
    weights, found = linear_critics
    for reduce, i in itertools.product(["mean", "max", "topk", "softmax"], [0, 1]):
        losses, gradients = found[f"{kind} {reduce}"]
        w, s = weights[i], float(np.linalg.norm(weights[i]))
        assert losses[i] == pytest.approx(FORMULAS[kind](s), rel=1e-5, abs=1e-7), reduce
        along = (FORMULAS[kind](s + 1e-4) - FORMULAS[kind](s - 1e-4)) / 2e-4
        np.testing.assert_allclose(gradients[i], along * w / s, rtol=1e-3, atol=1e-6)


def test_constant_critic_has_finite_gradients(linear_critics):
    for case, (losses, gradients) in linear_critics[1].items():
        assert gradients[2].tolist() == [0.0, 0.0], case
        assert losses[2] == pytest.approx(FORMULAS[case.split()[0]](0.0), abs=1e-5), case


def piecewise(x):
    """Slope 1 left of the plane x_0 = 0, slope 3 right of it."""
    return jnp.where(x[:, 0] > 0.0, 3.0 * x[:, 0], x[:, 0])


def test_reductions_of_two_regions(key):
    real = jnp.array([[-1.0, 0.0], [-2.0, 0.0], [1.0, 0.0], [-3.0, 0.0]])

    def loss(reduce, **options):
        penalty = objectives.LipschitzPenalty("zero", reduce, 1.0, where="real", **options)
        return float(apply(penalty, piecewise, real, real, key, {}).loss)

    assert loss("max") == 9.0
    assert loss("mean") == 3.0
    assert loss("topk", topk=2) == 5.0
    assert loss("topk", topk=99) == 3.0
    assert loss("softmax", temperature=1e3) == pytest.approx(3.0, rel=1e-2)
    assert loss("softmax", temperature=0.01) == pytest.approx(9.0, rel=2e-3)


def test_points_and_norms(key):
    real, fake = jnp.ones((500, 2)), -3.0 * jnp.ones((500, 2))

    def penalty(**options):
        chosen = objectives.LipschitzPenalty(reduce="mean", weight=1.0, **options)
        return apply(chosen, half_square, real, fake, key, {})

    assert penalty(where="real").loss == pytest.approx(2.0)
    assert penalty(where="fake").loss == pytest.approx(18.0)
    assert penalty(where="fake", norm="rms").loss == pytest.approx(9.0)
    # 2 (4 u - 3)^2 with u uniform.
    assert penalty().loss == pytest.approx(14.0 / 3.0, rel=0.1)
    assert penalty(where="dragan").loss == pytest.approx(2.0)  # no spread, no noise
    metrics = penalty(where="fake").metrics
    assert metrics["slope/max"] == pytest.approx(np.sqrt(18.0))
    assert all(v.dtype == jnp.float32 and v.shape == () for v in metrics.values())
    spread = objectives.LipschitzPenalty(reduce="mean", weight=1.0, where="dragan")
    plus_minus = jnp.tile(jnp.array([[1.0, 1.0], [-1.0, -1.0]]), (500, 1))
    # E (x + U/2)^2 = 1 + 1/12 an entry.
    loss = apply(spread, half_square, plus_minus, fake, key, {}).loss
    assert loss == pytest.approx(2.0 * (1.0 + 1.0 / 12.0), rel=0.03)


@pytest.mark.parametrize("where", ["interpolates", "dragan", "real", "fake"])
def test_no_gradient_of_the_family_reaches_the_examples(key, where):
    penalty = objectives.LipschitzPenalty(where=where, search_steps=1, topk=2)

    @jax.jit
    def gradients(real, fake):
        loss = lambda real, fake: penalty.apply(half_square, real, fake, key, {}).loss
        return loss(real, fake), jax.grad(loss, argnums=(0, 1))(real, fake)

    loss, found = gradients(*jax.random.normal(key, (2, 4, 2)))
    assert loss > 0.0 and not np.any(np.asarray(found))


def test_buffer_keeps_the_steepest_points_and_measures_them_again(key):
    real = jax.random.normal(key, (8, 2))
    penalty = objectives.LipschitzPenalty(weight=1.0, where="real", buffer=0.25)
    memory = penalty.init(real)
    np.testing.assert_allclose(memory["buffer"], 0.5 * (real + jnp.roll(real, 1, axis=0))[:2])
    first = apply(penalty, half_square, real, real, key, memory)
    norms = np.linalg.norm(real, axis=1)
    steepest = real[np.argsort(-norms)[:2]]
    np.testing.assert_array_equal(first.memory["buffer"], steepest)
    # Flatter fresh points: the remembered ones set the maximum, under the new critic.
    second = apply(penalty, lambda x: 2.0 * half_square(x), 0.1 * real, real, key, first.memory)
    np.testing.assert_array_equal(second.memory["buffer"], steepest)
    assert second.loss == pytest.approx(4.0 * norms.max() ** 2, rel=1e-5)
    assert apply(penalty, half_square, 9.0 * real, real, key, second.memory).loss == pytest.approx(
        81.0 * norms.max() ** 2, rel=1e-5
    )


def test_buffer_extends_or_replaces(key):
    real = jnp.array([[4.0], [1.0], [2.0], [3.0]])
    memory = {"buffer": jnp.array([[5.0]])}

    def loss(buffer):
        penalty = objectives.LipschitzPenalty("zero", "mean", 1.0, where="real", buffer=buffer)
        assert penalty.init(real)["buffer"].shape == (1, 1)
        return float(apply(penalty, half_square, real, real, key, memory).loss)

    assert loss(0.25) == pytest.approx((25 + 16 + 1 + 4 + 9) / 5)
    assert loss(-0.25) == pytest.approx((25 + 1 + 4 + 9) / 4)


def test_search_finds_the_steepest_slope(key):
    """f = sin x: the slope |cos x| has its maximum at 0, away from the points."""
    real = jnp.array([[0.5], [-0.7], [1.0], [1.3]])
    penalty = objectives.LipschitzPenalty(
        weight=1.0, where="real", topk=2, search_steps=20, search_rate=0.1
    )
    found = apply(penalty, lambda x: jnp.sin(x[:, 0]), real, real, key, penalty.init(real))
    assert found.metrics["slope/max"] == pytest.approx(np.cos(0.5), rel=1e-5)
    assert found.metrics["slope/searched"] == pytest.approx(1.0, abs=2e-3)
    gap = float(found.metrics["slope/searched"] - found.metrics["slope/max"])
    assert found.metrics["slope/gap"] == pytest.approx(gap) and gap > 0.1
    assert found.loss == pytest.approx(float(found.metrics["slope/searched"]) ** 2, rel=1e-5)
    # A critic without curvature: the search stays, and reports no gap.
    flat = apply(penalty, lambda x: 2.0 * x[:, 0], real, real, key, {})
    assert flat.metrics["slope/gap"] == 0.0 and flat.loss == 4.0


def test_multipliers_move_with_the_violation(key):
    real = jnp.ones((4, 1))
    for kind, expected in (("al", -0.05), ("ali", 0.0)):
        penalty = objectives.LipschitzPenalty(kind, where="real", multiplier_rate=0.1)
        memory = penalty.init(real)
        assert memory["multiplier"] == 0.0
        steep = apply(penalty, lambda x: 3.0 * x[:, 0], real, real, key, memory)
        assert steep.memory["multiplier"] == pytest.approx(0.2)
        assert steep.metrics["slope/multiplier"] == pytest.approx(0.2)
        flat = apply(penalty, lambda x: 0.5 * x[:, 0], real, real, key, memory)
        assert flat.memory["multiplier"] == pytest.approx(expected)


def test_augmented_lagrangian_holds_the_slope_at_one(key):
    """max w - penalty: multipliers settle where the critic's slope is 1 and the force is met."""
    penalty = objectives.LipschitzPenalty("al", where="real", multiplier_rate=0.1)
    real = jnp.ones((2, 1))

    def step(carry, _):
        w, memory = carry

        def loss(w):
            found = penalty.apply(lambda x: w * x[:, 0], real, real, key, memory)
            return found.loss - w, found.memory

        gradient, memory = jax.grad(loss, has_aux=True)(w)
        return (w - 0.1 * gradient, memory), None

    start = (jnp.float32(0.2), penalty.init(real))
    (w, memory), _ = jax.lax.scan(step, start, length=300)
    assert w == pytest.approx(1.0, abs=1e-3)
    assert memory["multiplier"] == pytest.approx(1.0, abs=1e-3)


# ---------------------------------------------------------------- shares of a batch

CASES = {
    "max, replacing": {"reduce": "max", "buffer": -0.5},
    "topk, extending, searching": {
        "reduce": "topk",
        "topk": 3,
        "buffer": 0.4,
        "search_steps": 2,
        "kind": "one",
    },
    "softmax, al": {"reduce": "softmax", "kind": "al", "temperature": 0.1},
    "mean, dragan": {"reduce": "mean", "where": "dragan", "norm": "rms", "buffer": 0.125},
}


def critic(params, x):
    return jnp.tanh(x @ params["w"]) @ params["v"]


def penalty_step(penalty, key):
    """A "training step" whose state is (params, memory, gradients): two penalties in a row."""

    def step(state, batch):
        params, memory, _ = state
        for i in range(2):

            def loss(params, memory=memory, i=i):
                f = lambda x: critic(params, x)
                found = penalty.apply(
                    f, batch["real"][i], batch["fake"][i], jax.random.fold_in(key, i), memory
                )
                return found.loss, found

            gradients, found = jax.grad(loss, has_aux=True)(params)
            memory = found.memory
        return (params, memory, parallel.mean_over_devices(gradients)), {
            "loss": found.loss,
            **found.metrics,
        }

    return step


@pytest.mark.parametrize("case", CASES)
def test_shares_give_loss_gradient_and_memory_of_the_whole(key, case):
    penalty = objectives.LipschitzPenalty(weight=1.0, **CASES[case])
    keys = jax.random.split(key, 4)
    params = {"w": jax.random.normal(keys[0], (3, 5)), "v": jax.random.normal(keys[1], (5,))}
    batch = {"real": jax.random.normal(keys[2], (2, 8, 3)), "fake": jnp.zeros((2, 8, 3))}
    state = (params, remembering(penalty, batch["real"][0]), params)
    step = penalty_step(penalty, keys[3])
    expected = jax.jit(step)(state, batch)
    assert float(jnp.abs(expected[0][2]["w"]).max()) > 1e-3
    views = ["vmap"] if case.startswith(("softmax", "mean")) else ["vmap", "pmap", "jit"]
    for view in views:
        compiled = parallel.compile_step(step, parallel.make_mesh(4), view, donate=False)
        chex.assert_trees_all_close(compiled(state, batch), expected, rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------- what Lipschitz control gives


def test_uniform_laws_get_a_critic_of_constant_slope():
    """Fakes on [0, 1], data on [2, 3], phi = x: slope W1 / (2 lambda) = 1 / lambda on [0, 3]."""
    game, weight, n = objectives.game("x"), 0.25, 30
    edges = jnp.linspace(0.0, 3.0, n + 1)
    cells = 0.5 * (edges[1:] + edges[:-1])[:, None]
    fake, real = jnp.linspace(0.005, 0.995, 100), jnp.linspace(2.005, 2.995, 100)
    penalty = objectives.LipschitzPenalty(weight=weight, where="real")

    def objective(slopes):
        table = jnp.concatenate([jnp.zeros(1), jnp.cumsum(slopes) * 0.1])
        f = lambda x: jnp.interp(x[:, 0], edges, table)
        scores = game.critic_loss(f(real[:, None]), f(fake[:, None]))
        return scores + penalty.apply(f, cells, cells, jax.random.key(0), {}).loss

    best = jnp.full(n, 1.0 / weight)
    directions = jax.random.normal(jax.random.key(1), (200, n))
    ends = jnp.stack([jnp.zeros(n), jnp.ones(n), -jnp.ones(n)])
    directions = jnp.concatenate([ends, directions, -jnp.eye(n)])
    value, *others = jax.jit(jax.vmap(objective))(best[None] + 0.1 * directions).tolist()
    assert value == pytest.approx(-1.0 / weight, rel=1e-4)  # -W1^2 / (4 lambda)
    # The programme is convex: no direction may lower the objective.
    assert min(others) >= value - 1e-5
    # Mass 1 crosses the cell in the middle: flattening it alone costs 0.1 times its width.
    assert others[-15] == pytest.approx(value + 0.01, abs=1e-4)


def test_constraint_between_the_supports_only_leaves_gradients_arbitrary(key):
    """Compact dual of W1 on two atoms: a bump keeps its value and turns the fake's gradient."""
    real, fake = jnp.array([[1.0, 0.0]]), jnp.array([[-1.0, 0.0]])
    straight = lambda x: x[:, 0]
    bent = lambda x: x[:, 0] + 3.0 * jnp.sin(x[:, 1])
    game, penalty = objectives.game("x"), objectives.LipschitzPenalty(weight=1.0)
    losses, cosines, penalties = [], [], []
    for f in (straight, bent):
        assert f(real)[0] - f(fake)[0] == 2.0  # the distance: feasible and tight
        losses.append(float(game.critic_loss(f(real), f(fake))))
        gradient = jax.grad(lambda x, f=f: f(x)[0])(fake)[0]
        cosines.append(float(gradient[0] / jnp.linalg.norm(gradient)))
        penalties.append(float(apply(penalty, f, real, fake, key, {}).loss))
    assert losses == [-2.0, -2.0]
    assert cosines[0] == 1.0 and cosines[1] == pytest.approx(1.0 / np.sqrt(10.0), rel=1e-5)
    assert penalties == pytest.approx([1.0, 10.0], rel=1e-5)


def train_two_atoms(name, weight, steps=4000):
    """MLP 3 x 128, Adam, MaxGP with a buffer; returns scores and gradient at the two atoms."""
    game = objectives.game(name)
    penalty = objectives.LipschitzPenalty(weight=weight, buffer=-1.0 / 8.0)
    real, fake = (jnp.tile(jnp.array([[x, 0.0]]), (64, 1)) for x in (1.0, -1.0))
    widths = (2, 128, 128, 128, 1)
    keys = jax.random.split(jax.random.key(0), 4)
    params = [
        (jax.random.normal(k, (m, n)) * np.sqrt(2.0 / m), jnp.zeros(n))
        for k, m, n in zip(keys, widths[:-1], widths[1:], strict=True)
    ]

    def f(params, x):
        for w, b in params[:-1]:
            x = jax.nn.relu(x @ w + b[None])
        w, b = params[-1]
        return (x @ w + b[None])[:, 0]

    tx = optax.adam(optax.cosine_decay_schedule(1e-3, steps), b1=0.0, b2=0.9)

    def step(carry, i):
        params, opt_state, memory = carry

        def loss(params):
            critic = lambda x: f(params, x)
            found = penalty.apply(
                critic, real, fake, jax.random.fold_in(jax.random.key(1), i), memory
            )
            return game.critic_loss(critic(real), critic(fake)) + found.loss, found.memory

        gradient, memory = jax.grad(loss, has_aux=True)(params)
        updates, opt_state = tx.update(gradient, opt_state)
        return (optax.apply_updates(params, updates), opt_state, memory), None

    start = (params, tx.init(params), penalty.init(0.5 * real + 0.5 * fake))
    (params, _, _), _ = jax.jit(lambda c: jax.lax.scan(step, c, jnp.arange(steps)))(start)
    gradient = jax.grad(lambda x: f(params, x)[0])(fake[:1])[0]
    return float(f(params, real[:1])[0]), float(f(params, fake[:1])[0]), np.asarray(gradient)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "weight", "slope"),
    [("x", 1.0, 1.0), ("exp", 0.1, 1.7455), ("log_sigmoid", 0.1, 1.6335), ("sqrt", 0.1, 1.5683)],
)
def test_learnt_critic_of_two_atoms_points_at_the_data(name, weight, slope):
    on_real, on_fake, gradient = train_two_atoms(name, weight)
    norm = np.linalg.norm(gradient)
    assert norm == pytest.approx(slope, rel=0.01)
    assert gradient[0] / norm > 0.999
    assert on_real - on_fake == pytest.approx(2.0 * slope, rel=0.01)
    if name != "x":  # the level of a Wasserstein critic is free
        assert [on_real, -on_fake] == pytest.approx([slope, slope], rel=0.01)


# ---------------------------------------------------------------- gains and errors


def test_product_of_gains():
    gains = {"a": jnp.array([2.0, -3.0]), "b": jnp.array(0.5)}
    assert objectives.product_of_gains(gains) == pytest.approx(3.0, rel=1e-6)
    assert objectives.lipschitz_bound_penalty(gains, 0.1) == pytest.approx(0.9, rel=1e-5)
    gradient = jax.jit(jax.grad(objectives.product_of_gains))(gains)
    np.testing.assert_allclose(gradient["a"], [1.5, -1.0], rtol=1e-5)
    # Partial products overflow and underflow, the product does not.
    wide = jnp.array([1e30, 1e30, 1e-30, 1e-30, 4.0])
    assert objectives.product_of_gains(wide) == pytest.approx(4.0, rel=1e-4)
    zero = jnp.array([0.0, 2.0])
    value, gradient = jax.jit(jax.value_and_grad(objectives.lipschitz_bound_penalty))(zero)
    assert value == 0.0 and gradient.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"kind": "two"}, "kind='two': choose one of zero, one"),
        ({"reduce": "min"}, "reduce='min'"),
        ({"where": "noise"}, "where='noise'"),
        ({"norm": "l1"}, "norm='l1'"),
        ({"buffer": 2.0}, "buffer=2.0"),
        ({"temperature": 0.0}, "temperature=0.0"),
        ({"topk": 0}, "topk=0"),
        ({"weight": -1.0}, "weight=-1.0"),
    ],
)
def test_wrong_options_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        objectives.LipschitzPenalty(**options)


def test_wrong_buffers_are_refused(key):
    x = jnp.zeros((4, 2))
    penalty = objectives.LipschitzPenalty(buffer=-0.1)
    with pytest.raises(ValueError, match=r"buffer=-0\.1 of a batch of 4"):
        penalty.init(x)
    with pytest.raises(ValueError, match="5 points in place of 4"):
        penalty.apply(piecewise, x, x, key, {"buffer": jnp.zeros((5, 2))})
