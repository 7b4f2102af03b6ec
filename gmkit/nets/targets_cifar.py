"""Residual classifiers of small colour images, with synchronised batch normalisation."""

from __future__ import annotations

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from gmkit.nets.layers import INITIALISERS, BatchNorm, leaky_relu

#: Variance 2 / (window * outputs): He et al. (2015), backward.
_FAN_OUT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
#: Variance 1 / inputs, on a uniform distribution.
_UNIT_SCALE = nn.initializers.variance_scaling(1.0, "fan_in", "uniform")


def _conv(
    features: int,
    size: int = 3,
    stride: int = 1,
    init: nn.initializers.Initializer = INITIALISERS["he_normal"],
    centred: bool = True,
) -> nn.Conv:
    """A convolution without bias; `centred` on even pixels where it strides, else as SAME."""
    pad = ((size - 1) // 2, (size - 1) // 2)
    padding = (pad, pad) if centred else "SAME"
    strides = (stride, stride)
    return nn.Conv(features, (size, size), strides, padding, use_bias=False, kernel_init=init)


def _wider(x: jax.Array, features: int) -> jax.Array:
    """`x` with zero channels on both sides, `features` in all."""
    missing = features - x.shape[-1]
    return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (missing // 2, missing - missing // 2)))


def _channels(width: float, *features: int) -> list[int]:
    return [max(1, round(width * n)) for n in features]


class ResNetClassifier(nn.Module):
    """ResNet for CIFAR, `6 blocks + 2` layers; He, Zhang, Ren, Sun (2016), section 4.2.

    Three stages of 16, 32 and 64 channels; shortcuts have no parameters: they take every other
    pixel and pad channels with zeros (option A). 464 154 parameters with the defaults.

    Attributes:
      n_classes: number of logits.
      width: factor of all channels.
      blocks: of two convolutions each, per stage.
    """

    n_classes: int
    width: float = 1.0
    blocks: int = 5

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Images `(n, h, w, c)` in [0, 1] -> logits `(n, n_classes)`."""
        widths = _channels(self.width, 16, 32, 64)
        x = nn.relu(BatchNorm()(_conv(widths[0])(x), train))
        for stage, features in enumerate(widths):
            for block in range(self.blocks):
                stride = 2 if stage and not block else 1
                y = nn.relu(BatchNorm()(_conv(features, stride=stride)(x), train))
                y = BatchNorm()(_conv(features)(y), train)
                x = nn.relu(y + _wider(x[:, ::stride, ::stride], features))
        return nn.Dense(self.n_classes, kernel_init=INITIALISERS["lecun_normal"])(
            jnp.mean(x, axis=(1, 2))
        )


class WideResNetClassifier(nn.Module):
    """Wide ResNet, `6 blocks + 4` layers; Zagoruyko & Komodakis (2016).

    Pre-activation blocks of `factor` times 16, 32 and 64 channels; shortcuts that change the shape
    are 1 x 1 convolutions of the activated input. 46 160 474 parameters with the defaults
    (WRN-34-10).

    Attributes:
      n_classes: number of logits.
      width: factor of all channels.
      blocks: per stage.
      factor: how much wider than a ResNet.
    """

    n_classes: int
    width: float = 1.0
    blocks: int = 5
    factor: int = 10

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Images `(n, h, w, c)` in [0, 1] -> logits `(n, n_classes)`."""
        k = self.factor
        first, *widths = _channels(self.width, 16, 16 * k, 32 * k, 64 * k)
        x = _conv(first, init=_FAN_OUT)(x)
        for stage, features in enumerate(widths):
            for block in range(self.blocks):
                stride = 2 if stage and not block else 1
                active = nn.relu(BatchNorm()(x, train))
                same = x.shape[-1] == features and stride == 1
                shortcut = x if same else _conv(features, 1, stride, _FAN_OUT)(active)
                y = _conv(features, stride=stride, init=_FAN_OUT)(active)
                y = nn.relu(BatchNorm()(y, train))
                x = shortcut + _conv(features, init=_FAN_OUT)(y)
        x = jnp.mean(nn.relu(BatchNorm()(x, train)), axis=(1, 2))
        return nn.Dense(self.n_classes, kernel_init=INITIALISERS["lecun_normal"])(x)


class MadryCIFARNet(nn.Module):
    """The "w32-10" network of Madry et al. (2018), as in its official code.

    Images are standardised one by one; pre-activation blocks of 160, 320 and 640 channels with
    leaky rectifiers of slope 0.1, of which the first shares its activation with the shortcut;
    shortcuts average over the stride and pad channels with zeros on both sides.

    Attributes:
      n_classes: number of logits.
      width: factor of all channels.
      blocks: per stage.
    """

    n_classes: int
    width: float = 1.0
    blocks: int = 5

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Images `(n, h, w, c)` in [0, 1] -> logits `(n, n_classes)`."""
        activate: Callable[[jax.Array], jax.Array] = leaky_relu(0.1)
        norm = lambda x: BatchNorm(epsilon=1e-3)(x, train)
        conv = functools.partial(_conv, init=_FAN_OUT, centred=False)
        first, *widths = _channels(self.width, 16, 160, 320, 640)
        x = conv(first)(standardised(x))
        for stage, features in enumerate(widths):
            for block in range(self.blocks):
                stride = 2 if stage and not block else 1
                active = activate(norm(x))
                shortcut = active if stage == block == 0 else x
                y = conv(features)(activate(norm(conv(features, stride=stride)(active))))
                window = (stride, stride)
                x = y + _wider(nn.avg_pool(shortcut, window, window), features)
        x = jnp.mean(activate(norm(x)), axis=(1, 2))
        return nn.Dense(self.n_classes, kernel_init=_UNIT_SCALE)(x)


def standardised(x: jax.Array) -> jax.Array:
    """Images in [0, 1] with mean 0 and variance 1 each, `(x - mean) / max(std, 1 / sqrt(d))`.

    The floor is that of intensities 0 to 255, as in TensorFlow: it only matters to images that are
    constant up to rounding.
    """
    axes = (1, 2, 3)
    x = 255.0 * x
    x = x - jnp.mean(x, axis=axes, keepdims=True)
    var = jnp.mean(jnp.square(x), axis=axes, keepdims=True)
    return x * jax.lax.rsqrt(jnp.maximum(var, 1.0 / (x.shape[1] * x.shape[2] * x.shape[3])))
