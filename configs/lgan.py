"""Lipschitz generative adversarial nets (Zhou et al. 2019), and the GANs they are compared with.

    python launch/main.py --config=configs/lgan.py             # digits, minutes on 2 cores
    python launch/main.py --config=configs/lgan.py:toy         # a critic between five pairs
    python launch/main.py --config=configs/lgan.py:ring        # a generator of the 8 Gaussians
    python launch/main.py --config=configs/lgan.py --config.objective=exp --config.lip.weight=1
    python launch/main.py --config=configs/lgan.py:wgan_gp     # or another baseline
    python launch/main.py --config=configs/lgan.py:mnist --config.data.name=mnist.npz
    python launch/main.py --config=configs/lgan.py:cifar10     # the paper's settings; a GPU

Objective, Lipschitz control and networks are chosen independently, so a baseline is a few
fields: `objective`, `lip.kind`, `lip.reduce`, `lip.where`, `lip.weight`, `critic.spectral_norm`,
`packing`. `--config.seeds=8` trains eight runs in one program. `lip.weight` has the unit of the
data squared: 0.1 belongs to images in [-1, 1].
"""

from __future__ import annotations

from ml_collections import ConfigDict, config_dict

PRESETS = {
    "default": "digits, 8x8 (scikit-learn): minutes on a CPU",
    "smoke": "a few steps, to see that everything runs",
    "toy": "a critic between five pairs of points: slopes, and transport",
    "ring": "a generator of the 8 Gaussians",
    "grid": "a generator of 25 Gaussians",
    "dcgan": "baseline on digits: non-saturating, no Lipschitz control",
    "lsgan": "baseline on digits: least squares, no Lipschitz control",
    "hinge_sn": "baseline on digits: hinge, spectral normalisation",
    "wgan_gp": "baseline on digits: Wasserstein, gradient penalty",
    "pacgan": "baseline on digits: non-saturating, two examples at a time",
    "grid_gan": "baseline of GAAN's grid, by its networks; give both the same training.steps",
    "grid_gan_gp": "the same with GAAN's gradient penalty",
    "mnist": "28x28, small convolutional networks",
    "fashion_mnist": "28x28, small convolutional networks",
    "cifar10": "the paper's ResNets and settings, for an accelerator",
    "tiny_imagenet": "the same on Tiny ImageNet at 32x32; data.name=<file>.npz",
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
        "ring": _ring,
        "grid": _grid,
        "dcgan": _dcgan,
        "lsgan": _lsgan,
        "hinge_sn": _hinge_sn,
        "wgan_gp": _wgan_gp,
        "pacgan": _pacgan,
        "grid_gan": _grid_gan,
        "grid_gan_gp": _grid_gan_gp,
        "mnist": _mnist,
        "fashion_mnist": _mnist,
        "cifar10": _paper,
        "tiny_imagenet": _paper,
    }
    if preset in changes:
        changes[preset](config)
    names = {"fashion_mnist": "fashion_mnist", "tiny_imagenet": "tiny_imagenet.npz"}
    config.data.name = names.get(preset, config.data.name)
    return config


def _digits() -> ConfigDict:
    config = ConfigDict()
    config.method = "lgan"
    config.seed = 0
    config.seeds = 1
    config.data = ConfigDict({"name": "digits", "data_dir": config_dict.placeholder(str)})
    config.data.download = False
    config.data.image_size = config_dict.placeholder(int)
    # Of data.name="case4".
    config.data.atoms = config_dict.placeholder(int)
    config.training = ConfigDict(
        {
            "steps": 6000,
            "batch_size": 64,
            "log_every": 100,
            "checkpoint_every_seconds": 60.0,
            "strategy": "jit",
            "devices": config_dict.placeholder(int),
            "fsdp": False,
            "steps_per_call": 0,
        }
    )

    # The networks. generator.arch="data" takes fakes from the data set instead.
    config.generator = ConfigDict({"arch": "mlp", "latent_dim": 16, "width": 256})
    config.generator.ema_decay = 0.99
    config.generator.prior = "normal"
    config.critic = ConfigDict({"arch": "mlp", "width": 256, "spectral_norm": False})
    # Further attributes of the networks, as gmkit.nets names them.
    config.generator.options = ConfigDict()
    config.critic.options = ConfigDict()

    # The game.
    config.objective = "log_sigmoid"
    config.alpha = 1.0
    config.psi = "default"
    config.packing = 1
    config.n_critic = 5
    config.generator_factor = 2
    # For convolutions on a CPU, which are slow inside loops.
    config.unroll = False

    # Lipschitz control: weight * k(f)^2 for kind="zero", reduce="max"; weight 0 is none.
    config.lip = ConfigDict(
        {
            "kind": "zero",
            "reduce": "max",
            "weight": 0.1,
            "norm": "l2",
            "where": "interpolates",
            "buffer": -0.125,
            "topk": 8,
            "temperature": 1.0,
            "search_steps": 0,
            "search_rate": 0.05,
            "rho": 1.0,
            "multiplier_rate": 1e-3,
        }
    )
    # Of the squared product of trainable gains (critic.options.trainable_gain=True).
    config.gain_weight = 0.0

    player = {"name": "adam", "learning_rate": 2e-4, "b1": 0.0, "b2": 0.9}
    # Two copies: a shared dictionary would be one object under two names.
    config.optim = ConfigDict({"critic": dict(player), "generator": dict(player)})
    config.schedule = "linear"
    # Of schedule="exponential_steps".
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
    config.generator.width = config.critic.width = 32
    config.n_critic = 2
    config.eval.n_samples = 128
    config.eval.features = "pixels"


def _plane(config: ConfigDict) -> None:
    config.training.update({"steps": 10_000, "batch_size": 128, "log_every": 200})
    config.generator.update({"latent_dim": 2, "width": 128})
    config.critic.width = 128
    for network in (config.generator, config.critic):
        network.options.update({"depth": 3, "activation": "relu"})
    for player in config.optim.values():
        player.learning_rate = 1e-3
    config.n_critic = 3
    config.generator_factor = 1


def _toy(config: ConfigDict) -> None:
    """A critic alone, between fixed sets of points."""
    _plane(config)
    config.data.name = "five_pairs"
    config.generator.arch = "data"
    config.objective = "x"
    config.lip.weight = 1.0
    config.n_critic = 1
    config.training.update({"steps": 6000, "batch_size": 64})
    config.schedule = "cosine"


def _ring(config: ConfigDict) -> None:
    _plane(config)
    config.data.name = "8gaussians"


def _grid(config: ConfigDict) -> None:
    _plane(config)
    config.data.name = "25gaussians"
    config.training.steps = 30_000
    config.generator.ema_decay = 0.999


def _grid_gan(config: ConfigDict) -> None:
    _plane(config)
    config.data.name = "25grid"
    config.training.steps = 20_000
    config.generator.update({"prior": "uniform", "ema_decay": 0.0})
    config.generator.options.output = "sigmoid"
    for network in (config.generator, config.critic):
        network.options.kernel_init = "he_normal"
    config.objective = "non_saturating"
    config.lip.weight = 0.0
    config.n_critic = 5
    for player in config.optim.values():
        player.update({"b1": 0.8, "b2": 0.999})
    config.schedule = "exponential_steps"


def _grid_gan_gp(config: ConfigDict) -> None:
    _grid_gan(config)
    config.lip.update(
        {"kind": "one", "reduce": "mean", "norm": "rms", "weight": 0.1, "buffer": 0.0}
    )


def _dcgan(config: ConfigDict) -> None:
    config.objective = "non_saturating"
    config.lip.weight = 0.0


def _lsgan(config: ConfigDict) -> None:
    config.objective = "lsgan"
    config.lip.weight = 0.0


def _hinge_sn(config: ConfigDict) -> None:
    config.objective = "hinge"
    config.lip.weight = 0.0
    config.critic.spectral_norm = True


def _wgan_gp(config: ConfigDict) -> None:
    config.objective = "x"
    config.lip.update({"kind": "one", "reduce": "mean", "weight": 10.0, "buffer": 0.0})


def _pacgan(config: ConfigDict) -> None:
    _dcgan(config)
    config.packing = 2


def _mnist(config: ConfigDict) -> None:
    config.data.name = "mnist"
    config.training.steps = 10_000
    config.generator.update({"arch": "small", "latent_dim": 64, "width": 32})
    config.critic.update({"arch": "small", "width": 32})
    config.unroll = True
    config.eval.n_samples = 10_000


def _paper(config: ConfigDict) -> None:
    """The official CIFAR-10 configuration."""
    config.data.name = "cifar10"
    config.data.image_size = 32
    config.training.update({"steps": 200_000, "log_every": 500})
    config.generator.update({"arch": "lgan", "latent_dim": 128, "width": 128})
    config.critic.update({"arch": "lgan", "width": 128})
    config.lip.buffer = 0.0
    config.eval.n_samples = 50_000
