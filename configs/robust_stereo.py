"""Stereo by a robust photometric likelihood (Barron, CVPR 2019).

    python launch/main.py --config=configs/robust_stereo.py        # Motorcycle, 125x185
    python launch/main.py --config=configs/robust_stereo.py:half   # 250x370
    python launch/main.py --config=configs/robust_stereo.py --config.likelihood.name=cauchy

The comparison of likelihoods and spaces; each run leaves `results.json` in its directory:

    for space in pixels/rgb cdf97/yuv; do
      for likelihood in normal charbonnier cauchy annealed adaptive; do
        python launch/main.py --config=configs/robust_stereo.py --workdir=runs/$space/$likelihood \\
          --config.likelihood.name=$likelihood \\
          --config.space.name=${space%/*} --config.space.colour=${space#*/}
      done
    done

Smoothness, pyramid and optimiser are the same for all of them.
"""

from __future__ import annotations

from ml_collections import ConfigDict, config_dict

PRESETS = {
    "default": "Motorcycle at a quarter of its size (scikit-image): a minute on a CPU",
    "smoke": "a few steps on a rendered pair, to see that everything runs",
    "half": "Motorcycle at half its size",
}


def get_config(preset: str = "default") -> ConfigDict:
    """The settings of one preset.

    Raises:
      ValueError: no such preset.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset {preset!r}: choose {', '.join(PRESETS)}")
    config = _motorcycle()
    if preset == "smoke":
        _smoke(config)
    elif preset == "half":
        _half(config)
    return config


def _motorcycle() -> ConfigDict:
    config = ConfigDict()
    config.method = "robust_stereo"
    config.seed = 0
    config.data = ConfigDict({"name": "stereo/motorcycle", "scale": 0.25})
    # Of data.name="stereo/synthetic": seed of the scene, and exposures of it.
    config.data.seed = config_dict.placeholder(int)
    config.data.n_train = config_dict.placeholder(int)
    config.training = ConfigDict(
        {
            "steps": 1000,
            "batch_size": 1,
            "log_every": 50,
            "checkpoint_every_seconds": 60.0,
            "strategy": "jit",
            # One problem is not divided among devices.
            "devices": 1,
            "fsdp": False,
            "steps_per_call": 0,
        }
    )

    # Of the residual: normal, charbonnier, cauchy, annealed, adaptive or student_t. The scale is
    # fixed; `shared` learns one shape instead of one per coefficient.
    config.likelihood = ConfigDict(
        {"name": "adaptive", "scale": 0.01, "alpha": (0.001, 1.999), "shared": False}
    )
    # pixels, dct, cdf97 or legall53; rgb or yuv.
    config.space = ConfigDict({"name": "cdf97", "colour": "yuv"})
    config.space.levels = config_dict.placeholder(int)
    config.space.base = 1.0

    # Sizes of the images, each half the one before; steps at each but the finest.
    config.levels = 5
    config.coarse_steps = 100
    # Weight of the smoothness; how much less it counts across edges of the image; where it turns
    # from squares to absolute values (pixels).
    config.smoothness = 10.0
    config.edge = 10.0
    config.bend = 0.1

    # Two copies: a shared dictionary would be one object under two names.
    player = {"name": "adam", "learning_rate": 0.02, "b1": 0.9, "b2": 0.99, "schedule": "cosine"}
    config.optim = ConfigDict({"disparity": dict(player), "likelihood": dict(player)})
    config.optim.likelihood.learning_rate = 0.1

    # 0: an eighth of the width.
    config.eval = ConfigDict({"max_disparity": 0})
    return config


def _smoke(config: ConfigDict) -> None:
    config.data.update({"name": "stereo/synthetic", "scale": config_dict.placeholder(float)})
    config.training.update({"steps": 20, "log_every": 10})
    config.levels = 3
    config.coarse_steps = 1


def _half(config: ConfigDict) -> None:
    config.data.scale = 0.5
    config.training.steps = 2000
    config.levels = 6
