"""StyleGAN2 (Karras et al. 2020), with adaptive augmentation (Karras et al. 2020b).

    python launch/main.py --config=configs/stylegan2.py             # digits, minutes on 2 cores
    python launch/main.py --config=configs/stylegan2.py --config.conditional=True
    python launch/main.py --config=configs/stylegan2.py:sprites --config.data.name=sprites.npz
    python launch/main.py --config=configs/stylegan2.py:cifar10     # the official one; a GPU
    python launch/main.py --config=configs/stylegan2.py:ffhq1024 --config.data.name=ffhq.npz

The official configurations are those of `nets.stylegan2.CONFIGURATIONS`; `training.steps` follows
from their number of images. `augment.augment=blit`, `bg` or `bgc` switches augmentations on, at a
fixed probability `augment.augment_p`, or adapted where `augment.augment_target` is a number.
Weights of other programs are converted by `launch/convert.py` instead of trained.
"""

from __future__ import annotations

from ml_collections import ConfigDict, config_dict

from gmkit.nets import stylegan2

PRESETS = {
    "default": "digits, 8x8 (scikit-learn): minutes on a CPU",
    "smoke": "a few steps, to see that everything runs",
    "sprites": "small networks on 32x32 sprites; data.name=<file>.npz",
    "cifar10": "the official configuration cifar, for an accelerator",
    "paper256": "the papers' 256x256; data.name=<file>.npz or a name of tensorflow-datasets",
    "ffhq1024": "configuration F at 1024x1024; data.name=<file>.npz",
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
        "sprites": _sprites,
        "cifar10": _cifar10,
        "paper256": _paper256,
        "ffhq1024": _ffhq1024,
    }
    if preset in changes:
        changes[preset](config)
    return config


def _digits() -> ConfigDict:
    config = ConfigDict()
    config.method = "stylegan2"
    config.seed = 0
    config.seeds = 1
    config.data = ConfigDict({"name": "digits", "data_dir": config_dict.placeholder(str)})
    config.data.download = False
    config.data.image_size = config_dict.placeholder(int)
    config.data.pad = False
    config.data.flip = False
    config.training = ConfigDict(
        {
            "steps": 3000,
            "batch_size": 32,
            "log_every": 100,
            "checkpoint_every_seconds": 60.0,
            "strategy": "jit",
            "devices": config_dict.placeholder(int),
            "fsdp": False,
            "steps_per_call": 0,
        }
    )
    # Labels go into both networks, where the data have some.
    config.conditional = False

    # Attributes of both networks, of the generator, of the discriminator, as gmkit.nets.stylegan2
    # names them.
    config.networks = ConfigDict(
        {
            "channel_base": 256,
            "channel_max": 32,
            "num_fp16_res": 0,
            "conv_clamp": config_dict.placeholder(float),
            "conv_impl": "phase",
            # Blocks from this resolution on are recomputed in the backward pass.
            "remat_from": config_dict.placeholder(int),
        }
    )
    config.generator = ConfigDict({"z_dim": 32, "w_dim": 32, "num_layers": 2})
    config.generator.architecture = "skip"
    config.discriminator = ConfigDict({"architecture": "resnet", "mbstd_group_size": 4})

    # The game.
    config.game = ConfigDict(
        {
            "r1_gamma": 0.5,
            "path_weight": 2.0,
            "path_decay": 0.01,
            "path_shrink": 2,
            "style_mixing": 0.9,
            "generator_every": 4,
            "discriminator_every": 16,
            "ema_kimg": 10.0,
            "ema_rampup": config_dict.placeholder(float),
            # For CPUs; "" on accelerators.
            "lazy_conv_impl": "matmul",
        }
    )
    config.game.ema_rampup = 0.05
    config.augment = ConfigDict(
        {
            "augment": "none",
            "augment_p": 0.0,
            "augment_target": config_dict.placeholder(float),
            "augment_every": 4,
            "augment_kimg": 500.0,
        }
    )

    # Before the correction for lazy regularisation.
    player = {"name": "adam", "learning_rate": 2.5e-3, "b1": 0.0, "b2": 0.99, "eps": 1e-8}
    config.optim = ConfigDict({"generator": dict(player), "discriminator": dict(player)})

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
    config.training.update({"steps": 20, "batch_size": 8, "log_every": 10})
    config.networks.update({"channel_base": 32, "channel_max": 4})
    config.generator.update({"z_dim": 4, "w_dim": 4, "num_layers": 1})
    config.discriminator.mbstd_group_size = 2
    config.eval.update({"n_samples": 128, "features": "pixels"})


def _sprites(config: ConfigDict) -> None:
    config.data.update({"name": "sprites.npz", "image_size": 32})
    config.training.update({"steps": 12_000, "batch_size": 32, "log_every": 50})
    config.networks.update({"channel_base": 1024, "channel_max": 64})
    config.generator.update({"z_dim": 64, "w_dim": 64})
    config.game.r1_gamma = 1.0


def _official(config: ConfigDict, name: str, resolution: int) -> None:
    """Networks and training of an official configuration."""
    chosen = stylegan2.configuration(name, resolution)
    config.training.update(
        {
            "steps": chosen.kimg * 1000 // chosen.batch,
            "batch_size": chosen.batch,
            "log_every": 100,
            "checkpoint_every_seconds": 900.0,
        }
    )
    config.networks.update(
        {
            "channel_base": chosen.channel_base,
            "channel_max": 512,
            "num_fp16_res": 4,
            "conv_clamp": 256.0,
            "conv_impl": "dilated",
        }
    )
    config.generator.update({"z_dim": 512, "w_dim": 512, "num_layers": chosen.mapping_layers})
    config.discriminator.update(
        {"architecture": chosen.architecture, "mbstd_group_size": chosen.mbstd_group}
    )
    config.game.update(
        {
            "r1_gamma": chosen.r1_gamma,
            "path_weight": 2.0 if chosen.path_length else 0.0,
            "style_mixing": chosen.style_mixing,
            "ema_kimg": chosen.ema_kimg,
            "lazy_conv_impl": "",
        }
    )
    with config.game.ignore_type():
        config.game.ema_rampup = chosen.ema_rampup
    for player in config.optim.values():
        player.learning_rate = chosen.learning_rate
    config.eval.n_samples = 50_000


def _cifar10(config: ConfigDict) -> None:
    config.data.name = "cifar10"
    _official(config, "cifar", 32)
    config.data.flip = True
    config.augment.update({"augment": "bgc", "augment_target": 0.6})


def _paper256(config: ConfigDict) -> None:
    config.data.update({"name": "images.npz", "image_size": 256})
    _official(config, "paper256", 256)
    config.networks.remat_from = 128
    config.data.flip = True


def _ffhq1024(config: ConfigDict) -> None:
    config.data.update({"name": "ffhq.npz", "image_size": 1024})
    _official(config, "stylegan2", 1024)
    config.networks.remat_from = 256
    config.data.flip = True
