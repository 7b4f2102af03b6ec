"""Writes a trained attacker's versions of all test images, in the form of the MNIST challenge.

    python launch/attack.py --workdir=runs/madry --output=attack.npy

The file holds a float32 array (n, pixels) in [0, 1], no pixel further than epsilon from its image.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import jax
import numpy as np

from gmkit import attacks, data, evaluation, training
from launch import flags, run

BATCH = 500


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--workdir", type=Path, required=True, help="a finished run of an attacker")
    parser.add_argument("--output", type=Path, default=Path("attack.npy"), help="file to write")
    arguments = parser.parse_args(argv)
    try:
        print(attack(arguments.workdir, arguments.output))
    except (flags.UsageError, training.UsageError, data.DataError, ValueError) as error:
        print(f"gmkit: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def attack(workdir: Path, output: Path) -> Path:
    """Attacks all test images of a run's data; returns the path of the file.

    Raises:
      flags.UsageError: no run there, or one of a method that attacks nothing.
      ValueError: images that break the rules of the challenge.
    """
    stage = run.plan(flags.workdir_config(workdir), workdir, trains=False)
    method, state, _ = run.finish(stage)
    if method.perturb is None:
        raise flags.UsageError(f"--workdir={workdir}: {method.name} makes no adversarial examples")
    rows = stage.dataset.examples("test")
    images, labels = rows["image"], rows["label"]
    perturb, key = jax.jit(method.perturb), jax.random.key(0)
    adversarial = evaluation.in_batches(
        lambda i: perturb(state, key, images[i], labels[i]),
        np.arange(len(images)),
        min(BATCH, len(images)),
    )
    unit = lambda x: np.clip(attacks.to_unit(x), 0.0, 1.0)
    return evaluation.save_submission(
        output, unit(adversarial), unit(images), stage.config.get("epsilon", 0.3)
    )


if __name__ == "__main__":
    sys.exit(main())
