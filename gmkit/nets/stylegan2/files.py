"""Weight files: what is read, and the folder that a converted network lives in.

A folder holds `weights.npz`, the official state dict, and `meta.json`, the network's attributes.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from gmkit.nets.stylegan2 import dialects, network_files
from gmkit.nets.stylegan2.discriminator import Discriminator
from gmkit.nets.stylegan2.generator import Generator
from gmkit.nets.stylegan2.storages import widened
from gmkit.nets.stylegan2.weights import (
    Network,
    WeightsError,
    from_official,
    infer,
    settings,
    to_official,
)

WEIGHTS, META = "weights.npz", "meta.json"
_FORMAT = 1
_KINDS: dict[str, type[Network]] = {"generator": Generator, "discriminator": Discriminator}
_SAFETENSORS = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "bfloat16",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}
#: The largest header of a safetensors file, in bytes.
_MAX_HEADER = 100_000_000


class Loaded(NamedTuple):
    """A network and its Flax variables, as numpy arrays.

    Attributes:
      net: the module.
      variables: "params", and for a generator "stats" and "noise".
    """

    net: Network
    variables: dict[str, Any]


# ---------------------------------------------------------------- reading


def read(
    path: Path | str, network: str = "G_ema"
) -> tuple[dict[str, np.ndarray], dict[str, Any] | None]:
    """Arrays of a weight file in their own names, and the constructor's arguments if it has them.

    Args:
      path: `.npz`, `.safetensors`, or `.pkl`, `.pt`, `.pth` (of which nothing is run).
      network: which network, of a file that holds several.

    Raises:
      WeightsError: not such a file, or a damaged one.
    """
    path = Path(path)
    readers = {".npz": _npz, ".safetensors": _safetensors}
    if not path.is_file():
        raise WeightsError(f"{path}: no such file")
    if path.suffix in readers:
        return readers[path.suffix](path), None
    if path.suffix not in (".pkl", ".pt", ".pth"):
        raise WeightsError(f"{path}: give a file .npz, .safetensors, .pkl, .pt or .pth")
    try:
        found = network_files.networks(path.read_bytes(), network)
    except ValueError as error:
        raise WeightsError(f"{path}: {error}") from error
    (chosen,) = found.values()
    return chosen.arrays, chosen.settings if chosen.kind == "official" else None


def _npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise WeightsError(f"{path}: not a readable .npz of plain arrays ({error})") from error


def _safetensors(path: Path) -> dict[str, np.ndarray]:
    """The safetensors format: a length, a JSON header, and the numbers."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(_MAX_HEADER, len(data) - 8):
        raise WeightsError(f"{path}: its header is longer than the file")
    try:
        header = json.loads(data[8 : 8 + length])
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: its header is no JSON") from error
    if not isinstance(header, dict):
        raise WeightsError(f"{path}: its header is no dictionary")
    body = memoryview(data)[8 + length :]
    found = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        try:
            dtype, shape, (start, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
            known = _SAFETENSORS[dtype]
            whole = all(type(n) is int and n >= 0 for n in (*shape, start, end))
        except (KeyError, TypeError, ValueError) as error:
            raise WeightsError(f"{path}: {name} has a damaged entry") from error
        width = 2 if known == "bfloat16" else np.dtype(known).itemsize
        if not whole or end > len(body) or end - start != math.prod(shape) * width:
            raise WeightsError(f"{path}: {name} says {dtype}{shape} in bytes {start} to {end}")
        raw = bytes(body[start:end])
        flat = widened(raw) if known == "bfloat16" else np.frombuffer(raw, known)
        found[name] = flat.reshape(shape)
    return found


def write_npz(path: Path | str, arrays: Mapping[str, np.ndarray]) -> Path:
    """Writes plain arrays under their names; returns the path."""
    np.savez(Path(path), **cast(Any, dict(arrays)))
    return Path(path)


def read_meta(path: Path | str) -> dict[str, Any]:
    """A JSON file of constructor's arguments.

    Raises:
      WeightsError: no such file, or not a JSON object.
    """
    try:
        meta = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: not a readable JSON file ({error})") from error
    if not isinstance(meta, dict):
        raise WeightsError(f"{path}: give a JSON object of the constructor's arguments")
    return meta


def from_file(
    path: Path | str,
    network: str = "G_ema",
    meta: Mapping[str, Any] | None = None,
    **overrides: Any,
) -> Loaded:
    """A network out of a weight file of any known dialect.

    Args:
      path: see `read`.
      network: see `read`.
      meta: constructor's arguments; those of the file itself where it has them.
      **overrides: attributes, as in `infer`.

    Raises:
      WeightsError: the file holds no such network, or it is not known well enough.
    """
    arrays, stored = read(path, network)
    try:
        kind = dialects.dialect(arrays)
        if kind == "rosinality":
            arrays = dialects.from_rosinality(arrays)
        elif kind == "tensorflow":
            arrays = dialects.from_tensorflow(arrays)
        # Those implementations clamp nothing and have no option to.
        if kind != "official" and meta is None:
            overrides = {"conv_clamp": None, **overrides}
        net = infer(arrays, meta if meta is not None else stored, **overrides)
        return Loaded(net, from_official(net, arrays))
    except ValueError as error:
        raise WeightsError(f"{path}: {error}") from error


# ---------------------------------------------------------------- folders


def save(directory: Path | str, net: Network, variables: Mapping[str, Any]) -> Path:
    """Writes a network into a folder; returns the folder."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    kind = next(name for name, c in _KINDS.items() if isinstance(net, c))
    fields = sorted(net.__dataclass_fields__.keys() - {"parent", "name"})
    meta = {"format": _FORMAT, "network": kind, "settings": {n: getattr(net, n) for n in fields}}
    write_npz(directory / WEIGHTS, to_official(net, variables))
    (directory / META).write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")
    return directory


def load(directory: Path | str, **overrides: Any) -> Loaded:
    """A network that `save` wrote.

    Args:
      directory: the folder.
      **overrides: attributes that change how it is computed, such as `conv_impl`.

    Raises:
      WeightsError: no such folder, or one whose files do not fit each other.
    """
    directory = Path(directory)
    meta = read_meta(directory / META)
    if meta.get("format") != _FORMAT or meta.get("network") not in _KINDS:
        raise WeightsError(f"{directory / META}: not written by gmkit's convert")
    kind = _KINDS[meta["network"]]
    arrays, _ = read(directory / WEIGHTS)
    net = kind(**{**settings(kind, meta.get("settings", {})), **overrides})
    try:
        return Loaded(net, from_official(net, arrays))
    except WeightsError as error:
        raise WeightsError(f"{directory}: {error}") from error
