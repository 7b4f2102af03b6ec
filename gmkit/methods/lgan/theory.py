"""What the theory says of a critic between two known sets of points."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import scipy.optimize

Scalar = Callable[[jax.Array], jax.Array]


def wasserstein_slope(w1: float, weight: float) -> float:
    """Slope `W1 / (2 lambda)` of the optimal critic with phi(u) = u; its value is `-W1^2/4 lambda`.

    The optimum is this slope times a Kantorovich potential, up to its level, which is free.

    Args:
      w1: Wasserstein-1 distance of the two sets.
      weight: lambda, of the squared Lipschitz constant.
    """
    return w1 / (2.0 * weight)


def two_atom_score(phi: Scalar, weight: float, distance: float) -> float:
    """Score t of a real atom, with -t that of a fake one, under `lambda k(f)^2`.

    For varphi(u) = phi(-u) the optimum solves `phi'(-t) = 4 lambda t / d^2`; its slope is
    `2 t / d`.

    Args:
      phi: convex and increasing.
      weight: lambda.
      distance: d, of the atoms.

    Raises:
      ValueError: a weight or distance that is not positive.
    """
    if weight <= 0 or distance <= 0:
        raise ValueError(f"weight={weight}, distance={distance}: both must be positive")
    slope = jax.grad(lambda u: phi(jnp.asarray(u)))
    per_unit = 4.0 * weight / distance**2
    highest = float(slope(0.0)) / per_unit
    excess = lambda t: float(slope(-t)) - per_unit * t
    # phi is convex: its slope at -t is largest at t = 0, and exactly so for phi(u) = u.
    if excess(highest) >= 0:
        return highest
    return float(scipy.optimize.brentq(excess, 0.0, highest))
