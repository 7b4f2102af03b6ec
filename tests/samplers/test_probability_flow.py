"""The guided equations against flows known in closed form, and what they report."""

from __future__ import annotations

import functools
import math

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit import samplers

TAU = 5.025
#: Margins of a logistic classifier at the start, and after the whole flow, for |a|^2.
LOGISTIC = (
    (0.0, 1.0, 1.507876),
    (-3.0, 1.0, 0.471842),
    (2.0, 4.0, 3.266616),
    (-10, 1.0, -4.981816),
)


def flow(z, args):
    """A weighted linear-Gaussian or logistic attribute of `a z`; one program for both."""
    weight, linear, a, sigma = args
    gaussian = -0.5 * jnp.square(jnp.dot(a, z) / sigma)
    return weight * jnp.where(linear, gaussian, jax.nn.log_sigmoid(jnp.dot(a, z)))


@functools.cache
def program(**how):
    settings = {"rtol": 1e-6, "atol": 1e-6, "max_steps": 60} | how
    return jax.jit(lambda z, args: samplers.lace_ode(flow, z, args, args_axis=0, **settings))


def solve(z, args, **how):
    return program(**how)(z, args)


def rows(*rows):
    """Latents `(n, 2)` and arguments from rows (z, weight, linear, a, sigma)."""
    z, *args = (jnp.asarray(np.array(column)) for column in zip(*rows, strict=True))
    return z.astype(jnp.float32), tuple(x.astype(jnp.float32) for x in args)


ALONG, ACROSS = np.array([0.6, 0.8]), np.array([0.8, -0.6])


def margin(u, squared):
    """A latent with `a z = u`, for an `a` of that squared length, and that `a`."""
    a = math.sqrt(squared) * ALONG
    return u * a / squared + 0.7 * ACROSS, a


def closed_form_problem():
    """Two linear and four logistic rows."""
    linear = [((1.0, 2.0), 1.0, 1, ALONG, sigma) for sigma in (1.0, 2.0)]
    logistic = []
    for u, squared, _ in LOGISTIC:
        z, a = margin(u, squared)
        logistic.append((z, 1.0, 0, a, 1.0))
    return linear + logistic


def test_schedule():
    level = samplers.noise_level
    assert level(1.0) == pytest.approx(10.05)
    assert math.exp(-0.5 * level(1.0)) == pytest.approx(0.0065716, rel=1e-5)
    for t, tau in ((0.0, 5.025), (1e-3, 5.024945), (0.5, 3.75625), (0.25, 4.7015625)):
        assert 0.5 * (level(1.0) - level(t)) == pytest.approx(tau, abs=1e-6)
    assert jax.grad(level)(0.0) == pytest.approx(0.1)
    assert jax.grad(level)(1.0) == pytest.approx(20.0)


def test_noised_latents_keep_their_law_at_tiny_levels():
    z, noise = jnp.zeros(2), jnp.ones(2)
    # 1 - exp(-level) would be 0 in float32.
    np.testing.assert_allclose(samplers.noised(z, 1e-9, noise), 1e-9**0.5 * noise, rtol=1e-5)
    np.testing.assert_array_equal(samplers.noised(noise, 0.0, noise), noise)


@pytest.mark.parametrize("time", ["tau", pytest.param("t", marks=pytest.mark.slow)])
def test_flows_known_in_closed_form(time):
    z, args = rows(*closed_form_problem())
    sample = solve(z, args, **({} if time == "tau" else {"time": time}))
    assert not sample.failed.any()
    end = np.asarray(sample.latents)
    factors = (end @ ALONG)[:2] / (np.asarray(z) @ ALONG)[:2]
    np.testing.assert_allclose(factors, [0.00657159, 0.2847197], rtol=1e-4)
    u = (end * np.asarray(args[2])).sum(1)[2:]
    np.testing.assert_allclose(u, [row[2] for row in LOGISTIC], atol=5e-5)
    # What the classifier does not see stays.
    np.testing.assert_allclose(end @ ACROSS, np.asarray(z) @ ACROSS, atol=1e-6)


def test_counts_failures_and_independence_of_rows():
    """A stiff row runs out of steps, one is not a number: both alone, finite, and marked."""
    good = closed_form_problem()[3:]
    idle = ((0.3, -0.4), 0.0, 0, ALONG, 1.0)
    stiff = ((1.0, 2.0), 1.0, 1, ALONG, 1e-3)
    broken = ((1.0, 2.0), np.nan, 1, ALONG, 1.0)
    z, args = rows(*good, idle, stiff, broken)
    sample = solve(z, args)
    np.testing.assert_array_equal(sample.failed, [0, 0, 0, 0, 1, 1])
    assert jnp.isfinite(sample.latents).all()
    np.testing.assert_array_equal(sample.latents[3], z[3])  # bit for bit
    np.testing.assert_array_equal(sample.accepted + sample.rejected, sample.steps)
    assert sample.steps[4] == sample.steps[5] == 60 and sample.accepted[5] == 0
    np.testing.assert_array_equal(sample.evaluations, 6 * sample.steps + 3)
    with_others = solve(*rows(*closed_form_problem()))
    np.testing.assert_array_equal(sample.latents[:3], with_others.latents[3:])


@pytest.mark.slow
@pytest.mark.parametrize("coupling", ["batch", "batch_max"])
def test_coupled_steps_are_shared_and_depend_on_the_batch(coupling):
    problem = closed_form_problem()
    z, args = rows(*problem)
    together = solve(z, args, coupling=coupling)
    assert len(set(np.asarray(together.steps).tolist())) == 1 and not together.failed.any()
    alone = solve(z, args)
    np.testing.assert_allclose(together.latents, alone.latents, atol=1e-4)
    other = solve(*rows(*problem[1:2] * 6), coupling=coupling)
    assert not np.array_equal(other.latents[0], together.latents[1])
    # One row that fails is one failed batch.
    assert solve(
        *rows(((1.0, 2.0), np.nan, 1, ALONG, 1.0), *problem[1:]), coupling=coupling
    ).failed.all()


@pytest.mark.slow
def test_the_largest_error_takes_at_least_the_steps_of_the_mean():
    z, args = rows(*closed_form_problem())
    mean, largest = (solve(z, args, coupling=c).steps[0] for c in ("batch", "batch_max"))
    assert largest >= mean


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tsit5", "Bosh3", "dopri8", "heun", "kvaerno5"])
def test_any_solver_of_diffrax(name):
    z, args = rows(*closed_form_problem())
    settings = {"solver": name, "rtol": 1e-4, "atol": 1e-4}
    run = jax.jit(lambda z, args: samplers.lace_ode(flow, z, args, args_axis=0, **settings))
    sample = run(z, args)
    assert not sample.failed.any()
    np.testing.assert_allclose(sample.latents, solve(z, args).latents, atol=5e-3)
    assert (sample.evaluations == -1).all() == (name == "kvaerno5")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("solver", "rtol"), [("dopri5", 1e-4), ("bosh3", 1e-4), ("heun", 1e-3), ("euler", None)]
)
def test_evaluations_are_those_of_the_classifier(solver, rtol):
    """Counted on the host, for one latent."""
    calls = []

    @jax.custom_jvp
    def log_prob(z):
        return -0.5 * jnp.sum(z**2)

    @log_prob.defjvp
    def _(primals, tangents):
        (z,), (dz,) = primals, tangents
        host = lambda z: calls.append(1) or -z
        force = jax.pure_callback(
            host, jax.ShapeDtypeStruct(z.shape, z.dtype), z, vmap_method="sequential"
        )
        return log_prob(z), jnp.sum(force * dz)

    # Coupled, since a vmapped solve computes what it then does not use.
    sample = samplers.lace_ode(
        lambda z, args: log_prob(z[0]) + 0.0 * z[1], jnp.ones((1, 2)),
        solver=solver, rtol=rtol, dt0=0.1 if rtol is None else None, coupling="batch",
    )  # fmt: skip
    assert not sample.failed.any()
    assert len(calls) == sample.evaluations[0]


@pytest.mark.slow
def test_constant_steps_of_eulers_method():
    z, args = rows(closed_form_problem()[0])
    settings = {"solver": diffrax.Euler(), "rtol": None, "dt0": TAU / 100}
    sample = samplers.lace_ode(flow, z, args, args_axis=0, **settings)
    assert sample.steps[0] in (100, 101)  # the last step may be a rounding error
    factor = float(sample.latents[0] @ ALONG) / float(z[0] @ ALONG)
    assert factor == pytest.approx((1 - TAU / 100) ** 100, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("time", "close"), [("tau", 10), ("t", 50)])
@pytest.mark.parametrize("tol", [1e-2, 1e-3, 1e-5])
def test_both_times_are_one_flow_which_can_be_undone(time, close, tol):
    """On a smooth classifier; errors in units of the tolerance, which grow on the way back."""
    weights = jax.random.normal(jax.random.key(3), (8, 8)) / 4

    def log_prob(z, args):
        return jax.nn.log_softmax(jnp.tanh(weights @ z))[2]

    z = jax.random.normal(jax.random.key(4), (16, 8))
    run = functools.partial(samplers.lace_ode, log_prob, time=time)
    there = jax.jit(functools.partial(run, rtol=tol, atol=tol))(z).latents
    reference = jax.jit(functools.partial(run, rtol=1e-6, atol=1e-6, time="tau"))(z).latents
    np.testing.assert_allclose(there, reference, atol=close * tol)
    back = functools.partial(run, rtol=tol, atol=tol, t_start=0.0, t_end=1.0)
    np.testing.assert_allclose(jax.jit(back)(there).latents, z, atol=200 * tol)


def test_mistakes_are_named():
    z, zero = jnp.zeros((1, 2)), lambda z, args: 0.0 * z[0]
    for settings, word in (
        ({"solver": "rk4"}, "solver='rk4': diffrax has .*dopri5"),
        ({"solver": "euler"}, "Euler estimates no error"),
        ({"coupling": "mean"}, "coupling='mean'"),
        ({"time": "s"}, "time='s'"),
        ({"dt0": -0.1}, "dt0=-0.1: must be positive"),
        ({"rtol": None}, "constant steps need dt0"),
    ):
        with pytest.raises(ValueError, match=word):
            samplers.lace_ode(zero, z, **settings)
    with pytest.raises(ValueError, match="n_pairs=0"):
        samplers.exact_ode(zero, z, jax.random.key(0), n_pairs=0)


# ---------------------------------------------------------------- the exact equation


#: `y - b`, `a` and sigma of a linear-Gaussian attribute, whose posterior of `a z` is known.
RESIDUAL, SIGMA = 0.9, 0.5
DIRECTION = jnp.array([0.5, -0.4, 0.15])
SQUARED = float(DIRECTION @ DIRECTION)
MEAN = SQUARED / (SIGMA**2 + SQUARED) * RESIDUAL
VARIANCE = SQUARED * SIGMA**2 / (SQUARED + SIGMA**2)


def attribute(z, args):
    return -0.5 * jnp.square((jnp.dot(DIRECTION, z) - RESIDUAL) / SIGMA)


def noised_attribute(z, level, args):
    """`N(y; alpha a z + b, sigma^2 + (1 - alpha^2) |a|^2)`."""
    variance = SIGMA**2 - SQUARED * jnp.expm1(-level)
    return -0.5 * jnp.square(jnp.exp(-level / 2) * jnp.dot(DIRECTION, z) - RESIDUAL) / variance


@pytest.mark.slow
@pytest.mark.parametrize("t", [1.0, 0.5, 0.1])
def test_averages_over_noise_give_the_noised_classifier(t):
    """One step of Euler's method shows the slope."""
    z, settings = jnp.array([[0.3, -1.0, 0.8]]), {"solver": "euler", "rtol": None, "dt0": 1.0}
    settings |= {"t_start": t, "t_end": t - 0.01}
    known = samplers.guided_ode(noised_attribute, z, **settings)
    averaged = samplers.exact_ode(attribute, z, jax.random.key(5), n_pairs=50_000, **settings)
    assert known.evaluations[0] == 1
    np.testing.assert_allclose(averaged.latents - z, known.latents - z, rtol=0.03, atol=1e-5)


def moments(z):
    u = np.asarray(z @ DIRECTION, np.float64)
    n = len(u)
    return (u.mean() - MEAN) / math.sqrt(VARIANCE / n), (u.var() / VARIANCE - 1) / math.sqrt(2 / n)


def test_the_exact_equation_draws_from_the_posterior():
    z = jax.random.normal(jax.random.key(6), (400, 3))
    settings = {"n_pairs": 32, "rtol": 1e-2, "atol": 1e-2, "coupling": "batch"}
    run = jax.jit(lambda z: samplers.exact_ode(attribute, z, jax.random.key(7), **settings))
    sample = run(z)
    assert not sample.failed.any()
    assert np.abs(moments(sample.latents)).max() < 3.5


@pytest.mark.slow
def test_the_static_equation_goes_to_the_mode():
    """What the exact one is for."""
    z = jax.random.normal(jax.random.key(6), (1000, 3))
    u = jax.jit(lambda z: samplers.lace_ode(attribute, z))(z).latents @ DIRECTION
    np.testing.assert_allclose(u.mean(), RESIDUAL, atol=0.01)
    assert u.var() < 1e-3


@pytest.mark.slow
def test_moments_of_the_exact_equation():
    """20,000 latents: closed form within 3 standard errors, 2 x 64 draws within 5 per cent."""
    z = jax.random.normal(jax.random.key(8), (20_000, 3))
    settings = {"rtol": 1e-4, "atol": 1e-4, "max_steps": 256}
    known = jax.jit(lambda z: samplers.guided_ode(noised_attribute, z, **settings))(z)
    assert not known.failed.any() and np.abs(moments(known.latents)).max() < 3.0
    for shared in (False, True):
        run = jax.jit(
            lambda z, shared=shared: samplers.exact_ode(
                attribute, z, jax.random.key(9), shared_noise=shared, **settings
            )
        )
        u = np.concatenate(
            [np.asarray(run(part).latents @ DIRECTION) for part in z.reshape(10, -1, 3)]
        )
        assert abs(u.mean() / MEAN - 1) < 0.05
        assert abs(u.var() / VARIANCE - 1) < 0.05


@pytest.mark.slow
def test_power_sharpens_towards_the_mode():
    """`p(z) p(c | z)^g` of a Gaussian attribute is that of `sigma / sqrt(g)`."""
    z, power = jax.random.normal(jax.random.key(10), (4000, 3)), 4.0
    run = lambda z: samplers.exact_ode(attribute, z, jax.random.key(11), power=power, rtol=1e-4)
    u = np.asarray(jax.jit(run)(z).latents @ DIRECTION)
    share = SQUARED / (SIGMA**2 / power + SQUARED)
    np.testing.assert_allclose(u.mean(), share * RESIDUAL, rtol=0.03)
    np.testing.assert_allclose(u.var(), share * SIGMA**2 / power, rtol=0.1)


@pytest.mark.slow
def test_the_exact_equation_against_rejection():
    """Margins of a small classifier on 8 dimensions: total variation of their histograms."""
    key, n = jax.random.key(12), 5000
    first, second = jax.random.normal(key, (8, 8)), jax.random.normal(jax.random.key(13), (3, 8))
    logits = lambda z: 1.5 * second @ jnp.tanh(first @ z / 2)
    log_prob = lambda z, args: jax.nn.log_softmax(logits(z))[1]
    margin = jax.jit(jax.vmap(lambda z: logits(z)[1] - jax.nn.logsumexp(jnp.delete(logits(z), 1))))
    pool = jax.random.normal(jax.random.key(14), (20 * n, 8))
    log_u = jnp.log(jax.random.uniform(jax.random.key(15), (20 * n,)))
    accepted = log_u < jax.jit(jax.vmap(lambda z: log_prob(z, None)))(pool)
    truth = np.asarray(margin(pool[accepted]))
    assert len(truth) > 2 * n
    run = jax.jit(lambda z: samplers.exact_ode(log_prob, z, jax.random.key(16)))
    start = jax.random.normal(jax.random.key(17), (10, n // 10, 8))
    drawn = np.concatenate([np.asarray(margin(run(z).latents)) for z in start])
    edges = np.quantile(truth, np.linspace(0, 1, 21))
    edges[0], edges[-1] = -np.inf, np.inf
    shares = [np.histogram(x, edges)[0] / len(x) for x in (truth, drawn)]
    assert 0.5 * np.abs(shares[0] - shares[1]).sum() < 0.05


@pytest.mark.slow
def test_rows_do_not_depend_on_how_many_there_are():
    z = jax.random.normal(jax.random.key(18), (64, 3))
    static = jax.jit(lambda z: samplers.lace_ode(attribute, z).latents)
    np.testing.assert_allclose(static(z[5:6])[0], static(z)[5], atol=1e-6)
    exact = jax.jit(
        lambda z: samplers.exact_ode(attribute, z, jax.random.key(19), shared_noise=True).latents
    )
    np.testing.assert_allclose(exact(z[5:6])[0], exact(z)[5], atol=1e-6)
