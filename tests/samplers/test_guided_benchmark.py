"""Every guided sampler on one benchmark, beside exact draws by rejection.

A random two-layer StyleGAN mapping of 64 dimensions, ten classes by a random network on w, and
a small classifier trained on pairs of w and class. The truth is `p(z) p(c | z)` of the
classifier; ACC is by the labelling network.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gmkit import samplers
from gmkit.energies import discrete_log_prob

DIM, CLASSES, PER_CLASS = 64, 10, 50


def dense(key, fan_in, fan_out):
    return jax.random.normal(key, (fan_in, fan_out)) / jnp.sqrt(fan_in)


class Benchmark(NamedTuple):
    """Mapping, labelling network and a trained classifier; functions of one latent."""

    layers: Any
    labels: Any
    classifier: Any
    accuracy: float = 0.0

    def mapping(self, z):
        w = z * jax.lax.rsqrt(jnp.mean(jnp.square(z)) + 1e-8)
        for layer in self.layers:
            w = jnp.sqrt(2.0) * jax.nn.leaky_relu(w @ layer, 0.2)
        return w

    def label(self, z):
        first, second = self.labels
        return jnp.argmax(jnp.tanh(self.mapping(z) @ first) @ second)

    def logits(self, w, classifier=None):
        *hidden, (head, bias) = self.classifier if classifier is None else classifier
        for kernel, shift in hidden:
            w = jax.nn.leaky_relu(w @ kernel + shift, 0.2)
        return w @ head + bias

    def log_prob(self, z, c):
        return discrete_log_prob(self.logits(self.mapping(z)), c)


def untrained(key) -> Benchmark:
    keys = jax.random.split(key, 8)
    widths = (DIM, 85, 106, 128, CLASSES)
    classifier = [
        (dense(k, a, b), jnp.zeros(b)) for k, (a, b) in zip(keys[4:], pairwise(widths), strict=True)
    ]
    mapping = [dense(k, DIM, DIM) for k in keys[:2]]
    return Benchmark(mapping, (dense(keys[2], DIM, 64), dense(keys[3], 64, CLASSES)), classifier)


@pytest.fixture(scope="module")
def benchmark() -> Benchmark:
    return trained()


def trained(steps: int = 200) -> Benchmark:
    """The benchmark with its classifier, from 20,000 pairs; accuracy on 5,000 others."""
    made = untrained(jax.random.key(0))
    z = jax.random.normal(jax.random.key(1), (25_000, DIM))
    w, c = jax.jit(jax.vmap(lambda z: (made.mapping(z), made.label(z))))(z)
    tx = optax.adam(1e-3)

    @jax.jit
    def train(params):
        def step(carry, key):
            params, opt = carry
            rows = jax.random.randint(key, (256,), 0, 20_000)
            logits = lambda p: jax.vmap(made.logits, (0, None))(w[rows], p)
            loss = lambda p: -jnp.mean(discrete_log_prob(logits(p), c[rows]))
            updates, opt = tx.update(jax.grad(loss)(params), opt)
            return (optax.apply_updates(params, updates), opt), None

        keys = jax.random.split(jax.random.key(2), steps)
        return jax.lax.scan(step, (params, tx.init(params)), keys)[0][0]

    params = train(made.classifier)
    logits = jax.vmap(made.logits, (0, None))(w[20_000:], params)
    right = jnp.argmax(logits, axis=-1) == c[20_000:]
    return made._replace(classifier=params, accuracy=float(right.mean()))


def rejection(model: Benchmark, key, per_class: int) -> np.ndarray:
    """Exact draws for each class in turn, `(10 * per_class, d)`."""
    draw = jax.jit(lambda key: jax.random.normal(key, (20_000, DIM)))
    logits = jax.jit(jax.vmap(lambda z: jax.nn.log_softmax(model.logits(model.mapping(z)))))
    kept: list[list[np.ndarray]] = [[] for _ in range(CLASSES)]
    t = 0
    while any(sum(map(len, rows)) < per_class for rows in kept):
        z = draw(jax.random.fold_in(key, t))
        log_p, u = np.asarray(logits(z)), np.random.default_rng(t).uniform(size=(len(z), CLASSES))
        for c in range(CLASSES):
            kept[c].append(np.asarray(z)[np.log(u[:, c]) < log_p[:, c]])
        t += 1
    return np.concatenate([np.concatenate(rows)[:per_class] for rows in kept])


def measured(model: Benchmark, z, c) -> dict[str, float]:
    """ACC by the true labelling, mean log p(c | z) and |z|^2 / d."""
    z = jnp.asarray(z)
    log_p, label = jax.vmap(lambda z, c: (model.log_prob(z, c), model.label(z)))(z, c)
    return {
        "acc": float((label == c).mean()),
        "log_p": float(log_p.mean()),
        "radius": float((z**2).mean()),
    }


def targets(per_class: int) -> jax.Array:
    return jnp.repeat(jnp.arange(CLASSES), per_class)


def drawn(sampler, model: Benchmark, per_class: int = PER_CLASS) -> tuple[dict, Any]:
    """Runs a sampler `(log_prob, z, c) -> GuidedSample` on prior draws."""
    c = targets(per_class)
    z = jax.random.normal(jax.random.key(7), (len(c), DIM))
    result = jax.jit(lambda z, c: sampler(model.log_prob, z, c))(z, c)
    assert not result.failed.any()
    return measured(model, result.latents, c), result


def ode(**settings):
    return lambda log_prob, z, c: samplers.lace_ode(log_prob, z, c, args_axis=0, **settings)


def exact(**settings):
    key = jax.random.key(8)
    return lambda log_prob, z, c: samplers.exact_ode(log_prob, z, key, c, args_axis=0, **settings)


def chain(sampler, **settings):
    key = jax.random.key(9)
    return lambda log_prob, z, c: sampler(log_prob, z, key, c, args_axis=0, **settings)


# ---------------------------------------------------------------- what each sampler does


@pytest.fixture(scope="module")
def truth(benchmark) -> dict[str, float]:
    per_class = 4 * PER_CLASS
    exact_draws = rejection(benchmark, jax.random.key(3), per_class)
    return measured(benchmark, exact_draws, targets(per_class))


@pytest.mark.slow
def test_the_exact_equation_is_calibrated(benchmark, truth):
    assert 0.7 < benchmark.accuracy < 0.8
    found, sample = drawn(exact(rtol=1e-2, atol=1e-2), benchmark)
    # Within 0.04, and sampling errors of 0.025.
    assert found["acc"] == pytest.approx(truth["acc"], abs=0.07)
    assert found["log_p"] == pytest.approx(truth["log_p"], abs=0.15)
    assert found["radius"] == pytest.approx(1.0, abs=0.03)
    assert sample.steps.mean() < 6


@pytest.mark.slow
@pytest.mark.parametrize("tol", [1e-1, 1e-2, 1e-3, 1e-4, 1e-5])
def test_the_static_equation_is_overconfident_at_every_tolerance(benchmark, truth, tol):
    found, sample = drawn(ode(rtol=tol, atol=tol), benchmark)
    assert found["acc"] >= 0.95 > truth["acc"] + 0.2
    assert found["log_p"] > truth["log_p"] + 0.5
    assert tol < 1e-3 or sample.steps.mean() < 15
    # The classifier does not see how long a latent is, so the flow keeps its length.
    assert tol > 1e-3 or found["radius"] == pytest.approx(1.0, abs=0.02)


@pytest.mark.slow
def test_the_published_chain_is_close_to_ascent_and_the_correct_one_to_the_truth(benchmark, truth):
    published, _ = drawn(chain(samplers.guided_langevin), benchmark)
    assert published["acc"] >= 0.9 and published["radius"] < 0.2
    correct, _ = drawn(chain(samplers.guided_langevin, noise="langevin"), benchmark)
    assert correct["acc"] == pytest.approx(truth["acc"], abs=0.1)
    corrected, _ = drawn(chain(samplers.predictor_corrector, n_steps=200), benchmark)
    assert corrected["acc"] == pytest.approx(truth["acc"], abs=0.1)


@pytest.mark.slow
def test_power_goes_from_the_exact_to_the_static_equation(benchmark):
    settings = {"n_pairs": 16, "rtol": 1e-2, "atol": 1e-2}
    powers = (1.0, 3.0, 20.0)
    accuracies = [drawn(exact(power=p, **settings), benchmark)[0]["acc"] for p in powers]
    static = drawn(ode(), benchmark)[0]["acc"]
    assert accuracies[0] < accuracies[1] < accuracies[2] < static + 0.02


@pytest.mark.slow
def test_gradients_are_across_the_latent(benchmark):
    z = jax.random.normal(jax.random.key(4), (64, DIM))
    slope = jax.vmap(jax.grad(benchmark.log_prob))(z, jnp.arange(64) % CLASSES)
    along = jnp.sum(slope * z, axis=1)
    lengths = jnp.linalg.norm(slope, axis=1) * jnp.linalg.norm(z, axis=1)
    assert (jnp.abs(along) < 1e-4 * lengths).all()
