"""Classifiers of images that attacks are aimed at: chains of layers for small grey images.

All are called `(x, train)`: images `(n, h, w, c)` in [0, 1] to logits `(n, n_classes)`; dropout
draws from the collection "dropout", one key per row. Residual networks are in `targets_cifar`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from gmkit.core.parallel import example_keys
from gmkit.nets.layers import INITIALISERS, xavier_uniform
from gmkit.nets.targets_cifar import MadryCIFARNet, ResNetClassifier, WideResNetClassifier


class Conv(NamedTuple):
    """A square convolution and a rectifier."""

    features: int
    size: int
    stride: int = 1
    padding: Literal["SAME", "VALID"] = "VALID"


class Dense(NamedTuple):
    """A dense layer and a rectifier; images are flattened."""

    features: int


class Dropout(NamedTuple):
    """Dropout of a fraction of the units, in training."""

    rate: float


class MaxPool(NamedTuple):
    """Maxima over 2 x 2 windows; an odd last row or column is dropped."""


class MeanPool(NamedTuple):
    """The mean over all positions."""


Layer = Conv | Dense | Dropout | MaxPool | MeanPool

#: Layers by architecture; a dense layer to the logits follows.
LAYERS: dict[str, tuple[Layer, ...]] = {
    # A, B, C and D of Tramer et al. (2018), whose C and D are black boxes and sources there.
    "a": (Conv(64, 5), Conv(64, 5), Dropout(0.25), Dense(128), Dropout(0.5)),
    "b": (
        Dropout(0.2),
        Conv(64, 8, 2, "SAME"),
        Conv(128, 6, 2),
        Conv(128, 5),
        Dropout(0.5),
    ),
    "c_tramer": (Conv(128, 3), Conv(64, 3), Dropout(0.25), Dense(128), Dropout(0.5)),
    "d_tramer": (Dense(300), Dropout(0.5)) * 4,
    # Carlini & Wagner (2017); C of Xiao et al. (2018).
    "c": (
        *(Conv(32, 3), Conv(32, 3), MaxPool(), Conv(64, 3), Conv(64, 3), MaxPool()),
        *(Dense(200), Dropout(0.5), Dense(200)),
    ),
    # Madry et al. (2018), for MNIST.
    "madry_mnist": (
        *(Conv(32, 5, 1, "SAME"), MaxPool(), Conv(64, 5, 1, "SAME"), MaxPool()),
        Dense(1024),
    ),
    # For small images of any size.
    "small": (
        *(Conv(16, 3, 1, "SAME"), Conv(32, 3, 1, "SAME"), MaxPool()),
        *(Conv(32, 3, 1, "SAME"), MaxPool(), Conv(64, 3, 1, "SAME"), MeanPool()),
    ),
}
_Init = nn.initializers.Initializer
#: Initialisers of kernels and of biases, where they are not Glorot's uniform one and zero.
_INITIALISERS: dict[str, tuple[_Init, _Init]] = {
    "d_tramer": (INITIALISERS["he_normal"], nn.initializers.zeros),
    "madry_mnist": (nn.initializers.truncated_normal(0.1), nn.initializers.constant(0.1)),
}
_NETWORKS: Mapping[str, type[nn.Module]] = {
    "madry_cifar": MadryCIFARNet,
    "resnet32": ResNetClassifier,
    "wide_resnet34": WideResNetClassifier,
}
#: Architectures that `classifier` knows.
CLASSIFIERS = (*LAYERS, *_NETWORKS)


class LayeredClassifier(nn.Module):
    """A chain of layers, and a dense layer to the logits.

    Attributes:
      n_classes: number of logits.
      layers: what precedes them.
      width: factor of all channels and hidden units.
      kernel_init, bias_init: initialisers of all layers.
    """

    n_classes: int
    layers: tuple[Layer, ...]
    width: float = 1.0
    kernel_init: nn.initializers.Initializer = xavier_uniform()
    bias_init: nn.initializers.Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Images `(n, h, w, c)` in [0, 1] -> logits `(n, n_classes)`.

        Raises:
          ValueError: images that are too small for the windows.
        """
        inits: dict[str, Any] = {"kernel_init": self.kernel_init, "bias_init": self.bias_init}
        shape = x.shape
        for layer in self.layers:
            match layer:
                case Conv(features, size, stride, padding):
                    window, strides = (size, size), (stride, stride)
                    features = scaled(features, self.width)
                    x = nn.relu(nn.Conv(features, window, strides, padding, **inits)(x))
                case Dense(features):
                    x = x.reshape(x.shape[0], -1)
                    x = nn.relu(nn.Dense(scaled(features, self.width), **inits)(x))
                case Dropout(rate):
                    x = _dropout(self, x, rate) if train else x
                case MaxPool():
                    x = max_pool(x)
                case MeanPool():
                    x = jnp.mean(x, axis=(1, 2))
            if 0 in x.shape[1:]:
                raise ValueError(
                    f"images {shape[1:]} leave no pixel after {layer}: use larger images or "
                    "arch='small'"
                )
        return nn.Dense(self.n_classes, **inits)(x.reshape(x.shape[0], -1))


def max_pool(x: jax.Array) -> jax.Array:
    """Maxima over 2 x 2 windows of `(n, h, w, c)`; an odd last row or column is dropped.

    Written over axes, because the gradient of XLA's window reduction is slow on a CPU.
    """
    n, h, w, c = x.shape
    x = x[:, : h // 2 * 2, : w // 2 * 2]
    return jnp.max(x.reshape(n, h // 2, 2, w // 2, 2, c), axis=(2, 4))


def scaled(features: int, width: float) -> int:
    """`width` times as many channels, at least one."""
    return max(1, round(width * features))


def _dropout(module: nn.Module, x: jax.Array, rate: float) -> jax.Array:
    """Dropout keyed by row, so that masks do not depend on the number of devices."""
    keys = example_keys(module.make_rng("dropout"), x.shape[0])
    kept = jax.vmap(lambda key: jax.random.bernoulli(key, 1.0 - rate, x.shape[1:]))(keys)
    return jnp.where(kept, x / (1.0 - rate), 0.0)


def classifier(arch: str, n_classes: int, width: float = 1.0, **options: Any) -> nn.Module:
    """A classifier `(x (n, h, w, c) in [0, 1], train) -> logits (n, n_classes)`.

    Args:
      arch: one of `CLASSIFIERS`: "a", "b", "c_tramer", "d_tramer" (Tramer et al. 2018), "c"
        (Carlini & Wagner 2017) and "madry_mnist" for 28 x 28 images, "small" for small ones of any
        size; "resnet32", "wide_resnet34" and "madry_cifar" with batch normalisation.
      n_classes: number of logits.
      width: factor of all channels and hidden units.
      **options: further attributes of the module, such as `blocks` of residual networks.

    Raises:
      ValueError: an architecture or option that does not exist, or numbers out of range.
    """
    if arch not in CLASSIFIERS:
        raise ValueError(f"classifier arch={arch!r} is not known; choose {', '.join(CLASSIFIERS)}")
    if n_classes < 2 or not width > 0:
        raise ValueError(
            f"n_classes={n_classes}, width={width}: take at least 2 classes and a positive width"
        )
    module = _NETWORKS.get(arch, LayeredClassifier)
    fixed: dict[str, Any] = {"n_classes": n_classes, "width": width}
    if arch in LAYERS:
        fixed["layers"] = LAYERS[arch]
    if arch in _INITIALISERS:
        kernel_init, bias_init = _INITIALISERS[arch]
        options = {"kernel_init": kernel_init, "bias_init": bias_init, **options}
    kept = ("parent", "name", *fixed)
    names = [f.name for f in dataclasses.fields(module) if f.name not in kept]
    for option in options:
        if option not in names:
            raise ValueError(
                f"classifier arch={arch!r} has no option {option!r}; it has {', '.join(names)}"
            )
    return module(**fixed, **options)
