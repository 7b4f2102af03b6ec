"""The configurations of the official training code, as data (its train.py)."""

from __future__ import annotations

import dataclasses
from typing import Any

from gmkit.nets.stylegan2.discriminator import Discriminator
from gmkit.nets.stylegan2.generator import Generator


@dataclasses.dataclass(frozen=True)
class Configuration:
    """Networks and training of one official configuration.

    Attributes:
      kimg: thousands of real images that training shows.
      batch: minibatch over all devices.
      mbstd_group: examples of a group of the minibatch statistics.
      channel_base: see `Synthesis`.
      learning_rate: of both networks.
      r1_gamma: weight of R1.
      ema_kimg: half-life of the generator's average, in thousands of images.
      ema_rampup: the half-life is at most this share of the images so far; None for no bound.
      mapping_layers: dense layers of the mapping network.
      path_length: whether path lengths are regularised.
      style_mixing: probability that a batch mixes styles.
      architecture: the discriminator's.
    """

    kimg: int
    batch: int
    mbstd_group: int
    channel_base: int
    learning_rate: float
    r1_gamma: float
    ema_kimg: float
    ema_rampup: float | None
    mapping_layers: int
    path_length: bool = True
    style_mixing: float = 0.9
    architecture: str = "resnet"


CONFIGURATIONS = {
    "stylegan2": Configuration(25_000, 32, 4, 32768, 0.002, 10.0, 10.0, None, 8),
    "paper256": Configuration(25_000, 64, 8, 16384, 0.0025, 1.0, 20.0, None, 8),
    "paper512": Configuration(25_000, 64, 8, 32768, 0.0025, 0.5, 20.0, None, 8),
    "paper1024": Configuration(25_000, 32, 4, 32768, 0.002, 2.0, 10.0, None, 8),
    "cifar": Configuration(
        100_000, 64, 32, 32768, 0.0025, 0.01, 500.0, 0.05, 2, False, 0.0, "orig"
    ),
}


def automatic(resolution: int, devices: int = 1) -> Configuration:
    """The configuration "auto": chosen by resolution and number of devices."""
    batch = max(min(devices * min(4096 // resolution, 32), 64), devices)
    return Configuration(
        kimg=25_000,
        batch=batch,
        mbstd_group=min(batch // devices, 4),
        channel_base=32768 if resolution >= 512 else 16384,
        learning_rate=0.002 if resolution >= 1024 else 0.0025,
        r1_gamma=0.0002 * resolution**2 / batch,
        ema_kimg=batch * 10 / 32,
        ema_rampup=0.05,
        mapping_layers=2,
    )


def configuration(name: str, resolution: int, devices: int = 1) -> Configuration:
    """A configuration by name: "auto" or one of `CONFIGURATIONS`.

    Raises:
      ValueError: no such configuration.
    """
    if name == "auto":
        return automatic(resolution, devices)
    if name not in CONFIGURATIONS:
        raise ValueError(f"configuration {name!r}: choose auto, {', '.join(CONFIGURATIONS)}")
    return CONFIGURATIONS[name]


def networks(
    chosen: Configuration,
    resolution: int,
    channels: int = 3,
    c_dim: int = 0,
    half_precision: bool = True,
    **settings: Any,
) -> tuple[Generator, Discriminator]:
    """Generator and discriminator of a configuration.

    Args:
      chosen: the configuration.
      resolution: of the images.
      channels: of the images.
      c_dim: length of a label vector; 0 for none.
      half_precision: the four highest resolutions in bfloat16 above 4; either way the
        convolutions' outputs are clamped to +-256, as officially.
      **settings: further attributes of both.
    """
    both: dict[str, Any] = {
        "img_channels": channels,
        "c_dim": c_dim,
        "channel_base": chosen.channel_base,
        "num_fp16_res": 4 if half_precision else 0,
        "conv_clamp": 256.0,
        **settings,
    }
    generator = Generator(resolution, num_layers=chosen.mapping_layers, **both)
    discriminator = Discriminator(
        resolution,
        architecture=chosen.architecture,
        mbstd_group_size=chosen.mbstd_group,
        **both,
    )
    return generator, discriminator
