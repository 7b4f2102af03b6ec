"""Sequential editing of latents: one attribute after the other, the rest held still.

Edit k of Nie et al. (2021) starts at the result `z_a` of the edit before and runs a
guided sampler on::

    sum_active w_i log p(c_i | z) - lambda_z (|w(z) - w(z_a)|^2 + |z - z_a|^2)
        - lambda_l sum_others |f_j(w(z)) - f_j(w(z_a))|^2 - lambda_id (1 - cos(R(w), R(w_a)))

Which attributes are active is an array, so that all edits are one compiled program.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from gmkit.samplers.kernel import positions
from gmkit.samplers.probability_flow import GuidedSample, LogProb, OdeSettings, lace_ode

#: `(log_prob, z (n, d), key, args, args_axis) -> sample`, such as one of the guided chains.
EditSampler = Callable[[LogProb, jax.Array, Any, Any, Any], GuidedSample]

#: Style layers of an 18-layer StyleGAN2 that each attribute of a face may change (StyleFlow,
#: Abdal et al. 2021); the others may change all.
LAYERS: dict[str, tuple[int, ...]] = {
    "light0": (7, 8, 9, 10, 11),
    "light3": (7, 8, 9, 10, 11),
    "smile": (4, 5),
    "yaw": (0, 1, 2, 3),
    "pitch": (0, 1, 2, 3),
    "age": (4, 5, 6, 7),
    "gender": (0, 1, 2, 3, 4, 5, 6, 7),
    "glasses": (0, 1, 2, 3, 4, 5),
    "bald": (0, 1, 2, 3, 4, 5),
    "beard": (5, 6, 7, 8, 9),
}


class Readout(NamedTuple):
    """What an edit sees of one latent.

    Attributes:
      mapping: `z (d,) -> w`, truncated as the images are.
      outputs: `w -> A arrays`, one per attribute: logits `(K,)` or a prediction `()`.
      log_probs: `(outputs, targets) -> (A,)`, log-probability of each attribute at its target.
      features: `w -> (F,)`, of the image, for the identity penalty; None without one.
    """

    mapping: Callable[[jax.Array], jax.Array]
    outputs: Callable[[jax.Array], Sequence[jax.Array]]
    log_probs: Callable[[Sequence[jax.Array], Any], jax.Array]
    features: Callable[[jax.Array], jax.Array] | None = None


class Penalties(NamedTuple):
    """Weights of what holds the rest still; the defaults are those of the published runs.

    Attributes:
      latent: lambda_z, of the squared ways in w and z.
      logits: lambda_l, of the squared change of the outputs of attributes that are not active.
      identity: lambda_id, of one minus the cosine of the features.
    """

    latent: float | jax.Array = 0.04
    logits: float | jax.Array = 0.01
    identity: float | jax.Array = 0.0


class Anchor(NamedTuple):
    """A latent from which an edit starts, and what is read of it."""

    z: jax.Array
    w: jax.Array
    outputs: Sequence[jax.Array]
    features: jax.Array | None


class EditArgs(NamedTuple):
    """Arguments of `edit_log_prob`.

    Attributes:
      anchor: where the edit starts.
      weights: of the attributes' log-probabilities, float `(A,)`; 0 where not active.
      active: which attributes are being edited or kept at their target, bool `(A,)`.
      targets: as `Readout.log_probs` takes them.
    """

    anchor: Anchor
    weights: jax.Array
    active: jax.Array
    targets: Any


def anchor(readout: Readout, z: jax.Array) -> Anchor:
    """What the penalties compare with, for one latent `(d,)`."""
    w = readout.mapping(z)
    features = None if readout.features is None else readout.features(w)
    return Anchor(z, w, tuple(readout.outputs(w)), features)


def edit_log_prob(readout: Readout, penalties: Penalties | None = None) -> LogProb:
    """The penalised log-probability `(z (d,), EditArgs) -> ()` that an edit climbs.

    Squares of differences, never of norms: every edit starts at its anchor, where a norm has no
    gradient.

    Raises:
      ValueError: an identity penalty without features.
    """
    held = Penalties() if penalties is None else penalties
    identity = held.identity
    if readout.features is None and not (isinstance(identity, int | float) and identity == 0):
        raise ValueError(f"penalty identity={identity} needs Readout.features")

    def log_prob(z: jax.Array, args: EditArgs) -> jax.Array:
        start, now = args.anchor, anchor(readout, z)
        wanted = jnp.where(args.active, readout.log_probs(now.outputs, args.targets), 0.0)
        drift = [_squared(a - b) for a, b in zip(now.outputs, start.outputs, strict=True)]
        others = jnp.where(args.active, 0.0, jnp.stack(drift))
        total = jnp.sum(args.weights * wanted) - held.logits * jnp.sum(others)
        total -= held.latent * (_squared(now.w - start.w) + _squared(z - start.z))
        if now.features is not None and start.features is not None:
            total -= identity * (1.0 - _cosine(now.features, start.features))
        return total

    return log_prob


def _squared(x: jax.Array) -> jax.Array:
    return jnp.sum(jnp.square(x))


def _cosine(a: jax.Array, b: jax.Array) -> jax.Array:
    """Cosine of two vectors; 0 where one is 0, with a finite gradient."""
    return jnp.sum(a * b) * jax.lax.rsqrt(_squared(a) * _squared(b) + 1e-12)


def edit_masks(
    sequence: Sequence[int],
    n_attributes: int,
    cumulative: bool = True,
    reweight: bool = False,
    continuous: Sequence[bool] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Active attributes and their weights in each edit.

    Args:
      sequence: attribute of each edit, in 0 .. A - 1.
      n_attributes: A.
      cumulative: earlier edits stay active (the paper's Method 1), or only the newest is
        (Method 2).
      reweight: weight 0.1 for earlier edits, and 10 for the newest if continuous, instead of 1.
      continuous: which attributes are, needed to reweight.

    Returns:
      bool and float32 `(E, A)`; weights are 0 where not active.

    Raises:
      ValueError: an empty sequence, an attribute that does not exist, or no `continuous`.
    """
    if not sequence or not all(0 <= i < n_attributes for i in sequence):
        raise ValueError(f"sequence={list(sequence)}: give attributes in 0 .. {n_attributes - 1}")
    if reweight and (continuous is None or len(continuous) != n_attributes):
        raise ValueError(f"reweight needs continuous, one of each of {n_attributes} attributes")
    newest = np.eye(n_attributes, dtype=bool)[list(sequence)]
    active = np.logical_or.accumulate(newest) if cumulative else newest
    if not reweight:
        return active, active.astype(np.float32)
    strong = np.where(np.asarray(continuous, bool), 10.0, 1.0)[None]
    return active, (np.where(newest, strong, 0.1) * active).astype(np.float32)


def edit(
    readout: Readout,
    z_init: jax.Array,
    sequence: Sequence[int],
    targets: Any,
    *,
    targets_axis: Any = None,
    penalties: Penalties | None = None,
    cumulative: bool = True,
    reweight: bool = False,
    continuous: Sequence[bool] | None = None,
    sampler: EditSampler | None = None,
    key: jax.Array | None = None,
    **settings: Unpack[OdeSettings],
) -> GuidedSample:
    """Edits latents one attribute after the other.

    Args:
      readout: mapping, classifier and features, for one latent.
      z_init: latents to edit, `(n, d)`.
      sequence: attribute of each edit, in 0 .. A - 1.
      targets: of all attributes, as `readout.log_probs` takes them.
      targets_axis: 0 where `targets` has one row per latent; see `guided_ode`.
      penalties: what holds the rest still (default: those of the published runs).
      cumulative, reweight, continuous: as in `edit_masks`.
      sampler: another than `lace_ode`; given `fold_in(key, k)` in edit k.
      key: for samplers that draw.
      settings: of `lace_ode`.

    Returns:
      One sample per edit: leaves have a leading axis `(E, n, ...)`. Edit k starts at the latents
      of edit k - 1.

    Raises:
      ValueError: what `edit_masks` and `edit_log_prob` raise, or settings beside a sampler.
    """
    if sampler is not None and settings:
        raise ValueError(f"{', '.join(settings)}: settings of lace_ode, but a sampler is given")
    z_init = positions(z_init)
    n_attributes = len(jax.eval_shape(lambda z: anchor(readout, z), z_init[0]).outputs)
    masks = edit_masks(sequence, n_attributes, cumulative, reweight, continuous)
    log_prob = edit_log_prob(readout, penalties)
    axes = EditArgs(Anchor(0, 0, 0, 0), None, None, targets_axis)  # pyright: ignore

    def one(z: jax.Array, inputs: Any) -> tuple[jax.Array, GuidedSample]:
        k, active, weights = inputs
        starts = jax.vmap(lambda z: anchor(readout, z))(z)
        args = EditArgs(starts, weights, active, targets)
        if sampler is None:
            drawn = lace_ode(log_prob, z, args, args_axis=axes, **settings)
        else:
            folded = None if key is None else jax.random.fold_in(key, k)
            drawn = sampler(log_prob, z, folded, args, axes)
        return drawn.latents, drawn

    inputs = (jnp.arange(len(sequence)), *map(jnp.asarray, masks))
    return jax.lax.scan(one, z_init, inputs)[1]


# ---------------------------------------------------------------- style layers


def layer_masks(
    names: Sequence[str],
    sequence: Sequence[int],
    num_ws: int,
    cumulative: bool = True,
    layers: Mapping[str, Sequence[int]] | None = None,
) -> np.ndarray:
    """Style layers that each edit may change: those of its active attributes, bool `(E, num_ws)`.

    Args:
      names: of the attributes, A of them.
      sequence, cumulative: as in `edit_masks`.
      num_ws: number of layers.
      layers: of each attribute (default `LAYERS`); one that is not in it may change all.
    """
    table = LAYERS if layers is None else layers
    rows = np.zeros((len(names), num_ws), bool)
    for row, name in zip(rows, names, strict=True):
        row[[i for i in table.get(name, range(num_ws)) if i < num_ws]] = True
    active, _ = edit_masks(sequence, len(names), cumulative)
    return np.logical_or.reduce(active[:, :, None] & rows[None], axis=1)


def edit_layers(w: jax.Array, masks: jax.Array | np.ndarray) -> jax.Array:
    """Styles of every layer through a sequence of edits.

    Args:
      w: before the first and after every edit, `(E + 1, n, w_dim)`.
      masks: layers that each edit may change, bool `(E, num_ws)`; the others keep the styles
        that they had before it.

    Returns:
      `(E + 1, n, num_ws, w_dim)`.
    """
    num_ws = masks.shape[1]
    every = jnp.broadcast_to(w[:, :, None], (*w.shape[:2], num_ws, w.shape[2]))
    path = [every[0]]
    for now, mask in zip(every[1:], masks, strict=True):
        path.append(jnp.where(jnp.asarray(mask)[None, :, None], now, path[-1]))
    return jnp.stack(path)
