"""Networks that turn one part of an example into the parameters for the other.

A conditioner is a pair `(init, apply)`: `init(key, x, n_params, cond) -> params` and
`apply(params, x, cond) -> raw (*x.shape, n_params)`. Kernels are normal with variance
`1 / inputs`; `last_scale` multiplies those of the last layer, and 0 makes a layer of a flow
start at its elementwise function of zeros.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gmkit.distributions.bijector import Cond, Params
from gmkit.distributions.rows import per_event

Activation = Callable[[jax.Array], jax.Array]


class Conditioner(NamedTuple):
    """A network from examples to parameters per coordinate.

    Attributes:
      init: `(key, x, n_params, cond=None) -> params`.
      apply: `(params, x, cond=None) -> (*x.shape, n_params)`.
    """

    init: Callable[..., Params]
    apply: Callable[..., jax.Array]


def dense_params(key: jax.Array, inputs: int, outputs: int, scale: float = 1.0) -> Params:
    """Kernel `(inputs, outputs)` of standard deviation `scale / sqrt(inputs)`, and bias 0."""
    kernel = jax.random.normal(key, (inputs, outputs)) * (scale / math.sqrt(max(inputs, 1)))
    return {"kernel": kernel, "bias": jnp.zeros((outputs,), kernel.dtype)}


def dense(params: Params, x: jax.Array) -> jax.Array:
    """`x @ kernel + bias`.

    Raises:
      ValueError: the number of inputs is not the kernel's.
    """
    inputs = params["kernel"].shape[0]
    if x.shape[-1] != inputs:
        raise ValueError(
            f"a network of the flow takes {inputs} inputs, got {x.shape[-1]}: pass x and cond "
            "of the sizes given to init (cond there and here, or in neither)"
        )
    return x @ params["kernel"] + per_event(params["bias"], x)


def flat_input(x: jax.Array, cond: Cond) -> jax.Array:
    """Rows of `x` and `cond` side by side, `(n, inputs)`."""
    x = x.reshape(x.shape[0], -1)
    return x if cond is None else jnp.concatenate([x, cond.reshape(x.shape[0], -1)], axis=1)


def mlp(
    hidden: Sequence[int] = (100, 100),
    activation: Activation = jax.nn.relu,
    last_scale: float = 0.1,
) -> Conditioner:
    """Dense layers from the flattened example (and `cond`)."""

    def init(key: jax.Array, x: jax.Array, n_params: int, cond: Cond = None) -> Params:
        event = math.prod(x.shape[1:])
        sizes = (flat_input(x, cond).shape[1], *hidden, event * n_params)
        keys = jax.random.split(key, len(sizes) - 1)
        scales = [1.0] * len(hidden) + [last_scale]
        pairs = zip(keys, itertools.pairwise(sizes), scales, strict=True)
        return {f"dense_{i}": dense_params(k, a, b, s) for i, (k, (a, b), s) in enumerate(pairs)}

    def apply(params: Params, x: jax.Array, cond: Cond = None) -> jax.Array:
        h = flat_input(x, cond)
        for i in range(len(hidden)):
            h = activation(dense(params[f"dense_{i}"], h))
        return dense(params[f"dense_{len(hidden)}"], h).reshape(*x.shape, -1)

    return Conditioner(init, apply)


def residual_mlp(
    width: int = 128,
    blocks: int = 2,
    activation: Activation = jax.nn.relu,
    last_scale: float = 0.0,
) -> Conditioner:
    """Dense layer, pre-activation residual blocks of two layers, dense layer."""

    def init(key: jax.Array, x: jax.Array, n_params: int, cond: Cond = None) -> Params:
        keys = jax.random.split(key, 2 * blocks + 2)
        params = {"first": dense_params(keys[0], flat_input(x, cond).shape[1], width)}
        for i in range(blocks):
            params[f"block_{i}_in"] = dense_params(keys[2 * i + 2], width, width)
            params[f"block_{i}_out"] = dense_params(keys[2 * i + 3], width, width, 0.1)
        outputs = math.prod(x.shape[1:]) * n_params
        return {**params, "last": dense_params(keys[1], width, outputs, last_scale)}

    def apply(params: Params, x: jax.Array, cond: Cond = None) -> jax.Array:
        h = dense(params["first"], flat_input(x, cond))
        for i in range(blocks):
            inner = activation(dense(params[f"block_{i}_in"], activation(h)))
            h = h + dense(params[f"block_{i}_out"], inner)
        return dense(params["last"], activation(h)).reshape(*x.shape, -1)

    return Conditioner(init, apply)


def separate(*networks: Conditioner) -> Conditioner:
    """One network per parameter, in the order of the elementwise function's `raw`."""

    def init(key: jax.Array, x: jax.Array, n_params: int, cond: Cond = None) -> Params:
        if n_params != len(networks):
            raise ValueError(f"separate got {len(networks)} networks for {n_params} parameters")
        keys = jax.random.split(key, n_params)
        nets = enumerate(zip(keys, networks, strict=True))
        return {f"net_{i}": network.init(k, x, 1, cond) for i, (k, network) in nets}

    def apply(params: Params, x: jax.Array, cond: Cond = None) -> jax.Array:
        outputs = [net.apply(params[f"net_{i}"], x, cond) for i, net in enumerate(networks)]
        return jnp.concatenate(outputs, axis=-1)

    return Conditioner(init, apply)


def _convolution(params: Params, x: jax.Array) -> jax.Array:
    if x.shape[-1] != params["kernel"].shape[2]:
        raise ValueError(
            f"a network of the flow takes {params['kernel'].shape[2]} channels, got {x.shape[-1]}: "
            "pass x and cond of the sizes given to init (cond there and here, or in neither)"
        )
    y = jax.lax.conv_general_dilated(
        x, params["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return y + per_event(params["bias"], y)


def _convolution_params(
    key: jax.Array, side: int, inputs: int, outputs: int, scale: float = 1.0
) -> Params:
    flat = dense_params(key, side * side * inputs, outputs, scale)
    return {"kernel": flat["kernel"].reshape(side, side, inputs, outputs), "bias": flat["bias"]}


def convolutional(width: int | None = 512, activation: Activation = jax.nn.relu) -> Conditioner:
    """Convolutions 3x3, 1x1, 3x3 over NHWC images; the last one starts at zero (Glow).

    The output is multiplied by `exp(3 log_scale)` per channel, as in Glow's official code.

    Args:
      width: channels of the two hidden layers; None leaves only the last convolution.
      activation: after each hidden layer.
    """

    def inputs_of(x: jax.Array, cond: Cond) -> jax.Array:
        if cond is None:
            return x
        planes = cond.reshape(cond.shape[0], 1, 1, -1)
        shape = (*x.shape[:3], planes.shape[-1])
        return jnp.concatenate([x, jnp.broadcast_to(planes, shape).astype(x.dtype)], axis=-1)

    def init(key: jax.Array, x: jax.Array, n_params: int, cond: Cond = None) -> Params:
        inputs, outputs = inputs_of(x, cond).shape[-1], x.shape[-1] * n_params
        keys = jax.random.split(key, 3)
        params = {}
        if width is not None:
            params["conv_0"] = _convolution_params(keys[0], 3, inputs, width)
            params["conv_1"] = _convolution_params(keys[1], 1, width, width)
            inputs = width
        last = _convolution_params(keys[2], 3, inputs, outputs, 0.0)
        return {**params, "last": last, "log_scale": jnp.zeros_like(last["bias"])}

    def apply(params: Params, x: jax.Array, cond: Cond = None) -> jax.Array:
        h = inputs_of(x, cond)
        if width is not None:
            h = activation(_convolution(params["conv_0"], h))
            h = activation(_convolution(params["conv_1"], h))
        h = _convolution(params["last"], h)
        return (h * per_event(jnp.exp(3.0 * params["log_scale"]), h)).reshape(*x.shape, -1)

    return Conditioner(init, apply)
