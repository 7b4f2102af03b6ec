"""Flows by name, for examples of any shape."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import diffrax

from gmkit.distributions import flows, image_flows
from gmkit.distributions.continuous import Solver
from gmkit.distributions.density import Density, flow
from gmkit.distributions.normalisation import diagonal
from gmkit.distributions.permutation import flatten
from gmkit.distributions.simple import standard_normal


def gaussian(d: int) -> Density:
    """A Gaussian with a trained scale and shift per feature, as a flow of one layer."""
    return flow(standard_normal(d), diagonal())


def ffjord(
    d: int,
    hidden: Sequence[int] = (64, 64, 64),
    tolerance: float = 1e-5,
    adjoint: Literal["checkpoint", "backsolve"] = "checkpoint",
) -> Density:
    """`flows.ffjord` with its solver's settings as plain values.

    Args:
      d: number of features.
      hidden: units per hidden layer of the vector field.
      tolerance: relative and absolute, of the ODE solver.
      adjoint: "checkpoint" (exact for the discretisation) or "backsolve" (constant memory).

    Raises:
      ValueError: another adjoint.
    """
    if adjoint not in ("checkpoint", "backsolve"):
        raise ValueError(f"adjoint={adjoint!r}: choose checkpoint or backsolve")
    how = diffrax.BacksolveAdjoint() if adjoint == "backsolve" else None
    return flows.ffjord(d, hidden, Solver(adjoint=how, rtol=tolerance, atol=tolerance))


class Entry(NamedTuple):
    """A flow's builder.

    Attributes:
      build: `(d, **options)`, or `(shape, **options)` where it takes images as they are.
      images: whether it does.
      normal: whether its latents are standard normal.
    """

    build: Callable[..., Density]
    images: bool = False
    normal: bool = True


FLOWS: dict[str, Entry] = {
    "ffjord": Entry(ffjord),
    "gaussian": Entry(gaussian),
    "glow": Entry(image_flows.glow, images=True),
    "iaf": Entry(flows.iaf),
    "made": Entry(flows.made_gaussian),
    "maf": Entry(flows.maf),
    "maf_mog": Entry(flows.maf_mog, normal=False),
    "nice": Entry(flows.nice, normal=False),
    "nsf_autoregressive": Entry(flows.nsf_autoregressive),
    "nsf_coupling": Entry(flows.nsf_coupling),
    "real_nvp": Entry(flows.real_nvp),
    "real_nvp_images": Entry(image_flows.real_nvp_images, images=True),
    "residual": Entry(flows.residual_flow),
}


def named(name: str, shape: tuple[int, ...], **options: Any) -> Density:
    """The flow `name` of examples of `shape`; flows of vectors take images flattened.

    Args:
      name: one of `FLOWS`.
      shape: `(d,)` or (height, width, channels).
      **options: of its builder, such as `n_layers` and `hidden`.

    Raises:
      ValueError: a name or an option that does not exist, or a shape that does not fit.
    """
    if name not in FLOWS:
        raise ValueError(f"flow={name!r} is not known; choose {', '.join(FLOWS)}")
    entry = FLOWS[name]
    _, *known = inspect.signature(entry.build).parameters
    for option in options:
        if option not in known:
            raise ValueError(
                f"flow {name!r} has no option {option!r}; it has {', '.join(known) or 'none'}"
            )
    if entry.images:
        if len(shape) != 3:
            raise ValueError(f"flow={name!r} needs images, got examples of shape {shape}")
        return entry.build(tuple(shape), **options)
    density = entry.build(math.prod(shape), **options)
    return density if len(shape) == 1 else flow(density, flatten(tuple(shape)))


def has_normal_latents(name: str) -> bool:
    """Whether decoding standard normal latents samples from the flow `name`."""
    return FLOWS[name].normal
