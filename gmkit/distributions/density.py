"""Densities with parameters: what has a `log_prob` and a `sample`, and flows among them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gmkit.core.likelihood import Kind, LogLik
from gmkit.distributions.bijector import Bijector, Cond, Key, Params, joint_kind


def _unchanged(params: Params, x: jax.Array, cond: Cond = None, momentum: float = 0.0) -> Params:
    del x, cond, momentum
    return params


class Density(NamedTuple):
    """A parametric density over examples of one shape; build one by `Density.of` or `flow`.

    Attributes:
      init: `(key, x, cond=None) -> params`; looks at the batch `x` where a part is initialised
        from data, so give a real one of a few hundred rows.
      log_prob: `(params, x, cond=None, key=None) -> (n,)` nats. Without a key exact (or up to
        the ODE solver's tolerance); with one, residual and continuous flows estimate their
        log-determinants without bias, at a cost that does not grow with the dimension.
      sample: `(params, key, n, cond=None) -> (n, *event)`; noise is keyed per row.
      sample_and_log_prob: `(params, key, n, cond=None, estimate=False) -> (x, (n,))`, cheaper
        than one after the other; `estimate=True` estimates as `log_prob` does with a key.
      encode: `(params, x, cond=None) -> z`, data to latents of the base; flows only.
      decode: `(params, z, cond=None) -> x`; flows only.
      renew: `(params, x, cond=None, momentum=0.0) -> params`: with the statistics of the batch
        `x` where the density keeps any (`batch_norm`), else the same parameters.
      kind: what `log_prob` may call itself in a `core.LogLik`.
    """

    init: Callable[..., Params]
    log_prob: Callable[..., jax.Array]
    sample: Callable[..., jax.Array]
    sample_and_log_prob: Callable[..., tuple[jax.Array, jax.Array]]
    encode: Callable[..., jax.Array] | None = None
    decode: Callable[..., jax.Array] | None = None
    renew: Callable[..., Params] = _unchanged
    kind: Kind = "exact"

    @classmethod
    def of(
        cls,
        init: Callable[..., Params],
        log_prob: Callable[..., jax.Array],
        sample: Callable[..., jax.Array],
    ) -> Density:
        """A density with exact values from `init`, `log_prob` and `sample` alone."""

        def sample_and_log_prob(
            params: Params, key: jax.Array, n: int, cond: Cond = None, estimate: bool = False
        ) -> tuple[jax.Array, jax.Array]:
            del estimate
            x = sample(params, key, n, cond)
            return x, log_prob(params, x, cond)

        return cls(init, log_prob, sample, sample_and_log_prob)


def _inner_key(key: Key) -> Key:
    return None if key is None else jax.random.fold_in(key, 2)


def flow(base: Density, bijector: Bijector) -> Density:
    """The density `log p(x) = log p_Z(f(x)) + log|det df/dx|` of a bijector `f` and a base.

    Parameters are `{"base": ..., "bijector": ...}`. Where the base is itself a flow, latents are
    those of the innermost base.

    Args:
      base: density of the latents, of the shape that `bijector.forward` returns.
      bijector: from data to latents.
    """

    def init(key: jax.Array, x: jax.Array, cond: Cond = None) -> Params:
        params = bijector.init(jax.random.fold_in(key, 0), x, cond)
        z = bijector.forward(params, x, cond)
        return {"base": base.init(jax.random.fold_in(key, 1), z, cond), "bijector": params}

    def log_prob(params: Params, x: jax.Array, cond: Cond = None, key: Key = None) -> jax.Array:
        z, log_det = bijector.forward_and_log_det(params["bijector"], x, cond, key)
        return base.log_prob(params["base"], z, cond, _inner_key(key)) + log_det

    def encode(params: Params, x: jax.Array, cond: Cond = None) -> jax.Array:
        z = bijector.forward(params["bijector"], x, cond)
        return z if base.encode is None else base.encode(params["base"], z, cond)

    def decode(params: Params, z: jax.Array, cond: Cond = None) -> jax.Array:
        z = z if base.decode is None else base.decode(params["base"], z, cond)
        return bijector.inverse(params["bijector"], z, cond)

    def sample(params: Params, key: jax.Array, n: int, cond: Cond = None) -> jax.Array:
        z = base.sample(params["base"], key, n, cond)
        return bijector.inverse(params["bijector"], z, cond)

    def sample_and_log_prob(
        params: Params, key: jax.Array, n: int, cond: Cond = None, estimate: bool = False
    ) -> tuple[jax.Array, jax.Array]:
        z, log_base = base.sample_and_log_prob(params["base"], key, n, cond, estimate)
        probe = jax.random.fold_in(key, 1) if estimate else None
        x, log_det = bijector.inverse_and_log_det(params["bijector"], z, cond, probe)
        return x, log_base - log_det

    def renew(params: Params, x: jax.Array, cond: Cond = None, momentum: float = 0.0) -> Params:
        if bijector.renew is None:
            renewed, z = params["bijector"], bijector.forward(params["bijector"], x, cond)
        else:
            renewed, z = bijector.renew(params["bijector"], x, cond, momentum)
        return {"base": base.renew(params["base"], z, cond, momentum), "bijector": renewed}

    kind = joint_kind((base.kind, bijector.kind))
    return Density(init, log_prob, sample, sample_and_log_prob, encode, decode, renew, kind)


def log_lik(
    density: Density,
    params: Params,
    x: jax.Array,
    cond: Cond = None,
    key: Key = None,
    n_samples: int = 1,
) -> LogLik:
    """Log-likelihood of examples with its kind, "exact" or "ode".

    Args:
      density: a flow or a base.
      params: its parameters.
      x: examples, `(n, *event)`.
      cond: their conditions.
      key: estimate log-determinants; the value is then the mean over `n_samples` of unbiased
        estimates, with its standard error (0 where the density is exact anyway).
      n_samples: estimates per example; at least 2 with a key.

    Raises:
      ValueError: too few samples for a standard error.
    """
    if key is None:
        return LogLik(density.log_prob(params, x, cond), kind=density.kind)
    if n_samples < 2:
        raise ValueError(f"n_samples={n_samples}: a standard error needs at least 2 estimates")

    def one(total: Any, i: jax.Array) -> tuple[Any, jax.Array]:
        return total, density.log_prob(params, x, cond, jax.random.fold_in(key, i))

    _, values = jax.lax.scan(one, None, jnp.arange(n_samples))
    # Around the first one: equal values then have a deviation of exactly 0.
    deviation = values - values[:1]
    stderr = jnp.std(deviation, axis=0, ddof=1) / n_samples**0.5
    mean = values[0] + jnp.mean(deviation, axis=0)
    return LogLik(mean, density.kind, "density", stderr, n_samples)
