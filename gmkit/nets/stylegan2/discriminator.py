"""StyleGAN2's discriminator, NHWC."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gmkit.nets.stylegan2 import layers
from gmkit.nets.stylegan2.mapping import MappingNetwork
from gmkit.nets.stylegan2.ops import TAPS, ConvImpl, downsample2d, minibatch_std
from gmkit.nets.stylegan2.synthesis import ARCHITECTURES

Array = jax.Array


class DiscriminatorBlock(nn.Module):
    """The layers of one resolution, which halve it.

    Attributes:
      features: channels of this resolution and of the one below.
      first: whether the image comes in here.
      dtype: of the features.
      discriminator: the network's settings.
    """

    features: tuple[int, int]
    first: bool
    dtype: Any
    discriminator: Discriminator

    @nn.compact
    def __call__(self, x: Array | None, image: Array) -> tuple[Array, Array]:
        """`(features, image)` -> those of half the size (the image's only for "skip")."""
        d = self.discriminator
        here, below = self.features
        common: dict[str, Any] = {
            "activation": d.activation,
            "clamp": d.conv_clamp,
            "impl": d.conv_impl,
        }
        if self.first or d.architecture == "skip":
            y = layers.Conv(here, 1, name="fromrgb", **common)(image.astype(self.dtype))
            x = y if x is None else x.astype(self.dtype) + y
        assert x is not None
        x = x.astype(self.dtype)
        if d.architecture == "skip":
            image = downsample2d(image, d.resample_filter)
        down: dict[str, Any] = {"down": 2, "taps": d.resample_filter}
        if d.architecture == "resnet":
            half = math.sqrt(0.5)
            skip = layers.Conv(
                below, 1, bias=False, gain=half, impl=d.conv_impl, name="skip", **down
            )(x)
            x = layers.Conv(here, 3, name="conv0", **common)(x)
            x = skip + layers.Conv(below, 3, gain=half, name="conv1", **down, **common)(x)
        else:
            x = layers.Conv(here, 3, name="conv0", **common)(x)
            x = layers.Conv(below, 3, name="conv1", **down, **common)(x)
        self.sow("intermediates", "features", x)
        return x, image


class DiscriminatorEpilogue(nn.Module):
    """Statistics of the minibatch, the last convolution, dense layers.

    Attributes:
      features: channels at 4 x 4.
      outputs: 1, or the length of the label's embedding.
      discriminator: the network's settings.
    """

    features: int
    outputs: int
    discriminator: Discriminator

    @nn.compact
    def __call__(self, x: Array | None, image: Array) -> Array:
        """Features at 4 x 4 -> `(n, outputs)`."""
        d = self.discriminator
        common: dict[str, Any] = {"activation": d.activation, "impl": d.conv_impl}
        if x is None or d.architecture == "skip":
            y = layers.Conv(self.features, 1, name="fromrgb", **common)(image)
            x = y if x is None else x.astype(jnp.float32) + y
        x = x.astype(jnp.float32)
        if d.mbstd_num_channels:
            x = minibatch_std(x, d.mbstd_group_size, d.mbstd_num_channels)
        x = layers.Conv(self.features, 3, clamp=d.conv_clamp, name="conv", **common)(x)
        # The official dense layer reads channel after channel.
        x = jnp.moveaxis(x, -1, 1).reshape(x.shape[0], -1)
        x = layers.FullyConnected(self.features, d.activation, name="fc")(x)
        self.sow("intermediates", "features", x)
        return layers.FullyConnected(self.outputs, name="out")(x)


class Discriminator(nn.Module):
    """StyleGAN2's discriminator; its parameters have the names of the official state dict.

    Attributes:
      img_resolution, img_channels, c_dim: what it sees.
      channel_base, channel_max, num_fp16_res, conv_clamp, resample_filter, activation,
      conv_impl, half_dtype, remat_from: see `Synthesis`.
      architecture: "resnet", "skip" or "orig".
      mbstd_group_size: see `minibatch_std`.
      mbstd_num_channels: see `minibatch_std`; 0 leaves it out.
      cmap_dim: length of the label's embedding, the channels at 4 x 4 by default.
      num_layers: dense layers of the labels' embedding.
    """

    img_resolution: int
    img_channels: int = 3
    c_dim: int = 0
    channel_base: int = 32768
    channel_max: int = 512
    architecture: str = "resnet"
    num_fp16_res: int = 0
    conv_clamp: float | None = None
    resample_filter: Sequence[float] = TAPS
    activation: str = "lrelu"
    conv_impl: ConvImpl = "phase"
    half_dtype: str = "bfloat16"
    remat_from: int | None = None
    mbstd_group_size: int | None = 4
    mbstd_num_channels: int = 1
    cmap_dim: int | None = None
    num_layers: int = 8
    embed_features: int | None = None
    layer_features: int | None = None
    lr_multiplier: float = 0.01

    @nn.compact
    def __call__(self, x: Array, c: Array | None = None) -> Array:
        """Images `(n, r, r, img_channels)` in [-1, 1] and labels -> logits `(n,)`, high on data.

        Raises:
          ValueError: settings or shapes that do not exist.
        """
        if self.architecture not in ARCHITECTURES:
            raise ValueError(
                f"architecture={self.architecture!r}: choose {', '.join(ARCHITECTURES)}"
            )
        wanted = (self.img_resolution, self.img_resolution, self.img_channels)
        if x.ndim != 4 or x.shape[1:] != wanted:
            raise ValueError(f"images have shape {x.shape}; this network takes (n, *{wanted})")
        at = lambda r: layers.channels_at(r, self.channel_base, self.channel_max)
        half_from = layers.half_precision_from(self.img_resolution, self.num_fp16_res)
        settings = self.clone(parent=None, name=None)
        image, features = x.astype(jnp.float32), None
        for r in reversed(layers.resolutions(self.img_resolution)[1:]):
            half = half_from is not None and r >= half_from
            remat = self.remat_from is not None and r >= self.remat_from
            block = nn.remat(DiscriminatorBlock) if remat else DiscriminatorBlock
            features, image = block(
                (at(r), at(r // 2)),
                r == self.img_resolution,
                jnp.dtype(self.half_dtype) if half else jnp.float32,
                settings,
                name=f"b{r}",
            )(features, image)
        cmap = at(4) if self.cmap_dim is None else self.cmap_dim
        outputs = cmap if self.c_dim else 1
        logits = DiscriminatorEpilogue(at(4), outputs, settings, name="b4")(features, image)
        if not self.c_dim:
            return logits[:, 0]
        mapping = MappingNetwork(
            0,
            self.c_dim,
            cmap,
            num_layers=self.num_layers,
            embed_features=self.embed_features,
            layer_features=self.layer_features,
            lr_multiplier=self.lr_multiplier,
            w_avg_beta=None,
            name="mapping",
        )
        return jnp.sum(logits * mapping(None, c), axis=-1) / math.sqrt(cmap)
