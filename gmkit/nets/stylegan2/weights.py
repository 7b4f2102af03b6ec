"""Official state dicts and Flax variables, both ways and bit by bit.

A state dict is a dictionary of arrays under the names of the official PyTorch implementation,
kernels `(o, i, k, k)`, dense weights `(o, i)`. Every name must be used exactly once and every
parameter be found; what cannot be read off the arrays comes from the constructor's arguments.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from gmkit.nets.stylegan2.discriminator import Discriminator
from gmkit.nets.stylegan2.generator import Generator
from gmkit.nets.stylegan2.inference import discriminator_settings, generator_settings
from gmkit.nets.stylegan2.ops import TAPS, setup_filter

Network = Generator | Discriminator
Arrays = Mapping[str, np.ndarray]
_FILTER = "resample_filter"


class WeightsError(ValueError):
    """Arrays that do not make the network."""


class Slot(NamedTuple):
    """Where an official array goes.

    Attributes:
      path: collection and names within it.
      shape: the official array's.
    """

    path: tuple[str, ...]
    shape: tuple[int, ...]


def slots(net: Network) -> dict[str, Slot]:
    """Every parameter and buffer but the filters, by its official name; nothing is computed."""
    found = {}
    for collection, tree in shapes(net).items():
        for path, leaf in cast(Any, traverse_util.flatten_dict(tree)).items():
            axes = _official_axes(path[-1], len(leaf.shape))
            shape = tuple(leaf.shape[i] for i in axes)
            found[".".join(path)] = Slot((collection, *path), shape)
    return found


def shapes(net: Network) -> dict[str, Any]:
    """Shapes of all variables, per collection."""
    label = jnp.zeros((1, net.c_dim)) if net.c_dim else None
    if isinstance(net, Generator):
        first = jnp.zeros((1, net.z_dim)) if net.z_dim else None
    else:
        first = jnp.zeros((1, net.img_resolution, net.img_resolution, net.img_channels))
    return dict(jax.eval_shape(net.init, jax.random.key(0), first, label))


def n_params(net: Network) -> int:
    """Number of trained parameters."""
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(shapes(net)["params"]))


def _official_axes(name: str, ndim: int) -> tuple[int, ...]:
    """Axes of ours in the official order: HWIO -> OIHW, (i, o) -> (o, i), HWC -> CHW."""
    if ndim == 4:
        return (3, 2, 0, 1)
    if ndim == 3:
        return (2, 0, 1)
    return (1, 0) if ndim == 2 and name == "weight" else tuple(range(ndim))


def filters(net: Network, names: Iterable[str]) -> dict[str, np.ndarray]:
    """The official buffers `resample_filter`, which are settings here, beside arrays of `names`."""
    own, default = setup_filter(net.resample_filter), setup_filter(TAPS)
    is_generator = isinstance(net, Generator)
    # Layers that do not resample were made with the default filter.
    resampling = {"conv0", "skip"} if is_generator else {"conv1", "skip"}
    found = {}
    for name in names:
        *block, layer, leaf = name.split(".")
        convolution = leaf == "weight" and layer in ("conv0", "conv1", "skip", "fromrgb", "conv")
        if convolution and block:
            prefix = ".".join(block)
            if is_generator or block[-1] != "b4":
                found[f"{prefix}.{_FILTER}"] = own
            found[f"{prefix}.{layer}.{_FILTER}"] = own if layer in resampling else default
    return found


# ---------------------------------------------------------------- both ways


def from_official(net: Network, arrays: Arrays) -> dict[str, Any]:
    """Flax variables from an official state dict, as float32 numpy arrays.

    Raises:
      WeightsError: names that are missing, unknown, or of another shape or kind.
    """
    wanted = slots(net)
    resampling = filters(net, wanted)
    known = wanted.keys() | resampling.keys()
    if missing := sorted(known - arrays.keys()):
        raise WeightsError(f"{len(missing)} arrays are missing: {_listed(missing)}")
    if unknown := sorted(arrays.keys() - known):
        raise WeightsError(f"{len(unknown)} arrays have no place: {_listed(unknown)}")
    for name, expected in resampling.items():
        if not np.array_equal(arrays[name], expected):
            raise WeightsError(
                f"{name} is not the filter of resample_filter={tuple(net.resample_filter)}; "
                "give the taps the network was made with"
            )
    flat = {}
    for name, (path, shape) in wanted.items():
        array = np.asarray(arrays[name])
        if array.dtype.kind != "f":
            raise WeightsError(f"{name} holds {array.dtype}; weights are floating-point numbers")
        if array.shape != shape:
            raise WeightsError(f"{name} has shape {array.shape}; this network needs {shape}")
        axes = np.argsort(_official_axes(path[-1], array.ndim))
        flat[path] = np.ascontiguousarray(array.astype(np.float32).transpose(*axes))
        # ascontiguousarray makes scalars one-dimensional.
        flat[path] = flat[path].reshape(tuple(array.shape[i] for i in axes))
    return traverse_util.unflatten_dict(flat)


def to_official(net: Network, variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The official state dict of Flax variables.

    Raises:
      WeightsError: variables of another network.
    """
    collections = {c: traverse_util.flatten_dict(dict(variables[c])) for c in variables}
    found = {}
    for name, (path, shape) in slots(net).items():
        try:
            array = np.asarray(collections[path[0]][path[1:]])
        except KeyError as error:
            raise WeightsError(f"the variables have no {'.'.join(path)}") from error
        array = array.transpose(*_official_axes(path[-1], array.ndim))
        if array.shape != shape:
            raise WeightsError(f"{name} has shape {array.shape}; this network has {shape}")
        found[name] = array.copy(order="C")
    return found | {name: f.copy() for name, f in filters(net, found).items()}


def _listed(names: list[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


# ---------------------------------------------------------------- settings


#: Official arguments that say nothing about the function.
_IRRELEVANT = {"fp16_channels_last", "freeze_layers", "epochs", "num_ws"}
_NESTED = ("mapping_kwargs", "synthesis_kwargs", "block_kwargs", "epilogue_kwargs")
_FIELDS = {
    kind: tuple(kind.__dataclass_fields__.keys() - {"parent", "name"})
    for kind in (Generator, Discriminator)
}


def settings(kind: type[Network], meta: Mapping[str, Any]) -> dict[str, Any]:
    """A network's attributes from the official constructor's (nested) arguments, or from ours.

    Raises:
      WeightsError: an argument that does not exist.
    """
    found: dict[str, Any] = {}
    for name, value in meta.items():
        if name in _NESTED:
            for inner, v in dict(value or {}).items():
                _put(kind, found, _renamed(kind, name, inner), v, f"{name}.{inner}")
        else:
            _put(kind, found, name, value, name)
    return found


def _renamed(kind: type[Network], group: str, name: str) -> str:
    if group == "mapping_kwargs" and name == "activation":
        return "mapping_activation"
    return name


def _put(kind: type[Network], found: dict[str, Any], name: str, value: Any, spelt: str) -> None:
    if name in _IRRELEVANT:
        return
    # The discriminator's label network has one activation with the rest.
    if kind is Discriminator and name == "mapping_activation" and value == "lrelu":
        return
    if name not in _FIELDS[kind]:
        raise WeightsError(f"{spelt}: {kind.__name__} has no such argument")
    if name in found and found[name] != value:
        raise WeightsError(f"{spelt}={value}: the arguments say {found[name]} elsewhere")
    found[name] = tuple(value) if isinstance(value, list) else value


def infer(arrays: Arrays, meta: Mapping[str, Any] | None = None, **overrides: Any) -> Network:
    """The network that a state dict belongs to.

    Args:
      arrays: the state dict.
      meta: the official constructor's arguments, or our attributes; what they leave out has the
        official default where it cannot be read off the arrays. None where nothing is known.
      **overrides: attributes that are set in any case.

    Raises:
      WeightsError: arguments that contradict the arrays, or arrays of no network; without `meta`,
        no `conv_clamp`, which no array shows.
    """
    is_generator = any(name.startswith("synthesis.") for name in arrays)
    if not is_generator and "b4.out.weight" not in arrays:
        raise WeightsError(f"no StyleGAN2 has the arrays {_listed(sorted(arrays))}")
    kind: type[Network] = Generator if is_generator else Discriminator
    if meta is None and "conv_clamp" not in overrides:
        raise WeightsError(
            "conv_clamp cannot be read off the weights: 256 for networks trained by "
            "stylegan2-ada(-pytorch), None for those of the first StyleGAN2"
        )
    given = {**settings(kind, meta or {}), **overrides}
    try:
        read = (generator_settings if is_generator else discriminator_settings)(arrays, given)
    except (KeyError, IndexError) as error:
        raise WeightsError(f"the arrays lack {error}") from error
    for name, value in read.items():
        # None stands for a default that depends on other arguments.
        if name not in given or given[name] is None:
            continue
        if given[name] != value:
            raise WeightsError(f"{name}={given[name]} was given, but the arrays say {value}")
    return kind(**{**given, **{k: v for k, v in read.items() if given.get(k) is None}})
