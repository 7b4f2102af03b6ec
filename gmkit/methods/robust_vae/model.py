"""The model: an autoencoder, a learned prior, and a density of residuals in a space of images."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from gmkit import distributions, transforms
from gmkit.core import LogLik, dequantised
from gmkit.core.parallel import example_normal
from gmkit.distributions import Adaptive
from gmkit.transforms import ImageSpace

Array = jax.Array
Params = dict[str, Any]


class Terms(NamedTuple):
    """Both parts of the negative ELBO, `(n,)` each, nats.

    Attributes:
      rate: `log q(z|x) - log p(z)`.
      distortion: `-log p(x|z)`, a density over images in the unit cube. Can be negative.
    """

    rate: Array
    distortion: Array

    @property
    def log_weight(self) -> Array:
        """`log p(x, z) - log q(z|x)`: its mean over z is the ELBO."""
        return -self.rate - self.distortion


@dataclasses.dataclass(frozen=True)
class VAE:
    """A variational autoencoder of dequantised images in the unit cube.

    Attributes:
      encoder: flax module, images -> mean and scale of the posterior `(n, d)`.
      decoder: flax module, latents -> images.
      likelihood: density of the coefficients of `x - decoder(z)` in `space`.
      space: of images.
      spec: of the data.
      latent_dim: d.
      n_components: Gaussians in the prior.
    """

    encoder: nn.Module
    decoder: nn.Module
    likelihood: Adaptive
    space: ImageSpace
    spec: Any
    latent_dim: int
    n_components: int

    def init(self, key: Array, u: Array) -> Params:
        """Parameters by part, for images like `u`."""
        encoder, decoder, prior = jax.random.split(key, 3)
        z = jnp.zeros((1, self.latent_dim))
        return {
            "encoder": self.encoder.init(encoder, u[:1])["params"],
            "decoder": self.decoder.init(decoder, z)["params"],
            "prior": self._init_prior(prior),
            "likelihood": self.likelihood.init(),
        }

    def _init_prior(self, key: Array) -> Params:
        """Parameters of `distributions.gaussian_mixture`, where the official code has them."""
        keys = jax.random.split(key, 3)
        glorot = nn.initializers.glorot_uniform()
        shape = (self.n_components, self.latent_dim)
        return {
            "mean": glorot(keys[0], shape),
            "log_scale": jnp.log(nn.softplus(glorot(keys[1], shape))),
            "logits": glorot(keys[2], (self.n_components, 1))[:, 0],
        }

    @property
    def _prior(self) -> distributions.Density:
        return distributions.gaussian_mixture(self.latent_dim, self.n_components)

    # ---------------------------------------------------------------- the bound

    def posterior(self, params: Params, u: Array) -> tuple[Array, Array]:
        """Mean and scale of `q(z|u)`, `(n, d)` each."""
        return cast(Any, self.encoder.apply)({"params": params["encoder"]}, u)

    def mean(self, params: Params, z: Array) -> Array:
        """Where the residuals of images with latents `z` are measured from, in the unit cube."""
        return cast(Any, self.decoder.apply)({"params": params["decoder"]}, z)

    def log_prob(self, params: Params, u: Array, z: Array) -> Array:
        """`log p(u|z)`, `(n,)` nats: the density of the residual's coefficients, and the volume."""
        residual = self.space.forward(u - self.mean(params, z))
        terms = self.likelihood.log_prob(params["likelihood"], residual)
        return jnp.sum(terms, axis=(1, 2, 3)) + self.space.log_det

    def terms(self, params: Params, key: Array, u: Array, posterior: tuple[Array, Array]) -> Terms:
        """Rate and distortion of `u` by one draw of z from its posterior."""
        mean, scale = posterior
        noise = example_normal(key, u.shape[0], (self.latent_dim,))
        z = mean + scale * noise
        log_q = jnp.sum(jax.scipy.stats.norm.logpdf(noise) - jnp.log(scale), axis=1)
        rate = log_q - self._prior.log_prob(params["prior"], z)
        return Terms(rate, -self.log_prob(params, u, z))

    def draws(self, params: Params, key: Array, u: Array, n: int) -> Terms:
        """`terms` of `n` draws of z for every image: leaves `(n, B)`."""
        posterior = self.posterior(params, u)

        def one(carry: None, i: Array) -> tuple[None, Terms]:
            return carry, self.terms(params, jax.random.fold_in(key, i), u, posterior)

        return jax.lax.scan(one, None, jnp.arange(n))[1]

    def shapes(self, params: Params) -> Params:
        """Shape ("alpha" or "df") and "scale" of every coefficient, `(h, w, c)` each."""
        return self.likelihood.parameters(params["likelihood"])

    # ---------------------------------------------------------------- data and back

    def points(self, key: Array, x: Array) -> Array:
        """Decoded images dequantised: what the density is one of."""
        return transforms.dequantise(key, x, *self._scale)

    def of_data(self, log_prob: Array, **about: Any) -> LogLik:
        """What bounds on log-densities of `points` say about the integers."""
        found = LogLik(log_prob, "lower", **about)
        return dequantised(found, self.spec.domain)

    def encode(self, params: Params, x: Array) -> Array:
        """Posterior means of decoded images, at the centres of their bins: `(n, d)`."""
        return self.posterior(params, transforms.to_unit(x, *self._scale))[0]

    def decode(self, params: Params, z: Array) -> Array:
        """Images of latents on the scale of decoded ones, not quantised."""
        return transforms.from_unit(self.mean(params, z), *self._scale)

    def sample(self, params: Params, key: Array, n: int) -> Array:
        """Images of latents from the prior, without a residual, in the range of decoded ones."""
        z = self._prior.sample(params["prior"], key, n)
        return jnp.clip(self.decode(params, z), *self.spec.value_range)

    @property
    def _scale(self) -> tuple[Any, tuple[float, float]]:
        return self.spec.domain, self.spec.value_range
