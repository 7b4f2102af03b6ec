"""The final numbers of a run and what they depend on."""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gmkit.reporting.files import write_text
from gmkit.reporting.tables import plain_scalar

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


def write_results(
    workdir: str | os.PathLike, metrics: Mapping[str, Any], provenance: Mapping[str, Any]
) -> Path:
    """Writes `workdir/results.json`, atomically; returns its path.

    The file is strict JSON with three keys: "metrics" (flat name -> number), "non_finite" (the
    names whose value was NaN or infinite and is null here; those of the provenance start with
    "provenance/") and "provenance".

    Raises:
      ValueError: a metric that is no scalar, or a value that JSON cannot hold.
    """
    non_finite: list[str] = []
    flat = {str(name): _scalar(str(name), value, non_finite) for name, value in metrics.items()}
    content = {
        "metrics": flat,
        "non_finite": non_finite,
        "provenance": strict(provenance, "provenance", non_finite),
    }
    text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
    return write_text(Path(workdir) / "results.json", text + "\n")


def _scalar(name: str, value: Any, non_finite: list[str]) -> Any:
    value = strict(plain_scalar(value), name, non_finite)
    if isinstance(value, dict | list):
        raise ValueError(f"metrics[{name!r}] is no scalar: flatten it into several names")
    return value


def strict(value: Any, name: str, non_finite: list[str]) -> Any:
    """`value` as JSON types; a NaN or infinity becomes None and its name joins `non_finite`."""
    value = plain_scalar(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        non_finite.append(name)
        return None
    if isinstance(value, Mapping):
        return {str(key): strict(item, f"{name}/{key}", non_finite) for key, item in value.items()}
    if hasattr(value, "dtype"):
        value = np.asarray(value).tolist()
    if isinstance(value, list | tuple):
        return [strict(item, f"{name}/{i}", non_finite) for i, item in enumerate(value)]
    raise ValueError(
        f"{name} is a {type(value).__name__}, which JSON cannot hold: pass numbers or text"
    )


def provenance(
    seed: int | None = None,
    devices: Sequence[Any] | None = None,
    *,
    seconds: float | None = None,
    **extra: Any,
) -> dict[str, Any]:
    """What the numbers of a run depend on.

    Args:
      seed: the run's seed.
      devices: the JAX devices it used; None for all of this process group.
      seconds: wall time of the run.
      **extra: further entries, for example an evaluation's own provenance.

    Returns:
      seed, seconds, versions of Python and of the libraries, number and kind of devices, number of
      processes, operating system and, where gmkit is run from its own repository, the revision
      (with "-dirty" after it if tracked files differ). No host name, user name or path.
    """
    import jax

    devices = list(jax.devices() if devices is None else devices)
    return {
        "seed": seed,
        "seconds": seconds,
        "versions": _versions(),
        "devices": {
            "count": len(devices),
            "platform": ", ".join(sorted({device.platform for device in devices})),
            "kind": ", ".join(sorted({device.device_kind for device in devices})),
            "processes": len({device.process_index for device in devices}),
        },
        "system": f"{platform.system()} {platform.machine()}",
        "git_revision": git_revision(),
        **extra,
    }


def _versions() -> dict[str, str]:
    import gmkit

    versions = {"python": platform.python_version(), "gmkit": gmkit.__version__}
    versions.update({name: importlib.metadata.version(name) for name in _PACKAGES})
    return versions


def git_revision() -> str | None:
    """Revision of the repository that tracks this package; None where there is none, or no git."""
    here = Path(__file__).resolve()
    # An installed copy may lie inside somebody else's repository: ours tracks this very file.
    if _git(here.parent, "ls-files", "--error-unmatch", here.name) is None:
        return None
    return _git(here.parent, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
