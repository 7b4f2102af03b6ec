"""Regression with an adaptive robust loss (Barron, CVPR 2019).

    python launch/main.py --config=configs/robust_regression.py         # alpha and c are learned
    python launch/main.py --config=configs/robust_regression.py:plain   # alpha = 2, c = 0.1
    python launch/main.py --config=configs/robust_regression.py --config.likelihood.name=student_t
    python launch/main.py --config=configs/robust_regression.py \\
      --config.data.name=<file>.npz --config.training.batch_size=<rows of a batch>

Any set of vectors will do; the last column is the target (scale the columns first: they share one
learning rate). `config.likelihoods` holds the options of each family of residuals.
"""

from __future__ import annotations

from ml_collections import ConfigDict, config_dict

PRESETS = {
    "default": "a line through 50 points with outliers, alpha and c learned: seconds on a CPU",
    "smoke": "a few steps, to see that everything runs",
    "plain": "the same by least squares: alpha = 2 and c = 0.1, fixed",
}


def get_config(preset: str = "default") -> ConfigDict:
    """The settings of one preset.

    Raises:
      ValueError: no such preset.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset {preset!r}: choose {', '.join(PRESETS)}")
    config = _line()
    if preset == "smoke":
        config.training.update({"steps": 20, "log_every": 10})
    elif preset == "plain":
        config.likelihood.name = "normal"
        config.likelihoods.normal.update({"scale_lo": 0.1, "scale_init": 0.1})
    return config


def _line() -> ConfigDict:
    config = ConfigDict()
    config.method = "robust_regression"
    config.seed = 0
    config.data = ConfigDict({"name": "regression_outliers"})
    for option in ("n", "seed"):
        config.data[option] = config_dict.placeholder(int)
    for option in ("std", "outliers"):
        config.data[option] = config_dict.placeholder(float)
    config.training = ConfigDict(
        {
            "steps": 2000,
            "batch_size": 50,
            "log_every": 100,
            "checkpoint_every_seconds": 60.0,
            "strategy": "jit",
            # One problem is not divided among devices.
            "devices": 1,
            "fsdp": False,
            "steps_per_call": 0,
        }
    )

    # normal, cauchy, student_t or adaptive, with the options of each.
    config.likelihood = ConfigDict({"name": "adaptive"})
    scale = {"scale_lo": 1e-5, "scale_init": 1.0}
    config.likelihoods = ConfigDict(
        {
            "normal": dict(scale),
            "cauchy": dict(scale),
            "student_t": {"df_init": 1.0, **scale},
            "adaptive": {"alpha": (0.001, 1.999), **scale},
        }
    )
    config.likelihoods.adaptive.alpha_init = config_dict.placeholder(float)

    # Two copies: a shared dictionary would be one object under two names.
    player = {"name": "adam", "learning_rate": 0.01, "b1": 0.9, "b2": 0.999, "schedule": "constant"}
    config.optim = ConfigDict({"line": dict(player), "likelihood": dict(player)})
    return config
