"""Names and layouts of other StyleGAN2 implementations, as official state dicts.

Known are the PyTorch implementation of rosinality, and the original one in TensorFlow.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gmkit.nets.stylegan2.ops import TAPS, setup_filter

Arrays = Mapping[str, np.ndarray]
Array = np.ndarray


def dialect(arrays: Arrays) -> str:
    """ "official", "rosinality" or "tensorflow", by the names.

    Raises:
      ValueError: none of them.
    """
    if "b4.out.weight" in arrays or "synthesis.b4.conv1.weight" in arrays:
        return "official"
    if "input.input" in arrays:
        return "rosinality"
    if any("/" in name for name in arrays):
        return "tensorflow"
    few = ", ".join(sorted(arrays)[:4])
    raise ValueError(f"no StyleGAN2 that is known here has arrays named {few}, ...")


def _without_filters(
    arrays: Arrays, pattern: str, rule: Callable[[str, Array], tuple[str, Array] | None]
) -> dict[str, Array]:
    """Renamed arrays; those that match `pattern` are resampling filters, and must be the usual."""
    usual, found = setup_filter(TAPS), {}
    for name, value in arrays.items():
        array = np.asarray(value)
        if re.search(pattern, name):
            if not any(np.allclose(array, scale * usual, atol=1e-6) for scale in (1.0, 4.0)):
                raise ValueError(f"{name}: only the filter (1, 3, 3, 1) can be converted")
            continue
        renamed = rule(name, array)
        if renamed is None:
            raise ValueError(f"{name} is no array that StyleGAN2 has; remove it from the file")
        if renamed[0] in found:
            raise ValueError(f"{name}: two arrays are {renamed[0]}")
        found[renamed[0]] = renamed[1]
    return found


# ---------------------------------------------------------------- rosinality


_LEAVES = {
    "conv.weight": ("weight", lambda a: a[0]),
    "conv.modulation.weight": ("affine.weight", lambda a: a),
    "conv.modulation.bias": ("affine.bias", lambda a: a),
    "noise.weight": ("noise_strength", lambda a: a.reshape(())),
    "activate.bias": ("bias", lambda a: a),
    "bias": ("bias", lambda a: a.reshape(-1)),
}


def from_rosinality(arrays: Arrays, w_avg: Array | None = None) -> dict[str, Array]:
    """The official state dict of a generator of rosinality's stylegan2-pytorch ("g_ema").

    Args:
      arrays: its state dict.
      w_avg: the mean intermediate latent ("latent_avg" in converted files), which the state dict
        lacks; zeros where it is not given, which truncation must not be used with.

    Raises:
      ValueError: an array that is not expected.
    """
    found = _without_filters(arrays, r"\.kernel$", _from_rosinality)
    width = found["mapping.fc0.bias"].shape[0]
    average = np.zeros(width, np.float32) if w_avg is None else np.asarray(w_avg, np.float32)
    return _with_filters({**found, "mapping.w_avg": average.reshape(-1)})


def _from_rosinality(name: str, array: Array) -> tuple[str, Array] | None:
    if m := re.fullmatch(r"style\.(\d+)\.(weight|bias)", name):
        return f"mapping.fc{int(m.group(1)) - 1}.{m.group(2)}", array
    if name == "input.input":
        return "synthesis.b4.const", array[0]
    if m := re.fullmatch(r"noises\.noise_(\d+)", name):
        return f"synthesis.{_rosinality_layer(int(m.group(1)))}.noise_const", array[0, 0]
    if m := re.fullmatch(r"(conv1|to_rgb1|convs\.\d+|to_rgbs\.\d+)\.(.+)", name):
        layer, leaf = m.groups()
        if leaf not in _LEAVES:
            return None
        to, change = _LEAVES[leaf]
        head, _, index = layer.partition(".")
        if head == "conv1":
            layer = "b4.conv1"
        elif head == "to_rgb1":
            layer = "b4.torgb"
        elif head == "convs":
            layer = _rosinality_layer(int(index) + 1)
        else:
            layer = f"b{8 * 2 ** int(index)}.torgb"
        return f"synthesis.{layer}.{to}", change(array)
    return None


def _rosinality_layer(i: int) -> str:
    """0: b4.conv1, 1: b8.conv0, 2: b8.conv1, 3: b16.conv0, ..."""
    return "b4.conv1" if i == 0 else f"b{8 * 2 ** ((i - 1) // 2)}.conv{(i - 1) % 2}"


# ---------------------------------------------------------------- TensorFlow


def from_tensorflow(arrays: Arrays) -> dict[str, Array]:
    """The official state dict of a generator or discriminator of the TensorFlow implementation.

    Kernels that double the size are stored reversed there, and styles without their 1.

    Raises:
      ValueError: an array that is not expected.
    """
    found = _without_filters(
        {k: v for k, v in arrays.items() if k != "lod"},
        r"resample_(kernel|filter)$",
        _from_tensorflow,
    )
    return _with_filters(found)


def _from_tensorflow(name: str, array: Array) -> tuple[str, Array] | None:
    if name == "dlatent_avg":
        return "mapping.w_avg", array
    if m := re.fullmatch(r"(?:mapping/)?(LabelEmbed|Dense\d+|Mapping\d+)/(weight|bias)", name):
        layer = re.sub(r"Dense|Mapping", "fc", m.group(1)).replace("LabelEmbed", "embed")
        return f"mapping.{layer}.{m.group(2)}", array.T
    if m := re.fullmatch(r"synthesis/noise(\d+)", name):
        return f"synthesis.{_rosinality_layer(int(m.group(1)))}.noise_const", array[0, 0]
    if name == "synthesis/4x4/Const/const":
        return "synthesis.b4.const", array[0]
    if m := re.fullmatch(r"Output/(weight|bias)", name):
        return f"b4.out.{m.group(1)}", array.T
    m = re.fullmatch(r"(synthesis/)?(\d+)x\2/(\w+)/(\w+)", name)
    if m is None:
        return None
    prefix, r, layer, leaf = m.groups()
    names = _TF_LAYERS if prefix else _TF_DISCRIMINATOR
    key = f"4x4/{layer}" if r == "4" and f"4x4/{layer}" in names else layer
    if key not in names or leaf not in _TF_LEAVES:
        return None
    to, change = _TF_LEAVES[leaf]
    if array.ndim == 4 and prefix and layer in ("Conv0_up", "Skip"):
        array = array[::-1, ::-1]
    return f"{'synthesis.' if prefix else ''}b{r}.{names[key]}.{to}", change(array)


_TF_LAYERS = {
    "4x4/Conv": "conv1",
    "Conv0_up": "conv0",
    "Conv1": "conv1",
    "ToRGB": "torgb",
    "Skip": "skip",
}
_TF_DISCRIMINATOR = {
    "FromRGB": "fromrgb",
    "Conv0": "conv0",
    "Conv1_down": "conv1",
    "Skip": "skip",
    "4x4/Conv": "conv",
    "4x4/Dense0": "fc",
}
_TF_LEAVES: dict[str, tuple[str, Callable[[Array], Array]]] = {
    "weight": ("weight", lambda a: a.transpose(3, 2, 0, 1) if a.ndim == 4 else a.T),
    "bias": ("bias", lambda a: a),
    "noise_strength": ("noise_strength", lambda a: a.reshape(())),
    "mod_weight": ("affine.weight", lambda a: a.T),
    "mod_bias": ("affine.bias", lambda a: a + np.float32(1.0)),
}


_CONVOLUTION = re.compile(r"((?:synthesis\.)?b(\d+))\.(conv0|conv1|conv|skip|fromrgb)\.weight")


def _with_filters(arrays: dict[str, Any]) -> dict[str, Any]:
    """Adds the filters that an official state dict has."""
    usual = setup_filter(TAPS)
    filters = {}
    for name in arrays:
        if m := re.fullmatch(
            r"((?:synthesis\.)?b(\d+))\.(conv0|conv1|conv|skip|fromrgb)\.weight", name
        ):
            block, r, layer = m.groups()
            filters[f"{block}.{layer}.resample_filter"] = usual
            if block.startswith("synthesis.") or r != "4":
                filters[f"{block}.resample_filter"] = usual
    return {**arrays, **filters}
