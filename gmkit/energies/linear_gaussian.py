"""The one latent energy model whose every quantity is known in closed form."""

from __future__ import annotations

import flax.struct
import jax
import jax.numpy as jnp


@flax.struct.dataclass
class LinearGaussian:
    """Affine base `B(z) = W z + b` of `z ~ N(0, I)` and quadratic energy `(x-mu)' P (x-mu) / 2`.

    Its posterior over latents is Gaussian. A reference for samplers and partition functions.

    Attributes:
      weight: W, `(d, k)`.
      bias: b, `(d,)`.
      mean: mu, `(d,)`.
      precision: P, symmetric positive semi-definite, `(d, d)`.
    """

    weight: jax.Array
    bias: jax.Array
    mean: jax.Array
    precision: jax.Array

    def decode(self, z: jax.Array) -> jax.Array:
        """Latents `(n, k)` -> examples `(n, d)`."""
        return z @ self.weight.T + self.bias[None]

    def energy(self, x: jax.Array) -> jax.Array:
        """Examples `(n, d)` -> energies `(n,)`."""
        centred = x - self.mean[None]
        return 0.5 * jnp.sum(centred @ self.precision * centred, axis=-1)

    def _posterior_precision(self, beta: float) -> jax.Array:
        k = self.weight.shape[1]
        return jnp.eye(k) + beta * self.weight.T @ self.precision @ self.weight

    def log_partition(self, beta: float = 1.0) -> jax.Array:
        """`log E_z[exp(-beta E(B(z)))]`, scalar."""
        residual = self.bias - self.mean
        force = beta * self.weight.T @ self.precision @ residual
        s = self._posterior_precision(beta)
        quadratic = beta * residual @ self.precision @ residual - force @ jnp.linalg.solve(s, force)
        return -0.5 * (jnp.linalg.slogdet(s)[1] + quadratic)

    def posterior(self, beta: float = 1.0) -> tuple[jax.Array, jax.Array]:
        """Mean `(k,)` and covariance `(k, k)` of `exp(-|z|^2/2 - beta E(B(z)))`."""
        covariance = jnp.linalg.inv(self._posterior_precision(beta))
        force = beta * self.weight.T @ self.precision @ (self.bias - self.mean)
        return -covariance @ force, covariance
