"""StyleGAN2's layers, whose parameters have the official names and N(0, 1) initialisation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax

from gmkit.nets.stylegan2.ops import (
    ACTIVATIONS,
    TAPS,
    ConvImpl,
    bias_act,
    conv2d_resample,
    modulated_conv2d,
)

Array = jax.Array


def half_precision_from(img_resolution: int, num_fp16_res: int) -> int | None:
    """The lowest resolution that is computed in half precision; None for none."""
    return max(img_resolution * 2 // 2**num_fp16_res, 8) if num_fp16_res else None


def channels_at(resolution: int, channel_base: int, channel_max: int) -> int:
    """Feature maps at a resolution."""
    return min(channel_base // resolution, channel_max)


def resolutions(img_resolution: int) -> list[int]:
    """4, 8, ..., `img_resolution`.

    Raises:
      ValueError: not a power of two from 4 on.
    """
    if img_resolution < 4 or img_resolution & (img_resolution - 1):
        raise ValueError(f"img_resolution={img_resolution}: take a power of two from 4 on")
    return [2**i for i in range(2, img_resolution.bit_length())]


class FullyConnected(nn.Module):
    """Dense layer with an equalised learning rate (Karras et al. 2018).

    Attributes:
      features: outputs.
      activation: of `ACTIVATIONS`.
      lr_multiplier: m; weights are stored divided by m, and multiplied by m when they are used.
      bias_init: initial bias (as stored).
    """

    features: int
    activation: str = "linear"
    lr_multiplier: float = 1.0
    bias_init: float = 0.0

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """`(..., i)` -> `(..., features)`."""
        inputs, m = x.shape[-1], self.lr_multiplier
        weight = self.param("weight", nn.initializers.normal(1.0 / m), (inputs, self.features))
        bias = self.param("bias", nn.initializers.constant(self.bias_init), (self.features,))
        return bias_act(x @ (weight * (m / math.sqrt(inputs))), bias * m, self.activation)


class Conv(nn.Module):
    """Convolution with an equalised learning rate.

    Attributes:
      features: output channels.
      size: 1 or 3.
      bias: whether there is one.
      activation: of `ACTIVATIONS`.
      up, down: see `conv2d_resample`.
      taps: filter of the resampling.
      clamp: largest absolute output at gain 1, or None.
      gain: factor of the output.
      impl: see `conv2d_resample`.
    """

    features: int
    size: int
    bias: bool = True
    activation: str = "linear"
    up: int = 1
    down: int = 1
    taps: Sequence[float] = TAPS
    clamp: float | None = None
    gain: float = 1.0
    impl: ConvImpl = "phase"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """`(n, h, w, i)` -> `(n, h', w', features)`, in the type of `x`."""
        shape = (self.size, self.size, x.shape[-1], self.features)
        weight = self.param("weight", nn.initializers.normal(1.0), shape)
        bias = None
        if self.bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,)).astype(x.dtype)
        weight = (weight / math.sqrt(math.prod(shape[:3]))).astype(x.dtype)
        x = conv2d_resample(
            x, weight, self.taps, self.up, self.down, flip_weight=self.up == 1, impl=self.impl
        )
        clamp = None if self.clamp is None else self.clamp * self.gain
        return bias_act(x, bias, self.activation, _gain(self.activation, self.gain), clamp)


class SynthesisLayer(nn.Module):
    """3 x 3 modulated convolution, noise, bias and activation.

    Attributes:
      features: output channels.
      resolution: of the output.
      up: 1 or 2.
      noise: "const", "random" or "none".
      use_noise: whether the layer has noise parameters at all.
      activation, taps, clamp, gain, impl: see `Conv`.
    """

    features: int
    resolution: int
    up: int = 1
    noise: str = "const"
    use_noise: bool = True
    activation: str = "lrelu"
    taps: Sequence[float] = TAPS
    clamp: float | None = None
    gain: float = 1.0
    impl: ConvImpl = "phase"

    @nn.compact
    def __call__(
        self, x: Array, w: Array, key: Array | None, given: Any = None, styles: Any = None
    ) -> Array:
        """Features of twice the size, or of the same.

        Args:
          x: `(n, h, h, i)`.
          w: `(n, w_dim)`.
          key: of the random noise, one typed key per sample `(n,)`.
          given: noise to use instead, broadcastable to `(n, r, r, 1)`; it is still multiplied by
            the layer's strength.
          styles: `(n, i)` to use instead of the affine map of `w`.
        """
        inputs = x.shape[-1]
        affine = FullyConnected(inputs, bias_init=1.0, name="affine")(w)
        styles = affine if styles is None else styles
        self.sow("intermediates", "styles", styles)
        weight = self.param("weight", nn.initializers.normal(1.0), (3, 3, inputs, self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,)).astype(x.dtype)
        noise = self._noise(key, given) if self.use_noise else None
        x = modulated_conv2d(x, weight, styles, noise, self.taps, self.up, impl=self.impl)
        clamp = None if self.clamp is None else self.clamp * self.gain
        return bias_act(x, bias, self.activation, _gain(self.activation, self.gain), clamp)

    def _noise(self, key: Array | None, given: Any) -> Array | None:
        r = self.resolution
        strength = self.param("noise_strength", nn.initializers.zeros, ())
        draw = lambda: jax.random.normal(self.make_rng("params"), (r, r))
        constant = self.variable("noise", "noise_const", draw).value
        if given is not None:
            return given * strength
        if self.noise == "const":
            return constant[None, :, :, None] * strength
        if self.noise == "none":
            return None
        if self.noise != "random":
            raise ValueError(f"noise={self.noise!r}: choose const, random or none")
        if key is None:
            raise ValueError("noise='random' needs a PRNG key; pass key=...")
        return jax.vmap(lambda k: jax.random.normal(k, (r, r, 1)))(key) * strength


class ToRGB(nn.Module):
    """1 x 1 modulated convolution without demodulation, linear.

    Attributes:
      features: image channels.
      clamp: largest absolute output, or None.
      impl: see `conv2d_resample`.
    """

    features: int
    clamp: float | None = None
    impl: ConvImpl = "phase"

    @nn.compact
    def __call__(self, x: Array, w: Array, styles: Any = None) -> Array:
        """`(n, h, w, i)` -> `(n, h, w, features)`; `styles` as in `SynthesisLayer`, unscaled."""
        inputs = x.shape[-1]
        affine = FullyConnected(inputs, bias_init=1.0, name="affine")(w)
        styles = affine if styles is None else styles
        self.sow("intermediates", "styles", styles)
        weight = self.param("weight", nn.initializers.normal(1.0), (1, 1, inputs, self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,)).astype(x.dtype)
        x = modulated_conv2d(
            x, weight, styles / math.sqrt(inputs), demodulate=False, impl=self.impl
        )
        return bias_act(x, bias, clamp=self.clamp)


def _gain(activation: str, gain: float) -> float | None:
    """The activation's default gain times the layer's."""
    return ACTIVATIONS[activation][1] * gain if gain != 1.0 else None
