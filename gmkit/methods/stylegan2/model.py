"""Generator and discriminator, and what is drawn from them."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import jax
import jax.numpy as jnp

from gmkit.core import TrainState, eval_params
from gmkit.core.generator import LatentGenerator
from gmkit.core.parallel import example_keys, example_normal
from gmkit.nets import stylegan2

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class StyleGAN2:
    """What plays the game.

    Attributes:
      generator, discriminator: the networks, for the same images and labels.
    """

    generator: stylegan2.Generator
    discriminator: stylegan2.Discriminator

    def with_conv_impl(self, impl: str) -> StyleGAN2:
        """The same networks with convolutions computed in another way; see `ops.ConvImpl`."""
        g, d = self.generator, self.discriminator
        return StyleGAN2(g.clone(conv_impl=impl), d.clone(conv_impl=impl))

    # ------------------------------------------------------------ training

    def init(self, key: Array) -> tuple[dict[str, Any], dict[str, Any]]:
        """Parameters and other variables of both networks."""
        g_key, d_key = jax.random.split(key)
        g, d = self.generator, self.discriminator
        label = jnp.zeros((1, g.c_dim)) if g.c_dim else None
        image = jnp.zeros((1, g.img_resolution, g.img_resolution, g.img_channels))
        of_g = dict(g.init(g_key, jnp.zeros((1, g.z_dim)), label))
        of_d = dict(d.init(d_key, image, label))
        params = {"generator": of_g.pop("params"), "discriminator": of_d.pop("params")}
        return params, {"generator": of_g, "discriminator": of_d}

    def labels(self, key: Array, n: int) -> Array | None:
        """One-hot labels `(n, c_dim)` of fakes, uniform over the classes."""
        if not self.generator.c_dim:
            return None
        classes = self.generator.c_dim
        draw = lambda k: jax.random.randint(k, (), 0, classes)
        return jax.nn.one_hot(jax.vmap(draw)(example_keys(key, n)), classes)

    def mixed(
        self, params: Any, variables: Any, key: Array, n: int, mixing: float, label: Array | None
    ) -> tuple[Array, Any]:
        """Rows of intermediate latents `(n, num_ws, w_dim)`, and the variables with a new w_avg.

        With probability `mixing` the rows from a random one on come from second latents; the
        choice is one for the whole batch.
        """
        g = self.generator
        z_key, other_key, cut_key, coin_key = jax.random.split(key, 4)
        everything = {"params": params, **variables}
        w, changed = cast(
            Any,
            g.apply(
                everything,
                example_normal(z_key, n, (g.z_dim,)),
                label,
                update_average=True,
                method="map",
                mutable=["stats"],
            ),
        )
        ws = jnp.broadcast_to(w[:, None], (n, g.num_ws, g.w_dim))
        if mixing:
            second = example_normal(other_key, n, (g.z_dim,))
            other = cast(Array, g.apply(everything, second, label, method="map"))
            cut = jax.random.randint(cut_key, (), 1, g.num_ws)
            cut = jnp.where(jax.random.uniform(coin_key) < mixing, cut, g.num_ws)
            later = jnp.arange(g.num_ws)[None, :, None] >= cut
            ws = jnp.where(later, other[:, None], ws)
        return ws, {**variables, **changed}

    def synthesise(self, params: Any, variables: Any, ws: Array, key: Array) -> Array:
        """Images of intermediate latents, with random noise."""
        everything = {"params": params, **variables}
        apply = self.generator.apply
        return cast(Array, apply(everything, ws, "random", key, method="synthesise"))

    def logits(self, params: Any, variables: Any, x: Array, label: Array | None) -> Array:
        """The discriminator's logits `(n,)`, high on data."""
        return cast(Array, self.discriminator.apply({"params": params, **variables}, x, label))

    # ------------------------------------------------------------ the trained generator

    def functions(self, state: TrainState, label: Array | None = None) -> LatentGenerator:
        """The averaged generator's two halves, with constant noise."""
        params, variables = eval_params(state, "generator"), state.variables["generator"]
        return stylegan2.as_latent_generator(self.generator, params, variables, label=label)

    def rows(self, state: TrainState, z: Array, psi: float | Array = 1.0) -> Array:
        """Rows of intermediate latents `(n, num_ws, w_dim)`; see `decode` for z."""
        g = self.generator
        label = z[:, g.z_dim :] if g.c_dim else None
        everything = {
            "params": eval_params(state, "generator"),
            **state.variables["generator"],
        }
        w = cast(Array, g.apply(everything, z[:, : g.z_dim], label, method="map"))
        w = stylegan2.truncated(w, everything["stats"]["mapping"]["w_avg"], psi)
        return jnp.broadcast_to(w[:, None], (len(z), g.num_ws, g.w_dim))

    def images(self, state: TrainState, ws: Array, key: Array | None = None) -> Array:
        """Images of rows, by the averaged generator; with a key its noise is random."""
        everything = {
            "params": eval_params(state, "generator"),
            **state.variables["generator"],
        }
        noise = "const" if key is None else "random"
        return cast(Array, self.generator.apply(everything, ws, noise, key, method="synthesise"))

    def decode(self, state: TrainState, z: Array) -> Array:
        """Images of latents `(n, z_dim)` by the averaged generator, with constant noise.

        Nominally in [-1, 1], not clipped. A conditional generator takes z with the label behind
        it, `(n, z_dim + c_dim)`.
        """
        return self.images(state, self.rows(state, z))

    def latents(self, key: Array, n: int) -> Array:
        """Latents of the prior, with labels behind them where the generator takes some."""
        z_key, label_key = jax.random.split(key)
        z, label = example_normal(z_key, n, (self.generator.z_dim,)), self.labels(label_key, n)
        return z if label is None else jnp.concatenate([z, label], axis=1)

    def sample(self, state: TrainState, key: Array, n: int, psi: float | Array = 1.0) -> Array:
        """`n` images with random noise, clipped to [-1, 1]; see `truncated` for `psi`."""
        z_key, noise_key = jax.random.split(key)
        ws = self.rows(state, self.latents(z_key, n), psi)
        return jnp.clip(self.images(state, ws, noise_key), -1.0, 1.0)
