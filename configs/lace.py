"""LACE (Nie, Vahdat, Anandkumar 2021): attributes of generated images by energies of latents.

    python launch/main.py --config=configs/lace.py             # digits, minutes on 2 cores
    python launch/main.py --config=configs/lace.py \\
        --config.eval.expressions="('digit=3 & ink~0.8',)"
    python launch/main.py --config=configs/lace.py --config.generator.from_workdir=DIR

Stages: a generator (any method that decodes normal latents), and two classifiers of images, one
that labels what the generator makes and another one that judges the results.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict, config_dict

PRESETS = {
    "default": "digits, 8x8 (scikit-learn): a small GAN, minutes on a CPU",
    "smoke": "a few steps, to see that everything runs",
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
    return config


def _digits() -> ConfigDict:
    config: Any = ConfigDict()
    config.method = "lace"
    config.seed = 0
    config.data = ConfigDict({"name": "digits", "data_dir": config_dict.placeholder(str)})
    config.data.download = False
    config.data.image_size = config_dict.placeholder(int)
    config.training = ConfigDict(
        {
            "steps": 3000,
            "batch_size": 128,
            "log_every": 100,
            "checkpoint_every_seconds": 60.0,
            "strategy": "jit",
            "devices": config_dict.placeholder(int),
            "fsdp": False,
            "steps_per_call": 0,
        }
    )

    config.stages = ("generator", "labeller", "judge")
    config.generator = _stage("lgan", "default")
    config.generator.training.steps = 4000
    for i, name in enumerate(("labeller", "judge"), start=1):
        config[name] = _stage("classifier", "default")
        config[name].eval.n_attacked = 0
        config[name].seed = i
    config.generator_stage = "generator"
    config.latent_dim = config.generator.generator.latent_dim

    # What labels generated images, and what judges the results: a stage that classifies, or a
    # measure of images, whose `range` becomes [0, 1].
    config.attributes = ConfigDict(
        {
            "digit": {"labels": "labeller", "judge": "judge"},
            "ink": {"labels": "ink", "judge": "ink", "range": (0.2, 0.45)},
            "lean": {"labels": "lean", "judge": "lean", "range": (-0.5, 0.8)},
        }
    )
    config.sigma = 0.1
    config.temperature = 1.0
    config.psi = 1.0
    # What the classifiers read: w or z.
    config.space = "w"
    config.classifier = ConfigDict({"width": 128, "depth": 3})
    # `table`: an .npz file of w and labels instead of pairs that are made.
    config.labels = ConfigDict({"table": "", "n_pairs": 22_000, "n_held_out": 2000, "chunk": 1000})
    config.optim = ConfigDict(
        {
            "classifier": {
                "name": "adam",
                "learning_rate": 1e-3,
                "b1": 0.9,
                "b2": 0.999,
                "schedule": "cosine",
                "grad_transform": "none",
            }
        }
    )

    config.samplers = ConfigDict(
        {
            "ode": {"kind": "ode", "rtol": 1e-3, "atol": 1e-3},
            "exact": {"kind": "exact", "n_pairs": 16, "rtol": 1e-3, "atol": 1e-3},
            "exact_3": {"kind": "exact", "n_pairs": 16, "power": 3.0, "rtol": 1e-3, "atol": 1e-3},
            "langevin": {"kind": "langevin", "n_steps": 100, "step_size": 1e-2, "noise": "paper"},
            "predictor_corrector": {"kind": "predictor_corrector", "n_steps": 200},
        }
    )
    config.eval = ConfigDict(
        {
            "n_samples": 400,
            "samplers": ("ode", "exact", "exact_3", "langevin", "predictor_corrector"),
            "expressions": (
                "digit=3 & ink~0.8",
                "digit=3 | digit=8",
                "ink~0.3 & ~digit=1",
                "lean~0.6 & (digit=4 | digit=7)",
            ),
            "edits": (("lean", 0.6), ("ink", 0.7), ("digit", 3)),
            "edit_samplers": ("ode", "langevin"),
            "penalties": {"latent": 0.04, "logits": 0.01, "identity": 0.0},
            "tolerance": 0.15,
            "chunk": 250,
        }
    )
    return config


def _smoke(config: Any) -> None:
    for group in (config, config.generator, config.labeller, config.judge):
        group.training.update({"steps": 20, "log_every": 10})
    config.generator.eval.n_samples = 64
    config.labels.update({"n_pairs": 400, "n_held_out": 100, "chunk": 100})
    config.eval.update({"n_samples": 16, "samplers": ("ode",), "edit_samplers": ("ode",)})
    config.eval.expressions = ("digit=3 & ink~0.8",)


def _stage(method: str, preset: str) -> ConfigDict:
    """Settings of another method as a stage, on the data of this run."""
    path = Path(__file__).with_name(f"{method}.py")
    spec = importlib.util.spec_from_file_location(f"gmkit_config_{method}", path)
    assert spec is not None and spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    group = module.get_config(preset)
    for name in ("data", "seed"):
        del group[name]
    group.from_workdir = ""
    return group
