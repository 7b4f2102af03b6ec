"""The PyTorch side of `launch/pairs.py`: the flows as users of these libraries write them.

Needs the extra `bench`; nothing imports this module before a pair is asked for. Every peer is a
module with `log_prob(x)` and `sample(n)`.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import nflows.transforms
import normflows
import numpy as np
import torch
import torchdiffeq
from nflows.distributions.normal import StandardNormal
from nflows.flows.base import Flow
from nflows.nn.nets import ResidualNet
from torch import nn

Layers = Callable[[], Any]


class RealNvp(nn.Module):
    """normflows: masked affine couplings, every one followed by ActNorm."""

    def __init__(self, d: int, n_layers: int, hidden: Sequence[int]):
        super().__init__()
        flows = []
        for i in range(n_layers):
            mask = torch.tensor([float((j + i) % 2) for j in range(d)])
            shift, scale = _dense(d, hidden, nn.ReLU), _dense(d, hidden, nn.Tanh)
            flows += [normflows.flows.MaskedAffineFlow(mask, shift, scale)]
            flows += [normflows.flows.ActNorm(d)]
        base = normflows.distributions.base.DiagGaussian(d, trainable=False)
        self.flow = normflows.NormalizingFlow(base, flows)

    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        return self.flow.log_prob(x)

    def sample(self, n: int) -> torch.Tensor:
        return self.flow.sample(n)[0]


def _dense(d: int, hidden: Sequence[int], activation: Layers) -> nn.Module:
    """A network d-hidden-d whose last layer is small, so that layers start near the identity."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise([d, *hidden]):
        layers += [nn.Linear(inputs, outputs), activation()]
    layers += [nn.Linear(hidden[-1], d)]
    with torch.no_grad():
        layers[-1].weight.mul_(0.1)
    return nn.Sequential(*layers)


def maf(d: int, n_layers: int, hidden: int) -> Any:
    """nflows: MADEs of two hidden layers, ActNorm, reversed order."""
    made = nflows.transforms.MaskedAffineAutoregressiveTransform
    options = {"num_blocks": 1, "use_residual_blocks": False}
    return _stacked(d, n_layers, lambda i: made(d, hidden, **options), reverse=True)


def nsf_coupling(d: int, n_layers: int, width: int, blocks: int, n_bins: int, bound: float) -> Any:
    """nflows: couplings with residual networks, every one followed by ActNorm; no LU layers."""

    def network(inputs: int, outputs: int) -> nn.Module:
        return ResidualNet(inputs, outputs, hidden_features=width, num_blocks=blocks)

    def layer(i: int) -> nn.Module:
        moved = [1 - (j + i) % 2 for j in range(d)]
        return nflows.transforms.PiecewiseRationalQuadraticCouplingTransform(
            moved, network, num_bins=n_bins, tails="linear", tail_bound=bound
        )

    return _stacked(d, n_layers, layer)


def nsf_autoregressive(d: int, n_layers: int, hidden: int, n_bins: int, bound: float) -> Any:
    """nflows: the MADEs of `maf` with splines."""
    made = nflows.transforms.MaskedPiecewiseRationalQuadraticAutoregressiveTransform
    options = {"num_blocks": 1, "use_residual_blocks": False}
    options |= {"num_bins": n_bins, "tails": "linear", "tail_bound": bound}
    return _stacked(d, n_layers, lambda i: made(d, hidden, **options), reverse=True)


def _stacked(d: int, n_layers: int, layer: Callable[[int], Any], reverse: bool = False) -> Any:
    """A flow of layers, each followed by ActNorm and, if asked for, a reversal."""
    layers = []
    for i in range(n_layers):
        layers += [layer(i), nflows.transforms.ActNorm(d)]
        if reverse:
            layers += [nflows.transforms.ReversePermutation(d)]
    return Flow(nflows.transforms.CompositeTransform(layers), StandardNormal([d]))


class _ConcatSquash(nn.Module):
    """`(W x + b) sigmoid(w_t t + b_t) + v_t t`."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.dense = nn.Linear(inputs, outputs)
        self.gate = nn.Linear(1, outputs)
        self.shift = nn.Linear(1, outputs, bias=False)

    def forward(self, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        t = t.reshape(1, 1)
        return self.dense(x) * torch.sigmoid(self.gate(t)) + self.shift(t)


class _Field(nn.Module):
    """The vector field and, for a state of two parts, Hutchinson's estimate of its trace."""

    def __init__(self, sizes: Sequence[int]):
        super().__init__()
        self.layers = nn.ModuleList(_ConcatSquash(a, b) for a, b in itertools.pairwise(sizes))
        self.probe: torch.Tensor | None = None
        self.calls = 0

    def velocity(self, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers[:-1]:
            x = torch.tanh(layer(t, x))
        return self.layers[-1](t, x)

    def forward(self, t: torch.Tensor, state: Any) -> Any:
        self.calls += 1
        if isinstance(state, torch.Tensor):
            return self.velocity(t, state)
        x, _ = state
        differentiated = torch.is_grad_enabled()
        with torch.enable_grad():
            x = x if x.requires_grad else x.requires_grad_(True)
            dx = self.velocity(t, x)
            product = torch.autograd.grad(dx, x, self.probe, create_graph=differentiated)[0]
        return dx, (product * self.probe).sum(dim=1)


class Ffjord(nn.Module):
    """torchdiffeq: `odeint_adjoint` with dopri5; data at time 1, latents at time 0."""

    def __init__(self, d: int, hidden: Sequence[int], tolerance: float):
        super().__init__()
        self.d = d
        self.field = _Field([d, *hidden, d])
        self.options = {"rtol": tolerance, "atol": tolerance, "method": "dopri5"}

    def load(self, params: dict[str, Any]) -> None:
        """Takes the weights of gmkit's `concat_squash`: equal fields need equal solves."""
        for i, layer in enumerate(self.field.layers):
            state = {
                "dense.weight": params[f"dense_{i}"]["kernel"].T,
                "dense.bias": params[f"dense_{i}"]["bias"],
                "gate.weight": params[f"gate_{i}"]["kernel"].T,
                "gate.bias": params[f"gate_{i}"]["bias"],
                "shift.weight": params[f"shift_{i}"].T,
            }
            layer.load_state_dict({k: torch.tensor(np.asarray(v)) for k, v in state.items()})

    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        self.field.probe = torch.randint(0, 2, x.shape).to(x) * 2 - 1
        times, start = torch.tensor([1.0, 0.0]), (x, x.new_zeros(len(x)))
        z, log_det = torchdiffeq.odeint_adjoint(self.field, start, times, **self.options)
        normal = -0.5 * (z[-1] ** 2 + math.log(2 * math.pi)).sum(dim=1)
        return normal + log_det[-1]

    def sample(self, n: int) -> torch.Tensor:
        z, times = torch.randn(n, self.d), torch.tensor([0.0, 1.0])
        return torchdiffeq.odeint(self.field, z, times, **self.options)[-1]

    def evaluations(self, x: np.ndarray, job: str) -> int:
        """How often a solve calls the field: on the batch `x`, or from as many latents."""
        self.field.calls = 0
        with torch.no_grad():
            self.sample(len(x)) if job == "sample" else self.log_prob(torch.from_numpy(x))
        return self.field.calls


def count(module: Any) -> int:
    """Number of trained parameters."""
    return sum(p.numel() for p in module.parameters())


def trainer(module: Any, x: np.ndarray, learning_rate: float) -> Callable[[], Any]:
    """A step of maximum likelihood by Adam on the batch `x`."""
    batch = torch.from_numpy(x)
    optimizer = torch.optim.Adam(module.parameters(), lr=learning_rate)
    module.train()

    def step() -> float:
        optimizer.zero_grad()
        loss = -module.log_prob(batch).mean()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def evaluator(module: Any, x: np.ndarray, learning_rate: float) -> Callable[[], Any]:
    """`log_prob` of the batch `x`, without gradients."""
    del learning_rate
    batch = torch.from_numpy(x)
    module.train()
    with torch.no_grad():
        module.log_prob(batch)  # ActNorm initialises itself from the first batch in training
    module.eval()

    def evaluate() -> Any:
        with torch.no_grad():
            return module.log_prob(batch)

    return evaluate


def sampler(module: Any, x: np.ndarray, learning_rate: float) -> Callable[[], Any]:
    """As many samples as rows of `x`, without gradients."""
    evaluator(module, x, learning_rate)  # initialises ActNorm

    def sample() -> Any:
        with torch.no_grad():
            return module.sample(len(x))

    return sample
