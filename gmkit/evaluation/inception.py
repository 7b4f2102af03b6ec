"""InceptionV3 in the variant used for the Fréchet Inception Distance, with weights from a file.

The network is that of the TensorFlow graph of 2015-12-05 as published for FID: average pooling
that leaves padding out of the average, and maximum pooling in the last block's pooling branch.
Weights do not ship with gmkit. The file is a `.npz` with one array per entry of the usual PyTorch
port's state dict (`pt_inception-2015-12-05`), under its own flat names:

    <unit>.conv.weight                        (out, in, height, width)
    <unit>.bn.weight, <unit>.bn.bias          (out,)
    <unit>.bn.running_mean, .bn.running_var   (out,)

with units such as `Conv2d_1a_3x3` or `Mixed_6b.branch7x7dbl_3`; further entries (the classifier)
are ignored. With that port's file at hand, in an environment that has torch:

    state = torch.load("pt_inception-2015-12-05-6726825d.pth")
    numpy.savez("inception.npz", **{name: value.numpy() for name, value in state.items()})
"""

from __future__ import annotations

import functools
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from gmkit.evaluation.features import Features, check_images, fingerprint, in_batches

_BN_EPSILON = 1e-3
_BN_ENTRIES = ("weight", "bias", "running_mean", "running_var")
_SIDE = 299
_DIM = 2048

# A unit is (name, features, kernel) or (name, features, kernel, "reduce"), where "reduce" is a
# stride of 2 without padding. A branch is a tuple of units and poolings in order; a tuple of units
# inside a branch forks the flow, and the fork's outputs are concatenated.


def _block_a(pool: int) -> tuple[Any, ...]:
    return (
        (("branch1x1", 64, (1, 1)),),
        (("branch5x5_1", 48, (1, 1)), ("branch5x5_2", 64, (5, 5))),
        (
            ("branch3x3dbl_1", 64, (1, 1)),
            ("branch3x3dbl_2", 96, (3, 3)),
            ("branch3x3dbl_3", 96, (3, 3)),
        ),
        ("average", ("branch_pool", pool, (1, 1))),
    )


def _block_c(width: int) -> tuple[Any, ...]:
    return (
        (("branch1x1", 192, (1, 1)),),
        (
            ("branch7x7_1", width, (1, 1)),
            ("branch7x7_2", width, (1, 7)),
            ("branch7x7_3", 192, (7, 1)),
        ),
        (
            ("branch7x7dbl_1", width, (1, 1)),
            ("branch7x7dbl_2", width, (7, 1)),
            ("branch7x7dbl_3", width, (1, 7)),
            ("branch7x7dbl_4", width, (7, 1)),
            ("branch7x7dbl_5", 192, (1, 7)),
        ),
        ("average", ("branch_pool", 192, (1, 1))),
    )


def _block_e(pooling: str) -> tuple[Any, ...]:
    return (
        (("branch1x1", 320, (1, 1)),),
        (
            ("branch3x3_1", 384, (1, 1)),
            (("branch3x3_2a", 384, (1, 3)), ("branch3x3_2b", 384, (3, 1))),
        ),
        (
            ("branch3x3dbl_1", 448, (1, 1)),
            ("branch3x3dbl_2", 384, (3, 3)),
            (("branch3x3dbl_3a", 384, (1, 3)), ("branch3x3dbl_3b", 384, (3, 1))),
        ),
        (pooling, ("branch_pool", 192, (1, 1))),
    )


_BLOCKS: dict[str, tuple[Any, ...]] = {
    "Mixed_5b": _block_a(32),
    "Mixed_5c": _block_a(64),
    "Mixed_5d": _block_a(64),
    "Mixed_6a": (
        (("branch3x3", 384, (3, 3), "reduce"),),
        (
            ("branch3x3dbl_1", 64, (1, 1)),
            ("branch3x3dbl_2", 96, (3, 3)),
            ("branch3x3dbl_3", 96, (3, 3), "reduce"),
        ),
        ("reduce",),
    ),
    "Mixed_6b": _block_c(128),
    "Mixed_6c": _block_c(160),
    "Mixed_6d": _block_c(160),
    "Mixed_6e": _block_c(192),
    "Mixed_7a": (
        (("branch3x3_1", 192, (1, 1)), ("branch3x3_2", 320, (3, 3), "reduce")),
        (
            ("branch7x7x3_1", 192, (1, 1)),
            ("branch7x7x3_2", 192, (1, 7)),
            ("branch7x7x3_3", 192, (7, 1)),
            ("branch7x7x3_4", 192, (3, 3), "reduce"),
        ),
        ("reduce",),
    ),
    "Mixed_7b": _block_e("average"),
    "Mixed_7c": _block_e("maximum"),
}

_POOL = {
    "average": functools.partial(
        nn.avg_pool, window_shape=(3, 3), padding="SAME", count_include_pad=False
    ),
    "maximum": functools.partial(nn.max_pool, window_shape=(3, 3), padding="SAME"),
    "reduce": functools.partial(nn.max_pool, window_shape=(3, 3), strides=(2, 2)),
}


class _Unit(nn.Module):
    """Convolution with the batch normalisation folded in, and ReLU."""

    features: int
    kernel: tuple[int, int]
    stride: int = 1
    padding: str = "SAME"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        strides = (self.stride, self.stride)
        # Highest precision: accelerators' fast float32 products would shift the distances.
        conv = nn.Conv(
            self.features, self.kernel, strides, self.padding, precision="highest", name="conv"
        )
        return nn.relu(conv(x))


class _Block(nn.Module):
    """Parallel branches, concatenated in order."""

    branches: tuple[Any, ...]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        def walk(branch: Any, x: jax.Array) -> jax.Array:
            for stage in branch:
                if isinstance(stage, str):
                    x = _POOL[stage](x)
                elif isinstance(stage[0], tuple):
                    x = jnp.concatenate([walk((unit,), x) for unit in stage], axis=-1)
                else:
                    name, features, kernel, *reduce = stage
                    stride, padding = (2, "VALID") if reduce else (1, "SAME")
                    x = _Unit(features, kernel, stride, padding, name=name)(x)
            return x

        return jnp.concatenate([walk(branch, x) for branch in self.branches], axis=-1)


class InceptionV3(nn.Module):
    """Images `(n, 299, 299, 3)` in [-1, 1] to the pooled features `(n, 2048)` ("pool3").

    Szegedy et al. 2016, with the pooling of the graph that FID uses. Batch normalisation is
    folded into the convolutions, so that parameters are `<unit>/conv/{kernel, bias}`.
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = _Unit(32, (3, 3), 2, "VALID", name="Conv2d_1a_3x3")(x)
        x = _Unit(32, (3, 3), 1, "VALID", name="Conv2d_2a_3x3")(x)
        x = _Unit(64, (3, 3), name="Conv2d_2b_3x3")(x)
        x = _POOL["reduce"](x)
        x = _Unit(80, (1, 1), name="Conv2d_3b_1x1")(x)
        x = _Unit(192, (3, 3), 1, "VALID", name="Conv2d_4a_3x3")(x)
        x = _POOL["reduce"](x)
        for name, branches in _BLOCKS.items():
            x = _Block(branches, name=name)(x)
        return x.mean(axis=(1, 2))


def inception_features(path: str | Path, batch_size: int = 64) -> Features:
    """The feature space of FID, from a local weight file in this module's format.

    `apply` takes images `(n, height, width, 1 or 3)` in [-1, 1] of any size (grey ones are
    repeated over the channels) and resizes them to 299 x 299, bilinear between pixel centres
    without antialiasing, as the PyTorch port does; other resizing shifts the distances.

    Args:
      path: the `.npz` file.
      batch_size: images per compiled call.

    Raises:
      FileNotFoundError: no such file.
      ValueError: not a readable `.npz`, or entries missing, of a wrong shape or not finite.
    """
    entries = _read(Path(path))
    params = {"params": _fold(entries, Path(path))}

    @jax.jit
    def embed(params: Any, images: jax.Array) -> jax.Array:
        images = jnp.broadcast_to(images, (*images.shape[:3], 3))
        size = (images.shape[0], _SIDE, _SIDE, 3)
        images = jax.image.resize(images, size, "bilinear", antialias=False)
        return InceptionV3().apply(params, images)

    def apply(images: np.ndarray) -> np.ndarray:
        images = check_images(images, "images")
        if images.shape[-1] not in (1, 3):
            raise ValueError(f"images have {images.shape[-1]} channels: Inception takes 1 or 3")
        return in_batches(functools.partial(embed, params), images, batch_size)

    return Features(
        name="inception",
        fingerprint=fingerprint(entries),
        dim=_DIM,
        apply=apply,
        info={"resize": "bilinear 299, half-pixel centres, no antialiasing"},
    )


def inception_shapes() -> dict[str, tuple[int, ...]]:
    """Every entry that a weight file must have, with its shape."""
    shapes = {}
    for name, (height, width, n_in, n_out) in _units().items():
        shapes[f"{name}.conv.weight"] = (n_out, n_in, height, width)
        shapes |= {f"{name}.bn.{entry}": (n_out,) for entry in _BN_ENTRIES}
    return shapes


@functools.cache
def _units() -> dict[str, tuple[int, ...]]:
    """Kernel shape `(height, width, in, out)` of every convolution, by name."""
    image = jax.ShapeDtypeStruct((1, _SIDE, _SIDE, 3), jnp.float32)
    abstract = jax.eval_shape(InceptionV3().init, jax.random.key(0), image)
    flat = flax.traverse_util.flatten_dict(abstract["params"])
    return {".".join(path[:-2]): a.shape for path, a in flat.items() if path[-1] == "kernel"}


def _read(path: Path) -> dict[str, np.ndarray]:
    """The required entries of a weight file, checked."""
    if not path.is_file():
        raise FileNotFoundError(
            f"Inception weights {path}: no such file; gmkit.evaluation.inception's docstring "
            "says how to make it from the published weights"
        )
    required = inception_shapes()
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            missing = [name for name in required if name not in file.files]
            if missing:
                count = f"{len(missing)} of {len(required)}"
                raise ValueError(f"{count} entries missing, such as {missing[0]}")
            entries = {name: file[name] for name in required}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"Inception weights {path}: {error}") from error
    for name, shape in required.items():
        found = entries[name].shape
        if found != shape:
            raise ValueError(f"Inception weights {path}: {name} is {found}, expected {shape}")
    return entries


def _fold(entries: Mapping[str, np.ndarray], path: Path) -> dict[str, Any]:
    """Parameters of `InceptionV3` from the file's entries: each unit's normalisation folded in."""
    folded: dict[tuple[str, ...], np.ndarray] = {}
    for name in _units():
        weight, scale, bias, mean, variance = (
            np.asarray(entries[f"{name}.{entry}"], np.float64)
            for entry in ("conv.weight", *(f"bn.{e}" for e in _BN_ENTRIES))
        )
        gain = scale / np.sqrt(np.maximum(variance, 0.0) + _BN_EPSILON)
        kernel = (weight * gain[:, None, None, None]).transpose(2, 3, 1, 0)
        bias = bias - mean * gain
        if not (np.isfinite(kernel).all() and np.isfinite(bias).all()):
            raise ValueError(f"Inception weights {path}: {name} has values that are not finite")
        parts = (*name.split("."), "conv")
        folded[*parts, "kernel"] = kernel.astype(np.float32)
        folded[*parts, "bias"] = bias.astype(np.float32)
    return flax.traverse_util.unflatten_dict(folded)
