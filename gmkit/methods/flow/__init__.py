"""Normalizing flows, trained by maximum likelihood.

A bijector `f` of the data and a simple density `p_Z` of the latents `z = f(x)` are a density

    log p(x) = log p_Z(f(x)) + log|det df/dx|,

known exactly, and drawn from by `x = f^-1(z)`. Every flow of `gmkit.distributions` is trained
and judged here, by its name.

| in the papers | here |
| --- | --- |
| NICE (Dinh et al. 2015), RealNVP (Dinh et al. 2017) | `flow="nice"`, `"real_nvp"`, `"real_nvp_images"` |
| MADE, MAF, MAF MoG (Papamakarios et al. 2017), IAF (Kingma et al. 2016) | `"made"`, `"maf"`, `"maf_mog"`, `"iaf"` |
| neural spline flows (Durkan et al. 2019) | `"nsf_coupling"`, `"nsf_autoregressive"` |
| Glow (Kingma & Dhariwal 2018) | `"glow"` |
| residual flows (Chen et al. 2019), FFJORD (Grathwohl et al. 2019) | `"residual"`, `"ffjord"`; `estimate=True` for unbiased log-determinants |
| batch normalisation (Dinh et al. 2017, 3.7) | `flows.<name>.norm="batch_norm"`; averages of momentum `norm_momentum` at test time |
| uniform dequantisation and logits (Dinh et al. 2017, 4.1) | `dequantisation`: `map` "logit" or "shift", `alpha` |
| selection of the epoch on validation data | `select_every` |

Likelihoods of vectors are in nats. Images are integers: their pixels are dequantised, and the
bits per dimension are an upper bound, which `eval.n_dequantise` draws estimate; the log-mean-exp
over the same draws is the tighter importance-weighted bound.

Logged: `loss/flow` (nats per example of the density that is trained), `nll` (nats; for images of
the integers, an upper bound), `bits_per_dim` (images), `norm/flow` (gradient l2), and with
selection `validation/nll`, `validation/best_nll`.

Deviations from the papers: splines and image flows normalise by actnorm, gradients are clipped
by their global norm, and small data sets are regularised by weight decay (which reaches every
parameter, batch statistics too) and, on tables, a moving average of the parameters.

Run: `python launch/main.py --config=configs/flow.py`.
"""  # noqa: E501 - a table

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from gmkit import distributions
from gmkit.core import (
    LogLik,
    Method,
    TrainState,
    bits_per_dim,
    create,
    eval_params,
    finish_step,
    keep_best,
    optim,
    step_key,
    update,
)
from gmkit.core.parallel import batch_mean, mean_over_devices
from gmkit.methods.flow.judging import Judge, Protocol
from gmkit.methods.flow.model import NET, Flow

__all__ = ["Flow", "Judge", "Protocol", "build", "maximum_likelihood"]

Array = jax.Array


def maximum_likelihood(
    flow: Flow,
    tx: optax.GradientTransformation,
    protocol: Protocol,
    *,
    estimate: bool = False,
    ema_decay: float = 0.0,
    norm_momentum: float = 0.9,
    select_every: int = 0,
) -> Method:
    """The method from its parts.

    Args:
      flow: what is trained.
      tx: its optimiser.
      protocol: of evaluation.
      estimate: train on unbiased estimates of log-determinants, where the flow has any.
      ema_decay: of the moving average of the parameters that is evaluated, 0 for none.
      norm_momentum: of the running statistics of batch normalisation.
      select_every: steps between looks at the validation rows, of which the best state is kept;
        0 keeps the last one.
    """
    density = flow.density

    def init(key: Array, batch: Mapping[str, Array]) -> TrainState:
        root, noise, params_key = jax.random.split(key, 3)
        params = {NET: density.init(params_key, flow.points(noise, batch[flow.field]))}
        return create(root, params, {NET: tx}, ema=(NET,) if ema_decay else ())

    def step(state: TrainState, batch: Mapping[str, Array]) -> tuple[TrainState, dict[str, Array]]:
        x = flow.points(step_key(state, "noise"), batch[flow.field][0])
        probe = step_key(state, "log_det") if estimate else None

        def loss_of(params: Any) -> Array:
            return -batch_mean(density.log_prob(density.renew(params, x), x, key=probe))

        loss, grads = jax.value_and_grad(loss_of)(state.params[NET])
        state = update(state, NET, grads, tx, ema_decay=ema_decay)
        renewed = density.renew(state.params[NET], x, momentum=norm_momentum)
        state = dataclasses.replace(state, params={**state.params, NET: renewed})
        found = flow.of_data(-loss)
        metrics = {"loss/flow": loss, "nll": -found.value}
        if flow.images:
            metrics["bits_per_dim"] = bits_per_dim(found, flow.spec.domain)
        metrics["norm/flow"] = optax.tree.norm(mean_over_devices(grads))
        return finish_step(state), metrics

    def log_lik(state: TrainState, key: Array, x: Array) -> LogLik:
        values = flow.log_liks(eval_params(state, NET), key, x, n := protocol.n_dequantise)
        found = flow.of_data(values[:, 0])
        if not flow.images:
            return found
        stderr = jnp.std(values, axis=1, ddof=1) / math.sqrt(n)
        value = jnp.mean(values, axis=1)
        return dataclasses.replace(found, value=value, stderr=stderr, n_samples=n)

    judge = Judge(flow, protocol)
    of_params = lambda function: lambda state, *rest: function(eval_params(state, NET), *rest)
    method = Method(
        name="flow",
        init=init,
        step=step,
        evaluate=judge.evaluate,
        sample=of_params(flow.sample),
        figures=judge.figures,
        log_lik=log_lik,
        encode=of_params(flow.encode) if flow.normal else None,
        decode=of_params(flow.decode) if flow.normal else None,
    )
    return keep_best(method, (NET,), judge.score, select_every, "nll") if select_every else method


# ---------------------------------------------------------------- from a config


def build(config: Any, spec: Any) -> Method:
    """The method that a config of `configs/flow.py` describes, for data of `spec`.

    Raises:
      ValueError: settings that do not exist or do not go together.
    """
    name = config.flow
    options = config.flows[name].to_dict() if name in config.flows else {}
    density = distributions.named(name, spec.domain.shape, **options)
    if spec.kind == "image":
        density = distributions.flow(density, _unbounded(config.dequantisation))
    e = config.eval
    protocol = Protocol(e.n_rows, e.n_samples, e.n_dequantise, tuple(e.components), e.n_pictures)
    tx = optim.optimizer(**config.optim.flow, total_steps=config.training.steps)
    return maximum_likelihood(
        Flow(density, spec, distributions.has_normal_latents(name)),
        tx,
        protocol,
        estimate=config.estimate,
        ema_decay=config.ema_decay,
        norm_momentum=config.norm_momentum,
        select_every=config.select_every,
    )


def _unbounded(how: Any) -> distributions.Bijector:
    """From the unit cube to where flows of images begin."""
    if how.map == "logit":
        return distributions.logit(how.alpha)
    if how.map == "shift":
        return distributions.shift_and_scale(0.5, 1.0)
    raise ValueError(f"dequantisation.map={how.map!r}: choose logit or shift")
