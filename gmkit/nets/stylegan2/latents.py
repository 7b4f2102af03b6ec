"""A trained generator as two functions: latents to intermediate latents, and these to images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp

from gmkit.core.generator import LatentGenerator
from gmkit.nets.stylegan2.generator import Generator

Array = jax.Array


def as_latent_generator(
    net: Generator,
    params: Any,
    variables: Mapping[str, Any],
    noise: str | Mapping[str, Array] = "const",
    label: Array | None = None,
) -> LatentGenerator:
    """The two halves of a generator as deterministic functions.

    Args:
      net: the generator.
      params: its parameters, the collection "params".
      variables: its other collections, "stats" and "noise".
      noise: "const", "none" or arrays per layer, see `Synthesis`.
      label: `(c_dim,)` of all images, for a conditional network.

    Raises:
      ValueError: random noise, or a conditional network without a label.
    """
    if noise == "random":
        raise ValueError("noise='random': a function of the latent has const or none")
    if net.c_dim and label is None:
        raise ValueError(f"c_dim={net.c_dim}: pass the label of the images")
    everything = {"params": params, **variables}

    def mapping(z: Array) -> Array:
        c = None if label is None else jnp.broadcast_to(label, (*z.shape[:-1], net.c_dim))
        return cast(Array, net.apply(everything, z, c, method="map"))

    def synthesis(ws: Array) -> Array:
        return cast(Array, net.apply(everything, ws, noise, method="synthesise"))

    stats = variables.get("stats", {}).get("mapping", {})
    w_avg = jnp.asarray(stats.get("w_avg", jnp.zeros(net.w_dim)))
    return LatentGenerator(mapping, synthesis, net.z_dim, net.w_dim, net.num_ws, w_avg)


def average_latent(
    net: Generator, variables: Mapping[str, Any], key: Array, n: int = 2048
) -> Array:
    """Mean intermediate latent of `n` draws `(w_dim,)`, for weights that came without w_avg.

    Args:
      net: an unconditional generator.
      variables: all its collections.
      key: PRNG key.
      n: draws.
    """
    z = jax.random.normal(key, (n, net.z_dim))
    return jnp.mean(cast(Array, net.apply(dict(variables), z, method="map")), axis=0)
