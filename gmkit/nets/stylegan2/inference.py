"""What the arrays of an official state dict say about their network."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from gmkit.nets.stylegan2.ops import TAPS, setup_filter

Arrays = Mapping[str, np.ndarray]


def generator_settings(arrays: Arrays, given: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes of a `Generator`.

    Args:
      arrays: the state dict.
      given: attributes that are known; `channel_base` and `channel_max` are taken from there.
    """
    sizes = _resolutions(arrays, r"synthesis\.b(\d+)\.conv1\.weight")
    largest = max(sizes)
    affine = arrays["synthesis.b4.conv1.affine.weight"]
    n_images = sum(f"synthesis.b{r}.torgb.weight" in arrays for r in sizes)
    found = {
        "img_resolution": largest,
        "img_channels": arrays[f"synthesis.b{largest}.torgb.weight"].shape[0],
        "w_dim": affine.shape[1],
        "use_noise": "synthesis.b4.conv1.noise_const" in arrays,
        "w_avg_beta": given.get("w_avg_beta", 0.995) if "mapping.w_avg" in arrays else None,
        "resample_filter": _taps(arrays, "synthesis.b4", given),
        **_mapping(arrays),
    }
    if len(sizes) > 1:
        skip = f"synthesis.b{largest}.skip.weight" in arrays
        found["architecture"] = "resnet" if skip else "skip" if n_images == len(sizes) else "orig"
    features = {r: arrays[f"synthesis.b{r}.conv1.weight"].shape[0] for r in sizes}
    return found | _channels(features, given)


def discriminator_settings(arrays: Arrays, given: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes of a `Discriminator`; see `generator_settings`."""
    sizes = _resolutions(arrays, r"b(\d+)\.conv0\.weight")
    largest = max(sizes)
    last = arrays["b4.conv.weight"].shape
    outputs = arrays["b4.out.weight"].shape[0]
    found = {
        "img_resolution": largest,
        "img_channels": arrays[f"b{largest}.fromrgb.weight"].shape[1],
        "mbstd_num_channels": last[1] - last[0],
        "resample_filter": _taps(arrays, f"b{largest}", given),
    }
    if f"b{largest}.skip.weight" in arrays:
        found["architecture"] = "resnet"
    else:
        found["architecture"] = "skip" if "b4.fromrgb.weight" in arrays else "orig"
    if "mapping.embed.weight" in arrays:
        mapping = _mapping(arrays)
        del mapping["z_dim"]
        found |= {**mapping, "cmap_dim": outputs}
    else:
        found["c_dim"] = 0
    features = {r: arrays[f"b{r}.conv0.weight"].shape[0] for r in sizes}
    return found | _channels({**features, 4: last[0]}, given)


def _resolutions(arrays: Arrays, pattern: str) -> list[int]:
    found = sorted(int(m.group(1)) for name in arrays if (m := re.fullmatch(pattern, name)))
    if not found:
        raise KeyError(pattern.replace("\\", ""))
    return found


def _mapping(arrays: Arrays) -> dict[str, Any]:
    n_layers = sum(bool(re.fullmatch(r"mapping\.fc\d+\.weight", name)) for name in arrays)
    first = arrays["mapping.fc0.weight"]
    found: dict[str, Any] = {"num_layers": n_layers, "c_dim": 0, "z_dim": first.shape[1]}
    if n_layers > 1:
        found["layer_features"] = first.shape[0]
    if "mapping.embed.weight" in arrays:
        embedded, labels = arrays["mapping.embed.weight"].shape
        found |= {"c_dim": labels, "embed_features": embedded, "z_dim": first.shape[1] - embedded}
    return found


def _channels(features: Mapping[int, int], given: Mapping[str, Any]) -> dict[str, Any]:
    """A base and maximum that give these channels; shapes are checked later."""
    if given.get("channel_base") is not None and given.get("channel_max") is not None:
        return {}
    most = max(features.values())
    fewer = [c * r for r, c in features.items() if c < most]
    base = max(fewer) if fewer else most * max(features)
    return {
        name: value
        for name, value in (("channel_base", base), ("channel_max", most))
        if given.get(name) is None
    }


def _taps(arrays: Arrays, block: str, given: Mapping[str, Any]) -> tuple[float, ...]:
    """Taps whose filter is the block's, to the last bit where they are small whole numbers."""
    name = f"{block}.resample_filter"
    stored = np.asarray(arrays[name]) if name in arrays else setup_filter(TAPS)
    if given.get("resample_filter") is not None:
        return tuple(given["resample_filter"])
    if stored.ndim != 2 or np.array_equal(stored, setup_filter(TAPS)):
        return TAPS
    sums = stored.sum(axis=0)
    smallest = np.abs(sums[sums != 0]).min(initial=np.inf)
    return tuple(float(t) for t in np.round(sums / smallest, 3))
