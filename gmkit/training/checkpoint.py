"""Checkpoints that prove themselves: orbax for the arrays, a fingerprint per leaf for the trust.

A flipped byte on disk is restored by orbax without a word; here every leaf's fingerprint is
stored beside it, and restoring walks back to the newest checkpoint whose structure, shapes,
dtypes and fingerprints all hold.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

import gmkit
from gmkit.core import parallel
from gmkit.training.errors import NonFiniteError, UsageError

PyTree = Any
_logger = logging.getLogger(__name__)
#: What reading a damaged or foreign checkpoint raises (JSONDecodeError is a ValueError).
_UNREADABLE = (ValueError, KeyError, TypeError, OSError)
#: Fields of a state in which NaN and infinities are never legitimate.
_FINITE_FIELDS = ("params", "variables", "ema")
_BEST = "best"


class Restored(NamedTuple):
    """A verified checkpoint: completed steps, the state, and what was stored with it."""

    step: int
    state: PyTree
    meta: dict[str, Any]


class Checkpointer:
    """Saves in the background, keeps the newest and the best, restores what verifies.

    Use as a context manager: leaving waits for the save under way. Every process of a run
    makes the same calls in the same order.

    Args:
      directory: where the checkpoints are; created by `writing`.
      keep_last: newest checkpoints kept.
      keep_best: checkpoints kept by `best_metric`, besides.
      best_metric: name of the metric given to `save`, or None.
      best_mode: "min" or "max".
      writing: False only reads: nothing is created, moved or cleaned up.
    """

    def __init__(
        self,
        directory: Path | str,
        keep_last: int = 2,
        keep_best: int = 1,
        best_metric: str | None = None,
        best_mode: Literal["min", "max"] = "min",
        writing: bool = True,
    ) -> None:
        _quiet_orbax()
        self.directory = Path(directory).absolute()
        self._best_metric = best_metric
        policies: list[Any] = [ocp.checkpoint_managers.LatestN(keep_last)]
        if best_metric is not None and keep_best:
            policies.append(
                ocp.checkpoint_managers.BestN(
                    get_metric_fn=lambda metrics: metrics[_BEST],
                    reverse=best_mode == "min",
                    n=keep_best,
                    keep_checkpoints_without_metrics=False,
                )
            )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=ocp.checkpoint_managers.AnyPreservationPolicy(policies),
            create=writing,
            cleanup_tmp_directories=writing,
        )
        self._manager = ocp.CheckpointManager(self.directory, options=options)

    def __enter__(self) -> Checkpointer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._manager.close()

    def steps(self) -> list[int]:
        """Completed steps of the checkpoints that are there, ascending."""
        return sorted(self._manager.all_steps())

    def latest_step(self) -> int | None:
        """The newest checkpoint's step, or None."""
        return self._manager.latest_step()

    def save(
        self,
        step: int,
        state: PyTree,
        meta: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """Starts saving; the state may be donated as soon as this returns.

        Args:
          step: completed steps; larger than any saved one.
          state: a `TrainState` of arrays.
          meta: JSON-able, returned by `restore_latest_valid`.
          metrics: an evaluation's metrics; `best_metric` decides how long this one is kept.

        Raises:
          NonFiniteError: a parameter, variable or average is NaN or infinite.
          RuntimeError: orbax refused, because `step` is not new.
        """
        sums, finite = _digest(state)
        for name, ok in finite.items():
            if not ok and name.startswith(_FINITE_FIELDS):
                raise NonFiniteError(step, f"state.{name}", math.nan, self.latest_step())
        leaves = describe(state)
        for name, total in sums.items():
            leaves[name]["fingerprint"] = total
        record = {"gmkit": gmkit.__version__, "leaves": leaves, "meta": dict(meta or {})}
        value = (metrics or {}).get(self._best_metric or "")
        best = {_BEST: float(value)} if value is not None and math.isfinite(value) else None
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(jax.tree.map(_storable, state)),
            meta=ocp.args.JsonSave(record),
        )
        if not self._manager.save(step, args=items, metrics=best, force=True):
            raise RuntimeError(f"checkpoint {step} was not saved: {self.latest_step()} is there")

    def wait(self) -> None:
        """Returns when the save under way is complete on disk."""
        self._manager.wait_until_finished()

    def restore_latest_valid(self, target: PyTree, set_aside: bool = False) -> Restored | None:
        """The newest checkpoint that verifies against `target`, or None where there is none.

        Each one passed over is one warning.

        Args:
          target: `jax.ShapeDtypeStruct` leaves with shardings, in the state's structure.
          set_aside: rename those passed over to `rejected-<step>`, so that training can go on
            and save those steps again.

        Raises:
          UsageError: there are checkpoints but none verifies.
        """
        rejected: list[int] = []
        reason = ""
        for step in reversed(self.steps()):
            restored, problem = self._restore(step, target)
            if restored is not None:
                if set_aside and rejected:
                    self._set_aside(rejected)
                return restored
            reason = problem
            rejected.append(step)
            _logger.warning(
                "checkpoint %d in %s does not verify (%s): trying an older one",
                step,
                self.directory,
                reason,
            )
        if rejected:
            raise UsageError(
                f"{self.directory}: none of the checkpoints {sorted(rejected)} can be restored "
                f"({reason}); use the code and settings that wrote them, or delete this folder "
                "to start again"
            )
        return None

    def _restore(self, step: int, target: PyTree) -> tuple[Restored | None, str]:
        """The checkpoint, or None and the reason; the same verdict on every process."""
        restored, reason = None, ""
        try:
            restored = self._read(step, target)
        except _UNREADABLE as error:
            text = " ".join(str(error).split())
            reason = f"{type(error).__name__}: {text[:160]}"
        if jax.process_count() > 1:
            verdicts = multihost_utils.process_allgather(np.asarray(restored is not None))
            if not np.all(verdicts):
                return None, reason or "another process could not read it"
        return restored, reason

    def _read(self, step: int, target: PyTree) -> Restored:
        manager = self._manager
        record = manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))["meta"]
        stored = record["leaves"]
        compare_structure(stored, target)
        items = ocp.args.Composite(
            state=ocp.args.StandardRestore(jax.tree.map(_storable_struct, target))
        )
        raw = manager.restore(step, args=items)["state"]
        state = jax.tree.map(_from_stored, raw, target)
        for name, value in fingerprint(state).items():
            if value != stored[name]["fingerprint"]:
                raise ValueError(f"{name}: the data differ from the fingerprint stored with them")
        return Restored(step, state, record["meta"])

    def _set_aside(self, steps: list[int]) -> None:
        if parallel.is_main_process():
            for step in steps:
                target = self.directory / f"rejected-{step}"
                for n in range(1, 1000):
                    if not target.exists():
                        break
                    target = self.directory / f"rejected-{step}-{n}"
                (self.directory / str(step)).rename(target)
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("gmkit: rejected checkpoints set aside")
        self._manager.reload()


# ---------------------------------------------------------------- fingerprints


def fingerprint(tree: PyTree) -> dict[str, int]:
    """A 32-bit fingerprint of every leaf, by path.

    The leaf's bits as unsigned words, each mixed with its position by a bijection of uint32
    and summed modulo 2^32. Any change of one word changes the sum; mixing makes changes of
    several words (all signs flipped, rows exchanged) cancel only by chance, 2^-32. Addition is
    associative: the value does not depend on how the leaf is laid out over devices.
    """
    return _digest(tree)[0]


def _digest(tree: PyTree) -> tuple[dict[str, int], dict[str, bool]]:
    """Fingerprint, and whether all values are finite, of every leaf."""
    leaves = _named(tree)
    if not leaves:
        return {}, {}
    sums, finite = (np.asarray(x).tolist() for x in _digest_leaves(list(leaves.values())))
    return dict(zip(leaves, sums, strict=True)), dict(zip(leaves, finite, strict=True))


@jax.jit
def _digest_leaves(leaves: list[jax.Array]) -> tuple[jax.Array, jax.Array]:
    return jnp.stack([_sum_words(x) for x in leaves]), jnp.stack([_finite(x) for x in leaves])


def _named(tree: PyTree) -> dict[str, Any]:
    flat = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path).removeprefix("."): leaf for path, leaf in flat}


def _finite(x: jax.Array) -> jax.Array:
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        return jnp.array(True)
    return jnp.all(jnp.isfinite(x))


def _sum_words(x: jax.Array) -> jax.Array:
    words = _words(x)
    position = jnp.zeros(words.shape, jnp.uint32)
    stride = 1
    for axis in reversed(range(words.ndim)):
        index = jax.lax.broadcasted_iota(jnp.uint32, words.shape, axis)
        position = position + index * jnp.uint32(stride % 2**32)
        stride *= words.shape[axis]
    x = words + position * jnp.uint32(0x9E3779B9)
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return jnp.sum(x ^ (x >> 16), dtype=jnp.uint32)


def _words(x: jax.Array) -> jax.Array:
    """The bits of `x` as uint32, with a last axis more for elements of 8 bytes or more."""
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return jax.random.key_data(x).astype(jnp.uint32)
    if x.dtype == jnp.bool_:
        return x.astype(jnp.uint32)
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        x = jnp.stack([x.real, x.imag], axis=-1)
    info = jnp.finfo if jnp.issubdtype(x.dtype, jnp.floating) else jnp.iinfo
    bits = info(x.dtype).bits
    if bits >= 32:
        return jax.lax.bitcast_convert_type(x, jnp.uint32)
    return jax.lax.bitcast_convert_type(x, jnp.dtype(f"uint{bits}")).astype(jnp.uint32)


def describe(tree: PyTree) -> dict[str, dict[str, Any]]:
    """Shape and dtype of every leaf, by path; JSON-able."""
    return {
        name: {"shape": list(x.shape), "dtype": str(x.dtype)} for name, x in _named(tree).items()
    }


def compare_structure(stored: Mapping[str, Any], target: PyTree) -> None:
    """Compares what `describe` gave with another tree.

    Raises:
      ValueError: a leaf is missing, superfluous, or of another shape or dtype.
    """
    wanted = _named(target)
    for name in sorted(wanted.keys() | stored.keys()):
        if name not in stored:
            raise ValueError(f"{name} is missing from it")
        if name not in wanted:
            raise ValueError(f"{name} is in it, but not in this run's state")
        shape, dtype = list(wanted[name].shape), str(wanted[name].dtype)
        if stored[name]["shape"] != shape:
            raise ValueError(f"{name} has shape {stored[name]['shape']}, this run needs {shape}")
        if stored[name]["dtype"] != dtype:
            raise ValueError(f"{name} is {stored[name]['dtype']}, this run needs {dtype}")


# orbax stores no empty arrays: one byte stands in for them.


def _storable(x: jax.Array) -> jax.Array:
    return x if x.size else jax.device_put(np.zeros(1, np.uint8), x.sharding)


def _storable_struct(x: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    return x if x.size else jax.ShapeDtypeStruct((1,), jnp.uint8, sharding=x.sharding)


def _from_stored(x: jax.Array, target: jax.ShapeDtypeStruct) -> jax.Array:
    if target.size:
        return x
    return jax.device_put(np.zeros(target.shape, target.dtype), target.sharding)


def _quiet_orbax() -> None:
    """Lets through warnings only, and no tracebacks of reads that were already reported."""
    logging.getLogger("absl").setLevel(logging.WARNING)
    logger = logging.getLogger("asyncio")
    if _reported not in logger.filters:
        logger.addFilter(_reported)


def _reported(record: logging.LogRecord) -> bool:
    return "tensorstore_spec" not in record.getMessage()
