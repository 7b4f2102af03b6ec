"""Classifiers of images, undefended or trained on adversarial examples.

    python launch/main.py --config=configs/classifier.py                     # digits, seconds
    python launch/main.py --config=configs/classifier.py --config.defence.kind=pgd
    python launch/main.py --config=configs/classifier.py:mnist --config.data.name=mnist.npz
    python launch/main.py --config=configs/classifier.py:mnist --config.arch=a  # b, c_tramer, ...
    python launch/main.py --config=configs/classifier.py:madry_reduced --config.data.name=mnist.npz

Other methods use these settings as a stage: `configs/advgan.py`.
"""

from __future__ import annotations

from ml_collections import ConfigDict, config_dict

PRESETS = {
    "default": "digits, 8x8 (scikit-learn): seconds on a CPU",
    "smoke": "a few steps, to see that everything runs",
    "mnist": "the network of Carlini & Wagner, three epochs",
    "madry": "the network of the MNIST challenge, PGD examples, 100 000 steps; for an accelerator",
    "madry_reduced": "the same at half width with ten PGD steps, half an hour on 2 cores",
    "cifar10": "ResNet-32, for an accelerator",
    "madry_cifar": "the network of the CIFAR-10 challenge, PGD examples; for an accelerator",
}


def get_config(preset: str = "default") -> ConfigDict:
    """The settings of one preset.

    Raises:
      ValueError: no such preset.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset {preset!r}: choose {', '.join(PRESETS)}")
    config = _digits()
    changes = {
        "smoke": _smoke,
        "mnist": _mnist,
        "madry": _madry,
        "madry_reduced": _madry_reduced,
        "cifar10": _cifar10,
        "madry_cifar": _madry_cifar,
    }
    if preset in changes:
        changes[preset](config)
    return config


def _digits() -> ConfigDict:
    config = ConfigDict()
    config.method = "classifier"
    config.seed = 0
    config.data = ConfigDict({"name": "digits", "data_dir": config_dict.placeholder(str)})
    config.data.download = False
    config.data.flip = False
    config.data.train_rows = config_dict.placeholder(str)
    config.training = ConfigDict(
        {
            "steps": 600,
            "batch_size": 64,
            "log_every": 50,
            "checkpoint_every_seconds": 60.0,
            "strategy": "jit",
            "devices": config_dict.placeholder(int),
            "fsdp": False,
            "steps_per_call": 0,
        }
    )
    # gmkit.nets.CLASSIFIERS; `width` multiplies channels and hidden units.
    config.arch = "small"
    config.width = 1.0
    # Pixels of zeros around an image that is cut at random.
    config.crop = 0
    config.ema_decay = 0.0
    # undefended, fgsm, ensemble (with `sources`), pgd or generator; epsilon of images in [0, 1].
    config.defence = ConfigDict(
        {
            "kind": "undefended",
            "epsilon": 0.3,
            "step_size": 0.05,
            "n_steps": 10,
            "random_start": True,
            "warmup": 0,
            "unroll": True,
            "soft": True,
        }
    )
    # Stages: whose answers are learned, whose FGSM examples, whose generated ones.
    config.teacher = ""
    config.sources = ()
    config.generator = ""
    config.optim = ConfigDict(
        {
            "classifier": {
                "name": "adam",
                "learning_rate": 2e-3,
                "b1": 0.9,
                "b2": 0.999,
                "schedule": "cosine",
                "grad_transform": "none",
                "weight_decay": 0.0,
            }
        }
    )
    config.eval = ConfigDict(
        {
            "n_images": 10_000,
            "n_attacked": 1000,
            "epsilon": 0.3,
            "step_size": 0.01,
            "n_steps": 40,
        }
    )
    return config


def _smoke(config: ConfigDict) -> None:
    config.training.update({"steps": 20, "log_every": 10})
    config.width = 0.25
    config.eval.update({"n_images": 100, "n_attacked": 20, "n_steps": 2})


def _mnist(config: ConfigDict) -> None:
    config.data.name = "mnist"
    config.arch = "c"
    config.training.update({"steps": 1400, "batch_size": 128})
    config.optim.classifier.learning_rate = 1e-3


def _madry(config: ConfigDict) -> None:
    config.data.name = "mnist"
    config.arch = "madry_mnist"
    config.training.update({"steps": 100_000, "batch_size": 50, "log_every": 100})
    config.defence.update({"kind": "pgd", "step_size": 0.01, "n_steps": 40, "unroll": False})
    config.optim.classifier.update({"learning_rate": 1e-4, "schedule": "constant"})


def _madry_reduced(config: ConfigDict) -> None:
    _madry(config)
    config.width = 0.5
    config.training.update({"steps": 3000, "batch_size": 64})
    config.defence.update({"step_size": 0.05, "n_steps": 10, "warmup": 1000, "unroll": True})
    config.optim.classifier.update({"learning_rate": 1e-3, "schedule": "cosine"})


def _cifar10(config: ConfigDict) -> None:
    config.data.update({"name": "cifar10", "flip": True})
    config.arch = "resnet32"
    config.crop = 4
    config.training.update({"steps": 64_000, "batch_size": 128, "log_every": 100})
    config.optim.classifier.update({"learning_rate": 1e-3, "weight_decay": 5e-2})
    config.defence.update({"epsilon": 8 / 255, "step_size": 2 / 255, "n_steps": 10})
    config.eval.update({"epsilon": 8 / 255, "step_size": 2 / 255, "n_steps": 20})


def _madry_cifar(config: ConfigDict) -> None:
    _cifar10(config)
    config.arch = "madry_cifar"
    config.training.steps = 80_000
    config.defence.update({"kind": "pgd", "unroll": False})
