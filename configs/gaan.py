"""Generative adversarial autoencoder networks (Tran, Bui, Cheung 2018).

    python launch/main.py --config=configs/gaan.py             # digits, minutes on 2 cores
    python launch/main.py --config=configs/gaan.py:toy2d       # 25 Gaussians on a grid
    python launch/main.py --config=configs/gaan.py:toy2d --config.seeds=8
    python launch/main.py --config=configs/gaan.py:toy2d --config.data.name=plus   # or sine
    python launch/main.py --config=configs/gaan.py:mnist --config.data.name=mnist.npz
    python launch/main.py --config=configs/gaan.py:mnist1k --config.data.name=stacked/mnist.npz
    python launch/main.py --config=configs/gaan.py --config.generator.latent_dim=2   # mode collapse

`--config.seeds=8` trains eight runs in one program. The discriminator of `mnist1k` has `width`
channels in its first layer: 4 is K/2, 2 is K/4.
"""

from __future__ import annotations

from ml_collections import ConfigDict, config_dict

PRESETS = {
    "default": "digits, 8x8 (scikit-learn): minutes on a CPU",
    "smoke": "a few steps, to see that everything runs",
    "toy1d": "a Gaussian by networks of four units",
    "toy2d": "25 Gaussians on a grid; data.name=plus or sine for the others",
    "mnist": "28x28, the paper's DCGAN",
    "mnist1k": "three stacked digits, a thousand classes, small discriminators",
    "cifar10": "the paper's DCGAN at 32x32, for an accelerator",
    "celeba": "faces at 64x64; needs Inception weights",
    "stl10": "the convolutional SNGAN networks at 48x48; data.name=<file>.npz",
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
        "toy1d": _toy1d,
        "toy2d": _toy2d,
        "mnist": _mnist,
        "mnist1k": _mnist1k,
        "cifar10": _cifar10,
        "celeba": _celeba,
        "stl10": _stl10,
    }
    if preset in changes:
        changes[preset](config)
    return config


def _digits() -> ConfigDict:
    config = ConfigDict()
    config.method = "gaan"
    config.seed = 0
    config.seeds = 1
    config.data = ConfigDict({"name": "digits", "data_dir": config_dict.placeholder(str)})
    config.data.download = False
    config.data.image_size = config_dict.placeholder(int)
    config.training = ConfigDict(
        {
            "steps": 10_000,
            "batch_size": 64,
            "log_every": 100,
            "checkpoint_every_seconds": 60.0,
            "strategy": "jit",
            "devices": config_dict.placeholder(int),
            "fsdp": False,
            "steps_per_call": 0,
        }
    )

    # The networks; `options` are further attributes, as gmkit.nets names them.
    config.generator = ConfigDict({"arch": "mlp", "latent_dim": 16, "width": 256})
    config.generator.prior = "uniform"
    config.encoder = ConfigDict({"arch": "mlp", "width": 256})
    config.discriminator = ConfigDict({"arch": "mlp", "width": 256, "spectral_norm": False})
    for network in (config.generator, config.encoder, config.discriminator):
        network.options = ConfigDict()
    config.ema_decay = 0.0

    # The losses.
    config.n_critic = 1
    config.space = "features"
    config.reconstruction = "squared"
    config.regulariser = "batch"
    config.regulariser_weight = 1.0
    # lambda_w; unset it is sqrt(d_z / d_x).
    config.latent_scale = config_dict.placeholder(float)
    config.reconstructions_are = "real"
    config.weights = "annealed"
    config.discriminator_loss = "log"
    config.generator_loss = "score_distance"
    config.autoencoder_trains_generator = True
    config.penalty = ConfigDict({"weight": 1.0, "norm": "rms"})
    # For convolutions on a CPU, which are slow inside loops.
    config.unroll = False

    player = {"name": "adam", "learning_rate": 2e-4, "b1": 0.5, "b2": 0.9}
    # Copies: a shared dictionary would be one object under three names.
    networks = ("encoder", "generator", "discriminator")
    config.optim = ConfigDict({name: dict(player) for name in networks})
    config.schedule = "constant"
    config.lr_decay = ConfigDict({"factor": 0.9, "every": 1428})

    config.eval = ConfigDict(
        {
            "n_samples": 2000,
            "features": "auto",
            "inception_path": "",
            "cache_dir": "",
            "seed": 0,
        }
    )
    return config


def _smoke(config: ConfigDict) -> None:
    config.training.steps = 20
    config.training.batch_size = 16
    config.training.log_every = 10
    for network in (config.generator, config.encoder, config.discriminator):
        network.width = 32
    config.eval.n_samples = 128
    config.eval.features = "pixels"


def _toy1d(config: ConfigDict) -> None:
    config.data.name = "gaussian1d"
    config.generator.update({"latent_dim": 1, "prior": "normal"})
    for network in (config.generator, config.encoder, config.discriminator):
        network.width = 4
        network.options.update({"depth": 1, "activation": "relu"})
    config.n_critic = 3
    config.space = "data"
    # By pairs, the paper's reading: means of a batch tell nothing about the spread.
    config.regulariser = "sample"
    config.regulariser_weight = 0.1
    config.latent_scale = 1.0
    config.weights = "half"
    config.penalty.weight = 0.1
    for player in config.optim.values():
        player.learning_rate = 1e-3


def _toy2d(config: ConfigDict) -> None:
    config.data.name = "25grid"
    # As many as 500 epochs of the paper's 50 000 points.
    config.training.update({"steps": 195_000, "batch_size": 128, "log_every": 1000})
    config.generator.update({"latent_dim": 2, "width": 128})
    config.encoder.width = config.discriminator.width = 128
    for network in (config.generator, config.encoder, config.discriminator):
        network.options.update({"depth": 3, "activation": "relu", "kernel_init": "he_normal"})
    config.generator.options.output = "sigmoid"
    config.n_critic = 5
    config.space = "data"
    config.regulariser_weight = 0.1
    config.latent_scale = 1.0
    config.weights = "half"
    config.penalty.weight = 0.1
    for player in config.optim.values():
        player.update({"learning_rate": 1e-3, "b1": 0.8, "b2": 0.999})
    # Every 10 000 of the official counter, which advances seven times per iteration.
    config.schedule = "exponential_steps"


def _convolutions(config: ConfigDict, arch: str, width: int, latent_dim: int) -> None:
    config.generator.update({"arch": arch, "width": width, "latent_dim": latent_dim})
    config.encoder.update({"arch": arch, "width": width})
    config.discriminator.update({"arch": arch, "width": width})
    config.unroll = True
    config.eval.n_samples = 10_000


def _mnist(config: ConfigDict) -> None:
    config.data.name = "mnist"
    config.training.steps = 100_000
    _convolutions(config, "dist_dcgan", 64, 100)


def _mnist1k(config: ConfigDict) -> None:
    config.data.name = "stacked/mnist"
    config.training.update({"steps": 50_000, "batch_size": 128})
    _convolutions(config, "stacked", 4, 256)
    config.generator.width = 8
    config.encoder.width = 16
    for player in config.optim.values():
        player.b2 = 0.99
    config.optim.generator.learning_rate = 1e-4
    config.optim.encoder.learning_rate = 1e-4
    config.eval.n_samples = 25_600


def _cifar10(config: ConfigDict) -> None:
    config.data.name = "cifar10"
    config.training.update({"steps": 300_000, "log_every": 500})
    _convolutions(config, "dist_dcgan", 128, 128)
    config.autoencoder_trains_generator = False
    config.eval.n_samples = 50_000


def _celeba(config: ConfigDict) -> None:
    _cifar10(config)
    config.data.update({"name": "celeb_a", "image_size": 64})
    config.training.steps = 200_000
    config.generator.latent_dim = 100


def _stl10(config: ConfigDict) -> None:
    _cifar10(config)
    config.data.update({"name": "stl10.npz", "image_size": 48})
    config.generator.update({"arch": "sngan", "width": 128})
    config.generator.options.dense_norm = False
    config.discriminator.update({"arch": "sngan", "width": 64})
    config.discriminator.options.narrow_strides = True
