"""Registration of one pair of clouds by iteratively reweighted Gauss-Newton steps."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gmkit import objectives
from gmkit.core.parallel import batch_mean

Array = jax.Array
#: Accelerators multiply float32 matrices in fewer bits by default; a rotation needs them all.
einsum = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)


class Pose(NamedTuple):
    """A rigid motion `q -> rotation q + translation`.

    Attributes:
      rotation: `(..., 3, 3)`.
      translation: `(..., 3)`.
    """

    rotation: Array
    translation: Array


Annealing = Callable[[Array, Array], tuple[Array, Array]]


# ---------------------------------------------------------------- geometry


def identity() -> Pose:
    """The pose that moves nothing."""
    return Pose(jnp.eye(3), jnp.zeros(3))


def move(pose: Pose, q: Array) -> Array:
    """Points `(..., 3)` moved by one pose."""
    shift = jnp.broadcast_to(pose.translation, q.shape)
    return einsum("ij,...j->...i", pose.rotation, q) + shift


def rotation_of(vector: Array) -> Array:
    """The rotation about a vector `(3,)` by its length in radians; differentiable at 0."""
    square = jnp.sum(jnp.square(vector))
    small = square < 1e-6
    angle = jnp.sqrt(jnp.where(small, 1.0, square))
    sine = jnp.where(small, 1.0 - square / 6.0, jnp.sin(angle) / angle)
    versine = jnp.where(small, 0.5 - square / 24.0, 2.0 * jnp.square(jnp.sin(angle / 2.0) / angle))
    x, y, z = vector
    zero = jnp.zeros_like(x)
    cross = jnp.array([[zero, -z, y], [z, zero, -x], [-y, x, zero]])
    return jnp.eye(3) + sine * cross + versine * einsum("ij,jk->ik", cross, cross)


def angle_of(rotation: Array) -> Array:
    """Angle of a rotation `(3, 3)`, degrees; accurate also where it is small."""
    skew = rotation - rotation.T
    sine = 0.5 * jnp.sqrt(jnp.square(skew[2, 1]) + jnp.square(skew[0, 2]) + jnp.square(skew[1, 0]))
    return jnp.rad2deg(jnp.arctan2(sine, 0.5 * (jnp.trace(rotation) - 1.0)))


def diameter(q: Array) -> Array:
    """Length of the diagonal of the box around a cloud `(n, 3)`."""
    return jnp.sqrt(jnp.sum(jnp.square(q.max(axis=0) - q.min(axis=0))))


# ---------------------------------------------------------------- registration


def least_squares(p: Array, q: Array) -> Pose:
    """The pose that minimises `sum |p_i - T q_i|^2`, in closed form (Kabsch); `(n, 3)` both."""
    p_mean, q_mean = p.mean(axis=0), q.mean(axis=0)
    covariance = einsum("ni,nj->ij", p - p_mean[None], q - q_mean[None])
    left, _, right = jnp.linalg.svd(covariance)
    # A reflection may fit better; the best rotation turns the direction that matters least.
    sign = jnp.sign(jnp.linalg.det(einsum("ij,jk->ik", left, right)))
    rotation = einsum("ij,j,jk->ik", left, jnp.array([1.0, 1.0, sign]), right)
    return Pose(rotation, p_mean - einsum("ij,j->i", rotation, q_mean))


def iteration(
    pose: Pose, p: Array, q: Array, alpha: Array, scale: Array
) -> tuple[Pose, dict[str, Array]]:
    """One step of iteratively reweighted Gauss-Newton.

    The six-vector of the update is the twist about the weighted centre of the moved points, where
    its translation and its rotation can be solved for one after the other.

    Args:
      pose: so far.
      p, q: matches `(n, 3)`; under a mapped device axis, a device's share of them.
      alpha: shape of the loss, in [-inf, 2].
      scale: its scale c.

    Returns:
      The next pose, and what `TrainState` logs. Where all weights vanish, nothing moves.
    """
    moved = move(pose, q)
    residual = p - moved
    square = jnp.sum(jnp.square(residual), axis=1)
    # The loss is of the distance, whose square root is not differentiated.
    weight = objectives.general_loss_weight(jnp.sqrt(square), alpha, scale) * jnp.square(scale)
    weight = weight[:, None]
    tiny = float(jnp.finfo(weight.dtype).tiny)
    total = jnp.maximum(batch_mean(weight), tiny)
    centre = batch_mean(weight * moved, axis=0) / total
    shift = batch_mean(weight * residual, axis=0) / total
    arm = moved - centre[None]
    torque = batch_mean(weight * jnp.cross(arm, residual), axis=0) / total
    spread = batch_mean((weight * arm)[:, :, None] * arm[:, None, :], axis=0) / total
    ridge = 1e-7 * jnp.trace(spread) + tiny
    inertia = (jnp.trace(spread) + ridge) * jnp.eye(3) - spread
    turn = rotation_of(jnp.linalg.solve(inertia, torque))
    found = Pose(
        einsum("ij,jk->ik", turn, pose.rotation),
        centre + shift + einsum("ij,j->i", turn, pose.translation - centre),
    )
    return found, {
        "weight": batch_mean(weight),
        "residual": jnp.sqrt(batch_mean(weight[:, 0] * square) / total),
        "turn": angle_of(turn),
        "shift": jnp.sqrt(jnp.sum(jnp.square(shift))),
    }


def register(
    p: Array,
    q: Array,
    annealing: Annealing,
    steps: int = 64,
    start: Pose | None = None,
) -> tuple[Pose, Pose]:
    """Registers one pair of clouds; to be compiled, or mapped over many.

    Args:
      p, q: matches `(n, 3)`.
      annealing: `(iteration, diameter) -> (alpha, scale)`, see `ANNEALINGS`.
      steps: iterations, static.
      start: pose to begin from; None for the identity.

    Returns:
      The pose found, and the poses after each iteration with leading axis `(steps,)`.
    """
    size = diameter(q)

    def body(pose: Pose, t: Array) -> tuple[Pose, Pose]:
        pose, _ = iteration(pose, p, q, *annealing(t, size))
        return pose, pose

    return jax.lax.scan(body, identity() if start is None else start, jnp.arange(steps))


# ---------------------------------------------------------------- annealing


def scale_annealed(
    steps: int, *, alpha: Any = -2.0, divisor: float = 1.4, every: int = 4, least: float = 0.01
) -> Annealing:
    """A constant alpha; c^2 = mu / 4 with mu from the squared diameter downwards.

    Args:
      steps: of the run; not used.
      alpha: shape; -2 is FGR.
      divisor: of mu.
      every: iterations between two divisions.
      least: root of the smallest mu, as a share of the diameter.

    Raises:
      ValueError: values out of range.
    """
    if not (divisor > 1.0 and every >= 1 and least > 0.0):
        raise ValueError(
            f"schedules.scale: divisor={divisor} must be above 1, every={every} at least 1, "
            f"least={least} positive"
        )

    def at(t: Array, size: Array) -> tuple[Array, Array]:
        root = jnp.maximum(divisor ** (-0.5 * jnp.floor(t / every)), least)
        return jnp.asarray(alpha, size.dtype), 0.5 * root * size

    return at


def shape_annealed(
    steps: int, *, alpha: float = -8.0, scale: float = 0.01, share: float = 0.75
) -> Annealing:
    """A constant c; alpha from 2 downwards, linear in the iteration.

    Args:
      steps: of the run.
      alpha: where it ends.
      scale: c, as a share of the diameter.
      share: of the run after which it stays there.

    Raises:
      ValueError: values out of range.
    """
    if not (alpha < 2.0 and scale > 0.0 and 0.0 < share <= 1.0):
        raise ValueError(
            f"schedules.shape: alpha={alpha} must be below 2, scale={scale} positive, "
            f"share={share} in (0, 1]"
        )
    last = max(share * steps, 1.0)

    def at(t: Array, size: Array) -> tuple[Array, Array]:
        done = jnp.minimum(t / last, 1.0)
        return (2.0 + (alpha - 2.0) * done).astype(size.dtype), scale * size

    return at


def not_annealed(steps: int) -> Annealing:
    """alpha = 2: least squares by Gauss-Newton."""
    return lambda t, size: (jnp.full_like(size, 2.0), size)


#: Annealings by name, `(steps, **options) -> Annealing`.
ANNEALINGS: dict[str, Callable[..., Annealing]] = {
    "scale": scale_annealed,
    "shape": shape_annealed,
    "none": not_annealed,
}
