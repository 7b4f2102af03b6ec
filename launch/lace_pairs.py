"""gmkit's guided samplers beside torchdiffeq's dopri5, and beside the same chain in PyTorch.

One network (a StyleGAN mapping and LACE's latent classifier, the same weights), the same
latents, classes, tolerances and threads; `launch.pairs` times both sides in turns. "ode_batch"
and "exact" solve the same equation in the same time with one step size for the batch, as
torchdiffeq does; "ode" is gmkit's default, where every latent has its own steps.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gmkit import samplers
from gmkit.energies import discrete_log_prob
from launch import pairs

BATCH, CLASSES, TOLERANCE, CHAIN_STEPS, PAIRS = 64, 10, 1e-3, 100, 16
#: Of latents; 512 is StyleGAN2's.
DIMENSIONS = (64, 512)
#: Of the untrained head, so that the classifier is as sure of itself as a trained one.
HEAD_SCALE = 10.0
SAMPLERS = ("ode", "ode_batch", "exact", "langevin")
NAMES: dict[str, tuple[str, int]] = {
    f"pair/lace/{sampler}/d{d}": (sampler, d) for sampler in SAMPLERS for d in DIMENSIONS
}
PEERS = ("torch", "torchdiffeq")
#: What installs them.
INSTALL = pairs.INSTALL


def missing() -> list[str]:
    """The peers' packages that are not installed."""
    return [package for package in PEERS if not importlib.util.find_spec(package)]


def network(d: int) -> dict[str, list[np.ndarray]]:
    """Kernels `(in, out)`: two of the mapping, and four of the classifier, whose biases are 0."""
    rng = np.random.default_rng(0)
    widths = np.linspace(d, 128, 4).astype(int)

    def kernel(fan_in: int, fan_out: int) -> np.ndarray:
        return (rng.standard_normal((fan_in, fan_out)) / np.sqrt(fan_in)).astype(np.float32)

    classifier = [kernel(a, b) for a, b in itertools.pairwise(widths)]
    head = np.float32(HEAD_SCALE) * kernel(128, CLASSES)
    return {"mapping": [kernel(d, d), kernel(d, d)], "classifier": [*classifier, head]}


def problem(d: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Latents `(64, d)`, classes `(64,)` and the draws `(16, d)` of the exact sampler."""
    rng = np.random.default_rng(1)
    z = rng.standard_normal((BATCH, d)).astype(np.float32)
    noise = rng.standard_normal((PAIRS, d)).astype(np.float32)
    return z, rng.integers(0, CLASSES, BATCH).astype(np.int32), noise


def _log_prob(z: jax.Array, args: Any) -> jax.Array:
    """`log p(c | z)` of one latent."""
    params, label = args
    x = z * jax.lax.rsqrt(jnp.mean(jnp.square(z)) + 1e-8)
    for kernel in params["mapping"]:
        x = jnp.sqrt(2.0) * jax.nn.leaky_relu(x @ kernel, 0.2)
    *hidden, head = params["classifier"]
    for kernel in hidden:
        x = jax.nn.leaky_relu(x @ kernel, 0.2)
    return discrete_log_prob(x @ head, label)


def _expected(z: jax.Array, level: jax.Array, args: Any) -> jax.Array:
    """The noised classifier on given draws, for both sides the same."""
    inner, noise = args
    draws = samplers.noised(z[None], level, jnp.concatenate([noise, -noise]))
    values = jax.vmap(_log_prob, in_axes=(0, None))(draws, inner)
    return jax.nn.logsumexp(values) - jnp.log(2.0 * PAIRS)


def _sample(name: str, z: jax.Array, args: Any, noise: jax.Array) -> samplers.GuidedSample:
    axes, ode = (None, 0), samplers.OdeSettings(rtol=TOLERANCE, atol=TOLERANCE)
    if name == "langevin":
        key = jax.random.key(0)
        return samplers.guided_langevin(
            _log_prob, z, key, args, args_axis=axes, n_steps=CHAIN_STEPS
        )
    if name == "exact":
        ode |= {"coupling": "batch", "time": "t"}
        return samplers.guided_ode(_expected, z, (args, noise), args_axis=(axes, None), **ode)
    if name == "ode_batch":
        ode |= {"coupling": "batch", "time": "t"}
    return samplers.lace_ode(_log_prob, z, args, args_axis=axes, **ode)


def _ours(name: str, d: int) -> pairs.Side:
    """gmkit's side: one compiled program."""
    params = jax.tree.map(jnp.asarray, network(d))
    z, labels, noise = map(jnp.asarray, problem(d))
    call, seconds = pairs.compiled(
        jax.jit(lambda z, args, noise: _sample(name, z, args, noise)), z, (params, labels), noise
    )
    run = lambda: jax.block_until_ready(call(z, (params, labels), noise))
    parameters = sum(leaf.size for leaf in jax.tree.leaves(params))
    return pairs.Side(run, parameters, seconds, round(float(run().evaluations.mean())))


def build(name: str) -> pairs.Pair:
    """The pair `name` of `NAMES`, compiled."""
    pairs.start_torch()
    from launch import lace_peers

    sampler, d = NAMES[name]
    z, labels, noise = problem(d)
    net = lace_peers.Network(network(d))
    if sampler == "langevin":
        # samplers.PAPER_NOISE is its standard deviation, and 0.01 the step size.
        fn = lace_peers.langevin(net, z, labels, CHAIN_STEPS, 1e-2, samplers.PAPER_NOISE)
        library, evaluations = "torch", CHAIN_STEPS
    else:
        draws = noise if sampler == "exact" else None
        fn, evaluations = lace_peers.ode(net, z, labels, TOLERANCE, draws)
        library = "torchdiffeq"
    return pairs.Pair(
        name,
        "latents",
        float(BATCH),
        _ours(sampler, d),
        pairs.Side(fn, lace_peers.count(net), evaluations=evaluations),
        f"{library} {importlib.metadata.version(library)}",
        f"batch {BATCH}, tolerance {TOLERANCE:g}",
    )
