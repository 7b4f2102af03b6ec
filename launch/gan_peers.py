"""The PyTorch side of `launch/gan_pairs.py`: torch-mimicry's networks and training steps.

Needs torch-mimicry; nothing imports this module before a pair is asked for.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch


class Log:
    """What `train_step` reports to: the numbers of one step, read as torch-mimicry reads them."""

    def __init__(self):
        self.values: dict[str, float] = {}

    def add_metric(self, name: str, value: Any, group: str | None = None) -> None:
        del group
        self.values[name] = value.item() if isinstance(value, torch.Tensor) else value


def _nets(name: str) -> Any:
    """The subpackage `torch_mimicry.nets.<name>`.

    The package's own `__init__` is not executed: it imports its data sets and metrics too, which
    need `torch._six` (gone since PyTorch 2.0), torchvision and TensorFlow. The networks do not.
    """
    if "torch_mimicry" not in sys.modules:
        spec = importlib.util.find_spec("torch_mimicry")
        assert spec is not None
        sys.modules["torch_mimicry"] = importlib.util.module_from_spec(spec)
    return importlib.import_module(f"torch_mimicry.nets.{name}")


def networks(gan: str, latent_dim: int, generator_width: int, critic_width: int) -> dict[str, Any]:
    """The "generator" and "critic" of `gan` ("sngan" or "wgan_gp") for 32 x 32 x 3 images."""
    module, prefix = _nets(gan), {"sngan": "SNGAN", "wgan_gp": "WGANGP"}[gan]
    return {
        "generator": getattr(module, f"{prefix}Generator32")(nz=latent_dim, ngf=generator_width),
        "critic": getattr(module, f"{prefix}Discriminator32")(ndf=critic_width),
    }


def count(module: Any) -> int:
    """Number of trained parameters."""
    return sum(p.numel() for p in module.parameters())


def trainer(
    networks: dict[str, Any],
    player: str,
    x: np.ndarray,
    learning_rate: float,
    b1: float,
    b2: float,
) -> Callable[[], dict[str, float]]:
    """The `train_step` of one player by Adam on the batch `x` `(n, 32, 32, 3)`."""
    generator, critic = networks["generator"].train(), networks["critic"].train()
    optimizer = torch.optim.Adam(networks[player].parameters(), learning_rate, (b1, b2))
    real = torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
    batch = (real, torch.zeros(len(x), dtype=torch.int64))  # of images and labels, as from loaders

    def step() -> dict[str, float]:
        log = Log()
        if player == "critic":
            critic.train_step(batch, netG=generator, optD=optimizer, log_data=log)
        else:
            generator.train_step(batch, netD=critic, optG=optimizer, log_data=log)
        return log.values

    return step
