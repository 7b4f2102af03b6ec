"""Weights out of PyTorch's and the official StyleGAN2's files, without PyTorch and running nothing.

An official network file is a pickle whose modules carry their own source code, and which runs it
when it is loaded the usual way. Here the source is a string like any other; what is taken is the
tensors and the constructor's arguments.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from gmkit.nets.stylegan2 import pickles
from gmkit.nets.stylegan2.pickles import Call, Global, PickleError
from gmkit.nets.stylegan2.storages import (
    LOAD,
    PARAMETER,
    TENSORS,
    Budget,
    Root,
    buffer,
    is_legacy,
    is_storage,
    is_zip,
    read_legacy,
    read_zip,
    size,
    tensor,
)

_PERSISTENCE = Global("torch_utils.persistence", "_reconstruct_persistent_obj")
_TF_NETWORK = Global("dnnlib.tflib.network", "Network")
_ARRAY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
#: What a file of networks may name, besides storages.
_ALLOWED = {
    _PERSISTENCE,
    LOAD,
    *TENSORS,
    PARAMETER,
    _TF_NETWORK,
    Global("numpy", "dtype"),
    Global("numpy", "ndarray"),
    Global("argparse", "Namespace"),
    Global("torch", "Size"),
    Global("torch", "device"),
    *(Global(m, n) for m in _ARRAY_MODULES for n in ("scalar", "_reconstruct")),
    *(Global("torch", n) for n in ("float16", "float32", "float64", "bfloat16", "int64")),
}


#: Values among a network's settings, at most; deeper nesting than that is impossible, too.
MAX_SETTINGS = 200


class Network(NamedTuple):
    """A network as a file holds it.

    Attributes:
      name: under which it is in the file, such as "G_ema".
      arrays: parameters and buffers by their names in the state dict.
      settings: the constructor's arguments; empty where the file does not tell.
      kind: "official" (of the PyTorch implementation), "state_dict" (bare arrays), "tensorflow".
    """

    name: str
    arrays: dict[str, np.ndarray]
    settings: dict[str, Any]
    kind: str


def networks(data: bytes, only: str | None = None) -> dict[str, Network]:
    """The networks of a `.pkl`, `.pt` or `.pth` file, by name.

    Args:
      data: the file.
      only: read this one alone.

    Raises:
      PickleError: damaged, or more than weights and settings in it, or no such network.
    """
    # Once as the file's bytes, once as tensors, and bfloat16 grows to twice its size.
    budget = Budget(4 * len(data))
    if is_zip(data):
        root = read_zip(data, budget, _allowed)
    elif is_legacy(data):
        root = read_legacy(data, budget, _allowed)
    else:
        root = Root(pickles.load(data, _allowed)[0], {}, budget)
    value: Any = root.value
    if isinstance(value, tuple) and len(value) == 3:
        value = {name: v for name, v in zip(("G", "D", "G_ema"), value, strict=True)}
    if not isinstance(value, dict):
        raise PickleError("the file holds no dictionary of networks")
    entries = {str(name): v for name, v in value.items()}
    kinds = {name: kind for name, v in entries.items() if (kind := _kind(v))}
    if not kinds and _is_state_dict(value):
        kinds, entries = {"": "state_dict"}, {"": value}
    wanted = kinds if only is None or "" in kinds else {only: kinds.get(only)}
    if not kinds or None in wanted.values():
        known = ", ".join(kinds) or "none"
        raise PickleError(f"the file holds no network {only or ''}; it has: {known}")
    return {name: _READERS[kinds[name]](name, entries[name], root) for name in wanted}


def _allowed(name: Global) -> bool:
    return name in _ALLOWED or is_storage(name)


# ---------------------------------------------------------------- networks


def _kind(value: Any) -> str | None:
    if isinstance(value, Call) and value.function == _PERSISTENCE:
        return "official"
    if isinstance(value, Call) and value.function == _TF_NETWORK:
        return "tensorflow"
    return "state_dict" if _is_state_dict(value) else None


def _is_state_dict(value: Any) -> bool:
    """Whether it is a dictionary of tensors and nothing else."""
    if not isinstance(value, dict) or not value:
        return False
    return all(isinstance(v, Call) and v.function in {*TENSORS, PARAMETER} for v in value.values())


def _state_dict(name: str, value: Any, root: Root) -> Network:
    return Network(name, {str(k): tensor(v, root) for k, v in value.items()}, {}, "state_dict")


def _official(name: str, value: Any, root: Root) -> Network:
    state = _module_state(value)
    arrays: dict[str, np.ndarray] = {}
    _collect("", state, root, arrays, set())
    return Network(name, arrays, _settings(state), "official")


def _module_state(module: Any) -> dict[str, Any]:
    """The attributes of a module that was saved with its source code; the source is not read."""
    if not isinstance(module, Call) or module.function != _PERSISTENCE or len(module.args) != 1:
        raise PickleError("a module that was not saved by torch_utils.persistence")
    meta = module.args[0]
    state = meta.get("state") if isinstance(meta, dict) else None
    if not isinstance(state, dict) or meta.get("type") != "class":
        raise PickleError("a module without its attributes")
    return state


def _entries(state: Mapping[str, Any], field: str) -> dict[str, Any]:
    entries = state.get(field, {})
    if not isinstance(entries, dict) or not all(isinstance(k, str) for k in entries):
        raise PickleError(f"a module whose {field} are no dictionary of names")
    return entries


def _collect(
    prefix: str, state: dict[str, Any], root: Root, arrays: dict[str, np.ndarray], seen: set[int]
) -> None:
    """Adds a module's tensors under their names in the state dict."""
    # A module that contains itself, or two that share one, would never end.
    if id(state) in seen:
        raise PickleError(f"the module {prefix.rstrip('.') or '(root)'} occurs twice")
    seen.add(id(state))
    hidden = state.get("_non_persistent_buffers_set") or ()
    for field in ("_parameters", "_buffers"):
        for name, value in _entries(state, field).items():
            if value is not None and not (field == "_buffers" and name in hidden):
                arrays[prefix + name] = tensor(value, root)
    for name, module in _entries(state, "_modules").items():
        if module is not None:
            if prefix.count(".") > 16:
                raise PickleError("modules inside modules, more than 16 deep")
            _collect(f"{prefix}{name}.", _module_state(module), root, arrays, seen)


def _settings(state: Mapping[str, Any]) -> dict[str, Any]:
    if state.get("_init_args"):
        raise PickleError(
            "the network was made with positional arguments, which have no names; export its "
            "state dict and give its settings in meta.json"
        )
    return _plain(_entries(state, "_init_kwargs"), Budget(MAX_SETTINGS, "settings"))


def _plain(value: Any, left: Budget) -> Any:
    """Settings as JSON-like values; numpy's scalars become numbers."""
    # A list inside itself, or shared ones, would never end.
    left.spend(1)
    if isinstance(value, dict):
        return {k: _plain(v, left) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v, left) for v in value]
    if isinstance(value, Call) and value.function.name == "scalar":
        return _scalar(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise PickleError(f"a setting that is a {type(value).__name__}")


def _tensorflow(name: str, value: Any, root: Root) -> Network:
    """A network of the TensorFlow implementation, by the names of its variables."""
    arrays: dict[str, np.ndarray] = {}

    def collect(prefix: str, network: Any, depth: int) -> dict[str, Any]:
        state = network.state if isinstance(network, Call) else None
        if not isinstance(state, dict) or network.function != _TF_NETWORK or depth > 4:
            raise PickleError(f"{name} is no network of the TensorFlow implementation")
        variables = state.get("variables", [])
        for entry in variables if isinstance(variables, list) else []:
            if not isinstance(entry, tuple | list) or len(entry) != 2:
                raise PickleError(f"{name}: a variable that is no pair of name and array")
            arrays[prefix + str(entry[0])] = _ndarray(entry[1], root.budget)
        for part, inner in _entries(state, "components").items():
            collect(f"{prefix}{part}/", inner, depth + 1)
        return state

    static = _entries(collect("", value, 0), "static_kwargs")
    settings = _plain(static, Budget(MAX_SETTINGS, "settings"))
    return Network(name, arrays, settings, "tensorflow")


_READERS = {"official": _official, "state_dict": _state_dict, "tensorflow": _tensorflow}

# ---------------------------------------------------------------- numpy


def _dtype(value: Any) -> np.dtype:
    """A numeric type of fixed size, from its record."""
    spelt = value.args[0] if isinstance(value, Call) and value.args else None
    if isinstance(spelt, bytes):
        spelt = spelt.decode("latin1")
    if not isinstance(spelt, str) or spelt not in ("f2", "f4", "f8", "i4", "i8", "u1", "b1"):
        raise PickleError("an array or number of a type that weights do not have")
    return np.dtype("<" + spelt)


def _scalar(value: Call) -> Any:
    if len(value.args) != 2 or not isinstance(value.args[1], bytes):
        raise PickleError("a damaged number of numpy's")
    found = buffer(value.args[1], _dtype(value.args[0]))
    if found.size != 1:
        raise PickleError("a damaged number of numpy's")
    return found[0].item()


def _ndarray(value: Any, budget: Budget) -> np.ndarray:
    state = value.state if isinstance(value, Call) else None
    if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[4], bytes):
        raise PickleError("an array that numpy did not save")
    _, shape, dtype, fortran, raw = state
    flat = buffer(raw, _dtype(dtype))
    budget.spend(flat.nbytes)
    if not isinstance(shape, tuple) or math.prod(map(size, shape)) != flat.size:
        raise PickleError(f"an array whose shape is not that of its {flat.size} numbers")
    return flat.reshape(shape, order="F" if fortran else "C").copy()
