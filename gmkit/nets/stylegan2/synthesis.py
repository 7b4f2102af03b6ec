"""StyleGAN2's synthesis network: images from intermediate latents, NHWC."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gmkit.core import parallel
from gmkit.nets.stylegan2 import layers
from gmkit.nets.stylegan2.ops import TAPS, ConvImpl, upsample2d

Array = jax.Array
ARCHITECTURES = ("skip", "orig", "resnet")
NOISES = ("const", "random", "none")


class SynthesisBlock(nn.Module):
    """The layers of one resolution.

    Attributes:
      features: output channels.
      resolution: of the output; 4 starts from a constant.
      last: whether the image is finished here.
      dtype: of the features.
      synthesis: the network's settings.
    """

    features: int
    resolution: int
    last: bool
    noise: str
    dtype: Any
    synthesis: Synthesis

    @nn.compact
    def __call__(
        self,
        x: Array | None,
        image: Array | None,
        ws: Array,
        keys: Mapping[str, Array],
        given: Mapping[str, Array],
        styles: Mapping[str, Array],
    ) -> tuple[Array, Array | None]:
        """`(features, image)` of the resolution below -> those of this one.

        Args:
          x: features; None at 4 x 4.
          image: sum of the images so far, float32, or None.
          ws: the block's rows `(n, rows, w_dim)`.
          keys: of random noise, per layer.
          given: noise per layer.
          styles: styles per layer.
        """
        s, r = self.synthesis, self.resolution
        kernels: dict[str, Any] = {"clamp": s.conv_clamp, "impl": s.conv_impl}
        resnet = s.architecture == "resnet"

        def layer(name: str, x: Array, row: int, up: int, gain: float) -> Array:
            return layers.SynthesisLayer(
                self.features,
                r,
                up=up,
                noise=self.noise,
                use_noise=s.use_noise,
                activation=s.activation,
                taps=s.resample_filter,
                gain=gain,
                name=name,
                **kernels,
            )(x, ws[:, row], keys.get(name), given.get(name), styles.get(name))

        if x is None:
            shape = (4, 4, self.features)
            constant = self.param("const", nn.initializers.normal(1.0), shape).astype(self.dtype)
            x = jnp.broadcast_to(constant[None], (ws.shape[0], *shape))
            x = layer("conv1", x, 0, 1, 1.0)
        elif resnet:
            half = math.sqrt(0.5)
            skip = layers.Conv(
                self.features,
                1,
                bias=False,
                up=2,
                taps=s.resample_filter,
                gain=half,
                impl=s.conv_impl,
                name="skip",
            )(x.astype(self.dtype))
            x = layer("conv0", x.astype(self.dtype), 0, 2, 1.0)
            x = skip + layer("conv1", x, 1, 1, half)
        else:
            x = layer("conv0", x.astype(self.dtype), 0, 2, 1.0)
            x = layer("conv1", x, 1, 1, 1.0)
        if image is not None:
            image = upsample2d(image, s.resample_filter)
        if self.last or s.architecture == "skip":
            to_rgb = layers.ToRGB(s.img_channels, s.conv_clamp, s.conv_impl, name="torgb")
            y = to_rgb(x, ws[:, -1], styles.get("torgb")).astype(jnp.float32)
            image = y if image is None else image + y
        self.sow("intermediates", "features", x)
        if image is not None:
            self.sow("intermediates", "image", image)
        return x, image


class Synthesis(nn.Module):
    """Images from intermediate latents (Karras et al. 2020, figure 2d and 7).

    The collection "intermediates", where a call makes it mutable, receives every block's
    `features` and `image` and every layer's `styles`.

    Attributes:
      img_resolution: power of two.
      img_channels: of an image.
      w_dim: length of an intermediate latent.
      channel_base, channel_max: `min(channel_base // r, channel_max)` channels at resolution r.
      architecture: "skip" (an image per resolution, summed), "orig" or "resnet".
      num_fp16_res: how many of the highest resolutions are computed in `half_dtype`, above 4.
      conv_clamp: largest absolute output of the convolutions, or None.
      resample_filter: taps.
      use_noise: whether the layers have noise parameters.
      activation: of the layers.
      conv_impl: see `ops.ConvImpl`; all equal.
      half_dtype: "bfloat16" or "float16".
      remat_from: resolution from which a block is recomputed in the backward pass; None nowhere.
    """

    img_resolution: int
    img_channels: int = 3
    w_dim: int = 512
    channel_base: int = 32768
    channel_max: int = 512
    architecture: str = "skip"
    num_fp16_res: int = 0
    conv_clamp: float | None = None
    resample_filter: Sequence[float] = TAPS
    use_noise: bool = True
    activation: str = "lrelu"
    conv_impl: ConvImpl = "phase"
    half_dtype: str = "bfloat16"
    remat_from: int | None = None

    @property
    def num_ws(self) -> int:
        """Rows of intermediate latents: two per resolution."""
        return 2 * len(layers.resolutions(self.img_resolution))

    def layer_names(self) -> list[str]:
        """The convolutions with noise, "b4.conv1", "b8.conv0", "b8.conv1", ..."""
        blocks = layers.resolutions(self.img_resolution)
        return ["b4.conv1", *(f"b{r}.conv{i}" for r in blocks[1:] for i in (0, 1))]

    @nn.compact
    def __call__(
        self,
        ws: Array,
        noise: str | Mapping[str, Array] = "const",
        key: Array | None = None,
        styles: Mapping[str, Array] | None = None,
    ) -> Array:
        """Intermediate latents -> images `(n, r, r, img_channels)`, nominally in [-1, 1].

        Args:
          ws: `(n, w_dim)`, or one row per layer `(n, num_ws, w_dim)`.
          noise: "const" (the stored one), "random" (needs `key`), "none", or arrays per layer
            (names of `layer_names`), broadcastable to `(n, r, r, 1)`, with "const" for the rest.
          key: of random noise; sample i of the whole batch has its own.
          styles: per layer ("b8.conv0", "b8.torgb"), to use instead of those of `ws`.

        Raises:
          ValueError: settings, shapes or names that do not exist.
        """
        if self.architecture not in ARCHITECTURES:
            raise ValueError(
                f"architecture={self.architecture!r}: choose {', '.join(ARCHITECTURES)}"
            )
        ws = self._rows(ws)
        given = {} if isinstance(noise, str) else dict(noise)
        mode = noise if isinstance(noise, str) else "const"
        if mode not in NOISES:
            raise ValueError(f"noise={mode!r}: choose {', '.join(NOISES)}")
        styles = dict(styles or {})
        keys = self._keys(key, ws.shape[0]) if mode == "random" and self.use_noise else {}
        sizes = layers.resolutions(self.img_resolution)
        known = {*self.layer_names(), *(f"b{r}.torgb" for r in sizes)}
        if unknown := (given.keys() | styles.keys()) - known:
            raise ValueError(f"no layer {', '.join(sorted(unknown))}; there are {sorted(known)}")
        half_from = layers.half_precision_from(self.img_resolution, self.num_fp16_res)
        x = image = None
        row = 0
        for r in sizes:
            half = half_from is not None and r >= half_from
            remat = self.remat_from is not None and r >= self.remat_from
            block = nn.remat(SynthesisBlock) if remat else SynthesisBlock
            count = 1 if r == 4 else 2
            of = lambda tree, r=r: {
                name.split(".")[1]: v for name, v in tree.items() if name.split(".")[0] == f"b{r}"
            }
            x, image = block(
                layers.channels_at(r, self.channel_base, self.channel_max),
                r,
                r == self.img_resolution,
                mode,
                jnp.dtype(self.half_dtype) if half else jnp.float32,
                self.clone(parent=None, name=None),
                name=f"b{r}",
            )(x, image, ws[:, row : row + count + 1], of(keys), of(given), of(styles))
            # An image's layer shares its row with the next block's first convolution.
            row += count
        assert image is not None
        return image

    def _rows(self, ws: Array) -> Array:
        if ws.ndim == 2 and ws.shape[1] == self.w_dim:
            return jnp.broadcast_to(ws[:, None], (ws.shape[0], self.num_ws, self.w_dim))
        if ws.ndim == 3 and ws.shape[1:] == (self.num_ws, self.w_dim):
            return ws
        raise ValueError(
            f"ws has shape {ws.shape}; this network takes (n, {self.w_dim}) or "
            f"(n, {self.num_ws}, {self.w_dim})"
        )

    def _keys(self, key: Array | None, n: int) -> dict[str, Array]:
        if key is None:
            raise ValueError("noise='random' needs a PRNG key; pass key=...")
        return {
            name: parallel.example_keys(jax.random.fold_in(key, i), n)
            for i, name in enumerate(self.layer_names())
        }
