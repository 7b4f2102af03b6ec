"""The PyTorch side of `launch/lace_pairs.py`: LACE's samplers as its users write them.

Needs PyTorch and torchdiffeq; nothing imports this module before a pair is asked for.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torchdiffeq

BETA_MIN, BETA_MAX = 0.1, 20.0


class Network(torch.nn.Module):
    """Mapping and latent classifier with given kernels `(in, out)`: `z (n, d) -> logits`."""

    def __init__(self, kernels: Mapping[str, Sequence[np.ndarray]]):
        super().__init__()

        def layers(name: str) -> torch.nn.ParameterList:
            weights = (torch.tensor(np.ascontiguousarray(k.T)) for k in kernels[name])
            return torch.nn.ParameterList([torch.nn.Parameter(w, False) for w in weights])

        self.mapping, self.classifier = layers("mapping"), layers("classifier")

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        nn = torch.nn.functional
        x = z * torch.rsqrt(z.square().mean(dim=1, keepdim=True) + 1e-8)
        for weight in self.mapping:
            x = math.sqrt(2.0) * nn.leaky_relu(nn.linear(x, weight), 0.2)
        *hidden, head = self.classifier
        for weight in hidden:
            x = nn.leaky_relu(nn.linear(x, weight), 0.2)
        return nn.linear(x, head)


def count(module: torch.nn.Module) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in module.parameters())


def _log_prob(net: Network, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    logits = net(z)
    return torch.gather(logits, 1, labels[:, None]).squeeze(1) - logits.logsumexp(1)


class _Drift(torch.nn.Module):
    """`-beta(t) / 2 grad log p_t(c | z)`, of the static classifier or over given draws."""

    def __init__(self, net: Network, labels: torch.Tensor, noise: torch.Tensor | None):
        super().__init__()
        self.net, self.labels, self.noise, self.calls = net, labels, noise, 0

    def log_prob(self, t: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        if self.noise is None:
            return _log_prob(self.net, z, self.labels)
        level = BETA_MIN * t + 0.5 * (BETA_MAX - BETA_MIN) * t**2
        draws = torch.cat([self.noise, -self.noise])
        many = torch.exp(-0.5 * level) * z[:, None] + torch.sqrt(-torch.expm1(-level)) * draws[None]
        labels = self.labels.repeat_interleave(len(draws))
        values = _log_prob(self.net, many.reshape(-1, z.shape[1]), labels)
        return values.reshape(len(z), -1).logsumexp(1) - math.log(len(draws))

    def forward(self, t: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        with torch.enable_grad():
            z = z.detach().requires_grad_(True)
            (grad,) = torch.autograd.grad(self.log_prob(t, z).sum(), z)
        return -0.5 * (BETA_MIN + (BETA_MAX - BETA_MIN) * t) * grad


def ode(
    net: Network, z: np.ndarray, labels: np.ndarray, tolerance: float, noise: np.ndarray | None
) -> tuple[Callable[[], Any], int]:
    """torchdiffeq's dopri5 from t = 1 to 0, and how often it asks for the drift."""
    draws = None if noise is None else torch.from_numpy(noise)
    drift = _Drift(net, torch.from_numpy(labels.astype(np.int64)), draws)
    start, times = torch.from_numpy(z), torch.tensor([1.0, 0.0])

    def run() -> Any:
        with torch.no_grad():
            return torchdiffeq.odeint(
                drift, start, times, rtol=tolerance, atol=tolerance, method="dopri5"
            )[-1]

    run()
    return run, drift.calls


def langevin(
    net: Network, z: np.ndarray, labels: np.ndarray, n_steps: int, step: float, noise: float
) -> Callable[[], Any]:
    """The chain of the official code."""
    start, classes = torch.from_numpy(z), torch.from_numpy(labels.astype(np.int64))

    def run() -> Any:
        z = start.clone().requires_grad_(True)
        for _ in range(n_steps):
            value = _log_prob(net, z, classes) - 0.5 * z.square().sum(dim=1)
            (grad,) = torch.autograd.grad(value.sum(), z)
            z.data += step * grad + noise * torch.randn_like(z)
        return z.detach()

    return run
