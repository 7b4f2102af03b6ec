"""Registration of point clouds by the general robust loss, gFGR (Barron, CVPR 2019).

    python launch/main.py --config=configs/gfgr.py                  # FGR: scale annealed, alpha -2
    python launch/main.py --config=configs/gfgr.py:shape            # shape annealed
    python launch/main.py --config=configs/gfgr.py:least_squares    # not annealed
    python launch/main.py --config=configs/gfgr.py --config.schedules.scale.alpha=-8
    python launch/main.py --config=configs/gfgr.py:own --config.data.path=<clouds.npz>

A batch holds `training.batch_size` correspondences of every problem; the algorithm of the paper
takes all of them (`data.n`) in every iteration.
"""

from __future__ import annotations

from ml_collections import ConfigDict, config_dict

PRESETS = {
    "default": "32 pairs of 500 matches, 60 % wrong, scale annealed: half a minute on a CPU",
    "smoke": "a few iterations on small clouds, to see that everything runs",
    "shape": "shape annealed",
    "least_squares": "not annealed",
    "own": "your clouds; set data.path, and training.batch_size to the number of matches",
}


def get_config(preset: str = "default") -> ConfigDict:
    """The settings of one preset.

    Raises:
      ValueError: no such preset.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset {preset!r}: choose {', '.join(PRESETS)}")
    config = _pairs()
    if preset == "smoke":
        _smoke(config)
    elif preset == "shape":
        config.annealing = "shape"
    elif preset == "least_squares":
        config.annealing = "none"
    elif preset == "own":
        config.data.update({name: None for name in config.data if name != "name"})
    return config


def _pairs() -> ConfigDict:
    config = ConfigDict()
    config.method = "gfgr"
    config.seed = 0
    config.data = ConfigDict({"name": "registration", "path": config_dict.placeholder(str)})
    for option, value in {"n_problems": 32, "n": 500, "seed": 0}.items():
        config.data[option] = config_dict.placeholder(int)
        config.data[option] = value
    # Degrees; the side of the cube of wrong matches, around a cloud of side 1.
    wrong = {"outliers": 0.6, "noise": 0.005, "angle": 60.0, "outlier_size": 5.0}
    for option, value in wrong.items():
        config.data[option] = config_dict.placeholder(float)
        config.data[option] = value
    config.training = ConfigDict(
        {
            "steps": 64,
            "batch_size": 500,
            "log_every": 1,
            "checkpoint_every_seconds": 60.0,
            "strategy": "jit",
            # One problem is not divided among devices.
            "devices": 1,
            "fsdp": False,
            "steps_per_call": 0,
        }
    )

    # scale, shape or none, with the options of each.
    config.annealing = "scale"
    config.schedules = ConfigDict(
        {
            # mu starts at the squared diameter; c^2 = mu / 4.
            "scale": {"alpha": -2.0, "divisor": 1.4, "every": 4, "least": 0.01},
            # c is a share of the diameter.
            "shape": {"alpha": -8.0, "scale": 0.01, "share": 0.75},
            "none": {},
        }
    )

    # Of the tables over alpha and noise: wrong matches here lie within the clouds.
    config.eval = ConfigDict(
        {
            "alphas": (-32.0, -16.0, -8.0, -4.0, -3.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5),
            "noises": (0.0, 0.0025, 0.005),
            "n_problems": 32,
            "n": 500,
            "outliers": 0.6,
            "outlier_size": 1.0,
            "seed": 100,
        }
    )
    return config


def _smoke(config: ConfigDict) -> None:
    config.data.update({"n_problems": 8, "n": 40})
    config.training.update({"steps": 8, "batch_size": 40})
    config.schedules.scale.every = 1
    config.eval.update({"n_problems": 4, "n": 40, "alphas": (-2.0, 1.0)})
