"""Per-channel affine maps: initialised from data, or following the data's statistics.

A flow's batch normalisation needs statistics, and here they are part of its parameters, under
"mean" and "var", so that every call stays a pure function of `(params, x)`. Training is

    def loss(params):
        return -mean(density.log_prob(density.renew(params, x), x))   # this batch's statistics
    params = update(params, grad(loss)(params))
    params = density.renew(params, x, momentum=0.9)                   # running statistics

and evaluation is a plain `log_prob(params, x)`. Gradients pass through the statistics of the
batch, and the stored ones receive none. `actnorm` needs none of this and is the better choice
unless a paper's batch normalisation is to be reproduced.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from gmkit.core import parallel
from gmkit.distributions.bijector import Bijector, Cond, Params, closed_form
from gmkit.distributions.rows import constant_rows, per_event, sites

Pair = tuple[jax.Array, jax.Array]


def _moments(x: jax.Array) -> Pair:
    """Mean and biased variance over all axes but the last, and over devices."""
    axes = tuple(range(x.ndim - 1))
    mean = parallel.batch_mean(x, axes)
    return mean, parallel.batch_mean(jnp.square(x - per_event(mean, x)), axes)


def diagonal() -> Bijector:
    """`z = exp(s) (x + b)` per entry of the last axis, starting at the identity."""

    def init(key: jax.Array, x: jax.Array, cond: Cond) -> Params:
        del key, cond
        return {"log_scale": jnp.zeros(x.shape[-1:]), "bias": jnp.zeros(x.shape[-1:])}

    def log_det(params: Params, x: jax.Array) -> jax.Array:
        return constant_rows(sites(x) * jnp.sum(params["log_scale"]), x)

    def forward(params: Params, x: jax.Array, cond: Cond) -> Pair:
        del cond
        scale = per_event(jnp.exp(params["log_scale"]), x)
        return scale * (x + per_event(params["bias"], x)), log_det(params, x)

    def inverse(params: Params, z: jax.Array, cond: Cond) -> Pair:
        del cond
        scale = per_event(jnp.exp(-params["log_scale"]), z)
        return scale * z - per_event(params["bias"], z), -log_det(params, z)

    return closed_form(init, forward, inverse)


def actnorm(epsilon: float = 1e-6) -> Bijector:
    """`diagonal`, initialised so that the batch given to `init` has mean 0 and variance 1.

    Channels that do not vary in that batch (variance at most `epsilon`) keep scale 1
    (Kingma & Dhariwal 2018).
    """

    def init(key: jax.Array, x: jax.Array, cond: Cond) -> Params:
        del key, cond
        mean, var = _moments(x)
        varies = var > epsilon
        return {"log_scale": jnp.where(varies, -0.5 * jnp.log(jnp.where(varies, var, 1.0)), 0.0),
                "bias": -mean}  # fmt: skip

    layer = diagonal()
    return closed_form(
        init,
        lambda params, x, cond: layer.forward_and_log_det(params, x, cond),
        lambda params, z, cond: layer.inverse_and_log_det(params, z, cond),
    )


def batch_norm(epsilon: float = 1e-5) -> Bijector:
    """`z = exp(g) (x - mean) / sqrt(var + epsilon) + b` with statistics kept in the parameters.

    See the module on training. Starts with the statistics of the batch given to `init`, and
    `g = b = 0`. The variance is the biased one (Dinh et al. 2017, section 3.7).
    """

    def init(key: jax.Array, x: jax.Array, cond: Cond) -> Params:
        del key, cond
        mean, var = _moments(x)
        zeros = jnp.zeros_like(mean)
        return {"log_scale": zeros, "bias": zeros, "mean": mean, "var": var}

    def log_scale(params: Params) -> jax.Array:
        # A weight decay or an average of checkpoints must not make the root imaginary.
        var = jnp.maximum(params["var"], 0.0)
        return params["log_scale"] - 0.5 * jnp.log(var + epsilon)

    def forward(params: Params, x: jax.Array, cond: Cond) -> Pair:
        del cond
        s = log_scale(params)
        z = (x - per_event(params["mean"], x)) * per_event(jnp.exp(s), x)
        return z + per_event(params["bias"], x), constant_rows(sites(x) * jnp.sum(s), x)

    def inverse(params: Params, z: jax.Array, cond: Cond) -> Pair:
        del cond
        s = log_scale(params)
        x = (z - per_event(params["bias"], z)) * per_event(jnp.exp(-s), z)
        return x + per_event(params["mean"], z), constant_rows(-sites(z) * jnp.sum(s), z)

    def renew(params: Params, x: jax.Array, cond: Cond, momentum: float) -> Pair | tuple:
        mean, var = _moments(x)
        z, _ = forward({**params, "mean": mean, "var": var}, x, cond)

        def running(old: jax.Array, new: jax.Array) -> jax.Array:
            return momentum * jax.lax.stop_gradient(old) + (1.0 - momentum) * new

        mean, var = running(params["mean"], mean), running(params["var"], var)
        return {**params, "mean": mean, "var": var}, z

    return closed_form(init, forward, inverse, renew)
