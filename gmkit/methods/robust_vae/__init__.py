"""Variational autoencoders whose likelihood learns how robust to be.

J. T. Barron, "A General and Adaptive Robust Loss Function", CVPR 2019, arXiv:1701.03077,
section 3.1. With x a dequantised image in the unit cube, mu(z) the decoder's image and T a linear
space of images (pixels, DCT or wavelets, RGB or YUV), what is minimised is

    rate + distortion = [log q(z|x) - log p(z)] + [-sum_i log p(r_i | alpha_i, c_i) - log|det T|],
    r = T (x - mu(z)),

the negative ELBO of one draw of z. Shapes alpha and scales c are one pair per coefficient, the same
for all images, learned with everything else.

| in the paper | here |
| --- | --- |
| p(r) Normal, Cauchy, Student's t, "ours" | `likelihood.name` "normal", "cauchy", "student_t", "adaptive" |
| alpha in (0, 3), from 1; c from 0.01, at least 1e-8 | `likelihood.alpha`, `alpha_init`, `scale_init`, `scale_lo` |
| pixels and RGB; DCT and YUV; CDF 9/7 and YUV | `space.name`, `space.colour` |
| rate, distortion | `model.VAE.terms` |
| convolutions to and from one pixel | `nets.RobustVAEEncoder`, `RobustVAEDecoder` |
| mixture of 100 Gaussians as p(z) | `distributions.gaussian_mixture` |
| alpha of every coefficient as images | `Method.figures`, by band in the table "bands" |

Evaluated with `eval.n_importance` draws of z per image and one of the dequantisation noise: the
ELBO is the mean of the log-weights, `importance` their log-mean-exp, a tighter bound. Both are
nats of a density over the unit cube; `bits_per_dim` are of the integers.

Logged: `loss/vae` (nats per image), `rate`, `distortion`, `bits_per_dim` (an upper bound), `alpha`
or `df` and `scale` (means over coefficients), `norm/vae` (gradient l2).

Deviations from the paper and its official code: images are dequantised by uniform noise (without
it, scales of constant borders go to 0 and the ELBO to infinity); scales of the prior are
exponentials, not softplus; a transposed convolution is aligned as flax does it; the test split is
evaluated, where the released script takes the validation split; no clipping, the loss is finite.

Run: `python launch/main.py --config=configs/robust_vae.py`; results are in the README.
"""  # noqa: E501 - a table

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from gmkit import nets, samplers, transforms
from gmkit.core import (
    LogLik,
    Method,
    TrainState,
    bits_per_dim,
    create,
    finish_step,
    optim,
    step_key,
    update,
)
from gmkit.core.parallel import batch_mean, mean_over_devices
from gmkit.distributions import RESIDUALS, Adaptive
from gmkit.methods.robust_vae.judging import CHANNELS, Judge, Protocol
from gmkit.methods.robust_vae.model import VAE, Terms

__all__ = ["VAE", "Judge", "Protocol", "Terms", "build", "learner"]

Array = jax.Array

#: Settings of `config.likelihood` that only some families have.
_OWN = {"student_t": ("df_init",), "adaptive": ("alpha", "alpha_init")}


def learner(vae: VAE, txs: Mapping[str, optax.GradientTransformation], judge: Judge) -> Method:
    """The method from its parts.

    Args:
      vae: what is trained.
      txs: optimisers of "likelihood" and of everything else, "vae".
      judge: of evaluation and pictures.
    """

    of = lambda part: txs["likelihood" if part == "likelihood" else "vae"]

    def init(key: Array, batch: Mapping[str, Array]) -> TrainState:
        root, noise, params_key = jax.random.split(key, 3)
        params = vae.init(params_key, vae.points(noise, batch["image"]))
        return create(root, params, {part: of(part) for part in params})

    def step(state: TrainState, batch: Mapping[str, Array]) -> tuple[TrainState, dict[str, Array]]:
        u = vae.points(step_key(state, "dequantise"), batch["image"][0])
        key = step_key(state, "posterior")

        def loss_of(params: dict[str, Any]) -> tuple[Array, Terms]:
            terms = vae.terms(params, key, u, vae.posterior(params, u))
            return -batch_mean(terms.log_weight), terms

        (loss, terms), grads = jax.value_and_grad(loss_of, has_aux=True)(state.params)
        metrics = {
            "loss/vae": loss,
            "rate": batch_mean(terms.rate),
            "distortion": batch_mean(terms.distortion),
            "bits_per_dim": bits_per_dim(vae.of_data(-loss), vae.spec.domain),
            **{name: jnp.mean(v) for name, v in vae.shapes(state.params).items()},
            "norm/vae": optax.tree.norm(mean_over_devices(grads)),
        }
        for part in state.params:
            state = update(state, part, grads[part], of(part))
        return finish_step(state), metrics

    def log_lik(state: TrainState, key: Array, x: Array) -> LogLik:
        noise, draws = jax.random.split(key)
        n = judge.protocol.n_importance
        weights = vae.draws(state.params, draws, vae.points(noise, x), n).log_weight
        value, stderr = jax.vmap(samplers.log_partition, in_axes=1)(weights)
        return vae.of_data(value, stderr=stderr, n_samples=n)

    of_params = lambda function: lambda state, *rest: function(state.params, *rest)
    return Method(
        name="robust_vae",
        init=init,
        step=step,
        evaluate=judge.evaluate,
        sample=of_params(vae.sample),
        figures=judge.figures,
        log_lik=log_lik,
        encode=of_params(vae.encode),
        decode=of_params(vae.decode),
    )


# ---------------------------------------------------------------- from a config


def build(config: Any, spec: Any) -> Method:
    """The method that a config of `configs/robust_vae.py` describes, for images of `spec`.

    Raises:
      ValueError: settings that do not exist or do not go together.
    """
    if spec.kind != "image":
        raise ValueError(f"data.name={spec.name!r} has no images; robust_vae needs images")
    shape, net = spec.domain.shape, config.net
    nets.vae_stages(shape)
    vae = VAE(
        nets.RobustVAEEncoder(net.latent_dim, net.width),
        nets.RobustVAEDecoder(shape, net.latent_dim, net.width),
        _likelihood(config.likelihood, shape),
        transforms.image_space(shape=shape, **config.space),
        spec,
        net.latent_dim,
        config.prior.n_components,
    )
    steps = config.training.steps
    txs = {
        name: optim.optimizer(**config.optim[name], total_steps=steps)
        for name in ("vae", "likelihood")
    }
    label = f"{config.likelihood.name}, {config.space.name} and {config.space.colour}"
    e = config.eval
    protocol = Protocol(e.n_rows, e.n_samples, e.n_importance)
    judge = Judge(
        vae, protocol, label, _levels(config.space, shape), CHANNELS[config.space.colour, shape[2]]
    )
    return learner(vae, txs, judge)


def _likelihood(config: Any, shape: tuple[int, ...]) -> Adaptive:
    if config.name not in RESIDUALS:
        raise ValueError(f"likelihood.name={config.name!r}: choose {', '.join(RESIDUALS)}")
    names = ("scale_lo", "scale_init", *_OWN.get(config.name, ()))
    return RESIDUALS[config.name](shape, **{name: config[name] for name in names})


def _levels(space: Any, shape: tuple[int, ...]) -> int:
    """Octaves of frequency that coefficients of the space fall into, beside the lowest ones."""
    if space.name == "pixels":
        return 0
    own = None if space.name == "dct" else space.levels
    return min(5, transforms.wavelet_levels(shape)) if own is None else own
