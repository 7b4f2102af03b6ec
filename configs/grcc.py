"""Robust continuous clustering by the general robust loss, gRCC (Barron, CVPR 2019).

    python launch/main.py --config=configs/grcc.py                     # digits, alpha = 0
    python launch/main.py --config=configs/grcc.py --config.alpha=-2   # RCC
    python launch/main.py --config=configs/grcc.py:own --config.data.name=clustering/mine.npz

Your file has `x_train` (vectors in float, or uint8 images) and `y_train`, and at least one row of
`x_test` and `y_test`, or a tenth of the rows is held out; only `x_train` is clustered.
"""

from __future__ import annotations

from ml_collections import ConfigDict, config_dict

PRESETS = {
    "default": "handwritten digits, 1437 points (scikit-learn): half a minute on a CPU",
    "smoke": "a few iterations on 200 digits, to see that everything runs",
    "own": "your points; set data.name=clustering/<file>.npz",
}


def get_config(preset: str = "default") -> ConfigDict:
    """The settings of one preset.

    Raises:
      ValueError: no such preset.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset {preset!r}: choose {', '.join(PRESETS)}")
    config = _digits()
    if preset == "smoke":
        _smoke(config)
    elif preset == "own":
        config.data.name = "clustering/<file>.npz"
    return config


def _digits() -> ConfigDict:
    config = ConfigDict()
    config.method = "grcc"
    config.seed = 0
    # The first `n_points` rows, and the graph of mutual `k` nearest neighbours by the `metric`,
    # cosine or euclidean.
    config.data = ConfigDict({"name": "clustering/digits", "k": 10, "metric": "cosine"})
    config.data.n_points = config_dict.placeholder(int)
    config.training = ConfigDict(
        {
            "steps": 99,
            "batch_size": 1,
            "log_every": 1,
            "checkpoint_every_seconds": 60.0,
            "strategy": "jit",
            "devices": 1,
            "fsdp": False,
            "steps_per_call": 0,
        }
    )

    # Shape of the loss, from -inf (Welsch) over -2 (RCC) to 2 (least squares, one cluster).
    config.alpha = 0.0
    # Iterations between two halvings of mu; change of the objective below which mu is halved at
    # once; relative error of the linear systems (1e-4 takes two thirds of the time).
    config.settings = ConfigDict({"every": 4, "change": 0.1, "tolerance": 2e-5})

    # Shapes to compare; each is a run of its own, in one compiled call.
    config.eval = ConfigDict({"alphas": (-16.0, -4.0, -2.0, 0.0, 0.5, 1.0, 1.25, 1.5)})
    return config


def _smoke(config: ConfigDict) -> None:
    config.data.n_points = 200
    config.training.update({"steps": 8, "log_every": 4})
    config.eval.alphas = (-2.0, 1.0)
