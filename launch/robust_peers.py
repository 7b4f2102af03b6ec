"""The textbook robust loss in PyTorch: what `launch.robust_pairs` is timed beside.

The loss is the formula as it is printed, with guards of one machine epsilon at its special
shapes; the log-partition is linear between 4096 values; wavelets are convolutions; samples are
drawn by rejection.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import torch  # pyright: ignore[reportMissingImports]

from gmkit.distributions import robust

EPS = float(np.finfo(np.float32).eps)
LOW = (0.852698679009, 0.377402855613, -0.110624404418, -0.023849465020, 0.037828455507)
HIGH = (0.788485616406, -0.418092273222, -0.040689417609, 0.064538882629)
YUV = 1.580227820074 * np.array(
    [
        [0.299, -0.14714119, 0.61497538],
        [0.587, -0.28886916, -0.51496512],
        [0.114, 0.43601035, -0.10001026],
    ]
)
KNOTS = 4096


def general_loss(x: Any, alpha: Any, scale: Any) -> Any:
    """`(b / alpha) ((z^2 / b + 1)^(alpha / 2) - 1)`."""
    b = torch.clamp(torch.abs(alpha - 2.0), min=EPS)
    safe = torch.where(alpha >= 0, 1.0, -1.0) * torch.clamp(torch.abs(alpha), min=EPS)
    return b / safe * (torch.pow(torch.square(x / scale) / b + 1.0, 0.5 * alpha) - 1.0)


def loss(x: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The loss of arrays, in float32."""
    return general_loss(torch.from_numpy(x), torch.from_numpy(alpha), 1.0).numpy()


def _knots() -> Any:
    values = jax.jit(robust.log_partition)(np.linspace(0.0, 2.0, KNOTS, dtype=np.float32))
    return torch.from_numpy(np.array(values))


def _filtered(x: Any, taps: tuple[float, ...], start: int) -> Any:
    """Every second value of the reflected convolution of `(n, length)`, from `start`."""
    both = torch.tensor([*taps[:0:-1], *taps])
    reach = len(taps) - 1
    padded = torch.nn.functional.pad(x[:, None], (reach, reach), mode="reflect")
    return torch.nn.functional.conv1d(padded[..., start:], both[None, None], stride=2)[:, 0]


def _split(x: Any, axis: int) -> tuple[Any, Any]:
    """Low and high bands of `(n, h, w)` along an axis."""
    moved = x.movedim(axis, -1)
    rows = moved.reshape(-1, moved.shape[-1])
    back = lambda v: v.reshape(*moved.shape[:-1], -1).movedim(-1, axis)
    return back(_filtered(rows, LOW, 0)), back(_filtered(rows, HIGH, 1))


def wavelet(x: Any, levels: int) -> Any:
    """Coefficients of `(n, h, w)`, h and w divisible by `2 ** levels` and not small."""
    if levels == 0 or min(x.shape[1:]) < 2 * len(LOW):
        return x
    (ll, lh), (hl, hh) = (_split(band, 2) for band in _split(x, 1))
    top = torch.cat([wavelet(ll, levels - 1), lh], 2)
    return torch.cat([top, torch.cat([hl, hh], 2)], 1)


def gradient(x: np.ndarray, levels: int) -> Callable[[], Any]:
    """A call that computes the gradient of the mean loss of `(n, ...)`, images if `levels`."""
    residual = torch.from_numpy(x).requires_grad_()
    latent = torch.zeros(x.shape[1:], requires_grad=True)
    log_scale = torch.zeros(x.shape[1:], requires_grad=True)
    knots, colour = _knots(), torch.tensor(YUV, dtype=torch.float32)

    def call() -> Any:
        y = residual
        if levels:
            y = (y @ colour).movedim(3, 1)
            n, c, h, w = y.shape
            y = wavelet(y.reshape(-1, h, w), levels).reshape(n, c, h, w).movedim(1, 3)
        alpha = 0.001 + 1.998 * torch.sigmoid(latent)
        scale = 1e-5 + (1.0 - 1e-5) * torch.nn.functional.softplus(log_scale + 0.541324854612918)
        position = alpha * (0.5 * (KNOTS - 1))
        k = position.detach().long().clamp(max=KNOTS - 2)
        log_z = knots[k] + (position - k) * (knots[k + 1] - knots[k])
        value = (general_loss(y, alpha, scale) + torch.log(scale) + log_z).mean()
        return torch.autograd.grad(value, (residual, latent, log_scale))

    return call


def sample(alpha: float, n: int) -> Any:
    """Draws of the density of unit scale, by rejection from the Cauchy of alpha = 0."""
    drawn, accepted = torch.zeros(n), torch.zeros(n, dtype=torch.bool)
    shape, one = torch.tensor(alpha), torch.tensor(1.0)
    while not accepted.all():
        x = torch.distributions.Cauchy(0.0, 2.0**0.5).sample((n,))
        ratio = torch.log1p(0.5 * torch.square(x)) - general_loss(x, shape, one)
        drawn = torch.where(accepted, drawn, x)
        accepted |= torch.rand(n) < torch.exp(ratio)
    return drawn
