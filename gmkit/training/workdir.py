"""The run directory: who may write it, and with which settings."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from gmkit.core import parallel
from gmkit.training.errors import UsageError

T = TypeVar("T")
CONFIG = "config.json"
CHECKPOINTS = "checkpoints"
METRICS = "metrics.jsonl"

#: May grow when a run is continued.
GROWS = "training.steps"
#: May differ when a run is continued: they change no number that is computed.
PRESENTATION = frozenset(
    f"training.{name}"
    for name in (
        "log_every",
        "progress",
        "tensorboard",
        "checkpoint_every_seconds",
        "checkpoint_every_steps",
        "keep_last",
        "keep_best",
        "debug_nans",
    )
)
_ABSENT = "(absent)"
_logger = logging.getLogger(__name__)


def on_main_process(action: Callable[[], T]) -> T | None:
    """Runs `action` on process 0; where it raises `UsageError`, every process does."""
    result, error = None, None
    if parallel.is_main_process():
        try:
            result = action()
        except UsageError as refused:
            error = refused
        except OSError as failed:
            error = UsageError(f"the run directory cannot be used: {failed}")
    if jax.process_count() > 1:
        failed = bool(multihost_utils.broadcast_one_to_all(np.asarray(error is not None)))
        if failed and error is None:
            raise UsageError("process 0 refused the run; its message says why")
    if error is not None:
        raise error
    return result


def open_workdir(workdir: Path | str, config: Mapping[str, Any]) -> Path:
    """Creates the run directory, or checks that it belongs to the same settings.

    `config.json` is written atomically. On a second start `training.steps` may be larger than
    before and how the run is shown and saved may differ (`PRESENTATION`); the file is then
    updated. Every process may call this; process 0 reads and writes.

    Args:
      workdir: the run directory; parents are created.
      config: the resolved settings, JSON-able.

    Raises:
      UsageError: other settings are there already (the message lists the differences), or
        the config is not JSON-able.
    """
    workdir = Path(workdir)
    on_main_process(lambda: _open(workdir, config))
    return workdir


def _open(workdir: Path, config: Mapping[str, Any]) -> None:
    path = workdir / CONFIG
    try:
        text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    except (TypeError, ValueError) as error:
        raise UsageError(f"the config cannot be written as JSON: {error}") from error
    if path.exists():
        try:
            here = json.loads(path.read_text())
        except ValueError as error:
            raise UsageError(f"{path} is not JSON ({error}); choose another workdir") from error
        different = differences(here, json.loads(text))
        if different:
            raise UsageError(
                f"{workdir} holds a run with other settings: {'; '.join(different)}. "
                "Choose another workdir, or set these fields back to resume"
            )
    else:
        workdir.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text)


def differences(here: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """The fields that keep `asked` from continuing a run made with `here`, one phrase each."""
    a, b = dict(_flat(here)), dict(_flat(asked))
    out = []
    for name in sorted(a.keys() | b.keys()):
        old, new = a.get(name, _ABSENT), b.get(name, _ABSENT)
        # Text, so that NaN equals NaN and 1 differs from 1.0 and True as it does in the file.
        same = json.dumps(old) == json.dumps(new)
        if same or name in PRESENTATION:
            continue
        numbers = isinstance(old, int) and isinstance(new, int)
        if name == GROWS and numbers and new > old:
            continue
        hint = ", steps may only grow" if name == GROWS and numbers else ""
        out.append(f"{name}: {_shown(old)} (here) != {_shown(new)} (asked{hint})")
    return out


def _flat(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, Mapping) and (tree or not prefix):
        for name, value in tree.items():
            yield from _flat(value, f"{prefix}.{name}" if prefix else str(name))
    else:
        yield prefix, tree


def _shown(value: Any) -> str:
    return value if value is _ABSENT else json.dumps(value)


def write_atomically(path: Path, text: str) -> None:
    """Writes a text file so that a reader, or a crash, sees the old or the new one whole."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    with scratch.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)


@contextlib.contextmanager
def locked(workdir: Path | str) -> Iterator[None]:
    """Holds the run directory against a second writer; the system lets go when a process dies.

    Raises:
      UsageError: another run is writing there.
    """
    path = Path(workdir) / ".lock"
    descriptor = on_main_process(lambda: _lock(path))
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _lock(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.read(descriptor, 200).decode(errors="replace").strip()
        os.close(descriptor)
        raise UsageError(
            f"{path.parent} is being written by another run ({holder}); "
            "wait for it, stop it, or choose another workdir"
        ) from error
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP):
            os.close(descriptor)
            raise
        _logger.warning("%s: this file system has no locks; start only one run here", path.parent)
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
    return descriptor
