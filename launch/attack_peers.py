"""The PyTorch side of `launch/attack_pairs.py`: foolbox's and torchattacks' attacks.

Needs both; nothing imports this module before a pair is asked for.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import foolbox
import numpy as np
import torch
import torchattacks

Attack = Callable[[], Any]


def network(params: Mapping[str, Any]) -> torch.nn.Module:
    """The network of Carlini & Wagner for 28 x 28 images with gmkit's weights."""
    nn = torch.nn
    convolutions = [nn.Conv2d(a, b, 3) for a, b in ((1, 32), (32, 32), (32, 64), (64, 64))]
    dense = [nn.Linear(a, b) for a, b in ((1024, 200), (200, 200), (200, 10))]
    relu, pool = nn.ReLU, lambda: nn.MaxPool2d(2)
    with torch.no_grad():
        for i, layer in enumerate(convolutions):
            kernel = np.asarray(params[f"Conv_{i}"]["kernel"]).transpose(3, 2, 0, 1)
            layer.weight.copy_(torch.tensor(np.ascontiguousarray(kernel)))
            layer.bias.copy_(torch.tensor(np.array(params[f"Conv_{i}"]["bias"])))
        for i, layer in enumerate(dense):
            kernel = np.asarray(params[f"Dense_{i}"]["kernel"])
            if i == 0:  # features by channels first here, last there
                kernel = kernel.reshape(4, 4, 64, -1).transpose(2, 0, 1, 3).reshape(1024, -1)
            layer.weight.copy_(torch.tensor(np.ascontiguousarray(kernel.T)))
            layer.bias.copy_(torch.tensor(np.array(params[f"Dense_{i}"]["bias"])))
    a, b, c, d = convolutions
    front = (a, relu(), b, relu(), pool(), c, relu(), d, relu(), pool(), nn.Flatten())
    return nn.Sequential(*front, dense[0], relu(), dense[1], relu(), dense[2]).eval()


def count(module: torch.nn.Module) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in module.parameters())


def _tensors(images: np.ndarray, labels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    return x, torch.from_numpy(labels.astype(np.int64))


def _foolbox(net: torch.nn.Module, attack: Any, epsilon: float | None, *data: Any) -> Attack:
    model = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
    return lambda: attack(model, *data, epsilons=epsilon)


def foolbox_pgd(
    net: Any, images: np.ndarray, labels: np.ndarray, epsilon: float, step: float, steps: int
) -> Attack:
    """`LinfPGD` with a random start."""
    attack = foolbox.attacks.LinfPGD(abs_stepsize=step, steps=steps, random_start=True)
    return _foolbox(net, attack, epsilon, *_tensors(images, labels))


def foolbox_cw(
    net: Any, images: np.ndarray, labels: np.ndarray, steps: int, searches: int, const: float
) -> Attack:
    """`L2CarliniWagnerAttack`, without ending early."""
    attack = foolbox.attacks.L2CarliniWagnerAttack(
        binary_search_steps=searches, steps=steps, initial_const=const, abort_early=False
    )
    return _foolbox(net, attack, None, *_tensors(images, labels))


def torchattacks_pgd(
    net: Any, images: np.ndarray, labels: np.ndarray, epsilon: float, step: float, steps: int
) -> Attack:
    """`PGD` with a random start."""
    attack = torchattacks.PGD(net, eps=epsilon, alpha=step, steps=steps)
    data = _tensors(images, labels)
    return lambda: attack(*data)


def torchattacks_cw(
    net: Any, images: np.ndarray, labels: np.ndarray, steps: int, searches: int, const: float
) -> Attack:
    """`CW`, which has one constant: as many iterations as ours takes for all of its own."""
    attack = torchattacks.CW(net, c=const, steps=steps * searches, lr=1e-2)
    data = _tensors(images, labels)
    return lambda: attack(*data)
