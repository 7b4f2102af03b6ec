"""Generators, energies (critics, discriminators) and encoders by name.

Every generator is called `(z, train)`: `(n, latent_dim)` -> `(n, *image_shape)`; every energy
`(x, train)`: `(n, *image_shape)` -> `(n,)`; every encoder `(x, train)`: -> `(n, latent_dim)`.
`train` chooses batch statistics and takes a power step of spectral normalisation; what changes
is stored only in collections made mutable. An energy's method `with_features` returns its last
hidden layer too, after the activation and flattened, `(n, d)`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn

from gmkit.nets.distgan import DistDCGANEncoder, DistDCGANEnergy, DistDCGANGenerator
from gmkit.nets.layers import ACTIVATIONS, INITIALISERS
from gmkit.nets.mlp import (
    AffineGenerator,
    DenseMLPEnergy,
    EqualisedEnergy,
    MLPEncoder,
    MLPEnergy,
    MLPGenerator,
)
from gmkit.nets.projected import (
    DistResNetEncoder,
    DistResNetEnergy,
    DistResNetGenerator,
    LGANEnergy,
    LGANGenerator,
)
from gmkit.nets.resnet import ResNetEnergy, ResNetGenerator
from gmkit.nets.small import SmallEnergy, SmallGenerator
from gmkit.nets.sngan import DCGANEnergy, DCGANGenerator, SNGANEnergy, SNGANGenerator
from gmkit.nets.stacked import StackedEncoder, StackedEnergy, StackedGenerator

GENERATORS: dict[str, type[nn.Module]] = {
    "affine": AffineGenerator,
    "dcgan": DCGANGenerator,
    "dist_dcgan": DistDCGANGenerator,
    "dist_resnet": DistResNetGenerator,
    "lgan": LGANGenerator,
    "mlp": MLPGenerator,
    "resnet": ResNetGenerator,
    "small": SmallGenerator,
    "sngan": SNGANGenerator,
    "stacked": StackedGenerator,
}
ENERGIES: dict[str, type[nn.Module]] = {
    "dcgan": DCGANEnergy,
    "dense_mlp": DenseMLPEnergy,
    "dist_dcgan": DistDCGANEnergy,
    "dist_resnet": DistResNetEnergy,
    "equalised": EqualisedEnergy,
    "lgan": LGANEnergy,
    "mlp": MLPEnergy,
    "resnet": ResNetEnergy,
    "small": SmallEnergy,
    "sngan": SNGANEnergy,
    "stacked": StackedEnergy,
}
ENCODERS: dict[str, type[nn.Module]] = {
    "dist_dcgan": DistDCGANEncoder,
    "dist_resnet": DistResNetEncoder,
    "mlp": MLPEncoder,
    "stacked": StackedEncoder,
}
#: Architectures that take examples of any shape.
_SHAPELESS = ("affine", "dense_mlp", "equalised", "mlp")
#: Smallest side of an image, where it is not 1.
_MINIMUM = {"dcgan": 8, "dist_dcgan": 8, "dist_resnet": 4, "lgan": 4, "resnet": 4}
#: Architectures that need even sides.
_EVEN = ("dcgan", "dist_dcgan")
#: Options that may be a name.
_NAMED: dict[str, dict[str, Any]] = {"activation": ACTIVATIONS, "kernel_init": INITIALISERS}


def _build(
    table: dict[str, type[nn.Module]],
    role: str,
    arch: str,
    image_shape: tuple[int, ...],
    options: dict[str, Any],
) -> nn.Module:
    if arch not in table:
        raise ValueError(f"{role} arch={arch!r} is not known; choose {', '.join(table)}")
    if arch not in _SHAPELESS:
        if len(image_shape) != 3:
            raise ValueError(
                f"{role} arch={arch!r} needs a shape (height, width, channels), got {image_shape};"
                f" use {' or '.join(a for a in _SHAPELESS if a in table)}"
            )
        others = " or ".join(repr(a) for a in ("small", "mlp") if a in table)
        if min(image_shape[:2]) < _MINIMUM.get(arch, 1):
            raise ValueError(
                f"{role} arch={arch!r} needs images of at least {_MINIMUM[arch]} pixels a side,"
                f" got {image_shape}; use arch={others}"
            )
        if arch in _EVEN and any(side % 2 for side in image_shape[:2]):
            raise ValueError(
                f"{role} arch={arch!r} needs even sides, got {image_shape}; use arch={others}"
            )
    module = table[arch]
    names = [f.name for f in dataclasses.fields(module) if f.name not in ("parent", "name")]
    for option in options:
        if option not in names:
            raise ValueError(
                f"{role} arch={arch!r} has no option {option!r}; it has {', '.join(names)}"
            )
    if options.get("trainable_gain") and not options.get("spectral_norm"):
        raise ValueError(
            f"{role} arch={arch!r}: trainable_gain=True needs spectral_norm=True, whose kernels"
            " it multiplies"
        )
    return module(**{option: _named(option, value) for option, value in options.items()})


def _named(option: str, value: Any) -> Any:
    """The value that a name stands for, where the option has names."""
    table = _NAMED.get(option)
    if table is None or not isinstance(value, str):
        return value
    if value not in table:
        raise ValueError(f"{option}={value!r} is not known; choose {', '.join(table)}")
    return table[value]


def generator(
    arch: str,
    image_shape: tuple[int, ...],
    latent_dim: int,
    width: int | None = None,
    **options: Any,
) -> nn.Module:
    """A generator `(z, train)` -> images in [-1, 1] or vectors.

    Args:
      arch: one of `GENERATORS`.
      image_shape: shape of one example: (height, width, channels), or (d,) for "mlp"/"affine".
      latent_dim: length of a latent vector.
      width: channels or hidden units (default: the architecture's own).
      **options: further attributes of the module; `activation` and `kernel_init` may be a name,
        of `layers.ACTIVATIONS` or `layers.INITIALISERS`.

    Raises:
      ValueError: an architecture or option that does not exist, or a shape that does not fit.
    """
    image_shape = tuple(image_shape)
    options = {**options, "image_shape": image_shape, "latent_dim": latent_dim}
    if width is not None:
        options["width"] = width
    return _build(GENERATORS, "generator", arch, image_shape, options)


def energy(
    arch: str,
    image_shape: tuple[int, ...],
    width: int | None = None,
    spectral_norm: bool = True,
    **options: Any,
) -> nn.Module:
    """An energy `(x, train)` -> `(n,)`.

    Args:
      arch: one of `ENERGIES`.
      image_shape: shape of one example: (height, width, channels), or any for "mlp",
        "equalised" and "dense_mlp".
      width: channels or hidden units (default: the architecture's own).
      spectral_norm: whether layers are spectrally normalised.
      **options: further attributes of the module; names as in `generator`.

    Raises:
      ValueError: an architecture or option that does not exist, or a shape that does not fit.
    """
    options = {**options, "spectral_norm": spectral_norm}
    if width is not None:
        options["width"] = width
    return _build(ENERGIES, "energy", arch, tuple(image_shape), options)


def encoder(
    arch: str,
    image_shape: tuple[int, ...],
    latent_dim: int,
    width: int | None = None,
    **options: Any,
) -> nn.Module:
    """An encoder `(x, train)` -> unbounded latents `(n, latent_dim)`.

    Args:
      arch: one of `ENCODERS`.
      image_shape: shape of one example: (height, width, channels), or any for "mlp".
      latent_dim: length of a latent vector.
      width: channels or hidden units (default: the architecture's own).
      **options: further attributes of the module; names as in `generator`.

    Raises:
      ValueError: an architecture or option that does not exist, or a shape that does not fit.
    """
    options = {**options, "latent_dim": latent_dim}
    if width is not None:
        options["width"] = width
    return _build(ENCODERS, "encoder", arch, tuple(image_shape), options)
