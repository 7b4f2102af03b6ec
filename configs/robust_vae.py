"""Variational autoencoders with robust likelihoods (Barron, CVPR 2019).

    python launch/main.py --config=configs/robust_vae.py            # digits, minutes on 2 cores
    python launch/main.py --config=configs/robust_vae.py:cifar10    # for an accelerator
    python launch/main.py --config=configs/robust_vae.py:mnist --config.data.name=mnist.npz
    python launch/main.py --config=configs/robust_vae.py --config.likelihood.name=student_t

The table of the paper, likelihoods by spaces; each run leaves `results.json` in its directory:

    for space in pixels/rgb dct/yuv cdf97/yuv; do
      for likelihood in normal cauchy student_t adaptive; do
        python launch/main.py --config=configs/robust_vae.py:cifar10 \\
          --workdir=runs/$space/$likelihood --config.likelihood.name=$likelihood \\
          --config.space.name=${space%/*} --config.space.colour=${space#*/}
      done
    done

Grey images have no YUV: leave `space.colour` at rgb.
"""

from __future__ import annotations

from ml_collections import ConfigDict, config_dict

PRESETS = {
    "default": "digits, 8x8 (scikit-learn): minutes on a CPU",
    "smoke": "a few steps, to see that everything runs",
    "mnist": "MNIST padded to 32x32",
    "fashion_mnist": "Fashion-MNIST padded to 32x32",
    "cifar10": "CIFAR-10, 32x32, for an accelerator",
    "celeba": "CelebA, 64x64, the paper's settings; for an accelerator",
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
        "fashion_mnist": _fashion_mnist,
        "cifar10": _cifar10,
        "celeba": _celeba,
    }
    if preset in changes:
        changes[preset](config)
    return config


def _digits() -> ConfigDict:
    config = ConfigDict()
    config.method = "robust_vae"
    config.seed = 0
    config.data = ConfigDict({"name": "digits", "data_dir": config_dict.placeholder(str)})
    config.data.download = False
    config.data.image_size = config_dict.placeholder(int)
    config.data.pad = False
    config.training = ConfigDict(
        {
            "steps": 2000,
            "batch_size": 32,
            "log_every": 50,
            "checkpoint_every_seconds": 60.0,
            "strategy": "jit",
            "devices": config_dict.placeholder(int),
            "fsdp": False,
            "steps_per_call": 0,
        }
    )

    # The model; `width` multiplies the channels of all convolutions.
    config.net = ConfigDict({"latent_dim": 16, "width": 0.5})
    config.prior = ConfigDict({"n_components": 100})

    # normal, cauchy, student_t or adaptive. Shapes start at `alpha_init`, `df_init`; `scale_lo` is
    # the least scale. Adam moves scales slowly: start them near the residuals one expects.
    config.likelihood = ConfigDict(
        {
            "name": "adaptive",
            "alpha": (0.0, 3.0),
            "alpha_init": 1.0,
            "df_init": 1.0,
            "scale_lo": 1e-8,
            "scale_init": 0.1,
        }
    )
    # pixels, dct, cdf97 or legall53; rgb or yuv.
    config.space = ConfigDict({"name": "cdf97", "colour": "rgb"})
    config.space.levels = config_dict.placeholder(int)
    config.space.base = 1.0

    # Shapes and scales have far to go: in short runs they need a larger rate than the networks.
    adam = {
        "name": "adam",
        "learning_rate": 2e-3,
        "b1": 0.9,
        "b2": 0.999,
        "schedule": "late_cosine",
        "grad_transform": "none",
    }
    config.optim = ConfigDict({"vae": dict(adam), "likelihood": dict(adam)})
    config.eval = ConfigDict({"n_rows": 10_000, "n_samples": 64, "n_importance": 50})
    return config


def _smoke(config: ConfigDict) -> None:
    config.training.update({"steps": 20, "log_every": 10})
    config.net.update({"latent_dim": 4, "width": 0.125})
    config.prior.n_components = 5
    config.eval.update({"n_rows": 100, "n_samples": 16, "n_importance": 5})


def _paper(config: ConfigDict) -> None:
    config.training.update({"steps": 50_000, "log_every": 100})
    config.net.width = 1.0
    config.likelihood.scale_init = 1e-2
    config.optim.vae.learning_rate = 1e-3
    config.optim.likelihood.learning_rate = 1e-3


def _mnist(config: ConfigDict) -> None:
    _paper(config)
    config.data.update({"name": "mnist", "image_size": 32, "pad": True})


def _fashion_mnist(config: ConfigDict) -> None:
    _mnist(config)
    config.data.name = "fashion_mnist"


def _cifar10(config: ConfigDict) -> None:
    _paper(config)
    config.data.name = "cifar10"
    config.space.colour = "yuv"


def _celeba(config: ConfigDict) -> None:
    _cifar10(config)
    config.data.update({"name": "celeb_a", "image_size": 64})
