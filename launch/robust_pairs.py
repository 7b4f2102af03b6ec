"""The robust loss beside the textbook formula in PyTorch: images, vectors and samples.

Both sides take the gradient of the mean negative log-density of residuals with respect to the
residuals and to every shape and scale, one of each per coefficient. What rounding to float32
costs either side is in the column `size`: the largest relative error of the loss.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gmkit import distributions, transforms
from gmkit.distributions import robust
from gmkit.objectives import general_loss
from launch import pairs

IMAGES, LEVELS, DRAWS = (32, 64, 64, 3), 3, 100_000
NAMES = tuple(f"pair/robust_loss/{what}" for what in ("images", "vectors", "samples"))
PEERS = ("torch",)
INSTALL = pairs.INSTALL


def missing() -> list[str]:
    """The peers' packages that are not installed."""
    return [package for package in PEERS if not importlib.util.find_spec(package)]


def grid() -> tuple[np.ndarray, np.ndarray]:
    """Residuals and shapes over which errors are taken, float32."""
    x = np.geomspace(1e-4, 1e3, 57, dtype=np.float32)
    alpha = np.array([0.001, 0.1, 0.5, 1.0, 1.5, 1.9, 1.999], np.float32)
    x, alpha = np.broadcast_arrays(x[None], alpha[:, None])
    return np.ascontiguousarray(x), np.ascontiguousarray(alpha)


def worst_error(loss: np.ndarray) -> float:
    """Largest relative error of a loss on `grid`."""
    with jax.enable_x64(True):
        exact = np.asarray(general_loss(*(jnp.asarray(v, jnp.float64) for v in grid())))
    return float(np.max(np.abs(loss / exact - 1.0)))


def residuals(shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal residuals, float32."""
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def _gradient(shape: tuple[int, ...], space: transforms.ImageSpace | None) -> tuple[Any, int]:
    """gmkit's gradient of the mean loss, and the number of its parameters."""
    family = distributions.adaptive(shape[1:])
    params, x = family.init(), jnp.asarray(residuals(shape))

    def loss(params: Any, x: jax.Array) -> jax.Array:
        return -jnp.mean(family.log_prob(params, x if space is None else space.forward(x)))

    call, seconds = pairs.compiled(jax.jit(jax.grad(loss, (0, 1))), params, x)
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    return pairs.Side(lambda: jax.block_until_ready(call(params, x)), count, seconds), count


def _sampler() -> pairs.Side:
    draw = jax.jit(lambda key: robust.sample(key, 1.0, 1.0, (DRAWS,)))
    call, seconds = pairs.compiled(draw, jax.random.key(0))
    return pairs.Side(lambda: jax.block_until_ready(call(jax.random.key(1))), 0, seconds)


def build(name: str) -> pairs.Pair:
    """The pair `name` of `NAMES`, compiled."""
    pairs.start_torch()
    from launch import robust_peers

    what = name.rsplit("/", 1)[1]
    library = f"torch {importlib.metadata.version('torch')}"
    errors = [
        worst_error(np.asarray(general_loss(*grid()))),
        worst_error(robust_peers.loss(*grid())),
    ]
    size = "float32 error {:.0e}, peer's {:.0e}".format(*errors)
    if what == "samples":
        peer = pairs.Side(lambda: robust_peers.sample(1.0, DRAWS), 0)
        return pairs.Pair(name, "samples", DRAWS, _sampler(), peer, library, size)
    if what == "images":
        shape, space = (
            IMAGES,
            transforms.image_space("cdf97", IMAGES[1:], colour="yuv", levels=LEVELS),
        )
    else:
        shape, space = (IMAGES[0], int(np.prod(IMAGES[1:]))), None
    ours, count = _gradient(shape, space)
    levels = LEVELS if space is not None else 0
    peer = pairs.Side(robust_peers.gradient(residuals(shape), levels), count)
    return pairs.Pair(name, "batches", 1.0, ours, peer, library, size)
