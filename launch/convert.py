"""Turns StyleGAN2 weights of other programs into gmkit's, and back; runs nothing of a file.

    python launch/convert.py --in=ffhq.pkl --out=nets/ffhq
    python launch/convert.py --in=G_ema.npz --meta=meta.json --out=nets/ffhq
    python launch/convert.py --in=550000.pt --network=g_ema --out=nets/ffhq --estimate-average
    python launch/convert.py --in=nets/ffhq --out=G_ema.npz

Reads the official `.pkl` (as data: what it would execute is refused or ignored), and `.npz`,
`.safetensors` and `.pt` state dicts under the names of the official, rosinality's or the
TensorFlow implementation. Writes a folder of `weights.npz` (official names) and `meta.json`, or,
from such a folder, an official state dict as `.npz`. `--selftest z.npy image.npy` compares with an
image of the original program: z `(n, z_dim)`, images `(n, c, r, r)` with constant noise.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import jax
import jax.numpy as jnp
import numpy as np

from gmkit.nets import stylegan2
from gmkit.nets.stylegan2 import files

#: Largest difference from the original's images, relative to max(1, |value|).
TOLERANCE = 1e-4


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code: 1 where the self-test fails, 2 for bad usage."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--in", dest="source", type=Path, required=True, help="file or folder")
    parser.add_argument("--out", type=Path, help="folder to write, or .npz for the way back")
    parser.add_argument("--network", default="G_ema", help="of a file that holds several (G_ema)")
    parser.add_argument("--meta", type=Path, help="JSON of the official constructor's arguments")
    parser.add_argument(
        "--conv-clamp",
        type=_clamp,
        help="largest activation: 256 for stylegan2-ada networks, none for the first StyleGAN2",
    )
    parser.add_argument(
        "--estimate-average",
        action="store_true",
        help="compute w_avg from 2048 latents, for files without it",
    )
    parser.add_argument("--selftest", nargs=2, type=Path, metavar=("Z", "IMAGE"), help="see above")
    arguments = parser.parse_args(argv)
    if arguments.out is None and arguments.selftest is None:
        parser.error("give --out, --selftest or both")
    try:
        return convert(arguments)
    except (ValueError, OSError) as error:
        print(f"gmkit: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


def _clamp(text: str) -> float:
    """A positive number, or infinity for "none"."""
    value = float("inf") if text == "none" else float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError("give a positive number or none")
    return value


def convert(arguments: argparse.Namespace) -> int:
    """Reads, checks and writes; returns the exit code.

    Raises:
      ValueError, OSError: nothing was written.
    """
    net, variables = _read(arguments)
    print(f"{type(net).__name__}: {stylegan2.n_params(net):,} parameters, {net.img_resolution} px")
    if arguments.estimate_average:
        variables = _with_average(net, variables)
    elif isinstance(net, stylegan2.Generator) and not np.any(_average(variables)):
        print("w_avg is zero or missing: pass --estimate-average before truncating", flush=True)
    if arguments.selftest and not _selftest(net, variables, *arguments.selftest):
        return 1
    if arguments.out is None:
        return 0
    if arguments.out.suffix == ".npz":
        print(files.write_npz(arguments.out, stylegan2.to_official(net, variables)))
    else:
        print(stylegan2.save(arguments.out, net, variables))
    return 0


def _read(arguments: argparse.Namespace) -> stylegan2.Loaded:
    if arguments.source.is_dir():
        return stylegan2.load(arguments.source)
    meta = None if arguments.meta is None else files.read_meta(arguments.meta)
    clamp, overrides = arguments.conv_clamp, {}
    if clamp is not None:
        overrides["conv_clamp"] = clamp if np.isfinite(clamp) else None
    return stylegan2.from_file(arguments.source, arguments.network, meta, **overrides)


def _average(variables: dict[str, Any]) -> Any:
    return variables.get("stats", {}).get("mapping", {}).get("w_avg", 0.0)


def _with_average(net: Any, variables: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(net, stylegan2.Generator) or net.c_dim or net.w_avg_beta is None:
        raise ValueError("--estimate-average needs an unconditional generator that keeps w_avg")
    w_avg = np.asarray(stylegan2.average_latent(net, variables, jax.random.key(0)))
    return {**variables, "stats": {"mapping": {"w_avg": w_avg}}}


def _selftest(net: Any, variables: dict[str, Any], z_path: Path, image_path: Path) -> bool:
    """Prints the largest difference from given images; returns whether it is small."""
    if not isinstance(net, stylegan2.Generator) or net.c_dim:
        raise ValueError("--selftest needs an unconditional generator")
    z, expected = (np.load(path, allow_pickle=False) for path in (z_path, image_path))
    # Half precision is for speed; the comparison is of weights and wiring.
    exact = net.clone(num_fp16_res=0)
    with jax.default_matmul_precision("highest"):
        apply = jax.jit(lambda v, latents: exact.apply(v, latents))
        found = np.asarray(cast(Any, apply(variables, jnp.asarray(z, jnp.float32))))
    expected = np.moveaxis(expected, 1, -1)
    if expected.shape != found.shape:
        raise ValueError(f"{image_path}: images {expected.shape}, this network's {found.shape}")
    error = float(np.max(np.abs(found - expected) / np.maximum(1.0, np.abs(expected))))
    passed = error <= TOLERANCE
    print(f"selftest: {'passed' if passed else 'FAILED'}, largest difference {error:.2e}")
    return passed


if __name__ == "__main__":
    sys.exit(main())
