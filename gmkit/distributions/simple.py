"""Densities in closed form, the bases of flows."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from gmkit.core.parallel import example_keys, example_normal
from gmkit.distributions.bijector import Cond, Key, Params
from gmkit.distributions.density import Density
from gmkit.distributions.rows import per_event, row_sum

_LOG_2PI = math.log(2.0 * math.pi)


def _event(shape: int | tuple[int, ...]) -> tuple[int, ...]:
    return (shape,) if isinstance(shape, int) else tuple(shape)


def _no_params(key: jax.Array, x: jax.Array, cond: Cond = None) -> Params:
    del key, x, cond
    return {}


def log_normal(x: jax.Array) -> jax.Array:
    """Log-density of the standard normal, per entry."""
    return -0.5 * (jnp.square(x) + _LOG_2PI)


def standard_normal(shape: int | tuple[int, ...]) -> Density:
    """Independent standard normal entries; no parameters. `shape` is that of one example."""

    def log_prob(params: Params, x: jax.Array, cond: Cond = None, key: Key = None) -> jax.Array:
        del params, cond, key
        return row_sum(log_normal(x))

    def sample(params: Params, key: jax.Array, n: int, cond: Cond = None) -> jax.Array:
        del params, cond
        return example_normal(key, n, _event(shape))

    return Density.of(_no_params, log_prob, sample)


def standard_logistic(shape: int | tuple[int, ...]) -> Density:
    """Independent standard logistic entries (the prior of NICE); no parameters."""

    def log_prob(params: Params, x: jax.Array, cond: Cond = None, key: Key = None) -> jax.Array:
        del params, cond, key
        return row_sum(jax.nn.log_sigmoid(x) + jax.nn.log_sigmoid(-x))

    def sample(params: Params, key: jax.Array, n: int, cond: Cond = None) -> jax.Array:
        del params, cond
        keys = example_keys(key, n)
        return jax.vmap(lambda k: jax.random.logistic(k, _event(shape)))(keys)

    return Density.of(_no_params, log_prob, sample)


def diagonal_gaussian(shape: int | tuple[int, ...]) -> Density:
    """`x = (s^2 + 1e-3) z + b` with `z` standard normal and trained `s`, `b` (Arbel et al. 2021).

    Starts at `s = 1`, `b = 0`.
    """

    def init(key: jax.Array, x: jax.Array, cond: Cond = None) -> Params:
        del key, x, cond
        return {"root_scale": jnp.ones(_event(shape)), "mean": jnp.zeros(_event(shape))}

    def scale(params: Params) -> jax.Array:
        return jnp.square(params["root_scale"]) + 1e-3

    def log_prob(params: Params, x: jax.Array, cond: Cond = None, key: Key = None) -> jax.Array:
        del cond, key
        s = scale(params)
        standard = (x - per_event(params["mean"], x)) / per_event(s, x)
        return row_sum(log_normal(standard)) - jnp.sum(jnp.log(s))

    def sample(params: Params, key: jax.Array, n: int, cond: Cond = None) -> jax.Array:
        del cond
        z = example_normal(key, n, _event(shape))
        return z * per_event(scale(params), z) + per_event(params["mean"], z)

    return Density.of(init, log_prob, sample)


def gaussian_mixture(d: int, n_components: int) -> Density:
    """Mixture of Gaussians with diagonal covariances over vectors `(n, d)`.

    Starts with equal weights, means at random rows of the batch given to `init` and its standard
    deviations (1 where the batch does not vary).
    """

    def init(key: jax.Array, x: jax.Array, cond: Cond = None) -> Params:
        del cond
        pick, jitter = jax.random.split(key)
        std = jnp.std(x, axis=0)
        std = jnp.where(std > 1e-6, std, 1.0)[None, :]
        rows = jax.random.choice(pick, x.shape[0], (n_components,), x.shape[0] < n_components)
        # A row drawn twice must not give two equal components: they would stay equal.
        noise = 0.1 * std * jax.random.normal(jitter, (n_components, d), x.dtype)
        return {
            "logits": jnp.zeros((n_components,), x.dtype),
            "mean": x[rows] + noise,
            "log_scale": jnp.broadcast_to(jnp.log(std), (n_components, d)),
        }

    def log_prob(params: Params, x: jax.Array, cond: Cond = None, key: Key = None) -> jax.Array:
        del cond, key
        log_scale = params["log_scale"][None]
        standard = (x[:, None, :] - params["mean"][None]) * jnp.exp(-log_scale)
        log_components = jnp.sum(log_normal(standard) - log_scale, axis=2)
        log_weight = jax.nn.log_softmax(params["logits"])[None, :]
        return jax.nn.logsumexp(log_weight + log_components, axis=1)

    def sample(params: Params, key: jax.Array, n: int, cond: Cond = None) -> jax.Array:
        del cond

        def one(key: jax.Array) -> jax.Array:
            which, where = jax.random.split(key)
            k = jax.random.categorical(which, params["logits"])
            z = jax.random.normal(where, (d,), params["mean"].dtype)
            return params["mean"][k] + jnp.exp(params["log_scale"][k]) * z

        return jax.vmap(one)(example_keys(key, n))

    return Density.of(init, log_prob, sample)
