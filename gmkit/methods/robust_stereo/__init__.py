"""Stereo by a robust photometric likelihood.

J. T. Barron, "A General and Adaptive Robust Loss Function", CVPR 2019, arXiv:1701.03077,
section 3.2: unsupervised depth from photometric residuals. The paper trains a network on KITTI;
here the disparity of one rectified pair is itself what is optimised, so that nothing but the
likelihood differs between two runs.

With d the disparity of the left image, and the right image R sampled bilinearly,

    r(x, y) = R(x - d(x, y), y) - L(x, y),   z = T r,
    loss    = -sum_i log p(z_i | alpha_i, c) / pixels + smoothness * mean_pixels S(d),
    S(d)    = exp(-edge |grad L|) f(second differences of d, 1, bend),

T an orthonormal map of images (none, or YUV and CDF 9/7 wavelets), p the density of the general
robust loss f.

| in the paper | here |
| --- | --- |
| fixed shapes: alpha = 2, 1, 0 | `likelihood.name` "normal", "charbonnier", "cauchy" |
| annealed, alpha 2 -> 0 | "annealed": linear in the step |
| adaptive, alpha in (0, 2) per coefficient; scale fixed at 0.01 | "adaptive" |
| residuals in YUV and CDF 9/7 | `space` |

The disparity is a sum of grids, each half the size of the one before, upsampled; the first steps
see small images and the coarse grids alone, then a level is added every `coarse_steps` steps: a
photometric gradient reaches as far as the images are smooth. Pixels whose match lies outside the
right image have no residual: smoothness alone moves them.

Logged: `loss/photometric` (nats per pixel), `loss/smoothness`, `residual` (mean absolute value),
`level` (size of the images, as halvings), `outside` (share of pixels without a residual), and for
learned shapes `alpha/mean`, `alpha/min`, `alpha/max`.

Deviations from the paper: no network, one pair, a pyramid of images (the paper's residual is at
full resolution alone), and the smoothness, which it drops: without it, pixels without texture
are undetermined here. With one pair every alpha sees one residual.

Run: `python launch/main.py --config=configs/robust_stereo.py`; results are in the README.
"""

from __future__ import annotations

from typing import Any

from gmkit import transforms
from gmkit.core import Method, optim
from gmkit.data.stereo import STEREO
from gmkit.methods.robust_stereo.geometry import (
    block_matching,
    disparity_at,
    pyramid_shapes,
    residuals,
    resize,
    roughness,
    warp,
)
from gmkit.methods.robust_stereo.judging import Judge, disparity_errors
from gmkit.methods.robust_stereo.learning import Level, Likelihood, Settings, learner, likelihood

__all__ = [
    "Judge",
    "Level",
    "Likelihood",
    "Settings",
    "block_matching",
    "build",
    "disparity_at",
    "disparity_errors",
    "learner",
    "likelihood",
    "pyramid_shapes",
    "residuals",
    "resize",
    "roughness",
    "warp",
]


def build(config: Any, spec: Any) -> Method:
    """The method that a config of `configs/robust_stereo.py` describes, for data of `spec`.

    Raises:
      ValueError: data that are no stereo pairs, or settings that do not exist or do not fit.
    """
    if not spec.name.startswith("stereo/"):
        raise ValueError(f"data.name={spec.name!r}: choose {' or '.join(STEREO)}")
    height, width, channels = spec.domain.shape
    for name in ("coarse_steps", "smoothness", "edge", "bend"):
        if config[name] < 0 or (name == "bend" and not config[name]):
            raise ValueError(f"{name}={config[name]}: must be positive (or 0, but for bend)")
    steps = config.training.steps
    levels = []
    for shape in pyramid_shapes((height, width), config.levels):
        of = (*shape, channels)
        space = transforms.image_space(**{**config.space, "shape": of})
        levels.append(Level(shape, space, likelihood(shape=of, steps=steps, **config.likelihood)))
    txs = {
        name: optim.optimizer(**config.optim[name], total_steps=steps)
        for name in ("disparity", "likelihood")
    }
    settings = Settings(config.coarse_steps, config.smoothness, config.edge, config.bend)
    init, step = learner(tuple(levels), txs, settings)
    label = f"{config.likelihood.name}, {config.space.name}/{config.space.colour}"
    largest = config.eval.max_disparity or width // 8
    judge = Judge(tuple(levels), label, largest, tuple(config.space.colour.upper()))
    return Method(
        name="robust_stereo",
        init=init,
        step=step,
        evaluate=judge.evaluate,
        sample=judge.sample,
        figures=judge.figures,
    )
