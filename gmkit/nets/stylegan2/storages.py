"""PyTorch's tensors out of the streams that `torch.save` writes, without PyTorch."""

from __future__ import annotations

import io
import math
import struct
import zipfile
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from gmkit.nets.stylegan2 import pickles
from gmkit.nets.stylegan2.pickles import Call, Global, Persistent, PickleError

#: Element type by the name of a storage class; bfloat16 is widened.
STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
LOAD = Global("torch.storage", "_load_from_bytes")
TENSORS = frozenset(
    Global("torch._utils", name) for name in ("_rebuild_tensor_v2", "_rebuild_tensor")
)
PARAMETER = Global("torch._utils", "_rebuild_parameter")
#: What Python's reader of archives raises for damaged ones.
_UNREADABLE = (
    zipfile.BadZipFile,
    KeyError,
    ValueError,
    EOFError,
    OSError,
    OverflowError,
    RuntimeError,
    struct.error,
)
_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
Rules = Callable[[Global], bool]


class Budget:
    """What may still be taken out of a file, so that shared parts cannot fill a memory.

    Args:
      size: bytes, or values.
      what: that are counted, for the error.
    """

    def __init__(self, size: int, what: str = "tensors"):
        self.left, self.what = size, what

    def spend(self, size: int) -> None:
        """Takes some.

        Raises:
          PickleError: there is not enough left.
        """
        self.left -= size
        if self.left < 0:
            raise PickleError(f"{self.what} that are more than the file can hold")


class Root(NamedTuple):
    """The contents of a stream.

    Attributes:
      value: what it holds, tensors as records.
      storages: their numbers by key.
      budget: see `Budget`.
    """

    value: Any
    storages: dict[str, np.ndarray]
    budget: Budget


def is_storage(name: Global) -> bool:
    """Whether a global is a class of storages; the stream of one storage names nothing else."""
    return name.module == "torch" and name.name in STORAGES


def size(n: Any) -> int:
    if not isinstance(n, int) or isinstance(n, bool) or n < 0:
        raise PickleError("a size or position that is no natural number")
    return n


def buffer(raw: bytes, dtype: np.dtype) -> np.ndarray:
    if len(raw) % dtype.itemsize:
        raise PickleError(f"{len(raw)} bytes are no whole number of {dtype}")
    return np.frombuffer(raw, dtype)


def tensor(value: Any, root: Root) -> np.ndarray:
    """A tensor or parameter from the record of its making."""
    if isinstance(value, Call) and value.function == PARAMETER and value.args:
        value = value.args[0]
    if not isinstance(value, Call) or value.function not in TENSORS or len(value.args) < 4:
        raise PickleError("a parameter that is no tensor")
    source, offset, shape, strides = value.args[:4]
    flat = _storage(source, root)
    if not isinstance(shape, tuple) or not isinstance(strides, tuple):
        raise PickleError("a tensor without a shape")
    count = math.prod(map(size, shape))
    if len(shape) != len(strides) or len(shape) > 8:
        raise PickleError(f"a tensor of shape {shape} with {len(strides)} strides")
    reach = size(offset) + sum((n - 1) * size(s) for n, s in zip(shape, strides, strict=True))
    # Views that repeat elements are no weights, and could be of any size.
    if count and (count > flat.size or reach >= flat.size):
        raise PickleError(f"a tensor of shape {shape} in a storage of {flat.size} numbers")
    root.budget.spend(count * flat.itemsize)
    if not count:
        return np.zeros(shape, flat.dtype)
    steps = [s * flat.itemsize for s in strides]
    view = np.lib.stride_tricks.as_strided(flat[offset:], shape, steps, writeable=False)
    return np.array(view, order="C")


def _storage(value: Any, root: Root) -> np.ndarray:
    if isinstance(value, Persistent):
        _, key, numel = _reference(value)
        if key not in root.storages:
            raise PickleError(f"the storage {key!r} is not in the file")
        if root.storages[key].size != numel:
            raise PickleError(f"the storage {key!r} has not the {numel} numbers it declares")
        return root.storages[key]
    if isinstance(value, Call) and value.function == LOAD and len(value.args) == 1:
        raw = value.args[0]
        if isinstance(raw, bytes):
            load = read_zip if is_zip(raw) else read_legacy
            inner = load(raw, root.budget, is_storage)
            if isinstance(inner.value, Persistent):
                return _storage(inner.value, inner)
    raise PickleError("a tensor without a storage")


def _reference(value: Persistent) -> tuple[Any, str, int]:
    """(element type, key, count) of `("storage", class, key, device, count, ...)`."""
    r = value.reference
    if not isinstance(r, tuple) or len(r) not in (5, 6) or r[0] != "storage":
        raise PickleError("a reference to something that is no storage")
    if not isinstance(r[1], Global) or r[1].name not in STORAGES or not isinstance(r[2], str):
        raise PickleError("a storage of unknown type")
    if len(r) == 6 and r[5] is not None:
        raise PickleError("a storage that is a view of another; save the tensors anew")
    return STORAGES[r[1].name], r[2], size(r[4])


def _references(value: Any) -> dict[str, tuple[Any, int]]:
    """Type and count of every storage that a stream refers to."""
    found: dict[str, tuple[Any, int]] = {}
    stack, seen = [value], set()
    while stack:
        item = stack.pop()
        if isinstance(item, Persistent):
            dtype, key, count = _reference(item)
            if found.setdefault(key, (dtype, count)) != (dtype, count):
                raise PickleError(f"the storage {key!r} is declared in two ways")
            continue
        if id(item) in seen or not isinstance(item, dict | list | tuple | Call):
            continue
        seen.add(id(item))
        if isinstance(item, Call):
            stack += [*item.args, item.state]
        else:
            stack += item.values() if isinstance(item, dict) else item
    return found


def _numbers(raw: bytes, dtype: str) -> np.ndarray:
    if dtype == "bfloat16":
        return widened(raw)
    return buffer(raw, np.dtype(dtype))


def widened(raw: bytes) -> np.ndarray:
    """bfloat16 bytes as float32, exactly."""
    return (buffer(raw, np.dtype("<u2")).astype(np.uint32) << 16).view(np.float32)


def read_zip(data: bytes, budget: Budget, rules: Rules) -> Root:
    """The archive that `torch.save` writes: data.pkl, and one stored file per storage."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        infos = {i.filename: i for i in archive.infolist()}
    except _UNREADABLE as error:
        raise PickleError(f"a damaged archive: {error}") from error
    for info in infos.values():
        if info.compress_type != zipfile.ZIP_STORED or info.file_size > len(data):
            raise PickleError(f"{info.filename}: files of weights are not compressed")
    names = [name for name in infos if name.endswith("/data.pkl")]
    if len(names) != 1:
        raise PickleError("an archive without its data.pkl")
    folder = names[0].removesuffix("data.pkl")

    def read(name: str) -> bytes:
        try:
            return archive.read(name)
        except _UNREADABLE as error:
            raise PickleError(f"{name} is missing from the archive or damaged") from error

    if f"{folder}byteorder" in infos and read(f"{folder}byteorder") != b"little":
        raise PickleError("numbers in big-endian order; save them anew on another machine")
    value, _ = pickles.load(read(names[0]), rules, persistent=True)
    storages = {}
    for key, (dtype, count) in _references(value).items():
        raw = read(f"{folder}data/{key}")
        budget.spend(len(raw))
        storages[key] = _numbers(raw, dtype)
        if storages[key].size != count:
            raise PickleError(f"the storage {key!r} has not the {count} numbers it declares")
    return Root(value, storages, budget)


def is_zip(data: bytes) -> bool:
    """Whether a file begins as an archive; numbers may look like one at their end."""
    return data[:4] == b"PK\x03\x04"


def is_legacy(data: bytes) -> bool:
    """Whether the first pickle is the magic number of `torch.save` before version 1.6."""
    # PROTO 2, LONG1 of ten bytes.
    return data[:4] == b"\x80\x02\x8a\x0a" and data[4:14] == _MAGIC.to_bytes(10, "little")


def read_legacy(data: bytes, budget: Budget, rules: Rules) -> Root:
    """The stream that `torch.save` wrote before version 1.6."""
    none = lambda name: False
    magic, at = pickles.load(data, none)
    protocol, at = pickles.load(data, none, at)
    system, at = pickles.load(data, none, at)
    if (magic, protocol) != (_MAGIC, _LEGACY_PROTOCOL) or not isinstance(system, dict):
        raise PickleError("a storage that torch.save did not write")
    if system.get("little_endian") is not True:
        raise PickleError("numbers in big-endian order; save them anew on another machine")
    value, at = pickles.load(data, rules, at, persistent=True)
    keys, at = pickles.load(data, none, at)
    wanted = _references(value)
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(wanted):
        raise PickleError("storages and their list differ")
    storages = {}
    for key in keys:
        dtype, count = wanted[key]
        width = 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize
        stored = int.from_bytes(data[at : at + 8], "little", signed=True)
        at += 8
        if stored != count or at + count * width > len(data):
            raise PickleError(f"the storage {key!r} has not the {count} numbers it declares")
        budget.spend(count * width)
        storages[key] = _numbers(data[at : at + count * width], dtype)
        at += count * width
    return Root(value, storages, budget)
