"""VAEs with robust likelihoods: the bound, its units, what is learned, pictures, mistakes."""

import importlib.util
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy import stats
from scipy.special import logsumexp

from gmkit import data, distributions, nets, transforms
from gmkit.core import Domain
from gmkit.methods import robust_vae as room
from gmkit.methods.robust_vae.judging import bands

KEY = jax.random.key(0)


def load_config(preset="smoke", **changes):
    path = Path(__file__).parents[2] / "configs" / "robust_vae.py"
    spec = importlib.util.spec_from_file_location("config_robust_vae", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config(preset)
    config.update_from_flattened_dict(changes)
    return config


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def made(digits, **changes):
    return room.build(load_config(**changes), digits.spec)


def run(method, digits, steps, size=32):
    """A trained state, and what the steps logged."""
    batch = lambda t: digits.decode(
        digits.train.gather(data.host_indices(0, t, 1, size, len(digits.train)))
    )
    state = jax.jit(method.init)(KEY, jax.tree.map(lambda x: x[0], batch(0)))
    step, logged = jax.jit(method.step), []
    for t in range(steps):
        state, metrics = step(state, batch(t))
        logged.append({name: float(v) for name, v in metrics.items()})
    return state, logged


@pytest.fixture(scope="module")
def trained(digits):
    """The smoke preset after a few steps: method, state, what was logged, evaluation."""
    method = made(digits)
    state, logged = run(method, digits, 30)
    return method, state, logged, method.evaluate(state, digits, KEY)


# ---------------------------------------------------------------- the bound


def still(digits, space, likelihood, **options):
    """A model whose decoder says 0.5 everywhere, and its parameters; posterior and prior N(0, I).

    With one component in the prior, so that x and z are independent and the ELBO is exact.
    """
    shape = digits.spec.domain.shape
    vae = room.VAE(
        nets.RobustVAEEncoder(2, 0.05),
        nets.RobustVAEDecoder(shape, 2, 0.05),
        distributions.RESIDUALS[likelihood](shape, scale_init=0.3),
        transforms.image_space(space, shape, **options),
        digits.spec,
        2,
        1,
    )
    abstract = jax.eval_shape(vae.init, KEY, jnp.zeros((1, *shape)))
    return vae, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), abstract)


def images(digits, n=3):
    return jnp.asarray(transforms.to_unit(digits.examples("test", n)["image"], digits.spec.domain))


@pytest.mark.parametrize(
    ("space", "options"),
    [("pixels", {}), ("dct", {}), ("cdf97", {}), ("legall53", {"levels": 2, "base": 1.7})],
)
def test_the_likelihood_is_a_density_over_pixels(digits, space, options):
    """A Normal of coefficients is the Normal of pixels with covariance c^2 (T' T)^-1."""
    vae, params = still(digits, space, "normal", **options)
    u = images(digits)
    basis = jnp.eye(64).reshape(64, 8, 8, 1)
    transform = np.asarray(vae.space.forward(basis), np.float64).reshape(64, 64).T
    precision = transform.T @ transform / 0.3**2
    centred = np.asarray(u, np.float64).reshape(3, 64) - 0.5
    expected = stats.multivariate_normal.logpdf(centred, cov=np.linalg.inv(precision))
    found = vae.log_prob(params, u, jnp.zeros((3, 2)))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("likelihood", "law"),
    [
        ("cauchy", stats.cauchy(scale=0.3 * math.sqrt(2.0))),
        ("student_t", stats.t(1.0, scale=0.3)),
        ("adaptive", None),
    ],
)
def test_families_of_residuals(digits, likelihood, law):
    vae, params = still(digits, "pixels", likelihood)
    params["likelihood"] = vae.likelihood.init()
    u = images(digits)
    if law is None:
        shapes = vae.shapes(params)
        expected = room_log_prob(u - 0.5, **shapes)
    else:
        expected = law.logpdf(np.asarray(u, np.float64) - 0.5)
    found = vae.log_prob(params, u, jnp.zeros((3, 2)))
    np.testing.assert_allclose(found, np.sum(expected, axis=(1, 2, 3)), rtol=1e-5)


def room_log_prob(x, alpha, scale):
    """By numerical integration of the unnormalised density."""
    assert np.ptp(alpha) == 0.0 and np.ptp(scale) == 0.0
    a, c = float(alpha[0, 0, 0]), float(scale[0, 0, 0])
    b = abs(a - 2.0)
    loss = lambda v: b / a * (((v / c) ** 2 / b + 1.0) ** (a / 2.0) - 1.0)
    grid = np.linspace(-40.0, 40.0, 2_000_001)
    log_partition = math.log(np.sum(np.exp(-loss(grid))) * (grid[1] - grid[0]))
    return -loss(np.asarray(x, np.float64)) - log_partition


def test_the_rate_is_a_log_ratio(digits):
    vae = still(digits, "pixels", "normal")[0]
    key, d = jax.random.key(3), 2
    prior = {
        "mean": jnp.array([[0.5, -1.0]]),
        "log_scale": jnp.log(jnp.array([[2.0, 0.5]])),
        "logits": jnp.zeros(1),
    }
    params = still(digits, "pixels", "normal")[1] | {"prior": prior}
    mean, scale = jnp.full((4000, d), 0.25), jnp.full((4000, d), 0.7)
    u = jnp.full((4000, 8, 8, 1), 0.5)
    found = jax.jit(vae.terms)(params, key, u, (mean, scale)).rate
    m, s = np.array([0.5, -1.0]), np.array([2.0, 0.5])
    divergence = np.sum(np.log(s / 0.7) + (0.7**2 + (0.25 - m) ** 2) / (2 * s**2) - 0.5)
    assert float(found.mean()) == pytest.approx(divergence, abs=4 * float(found.std()) / 4000**0.5)


def test_the_prior_is_a_mixture(digits, trained):
    method, state, _, _ = trained
    prior = jax.tree.map(np.asarray, state.params["prior"])
    assert {name: v.shape for name, v in prior.items()} == {
        "mean": (5, 4),
        "log_scale": (5, 4),
        "logits": (5,),
    }
    z = np.zeros((2, 4))
    parts = stats.norm.logpdf(z[:, None], prior["mean"], np.exp(prior["log_scale"])).sum(axis=2)
    expected = logsumexp(parts + prior["logits"] - logsumexp(prior["logits"]), axis=1)
    density = distributions.gaussian_mixture(4, 5)
    np.testing.assert_allclose(density.log_prob(prior, jnp.zeros((2, 4))), expected, rtol=1e-5)
    assert method.name == "robust_vae"


def test_where_latents_mean_nothing_the_bound_is_the_likelihood(digits):
    vae, params = still(digits, "dct", "normal")
    u = images(digits)
    terms = jax.jit(vae.draws, static_argnums=3)(params, KEY, u, 4)
    np.testing.assert_allclose(terms.rate, 0.0, atol=1e-5)
    exact = vae.log_prob(params, u, jnp.zeros((3, 2)))
    np.testing.assert_allclose(terms.log_weight, np.broadcast_to(exact, (4, 3)), rtol=1e-5)


# ---------------------------------------------------------------- units, kinds


def test_likelihoods_carry_their_kind_and_units(digits, trained):
    method, state, logged, found = trained
    x = digits.examples("test", 100)["image"]
    like = jax.jit(method.log_lik)(state, jax.random.key(1), x)
    assert (like.kind, like.quantity, like.n_samples, like.nll_sign) == ("lower", "pmf", 5, "<=")
    assert like.value.shape == (100,) and np.all(like.stderr > 0)
    row = found.tables["likelihood"][0]
    offset = 64 * math.log(17)
    gap = abs(float(like.value.mean()) + offset - row["importance"])
    assert gap < 4 * row["elbo_stderr"]
    for v in logged:
        bits = v["loss/vae"] / (64 * math.log(2)) + math.log2(17)
        assert v["bits_per_dim"] == pytest.approx(bits, rel=1e-5)
        assert v["loss/vae"] == pytest.approx(v["rate"] + v["distortion"], rel=1e-5)


def test_evaluation_is_of_both_splits_and_tells_the_bands_apart(digits, trained):
    _, _, logged, found = trained
    metrics, (test, train) = found.metrics, found.tables["likelihood"]
    assert (test["split"], train["split"], test["sign"]) == ("test", "train", "<=")
    assert metrics["elbo"] == pytest.approx(-metrics["rate"] - metrics["distortion"], rel=1e-6)
    assert metrics["importance"] > metrics["elbo"]
    assert metrics["bits_per_dim_importance"] < metrics["bits_per_dim"]
    assert metrics["elbo_train"] == train["elbo"]
    # Of the same parameters but the last step, on other images and noise.
    assert -metrics["elbo_train"] == pytest.approx(logged[-1]["loss/vae"], rel=0.2)
    assert 1.0 <= metrics["effective_draws"] <= 5.0
    rows = found.tables["bands"]
    assert [(r["band"], r["coefficients"]) for r in rows] == [
        ("band_1", 48),
        ("band_2", 12),
        ("band_3", 3),
        ("rest", 1),
    ]
    alpha = np.average([r["alpha"] for r in rows], weights=[48, 12, 3, 1])
    assert metrics["alpha"] == pytest.approx(alpha, rel=1e-5)
    assert metrics["alpha/rest"] == rows[-1]["alpha"]


def test_bands_halve_every_axis():
    assert {k: v.sum() for k, v in bands((5, 8, 1), 2).items()} == {
        "band_1": 28,
        "band_2": 8,
        "rest": 4,
    }
    everything = bands((4, 4, 3), 0)
    assert list(everything) == ["rest"] and everything["rest"].all()
    total = sum(v.astype(int) for v in bands((64, 64, 3), 5).values())
    np.testing.assert_array_equal(total, 1)


# ---------------------------------------------------------------- learning


def test_training_lowers_the_loss(trained):
    logged = trained[2]
    assert logged[-1]["loss/vae"] < 0.95 * logged[0]["loss/vae"]
    assert logged[0]["alpha"] == pytest.approx(1.0) and logged[-1]["alpha"] != logged[0]["alpha"]
    assert logged[0]["scale"] == pytest.approx(0.1, rel=1e-5)


@pytest.mark.slow
def test_an_adaptive_likelihood_beats_the_fixed_ones(digits):
    """On test images, in wavelets, with the networks and steps of a minute."""
    elbo, alpha = {}, {}
    changes = {"net.width": 0.25, "net.latent_dim": 8, "eval.n_rows": 360, "training.steps": 600}
    for name in ("normal", "cauchy", "adaptive"):
        method = made(digits, **changes, **{"likelihood.name": name})
        found = method.evaluate(run(method, digits, 600)[0], digits, KEY)
        elbo[name] = found.metrics["elbo"]
        alpha[name] = found.tables["bands"][0]["alpha"]
    assert elbo["adaptive"] > max(elbo["normal"], elbo["cauchy"])
    assert alpha["normal"] == 2.0 and alpha["cauchy"] == 0.0


# ---------------------------------------------------------------- images and back, pictures


def test_samples_and_codes_have_their_shapes(digits, trained):
    method, state, _, _ = trained
    drawn = np.asarray(jax.jit(method.sample, static_argnums=2)(state, KEY, 7))
    assert drawn.shape == (7, 8, 8, 1) and np.abs(drawn).max() <= 1.0
    z = method.encode(state, digits.examples("test", 7)["image"])
    assert z.shape == (7, 4)
    again = method.decode(state, z)
    # The ends of the unit interval lie half a bin beyond the data.
    assert again.shape == drawn.shape and np.abs(again).max() <= 1.0 + 1.0 / 16.0


@pytest.mark.parametrize(
    ("likelihood", "maps"), [("adaptive", {"alpha", "scale"}), ("normal", {"scale"})]
)
def test_pictures(digits, trained, likelihood, maps):
    method, state, _, _ = trained
    if likelihood != "adaptive":
        method = made(digits, **{"likelihood.name": likelihood})
        latents = {"scale": state.params["likelihood"]["scale"]}
        state = state.replace(params={**state.params, "likelihood": latents})
    drawn = method.figures(state, digits, KEY)
    assert set(drawn) == {"samples", "reconstructions"} | maps
    assert all(isinstance(figure, Figure) for figure in drawn.values())


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("preset", "shape", "levels"),
    [("mnist", (32, 32, 1), 5), ("cifar10", (32, 32, 3), 5), ("celeba", (64, 64, 3), 5)],
)
def test_presets_fit_their_data(preset, shape, levels):
    config = load_config(preset)
    spec = data.DataSpec(preset, Domain("integers", shape, 256), (-1.0, 1.0), 10, "image")
    method = room.build(config, spec)
    batch = {"image": jax.ShapeDtypeStruct((2, *shape), jnp.float32)}
    state = jax.eval_shape(method.init, KEY, batch)
    assert state.params["likelihood"]["alpha"].shape == shape
    assert state.params["prior"]["mean"].shape == (100, 16)
    assert config.data.get("image_size") in (None, shape[0])
    assert len(bands(shape, levels)) == levels + 1


def test_mistakes_are_one_line(digits):
    with pytest.raises(ValueError, match=r"likelihood\.name='laplace': choose normal, cauchy"):
        made(digits, **{"likelihood.name": "laplace"})
    with pytest.raises(ValueError, match="'yuv' needs 3 channels"):
        made(digits, **{"space.colour": "yuv"})
    with pytest.raises(ValueError, match="space='haar'"):
        made(digits, **{"space.name": "haar"})
    with pytest.raises(ValueError, match="levels=4"):
        made(digits, **{"space.levels": 4})
    with pytest.raises(ValueError, match=r"eval\.n_importance=1"):
        made(digits, **{"eval.n_importance": 1})
    with pytest.raises(ValueError, match=r"data\.name='moons'.*needs images"):
        room.build(load_config(), data.load("moons").spec)
    padded = data.load("digits", image_size=12, pad=True)
    with pytest.raises(ValueError, match=r"12 x 12.*data\.image_size=16"):
        room.build(load_config(), padded.spec)
