"""AdvGAN (Xiao et al. 2018): adversarial examples from a generator.

    python launch/main.py --config=configs/advgan.py               # digits, minutes on 2 cores
    python launch/main.py --config=configs/advgan.py --config.goal=all_targets
    python launch/main.py --config=configs/advgan.py:mnist --config.data.name=mnist.npz
    python launch/main.py --config=configs/advgan.py:mnist --config.data.name=mnist.npz \\
        --config.target.arch=a                                      # or b
    python launch/main.py --config=configs/advgan.py:mnist_defended --config.data.name=mnist.npz
    python launch/main.py --config=configs/advgan.py:defended      # digits, five networks
    python launch/main.py --config=configs/advgan.py:blackbox      # dynamic distillation
    python launch/main.py --config=configs/advgan.py:blackbox --config.black_box="" \\
        --config.distilled.training.steps=900                      # static, as many queries
    python launch/main.py --config=configs/advgan.py:mnist_blackbox --config.data.name=mnist.npz
    python launch/main.py --config=configs/advgan.py:madry --config.data.name=mnist.npz

Classifiers are stages (`configs/classifier.py`), trained first, in directories of their own below
that of the run. `--config.target.from_workdir=DIR` takes a finished one instead; `launch/attack.py`
writes a trained attacker's test images in the form of the MNIST challenge.
"""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict, config_dict

PRESETS = {
    "default": "digits, 8x8 (scikit-learn): minutes on a CPU",
    "smoke": "a few steps, to see that everything runs",
    "blackbox": "digits: a classifier that is only asked, imitated while the generator learns",
    "defended": "digits: five networks, undefended and defended, attacked from outside",
    "mnist": "the network of Carlini & Wagner (C in the paper)",
    "mnist_defended": "the same network defended in four ways, attacked from outside",
    "mnist_blackbox": "the same with network A, imitated by C",
    "madry": "the MNIST challenge: a black box trained on PGD examples",
    "cifar10": "ResNet-32, for an accelerator",
}

#: Stages of `defended`: how the networks were trained.
DEFENCES = ("fgsm", "ensemble", "pgd", "generated")


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
        "blackbox": _blackbox,
        "defended": _defended,
        "mnist": _mnist,
        "mnist_defended": _mnist_defended,
        "mnist_blackbox": _mnist_blackbox,
        "madry": _madry,
        "cifar10": _cifar10,
    }
    if preset in changes:
        changes[preset](config)
    return config


def _digits() -> ConfigDict:
    config = ConfigDict()
    config.method = "advgan"
    config.seed = 0
    config.data = ConfigDict({"name": "digits", "data_dir": config_dict.placeholder(str)})
    config.data.download = False
    config.data.flip = False
    config.data.train_rows = config_dict.placeholder(str)
    config.training = _training(1000, 64)

    config.stages = ("target",)
    config.target = _classifier("small", 600, 64)
    # Whose gradients train the generator, whose decisions are judged, and who is only asked ("":
    # no one, the sources stay as they are).
    config.sources = ("target",)
    config.victims = ("target",)
    config.black_box = ""

    # Of images in [0, 1]; tanh or clip. untargeted, targeted or all_targets.
    config.epsilon = 0.3
    config.bound = "tanh"
    config.goal = "untargeted"
    config.target_class = 0
    config.generator = ConfigDict({"widths": (8, 16), "blocks": 2})
    config.discriminator = ConfigDict({"widths": (8, 16), "norm": True})
    # Of discriminator and generator: lsgan, relativistic_average, ... (gmkit.objectives.game).
    config.game = "lsgan"
    # A margin beyond 0, because what just crosses the border in training need not on other images.
    config.losses = ConfigDict(
        {
            "loss": "margin",
            "confidence": 10.0,
            "margin_on": "logits",
            "adversarial": 1.0,
            "gan": 0.02,
            "hinge": 0.1,
            "norm": 2.0,
            "ema_decay": 0.0,
            "soft": True,
        }
    )
    names = ("generator", "discriminator", "sources")
    config.optim = ConfigDict({name: _adam(1e-3) for name in names})

    config.attacks = ConfigDict(
        {
            "fgsm": {"kind": "fgsm", "n_images": 1000},
            "pgd": {"kind": "pgd", "n_images": 1000, "step_size": 0.01, "n_steps": 40},
            "pgd_margin": {
                "kind": "pgd",
                "n_images": 1000,
                "step_size": 0.01,
                "n_steps": 40,
                "loss": "margin",
            },
            "mi_fgsm": {"kind": "mi_fgsm", "n_images": 1000, "n_steps": 10},
            "cw_linf": {
                "kind": "carlini_wagner_linf",
                "n_images": 200,
                "n_steps": 50,
                "n_rounds": 20,
                "initial_const": 1e-2,
            },
            "cw_l2": {
                "kind": "carlini_wagner_l2",
                "n_images": 100,
                "n_steps": 200,
                "n_searches": 6,
                "initial_const": 0.1,
            },
            "apgd": {"kind": "apgd", "n_images": 500, "n_steps": 50},
            "apgd_targeted": {"kind": "apgd_targeted", "n_images": 100, "n_steps": 50},
            "square": {"kind": "square", "n_images": 500, "n_queries": 1000},
        }
    )
    # `sources` of the attacks that AdvGAN is compared with: stages, () for its own.
    config.eval = ConfigDict({"n_images": 10_000, "attacks": ("fgsm", "pgd", "square")})
    config.eval.sources = ()
    return config


def _training(steps: int, batch_size: int) -> ConfigDict:
    return ConfigDict(
        {
            "steps": steps,
            "batch_size": batch_size,
            "log_every": 50,
            "checkpoint_every_seconds": 60.0,
            "strategy": "jit",
            "devices": config_dict.placeholder(int),
            "fsdp": False,
            "steps_per_call": 0,
        }
    )


def _adam(learning_rate: float) -> dict[str, Any]:
    return {
        "name": "adam",
        "learning_rate": learning_rate,
        "b1": 0.9,
        "b2": 0.999,
        "schedule": "cosine",
        "grad_transform": "none",
        "weight_decay": 0.0,
    }


def _classifier(arch: str, steps: int, batch_size: int) -> ConfigDict:
    """A stage, with the settings of `configs/classifier.py`."""
    return ConfigDict(
        {
            "method": "classifier",
            "training": _training(steps, batch_size),
            "arch": arch,
            "width": 1.0,
            "crop": 0,
            "ema_decay": 0.0,
            "defence": {
                "kind": "undefended",
                "epsilon": 0.3,
                "step_size": 0.05,
                "n_steps": 10,
                "random_start": True,
                "warmup": 0,
                "unroll": True,
                "soft": True,
            },
            "teacher": "",
            "sources": (),
            "generator": "",
            "optim": {"classifier": _adam(1e-3)},
            "eval": {
                "n_images": 10_000,
                "n_attacked": 1000,
                "epsilon": 0.3,
                "step_size": 0.01,
                "n_steps": 40,
            },
            "from_workdir": "",
        }
    )


def _smoke(config: ConfigDict) -> None:
    config.training.update({"steps": 20, "log_every": 10})
    _ask(config, "900:1437", _classifier("small", 20, 64))
    for stage in (config.target, config.distilled):
        stage.training.update({"steps": 20, "log_every": 10})
        stage.width = 0.25
    config.generator.update({"widths": (4, 4), "blocks": 1})
    config.discriminator.widths = (4,)
    config.eval.update({"n_images": 60, "attacks": ("fgsm",)})
    config.attacks.fgsm.n_images = 20


def _ask(config: ConfigDict, rows: str, distilled: ConfigDict) -> None:
    """The target is asked about images that it was not trained on, by a copy."""
    config.stages = ("target", "distilled")
    config.data.train_rows = rows
    config.distilled = distilled
    config.distilled.teacher = "target"
    config.sources = ("distilled",)
    config.black_box = "target"


def _blackbox(config: ConfigDict) -> None:
    _ask(config, "900:1437", _classifier("small", 100, 64))
    config.target.data = ConfigDict({"train_rows": "0:900"})
    config.training.steps = 400


def _mnist(config: ConfigDict) -> None:
    config.data.name = "mnist"
    config.training = _training(2300, 128)
    config.target = _classifier("c", 1400, 128)
    config.generator.update({"widths": (8, 16, 32), "blocks": 4})
    config.discriminator.widths = (8, 16, 32)
    config.losses.norm = 6.0


def _defended(config: ConfigDict) -> None:
    """The generator learns from the undefended network, and does not know the defences."""
    arch, training = config.target.arch, config.target.training
    others = {"a": arch, "b": arch} if arch == "small" else {"a": "a", "b": "b"}
    config.stages = ("target", *others, "attacker", *DEFENCES)
    config.victims = ("target", *DEFENCES)
    for seed, (name, other) in enumerate(others.items(), start=1):
        config[name] = _classifier(other, training.steps, training.batch_size)
        config[name].seed = seed
    # Another generator than the one that is judged.
    shared = ("data", "seed", "stages", "target", "victims", *others)
    attacker = {k: v for k, v in config.to_dict().items() if k not in shared}
    config.attacker = ConfigDict({**attacker, "victims": ("target",), "seed": 1})
    for name in DEFENCES:
        config[name] = _classifier(arch, 2 * training.steps, training.batch_size)
        config[name].defence.kind = name
    config.ensemble.sources = tuple(others)
    config.generated.defence.kind = "generator"
    config.generated.generator = "attacker"
    config.pgd.defence.warmup = training.steps // 2
    config.eval.attacks = ("fgsm", "pgd", "cw_linf")


def _mnist_defended(config: ConfigDict) -> None:
    _mnist(config)
    _defended(config)


def _mnist_blackbox(config: ConfigDict) -> None:
    _mnist(config)
    _ask(config, "50000:60000", _classifier("c", 400, 128))
    config.target = _classifier("a", 1200, 128)
    config.target.data = ConfigDict({"train_rows": "0:50000"})
    config.training.steps = 1800


def _madry(config: ConfigDict) -> None:
    """Copies of the black box, trained alike, make examples that it believes."""
    _mnist(config)
    config.stages = ("target", "copy", "natural")
    config.victims = ("target",)
    config.sources = ("copy",)
    config.black_box = "target"
    for name in ("target", "copy"):
        config[name] = _classifier("madry_mnist", 100_000, 50)
        config[name].defence.update(
            {"kind": "pgd", "step_size": 0.01, "n_steps": 40, "unroll": False}
        )
        config[name].optim.classifier.update({"learning_rate": 1e-4, "schedule": "constant"})
    config.copy.seed = 1
    config.natural = _classifier("madry_mnist", 5000, 128)
    config.natural.seed = 2
    config.eval.update({"attacks": ("fgsm", "pgd", "pgd_margin"), "sources": ("copy", "natural")})


def _cifar10(config: ConfigDict) -> None:
    config.data.update({"name": "cifar10", "flip": True})
    config.training = _training(20_000, 128)
    config.target = _classifier("resnet32", 64_000, 128)
    config.target.crop = 4
    config.target.optim.classifier.weight_decay = 5e-2
    config.target.eval.update({"epsilon": 8 / 255, "step_size": 2 / 255, "n_steps": 20})
    config.epsilon = 8 / 255
    config.generator.update({"widths": (8, 16, 32), "blocks": 4})
    config.discriminator.widths = (8, 16, 32)
    for name in ("pgd", "pgd_margin"):
        config.attacks[name].update({"step_size": 2 / 255, "n_steps": 20})
