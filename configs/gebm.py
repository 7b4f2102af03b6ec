"""Generalized Energy Based Models (Arbel, Zhou, Gretton 2021).

    python launch/main.py --config=configs/gebm.py             # digits, minutes on 2 cores
    python launch/main.py --config=configs/gebm.py:toy         # skewed line in the plane
    python launch/main.py --config=configs/gebm.py:refine      # an energy on a frozen generator
    python launch/main.py --config=configs/gebm.py:flow_base   # an energy on a trained flow
    python launch/main.py --config=configs/gebm.py:redwine --config.data.path=redwine.csv
    python launch/main.py --config=configs/gebm.py:cifar10     # the paper's settings; a GPU

Expected numbers, seeds and times are in the README. The image presets of paper scale
(`cifar10`, `celeba`, `imagenet32`, `lsun`) need the data set (`--config.data.name=<file>.npz`,
`--config.data.data_dir=...` or `--config.data.download=True`) and an accelerator; FID needs
Inception weights (`--config.eval.features=inception --config.eval.inception_path=...`).

The density presets read your own table: `winequality-red.csv` and `winequality-white.csv`,
`parkinsons_updrs.data`, `MiniBooNE_PID.txt` and HEPMASS of the UCI repository, as they are or as
`.npz` or `.npy`. The same flow is trained by maximum likelihood first and stands beside.
"""

from __future__ import annotations

from ml_collections import ConfigDict, config_dict

PRESETS = {
    "default": "digits, 8x8 (scikit-learn): minutes on a CPU",
    "smoke": "a few steps, to see that everything runs",
    "toy": "skewed line: the base finds the support, the energy the mass",
    "refine": "an energy on a frozen, separately trained generator",
    "flow_base": "8 Gaussians: an energy on a flow that was trained by maximum likelihood",
    "redwine": "density of a UCI table, a flow by KALE and by maximum likelihood; data.path",
    "whitewine": "the same",
    "parkinsons": "the same",
    "miniboone": "the same",
    "hepmass": "the same",
    "mnist": "28x28, small convolutional networks",
    "fashion_mnist": "28x28, small convolutional networks",
    "cifar10": "the paper's ResNets and settings, for an accelerator",
    "celeba": "the same on faces at 32x32; needs Inception weights",
    "imagenet32": "the same on ImageNet at 32x32",
    "lsun": "the same on bedrooms at 32x32; needs Inception weights",
}

TABLES = ("redwine", "whitewine", "parkinsons", "miniboone", "hepmass")


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
        "flow_base": _flow_base,
        **dict.fromkeys(TABLES, _density),
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
    config.data.name = names.get(preset, preset if preset in TABLES else config.data.name)
    return config


def _digits() -> ConfigDict:
    config = ConfigDict()
    config.method = "gebm"
    config.seed = 0
    config.data = ConfigDict({"name": "digits", "data_dir": config_dict.placeholder(str)})
    config.data.download = False
    config.data.image_size = config_dict.placeholder(int)
    config.data.path = config_dict.placeholder(str)
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
    config.energy.ema_decay = 0.0
    config.energy.floor = config_dict.placeholder(float)
    config.energy.offset = 0.0
    # Where base.arch is "flow" or energy.arch "density_ratio".
    config.flow = "real_nvp"
    config.flows = ConfigDict(
        {
            "real_nvp": {"n_layers": 5, "hidden": (100, 100), "norm": "none", "last_scale": 0.1},
            "maf": {"n_layers": 5, "hidden": (100,), "norm": "actnorm"},
            "made": {"hidden": (100,)},
            "nsf_coupling": {"n_layers": 5, "width": 64, "blocks": 1, "n_bins": 8, "bound": 5.0},
            "nsf_autoregressive": {"n_layers": 3, "hidden": (64, 64), "n_bins": 8, "bound": 5.0},
        }
    )

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
    # Calls between looks at validation rows, whose likelihood chooses the final state.
    config.select_every = 0

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
            # Where the base has a density.
            "n_importance": 100_000,
            "ais": {"chains": 128, "temperatures": 200, "n_leap": 5, "step": 0.2},
            "components": (1, 2, 5, 10, 20, 40),
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


def _density(config: ConfigDict) -> None:
    """A flow's density ratio over the standard normal, by KALE, and directly."""
    config.training.steps = 6000
    config.training.batch_size = 100
    config.base.update({"arch": "normal", "latent_dim": config_dict.placeholder(int)})
    config.energy.update({"arch": "density_ratio", "offset": 3.0, "ema_decay": 0.99})
    config.train_mode = "energy"
    config.n_critic = 1
    config.penalty.weight = 0.0
    # Slow, because c must not make up for mass that the flow hides where the base rarely looks:
    # the flow is normalised by itself, so nothing else would hold that mass back.
    config.log_z.update({"rule": "average", "rate": 1e-4})
    for player in config.optim.values():
        player.update({"learning_rate": 1e-3, "b1": 0.9, "clip": 5.0})
    config.select_every = 50
    config.sampler = "sir"
    config.samplers.sir.pool = 100
    config.samplers.mala.n_steps = 500
    config.samplers.kla.step = 0.02
    config.samplers.hmc.step = 0.1
    # For criterion="cd" (with penalty.weight=0.005): chains that come back often, because a flow's
    # energy changes quickly and chains that it has left behind let it grow without bound.
    config.cd.update({"buffer_size": 200, "sampler": "hmc"})
    config.eval.samplers = ("sir", "mala", "kla", "hmc")
    config.eval.betas = (1.0,)
    direct = config.to_dict()
    for name in ("data", "seed"):
        del direct[name]
    direct["criterion"] = "ml"
    config.stages = ("direct",)
    config.direct = ConfigDict(direct)
    config.direct.from_workdir = ""


def _flow_base(config: ConfigDict) -> None:
    """A free energy on a small flow that maximum likelihood has trained."""
    _density(config)
    config.data.name = "8gaussians"
    config.training.steps = 3000
    config.training.batch_size = 256
    config.flows.real_nvp.update({"n_layers": 4, "hidden": (32,)})
    config.energy.update({"arch": "mlp", "width": 128, "offset": 0.0})
    config.log_z.update({"rule": "fixed_point", "rate": 0.05})
    config.optim.energy.learning_rate = 3e-3
    config.select_every = 0
    config.samplers.sir.pool = 20
    config.samplers.kla.step = 0.1
    del config.direct
    config.stages = ("generator",)
    config.generator = ConfigDict(
        {
            "method": "flow",
            "flow": config.flow,
            "flows": config.flows.to_dict(),
            "dequantisation": {"map": "logit", "alpha": 0.05},
            "estimate": False,
            "ema_decay": 0.99,
            "norm_momentum": 0.9,
            "select_every": 0,
            "optim": {"flow": {**config.optim.energy.to_dict(), "weight_decay": 0.0}},
            "eval": {
                "n_rows": 10_000,
                "n_samples": 2000,
                "n_dequantise": 8,
                "components": (1,),
                "n_pictures": 64,
            },
            "from_workdir": "",
        }
    )


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
