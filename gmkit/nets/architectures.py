"""Generators and energies by name.

Every generator is called `(z, train)`: `(n, latent_dim)` -> `(n, *image_shape)`; every energy
`(x, train)`: `(n, *image_shape)` -> `(n,)`. `train` chooses batch statistics and takes a power
step of spectral normalisation; what changes is stored only in collections made mutable.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn

from gmkit.nets.mlp import AffineGenerator, MLPEnergy, MLPGenerator
from gmkit.nets.resnet import ResNetEnergy, ResNetGenerator
from gmkit.nets.small import SmallEnergy, SmallGenerator
from gmkit.nets.sngan import DCGANEnergy, DCGANGenerator, SNGANEnergy, SNGANGenerator

GENERATORS: dict[str, type[nn.Module]] = {
    "affine": AffineGenerator,
    "dcgan": DCGANGenerator,
    "mlp": MLPGenerator,
    "resnet": ResNetGenerator,
    "small": SmallGenerator,
    "sngan": SNGANGenerator,
}
ENERGIES: dict[str, type[nn.Module]] = {
    "dcgan": DCGANEnergy,
    "mlp": MLPEnergy,
    "resnet": ResNetEnergy,
    "small": SmallEnergy,
    "sngan": SNGANEnergy,
}
#: Architectures that take examples of any shape.
_SHAPELESS = ("affine", "mlp")
#: Smallest side of an image, where it is not 1.
_MINIMUM = {"dcgan": 8, "resnet": 4}


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
        if min(image_shape[:2]) < _MINIMUM.get(arch, 1):
            raise ValueError(
                f"{role} arch={arch!r} needs images of at least {_MINIMUM[arch]} pixels a side,"
                f" got {image_shape}; use arch='small' or 'mlp'"
            )
        if arch == "dcgan" and any(side % 2 for side in image_shape[:2]):
            raise ValueError(
                f"{role} arch='dcgan' needs even sides, got {image_shape}; use arch='sngan'"
            )
    module = table[arch]
    names = [f.name for f in dataclasses.fields(module) if f.name not in ("parent", "name")]
    for option in options:
        if option not in names:
            raise ValueError(
                f"{role} arch={arch!r} has no option {option!r}; it has {', '.join(names)}"
            )
    return module(**options)


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
      **options: further attributes of the module.

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
      image_shape: shape of one example: (height, width, channels), or any for "mlp".
      width: channels or hidden units (default: the architecture's own).
      spectral_norm: whether layers are spectrally normalised.
      **options: further attributes of the module.

    Raises:
      ValueError: an architecture or option that does not exist, or a shape that does not fit.
    """
    options = {**options, "spectral_norm": spectral_norm}
    if width is not None:
        options["width"] = width
    return _build(ENERGIES, "energy", arch, tuple(image_shape), options)
