"""Normalizing flows by maximum likelihood, by name.

    python launch/main.py --config=configs/flow.py               # two moons, a minute on 2 cores
    python launch/main.py --config=configs/flow.py:digits        # dequantised digits, bits/dim
    python launch/main.py --config=configs/flow.py:table --config.data.path=<winequality-red.csv>
    python launch/main.py --config=configs/flow.py --config.flow=maf

`config.flow` is one of the names in `config.flows`, which holds the options of each.
"""

from __future__ import annotations

from ml_collections import ConfigDict, config_dict

PRESETS = {
    "default": "two moons, neural spline flow: a minute on a CPU",
    "smoke": "a few steps, to see that everything runs",
    "digits": "dequantised digits, 8x8: minutes on a CPU",
    "table": "a whitened table, selected on validation rows; set data.path",
    "ffjord": "a continuous flow of the 8 Gaussians",
    "glow": "Glow on the digits",
}


def get_config(preset: str = "default") -> ConfigDict:
    """The settings of one preset.

    Raises:
      ValueError: no such preset.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset {preset!r}: choose {', '.join(PRESETS)}")
    config = _moons()
    changes = {
        "smoke": _smoke,
        "digits": _digits,
        "table": _table,
        "ffjord": _ffjord,
        "glow": _glow,
    }
    if preset in changes:
        changes[preset](config)
    return config


def _moons() -> ConfigDict:
    config = ConfigDict()
    config.method = "flow"
    config.seed = 0
    config.data = ConfigDict({"name": "moons", "path": config_dict.placeholder(str)})
    for option in ("n_train", "n_test", "seed", "image_size"):
        config.data[option] = config_dict.placeholder(int)
    config.data.whiten_on = config_dict.placeholder(str)
    config.training = ConfigDict(
        {
            "steps": 2000,
            "batch_size": 256,
            "log_every": 50,
            "checkpoint_every_seconds": 60.0,
            "strategy": "jit",
            "devices": config_dict.placeholder(int),
            "fsdp": False,
            "steps_per_call": 0,
        }
    )

    # The model.
    config.flow = "nsf_coupling"
    config.flows = ConfigDict(
        {
            "gaussian": {},
            "nice": {"n_layers": 4, "hidden": (100, 100)},
            "real_nvp": {"n_layers": 5, "hidden": (100, 100), "norm": "none"},
            "made": {"hidden": (100,)},
            "maf": {"n_layers": 5, "hidden": (100,), "norm": "batch_norm"},
            "maf_mog": {"n_layers": 5, "n_components": 10, "hidden": (100,), "norm": "actnorm"},
            "iaf": {"n_layers": 4, "hidden": (100,)},
            "nsf_coupling": {"n_layers": 6, "width": 64, "blocks": 2, "n_bins": 8, "bound": 5.0},
            "nsf_autoregressive": {"n_layers": 5, "hidden": (64, 64), "n_bins": 8, "bound": 5.0},
            "residual": {"n_blocks": 8, "hidden": (64, 64, 64), "norm": "actnorm"},
            "ffjord": {"hidden": (64, 64, 64), "tolerance": 1e-5, "adjoint": "checkpoint"},
            # Unrolled, because convolutions are slow inside loops on a CPU.
            "real_nvp_images": {"levels": 2, "width": 32, "unroll": True},
            "glow": {"levels": 2, "depth": 4, "width": 32, "unroll": True},
        }
    )
    config.dequantisation = ConfigDict({"map": "logit", "alpha": 0.05})

    # Learning it.
    config.estimate = False
    config.ema_decay = 0.0
    config.norm_momentum = 0.9
    config.select_every = 0
    config.optim = ConfigDict()
    config.optim.flow = ConfigDict(
        {
            "name": "adam",
            "learning_rate": 1e-3,
            "b1": 0.9,
            "b2": 0.999,
            "schedule": "cosine",
            "grad_transform": "clip",
            "clip": 5.0,
            "weight_decay": 0.0,
        }
    )
    config.eval = ConfigDict(
        {
            "n_rows": 10_000,
            "n_samples": 2000,
            "n_dequantise": 8,
            "components": (1, 2, 5, 10, 20, 40),
            "n_pictures": 64,
        }
    )
    return config


def _smoke(config: ConfigDict) -> None:
    config.data.n_train = config.data.n_test = 1000
    config.training.steps = 20
    config.training.log_every = 10
    config.flow = "real_nvp"
    config.flows.real_nvp.update({"n_layers": 4, "hidden": (16,)})
    config.eval.n_samples = 200
    config.eval.components = (1, 2)


def _digits(config: ConfigDict) -> None:
    """Chosen on 200 training images that were held out; the splines overfit without decay."""
    config.data.name = "digits"
    config.training.batch_size = 128
    config.flow = "nsf_coupling"
    config.flows.nsf_coupling.update({"n_layers": 4, "width": 64, "blocks": 1})
    config.flows.nsf_autoregressive.update({"n_layers": 3, "hidden": (128,)})
    config.flows.real_nvp.update({"n_layers": 8, "hidden": (128,)})
    config.optim.flow.weight_decay = 1.0


def _table(config: ConfigDict) -> None:
    config.data.name = "redwine"
    config.training.batch_size = 100
    config.training.steps = 4000
    config.flow = "nsf_autoregressive"
    config.flows.nsf_coupling.update({"n_layers": 4, "width": 32, "blocks": 1})
    config.flows.nsf_autoregressive.update({"n_layers": 5, "hidden": (64,)})
    # These two were chosen by validation NLL; the papers train without them.
    config.ema_decay = 0.99
    config.optim.flow.weight_decay = 0.3
    config.select_every = 20


def _ffjord(config: ConfigDict) -> None:
    config.data.name = "8gaussians"
    config.flow = "ffjord"
    config.flows.ffjord.tolerance = 1e-4
    config.training.steps = 1000
    config.optim.flow.learning_rate = 5e-3


def _glow(config: ConfigDict) -> None:
    _digits(config)
    config.flow = "glow"
    config.training.steps = 1500
    config.optim.flow.learning_rate = 2e-3
