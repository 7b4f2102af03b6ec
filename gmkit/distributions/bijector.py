"""Bijectors as pure functions, and their composition.

One convention throughout: **forward goes from data `x` to latents `z`**, inverse from latents to
data, and each comes with its own log-determinant,

    forward_and_log_det(params, x) = z, log|det dz/dx|        (density evaluation)
    inverse_and_log_det(params, z) = x, log|det dx/dz|        (sampling)

so that `log p(x) = log p_Z(z) + log|det dz/dx|`. Libraries that call the generating direction
"forward" (distrax, TensorFlow Probability) have it the other way round.

Batches are `(n, d)` or NHWC images; log-determinants are `(n,)`. Every function takes an
optional `cond (n, c)`, rows of which condition the rows of `x`, and the log-determinants an
optional `key`: without one they are exact (up to the ODE solver's tolerance for continuous
flows), with one the layers that know a cheaper unbiased estimate use it, and the others ignore
it. `init(key, x, cond)` looks at the batch `x` it is given: layers that are initialised from
data (`actnorm`, `batch_norm`) take their statistics from it, each from what reaches it through
the layers before. Parameters are plain dicts of floating-point arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gmkit.core.likelihood import Kind

Params = Any
Cond = jax.Array | None
Key = jax.Array | None
WithLogDet = Callable[..., tuple[jax.Array, jax.Array]]


class Bijector(NamedTuple):
    """An invertible map between data and latents; see the module for the convention.

    Attributes:
      init: `(key, x, cond=None) -> params`.
      forward_and_log_det: `(params, x, cond=None, key=None) -> (z, log|det dz/dx| (n,))`.
      inverse_and_log_det: `(params, z, cond=None, key=None) -> (x, log|det dx/dz| (n,))`.
      forward: `(params, x, cond=None) -> z`, without the cost of the log-determinant.
      inverse: `(params, z, cond=None) -> x`, likewise.
      renew: `(params, x, cond=None, momentum=0.0) -> (params, z)`: parameters with the
        statistics of the batch `x` in the layers that keep any (`batch_norm`), and the latents
        under this batch's own statistics; None where no layer keeps any.
      kind: "exact" or "ode", what a log-likelihood computed with it may call itself.
    """

    init: Callable[..., Params]
    forward_and_log_det: WithLogDet
    inverse_and_log_det: WithLogDet
    forward: Callable[..., jax.Array]
    inverse: Callable[..., jax.Array]
    renew: Callable[..., tuple[Params, jax.Array]] | None = None
    kind: Kind = "exact"


def closed_form(
    init: Callable[..., Params],
    forward_and_log_det: WithLogDet,
    inverse_and_log_det: WithLogDet,
    renew: Callable[..., tuple[Params, jax.Array]] | None = None,
) -> Bijector:
    """A bijector whose log-determinants are exact and come at no cost.

    Args:
      init: `(key, x, cond) -> params`.
      forward_and_log_det: `(params, x, cond) -> (z, log_det)`.
      inverse_and_log_det: `(params, z, cond) -> (x, log_det)`.
      renew: `(params, x, cond, momentum) -> (params, z)`.
    """

    def keyed(function: WithLogDet) -> WithLogDet:
        def with_key(
            params: Params, x: jax.Array, cond: Cond = None, key: Key = None
        ) -> tuple[jax.Array, jax.Array]:
            del key
            return function(params, x, cond)

        return with_key

    def alone(function: WithLogDet) -> Callable[..., jax.Array]:
        return lambda params, x, cond=None: function(params, x, cond)[0]

    def init_(key: jax.Array, x: jax.Array, cond: Cond = None) -> Params:
        return init(key, x, cond)

    def renew_(
        params: Params, x: jax.Array, cond: Cond = None, momentum: float = 0.0
    ) -> tuple[Params, jax.Array]:
        assert renew is not None
        return renew(params, x, cond, momentum)

    return Bijector(
        init_,
        keyed(forward_and_log_det),
        keyed(inverse_and_log_det),
        alone(forward_and_log_det),
        alone(inverse_and_log_det),
        None if renew is None else renew_,
    )


def layer_key(key: Key, index: int | jax.Array) -> Key:
    """The key of one layer; None stays None."""
    return None if key is None else jax.random.fold_in(key, index)


def joint_kind(kinds: Sequence[Kind]) -> Kind:
    """ "ode" if any part is an ODE solution, else "exact"."""
    return "ode" if "ode" in kinds else "exact"


def chain(layers: Sequence[Bijector]) -> Bijector:
    """The composition of layers; data pass the first one first.

    Parameters are `{"layer_0": ..., "layer_1": ...}`. Every layer is compiled separately: for
    many equal layers use `scanned`.
    """
    layers = tuple(layers)
    named = tuple((f"layer_{i}", layer) for i, layer in enumerate(layers))

    def init(key: jax.Array, x: jax.Array, cond: Cond = None) -> Params:
        params = {}
        for i, (name, layer) in enumerate(named):
            params[name] = layer.init(jax.random.fold_in(key, i), x, cond)
            x = layer.forward(params[name], x, cond)
        return params

    def forward_and_log_det(
        params: Params, x: jax.Array, cond: Cond = None, key: Key = None
    ) -> tuple[jax.Array, jax.Array]:
        total = jnp.zeros(x.shape[:1], x.dtype)
        for i, (name, layer) in enumerate(named):
            x, log_det = layer.forward_and_log_det(params[name], x, cond, layer_key(key, i))
            total = total + log_det
        return x, total

    def inverse_and_log_det(
        params: Params, z: jax.Array, cond: Cond = None, key: Key = None
    ) -> tuple[jax.Array, jax.Array]:
        total = jnp.zeros(z.shape[:1], z.dtype)
        for i, (name, layer) in reversed(tuple(enumerate(named))):
            z, log_det = layer.inverse_and_log_det(params[name], z, cond, layer_key(key, i))
            total = total + log_det
        return z, total

    def forward(params: Params, x: jax.Array, cond: Cond = None) -> jax.Array:
        for name, layer in named:
            x = layer.forward(params[name], x, cond)
        return x

    def inverse(params: Params, z: jax.Array, cond: Cond = None) -> jax.Array:
        for name, layer in reversed(named):
            z = layer.inverse(params[name], z, cond)
        return z

    def renew(
        params: Params, x: jax.Array, cond: Cond = None, momentum: float = 0.0
    ) -> tuple[Params, jax.Array]:
        renewed = {}
        for name, layer in named:
            if layer.renew is None:
                renewed[name], x = params[name], layer.forward(params[name], x, cond)
            else:
                renewed[name], x = layer.renew(params[name], x, cond, momentum)
        return renewed, x

    return Bijector(
        init, forward_and_log_det, inverse_and_log_det, forward, inverse,
        None if all(layer.renew is None for layer in layers) else renew,
        joint_kind([layer.kind for layer in layers]),
    )  # fmt: skip


def invert(bijector: Bijector) -> Bijector:
    """The same map with data and latents exchanged.

    `invert(autoregressive(...))` samples in one pass and evaluates densities in `d` of them.

    Raises:
      ValueError: a layer keeps batch statistics, which are those of its forward input.
    """
    if bijector.renew is not None:
        raise ValueError("batch_norm cannot be inverted: use actnorm in a flow to be inverted")

    def init(key: jax.Array, x: jax.Array, cond: Cond = None) -> Params:
        return bijector.init(key, x, cond)

    return Bijector(
        init,
        bijector.inverse_and_log_det,
        bijector.forward_and_log_det,
        bijector.inverse,
        bijector.forward,
        kind=bijector.kind,
    )


def _is_product(primitive: Any, *_: Any, **__: Any) -> bool:
    return primitive.name in ("dot_general", "conv_general_dilated")


def scanned(
    layer: Bijector | Callable[[jax.Array], Bijector], n: int, unroll: int | bool = 1
) -> Bijector:
    """`n` layers of equal shape as one `lax.scan`: compile time does not grow with `n`.

    Gradients recompute a layer's elementwise functions and keep its matrix products and
    convolutions: most of what a loop would otherwise stack in memory costs less to compute again.

    Args:
      layer: the layer, or a function of the layer's number (a traced int32 scalar) that builds
        it, for what differs between layers without being trained: masks, permutations.
      n: number of layers; each has its own parameters, stacked along a leading axis.
      unroll: as in `lax.scan`; True unrolls all (on CPU a convolution's gradient runs slower
        inside a loop).

    Raises:
      ValueError: `n` is not positive.
    """
    if n < 1:
        raise ValueError(f"scanned needs n >= 1 layers, got n={n}")
    at = (lambda i: layer) if isinstance(layer, Bijector) else layer
    first = at(jnp.int32(0))

    def init(key: jax.Array, x: jax.Array, cond: Cond = None) -> Params:
        def one(x: jax.Array, i: jax.Array) -> tuple[jax.Array, Params]:
            params = at(i).init(jax.random.fold_in(key, i), x, cond)
            return at(i).forward(params, x, cond), params

        return jax.lax.scan(one, x, jnp.arange(n), unroll=unroll)[1]

    def run(function: Callable[..., Any], params: Params, carry: Any, reverse: bool) -> Any:
        """Carries `carry` through `function(layer, params, number, carry)` of every layer."""

        def one(carry: Any, inputs: tuple[Params, jax.Array]) -> tuple[Any, Any]:
            layer_params, i = inputs
            return function(at(i), layer_params, i, carry)

        xs = (params, jnp.arange(n))
        one = jax.checkpoint(one, prevent_cse=False, policy=_is_product)
        return jax.lax.scan(one, carry, xs, reverse=reverse, unroll=unroll)

    def with_log_det(inverse: bool) -> WithLogDet:
        def call(
            params: Params, x: jax.Array, cond: Cond = None, key: Key = None
        ) -> tuple[jax.Array, jax.Array]:
            def one(layer: Bijector, layer_params: Params, i: jax.Array, carry: Any) -> Any:
                x, total = carry
                map_ = layer.inverse_and_log_det if inverse else layer.forward_and_log_det
                x, log_det = map_(layer_params, x, cond, layer_key(key, i))
                return (x, total + log_det), None

            return run(one, params, (x, jnp.zeros(x.shape[:1], x.dtype)), inverse)[0]

        return call

    def alone(inverse: bool) -> Callable[..., jax.Array]:
        def call(params: Params, x: jax.Array, cond: Cond = None) -> jax.Array:
            def one(layer: Bijector, layer_params: Params, i: jax.Array, x: jax.Array) -> Any:
                del i
                return (layer.inverse if inverse else layer.forward)(layer_params, x, cond), None

            return run(one, params, x, inverse)[0]

        return call

    def renew(
        params: Params, x: jax.Array, cond: Cond = None, momentum: float = 0.0
    ) -> tuple[Params, jax.Array]:
        def one(layer: Bijector, layer_params: Params, i: jax.Array, x: jax.Array) -> Any:
            del i
            assert layer.renew is not None
            layer_params, x = layer.renew(layer_params, x, cond, momentum)
            return x, layer_params

        x, params = run(one, params, x, False)
        return params, x

    return Bijector(
        init,
        with_log_det(inverse=False),
        with_log_det(inverse=True),
        alone(inverse=False),
        alone(inverse=True),
        None if first.renew is None else renew,
        first.kind,
    )
