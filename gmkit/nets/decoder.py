"""Anything that turns latents into data, in one calling form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from gmkit.core.parallel import example_normal, example_uniform

PyTree = Any
#: Draws of latents `(key, n, shape)` by name: N(0, I), or uniform on [-1, 1]^d.
PRIORS = {"normal": example_normal, "uniform": example_uniform}


class Decoder(NamedTuple):
    """`x = B(z)` for `z ~ N(0, I)`: a generator, with or without trained parameters.

    Attributes:
      latent_dim: d, the length of a latent.
      init: `(key, x) -> (params, variables)`; `x` is a batch of data, for what starts from it.
      apply: `(params, variables, z, train) -> (x, variables)`; with `train=False` each row of
        `x` depends on its own row of `z` alone, which latent samplers need.
      log_prob: `(params, variables, x) -> (n,)` nats, where B is invertible.
      encode: `(params, variables, x) -> z`, likewise.
    """

    latent_dim: int
    init: Callable[[jax.Array, jax.Array], tuple[PyTree, PyTree]]
    apply: Callable[[PyTree, PyTree, jax.Array, bool], tuple[jax.Array, PyTree]]
    log_prob: Callable[[PyTree, PyTree, jax.Array], jax.Array] | None = None
    encode: Callable[[PyTree, PyTree, jax.Array], jax.Array] | None = None


def network_decoder(module: nn.Module, latent_dim: int) -> Decoder:
    """A decoder from a flax module called `(z, train)`."""

    def init(key: jax.Array, x: jax.Array) -> tuple[PyTree, PyTree]:
        del x
        variables = dict(module.init(key, jnp.zeros((2, latent_dim)), False))
        return variables.pop("params"), variables

    def apply(
        params: PyTree, variables: PyTree, z: jax.Array, train: bool
    ) -> tuple[jax.Array, PyTree]:
        everything = {"params": params, **variables}
        if not train:
            return cast(jax.Array, module.apply(everything, z, False)), variables
        x, changed = cast(Any, module.apply(everything, z, True, mutable=list(variables)))
        return x, {**variables, **changed}

    return Decoder(latent_dim, init, apply)


def frozen_decoder(
    decode: Callable[[PyTree, jax.Array], jax.Array],
    carried: PyTree,
    latent_dim: int,
    log_prob: Callable[[PyTree, jax.Array], jax.Array] | None = None,
    encode: Callable[[PyTree, jax.Array], jax.Array] | None = None,
) -> Decoder:
    """A decoder that is not trained, from any `(carried, z) -> x`.

    Args:
      decode: must treat rows independently.
      carried: arrays that `decode` reads; they become the decoder's variables, so they are
        saved, sharded and donated with the rest of a state instead of being compiled in.
      latent_dim: d.
      log_prob: `(carried, x) -> (n,)`, where the decoded latents have a density.
      encode: `(carried, x) -> z`, where `decode` has an inverse.
    """

    def init(key: jax.Array, x: jax.Array) -> tuple[PyTree, PyTree]:
        del key, x
        return {}, {"frozen": jax.tree.map(jnp.copy, carried)}

    def apply(
        params: PyTree, variables: PyTree, z: jax.Array, train: bool
    ) -> tuple[jax.Array, PyTree]:
        del params, train
        return decode(variables["frozen"], z), variables

    def of_frozen(function: Callable[[PyTree, jax.Array], jax.Array] | None) -> Any:
        return function and (lambda params, variables, x: function(variables["frozen"], x))

    return Decoder(latent_dim, init, apply, of_frozen(log_prob), of_frozen(encode))
