"""StyleGAN2's generator: a mapping network and a synthesis network, NHWC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from gmkit.nets.stylegan2 import layers
from gmkit.nets.stylegan2.mapping import MappingNetwork, truncated
from gmkit.nets.stylegan2.ops import TAPS, ConvImpl
from gmkit.nets.stylegan2.synthesis import Synthesis

Array = jax.Array


class Generator(nn.Module):
    """StyleGAN2's generator; its parameters have the names of the official state dict.

    `net.apply(variables, z, method="map")` and `net.apply(variables, ws, method="synthesise")`
    are its two halves; `as_latent_generator` gives them as functions.

    Attributes:
      img_resolution: power of two.
      img_channels: of an image.
      z_dim, c_dim, w_dim: lengths of latents, labels (0: none) and intermediate latents.
      channel_base to remat_from: see `Synthesis`.
      num_layers to w_avg_beta: see `MappingNetwork`.
    """

    img_resolution: int
    img_channels: int = 3
    z_dim: int = 512
    c_dim: int = 0
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
    num_layers: int = 8
    embed_features: int | None = None
    layer_features: int | None = None
    mapping_activation: str = "lrelu"
    lr_multiplier: float = 0.01
    w_avg_beta: float | None = 0.995

    def setup(self) -> None:
        self.mapping = MappingNetwork(
            self.z_dim,
            self.c_dim,
            self.w_dim,
            num_layers=self.num_layers,
            embed_features=self.embed_features,
            layer_features=self.layer_features,
            activation=self.mapping_activation,
            lr_multiplier=self.lr_multiplier,
            w_avg_beta=self.w_avg_beta,
        )
        names = Synthesis.__dataclass_fields__.keys() - {"parent", "name"}
        self.synthesis = Synthesis(**{name: getattr(self, name) for name in names})

    @property
    def num_ws(self) -> int:
        """Rows of intermediate latents."""
        return 2 * len(layers.resolutions(self.img_resolution))

    def map(
        self,
        z: Array | None,
        c: Array | None = None,
        psi: float = 1.0,
        update_average: bool = False,
    ) -> Array:
        """Latents (and labels) -> `(..., w_dim)`, truncated to `w_avg + psi (w - w_avg)`."""
        w = self.mapping(z, c, update_average)
        return w if psi == 1.0 else truncated(w, self._average(), psi)

    def _average(self) -> Array:
        if self.w_avg_beta is None:
            raise ValueError("w_avg_beta=None: a network without w_avg cannot truncate")
        return self.mapping.get_variable("stats", "w_avg")

    def synthesise(
        self,
        ws: Array,
        noise: str | Mapping[str, Array] = "const",
        key: Array | None = None,
        styles: Mapping[str, Array] | None = None,
    ) -> Array:
        """See `Synthesis`."""
        return self.synthesis(ws, noise, key, styles)

    def __call__(
        self,
        z: Array | None,
        c: Array | None = None,
        psi: float = 1.0,
        cutoff: int | None = None,
        noise: str | Mapping[str, Array] = "const",
        key: Array | None = None,
    ) -> Array:
        """Latents (and labels) -> images `(n, r, r, img_channels)`.

        Args:
          z: `(n, z_dim)`.
          c: `(n, c_dim)`, or None where `c_dim` is 0.
          psi: truncation.
          cutoff: rows that are truncated, from the first; None for all.
          noise, key: see `Synthesis`.
        """
        w = self.mapping(z, c)
        ws = jnp.broadcast_to(w[:, None], (w.shape[0], self.num_ws, self.w_dim))
        if psi != 1.0:
            ws = truncated(ws, self._average(), psi, cutoff)
        return self.synthesis(ws, noise, key)
