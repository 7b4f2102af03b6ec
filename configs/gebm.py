"""Generalized Energy Based Models (Arbel, Zhou, Gretton 2021).

    python launch/main.py --config=configs/gebm.py             # digits, minutes on 2 cores
    python launch/main.py --config=configs/gebm.py:toy         # skewed line in the plane
    python launch/main.py --config=configs/gebm.py:refine      # an energy on a frozen generator
    python launch/main.py --config=configs/gebm.py:cifar10     # the paper's settings; a GPU

Expected numbers, seeds and times are in the README. The image presets of paper scale
(`cifar10`, `celeba`, `imagenet32`, `lsun`) need the data set (`--config.data.name=<file>.npz`,
`--config.data.data_dir=...` or `--config.data.download=True`) and an accelerator; FID needs
Inception weights (`--config.eval.features=inception --config.eval.inception_path=...`).
"""

from __future__ import annotations

from ml_collections import ConfigDict, config_dict

PRESETS = {
    "default": "digits, 8x8 (scikit-learn): minutes on a CPU",
    "smoke": "a few steps, to see that everything runs",
    "toy": "skewed line: the base finds the support, the energy the mass",
    "refine": "an energy on a frozen, separately trained generator",
    "mnist": "28x28, small convolutional networks",
    "fashion_mnist": "28x28, small convolutional networks",
    "cifar10": "the paper's ResNets and settings, for an accelerator",
    "celeba": "the same on faces at 32x32; needs Inception weights",
    "imagenet32": "the same on ImageNet at 32x32",
    "lsun": "the same on bedrooms at 32x32; needs Inception weights",
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
        "toy": _toy,
        "refine": _refine,
        "mnist": _mnist,
        "fashion_mnist": _mnist,
        "cifar10": _paper,
        "celeba": _paper,
        "imagenet32": _paper,
        "lsun": _paper,
    }
    if preset in changes:
        changes[preset](config)
    names = {
        "fashion_mnist": "fashion_mnist",
        "celeba": "celeb_a",
        "imagenet32": "imagenet_resized/32x32",
        "lsun": "lsun/bedroom",
    }
    config.data.name = names.get(preset, config.data.name)
    return config


def _digits() -> ConfigDict:
    config = ConfigDict()
    config.method = "gebm"
    config.seed = 0
    config.data = ConfigDict({"name": "digits", "data_dir": config_dict.placeholder(str)})
    config.data.download = False
    config.data.image_size = config_dict.placeholder(int)
    config.training = ConfigDict(
        {
            "steps": 6000,
            "batch_size": 128,
            "log_every": 100,
            "checkpoint_every_seconds": 60.0,
            "strategy": "jit",
            "devices": config_dict.placeholder(int),
            "fsdp": False,
            "steps_per_call": 0,
        }
    )

    # The model.
    config.base = ConfigDict({"arch": "mlp", "latent_dim": 16, "width": 256, "ema_decay": 0.0})
    config.energy = ConfigDict({"arch": "mlp", "width": 256, "spectral_norm": False})
    config.energy.floor = config_dict.placeholder(float)

    # Learning it.
    config.train_mode = "both"
    config.criterion = "kale"
    config.weighting = "softmax"
    config.n_critic = 5
    config.n_critic_warmup = 100
    config.warmup_every = 0
    config.noise_factor = 1
    # For convolutions on a CPU, which are slow inside loops.
    config.unroll = False
    config.penalty = ConfigDict({"weight": 0.1, "parameters": 0.0})
    config.log_z = ConfigDict({"rule": "fixed_point", "rate": 0.05, "init_batches": 100})
    config.cd = ConfigDict({"buffer_size": 10_000, "sampler": "kla", "n_steps": 10})
    player = {
        "name": "adam",
        "learning_rate": 3e-4,
        "b1": 0.5,
        "b2": 0.999,
        "schedule": "cosine",
        "grad_transform": "clip",
        "clip": 10.0,
    }
    # Two copies: a shared dictionary would be one object under two names.
    config.optim = ConfigDict({"base": dict(player), "energy": dict(player)})
    config.lr_decay = ConfigDict({"factor": 0.8, "every": 5000})
    config.lr_rule_every = 0

    # Sampling it.
    config.sampler = "kla"
    langevin = {"beta": 1.0, "n_steps": 200, "divide_by": 10.0, "divide_every": 0}
    config.samplers = ConfigDict(
        {
            "sir": {"beta": 1.0, "pool": 20},
            "imh": dict(langevin),
            "rwmh": {**langevin, "step": 0.2},
            "ula": {**langevin, "step": 0.02},
            "mala": {**langevin, "step": 0.05},
            "hmc": {**langevin, "step": 0.2, "n_leap": 2},
            "kla": {**langevin, "step": 0.2, "friction": 1.0},
            "baoab": {**langevin, "step": 0.2, "friction": 1.0},
            "sde": {**langevin, "step": 0.02},
            "kinetic_sde": {**langevin, "step": 0.1, "friction": 1.0},
            "descent": {**langevin, "step": 0.02},
            "dot": {**langevin, "step": 0.02},
        }
    )
    config.eval = ConfigDict(
        {
            "n_samples": 2000,
            "samplers": ("sir", "ula", "mala", "kla", "hmc", "imh"),
            "betas": (1.0, 5.0),
            "features": "auto",
            "inception_path": "",
            "cache_dir": "",
            "seed": 0,
        }
    )
    return config


def _smoke(config: ConfigDict) -> None:
    config.training.steps = 20
    config.training.log_every = 10
    config.base.width = config.energy.width = 32
    config.log_z.init_batches = 2
    config.eval.n_samples = 128
    config.eval.features = "pixels"
    config.eval.samplers = ("sir", "kla")
    config.eval.betas = (1.0,)
    config.samplers.kla.n_steps = 20


def _toy(config: ConfigDict) -> None:
    config.data.name = "skewed_line"
    config.training.steps = 4000
    config.training.batch_size = 256
    config.base.update({"arch": "affine", "latent_dim": 1, "width": config_dict.placeholder(int)})
    config.energy.width = 64
    config.penalty.weight = 0.01
    for player in config.optim.values():
        player.learning_rate = 1e-3
    config.sampler = "sir"
    config.eval.n_samples = 5000
    config.eval.samplers = ("sir", "mala", "kla")
    config.samplers.mala.n_steps = 1000


def _refine(config: ConfigDict) -> None:
    generator = config.to_dict()
    for name in ("data", "seed"):
        del generator[name]
    generator["criterion"] = "logistic"
    config.stages = ("generator",)
    config.generator = ConfigDict(generator)
    config.generator.from_workdir = ""
    config.train_mode = "energy"
    config.training.steps = 2000


def _mnist(config: ConfigDict) -> None:
    config.data.name = "mnist"
    config.training.steps = 10_000
    config.base.update({"arch": "small", "latent_dim": 64, "width": 32})
    config.energy.update({"arch": "small", "width": 32})
    config.unroll = True
    config.eval.n_samples = 10_000


def _paper(config: ConfigDict) -> None:
    """The paper's networks and the official training and sampling configuration.

    The chains of the samplers are reported at beta 1 and at the official beta of 100.
    """
    config.data.name = "cifar10"
    config.data.image_size = 32
    # 150 000 base steps; each of 302 warm-ups takes 19 calls more.
    config.training.steps = 150_000 + 19 * 302
    config.training.log_every = 500
    config.base.update({"arch": "resnet", "latent_dim": 100, "width": 128})
    config.energy.update({"arch": "resnet", "width": 128, "spectral_norm": True, "floor": -10.0})
    config.warmup_every = 500
    config.penalty.weight = 1.0
    for player in config.optim.values():
        player.learning_rate = 1e-4
        player.schedule = "exponential_steps"
        player.grad_transform = "robust"
    config.log_z.rule = "adam"
    config.lr_rule_every = 2000
    # The official gamma = 1e-4 is divided by 10 every 200 steps; h = 2 sqrt(gamma) for kinetic
    # and Hamiltonian dynamics, lambda = gamma / 2 for overdamped ones.
    for name in ("kla", "baoab", "hmc"):
        how = {"n_steps": 1000, "step": 0.02, "divide_every": 200, "divide_by": 10.0**0.5}
        config.samplers[name].update(how)
    for name in ("kla", "baoab"):
        config.samplers[name].friction = 100.0
    for name in ("ula", "mala"):
        config.samplers[name].update({"n_steps": 1000, "step": 5e-5, "divide_every": 200})
    config.samplers.imh.n_steps = 1000
    config.eval.n_samples = 50_000
    config.eval.betas = (1.0, 100.0)
