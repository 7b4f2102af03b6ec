"""Layers that the networks share: batch and spectral normalisation, resizing, initialisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import traverse_util

from gmkit.core import parallel

Activation = Callable[[jax.Array], jax.Array]


def xavier_uniform(gain: float = 1.0) -> nn.initializers.Initializer:
    """Uniform on +-gain * sqrt(6 / (fan_in + fan_out)) (Glorot & Bengio 2010)."""
    return nn.initializers.variance_scaling(gain**2, "fan_avg", "uniform")


def leaky_relu(slope: float) -> Activation:
    """`max(x, slope * x)` for a slope in [0, 1]; 1-Lipschitz."""
    return lambda x: nn.leaky_relu(x, slope)


#: Activations that options can name.
ACTIVATIONS: dict[str, Activation] = {
    "leaky_relu": leaky_relu(0.2),
    "relu": nn.relu,
    "selu": nn.selu,
    "silu": nn.silu,
}
#: Initialisers of kernels that options can name. The variance is 2 / fan_in for "he_...",
#: 1 / fan_in for "lecun_normal"; the normal ones are not truncated.
INITIALISERS: dict[str, nn.initializers.Initializer] = {
    "he_normal": nn.initializers.variance_scaling(2.0, "fan_in", "normal"),
    "he_uniform": nn.initializers.variance_scaling(2.0, "fan_in", "uniform"),
    "lecun_normal": nn.initializers.variance_scaling(1.0, "fan_in", "normal"),
    "xavier_uniform": xavier_uniform(),
}


def check_latents(z: jax.Array, latent_dim: int) -> None:
    """Raises ValueError unless `z` is `(n, latent_dim)`."""
    if z.ndim != 2 or z.shape[1] != latent_dim:
        raise ValueError(f"latents have shape {z.shape}; this generator takes (n, {latent_dim})")


def upsample(x: jax.Array) -> jax.Array:
    """Nearest-neighbour doubling of height and width, `(n, h, w, c)` -> `(n, 2h, 2w, c)`."""
    n, h, w, c = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None, :], (n, h, 2, w, 2, c))
    return x.reshape(n, 2 * h, 2 * w, c)


def average_pool(x: jax.Array) -> jax.Array:
    """Mean over 2 x 2 windows; an odd last row or column is dropped."""
    n, h, w, c = x.shape
    x = x[:, : h // 2 * 2, : w // 2 * 2]
    return jnp.mean(x.reshape(n, h // 2, 2, w // 2, 2, c), axis=(2, 4))


def halvings(height: int, width: int) -> int:
    """How often an image can be halved without leaving even sizes or falling below 4 pixels.

    8 -> 1 (4 x 4), 28 -> 2 (7 x 7), 32 -> 3 (4 x 4), 64 -> 4 (4 x 4).
    """
    n = 0
    while height % 2 == 0 and width % 2 == 0 and min(height, width) >= 8:
        height, width, n = height // 2, width // 2, n + 1
    return n


# ---------------------------------------------------------------- batch normalisation


class BatchNorm(nn.Module):
    """Batch normalisation over all axes but the last, synchronised over devices.

    In training the statistics are those of the whole batch in every view of a step (`jit` over
    sharded data, `shard_map`, named `vmap`), and gradients pass through them. The variance is
    `E[(x - mean)^2]` in float32, which does not cancel where the mean is large. Running
    statistics are kept in the collection "batch_stats" and change only where a call makes that
    collection mutable; they hold the biased variance (Ioffe & Szegedy 2015).

    Attributes:
      momentum: share of the old running statistics that one call keeps.
      epsilon: added to the variance.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Normalised `x` `(..., c)`, in the type of `x`; `train` chooses the statistics."""
        shape = (x.shape[-1],)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape)
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)

        def spread(per_channel: jax.Array) -> jax.Array:
            return per_channel.reshape((1,) * (x.ndim - 1) + shape)

        x32 = x.astype(jnp.float32)
        mean, var = running_mean.value, running_var.value
        # `init` may run outside any mapped axis, and its output is thrown away.
        if train and not self.is_initializing():
            axes = tuple(range(x.ndim - 1))
            mean = parallel.batch_mean(x32, axes)
            var = parallel.batch_mean(jnp.square(x32 - spread(mean)), axes)
            if self.is_mutable_collection("batch_stats"):
                keep = self.momentum
                running_mean.value = keep * running_mean.value + (1.0 - keep) * mean
                running_var.value = keep * running_var.value + (1.0 - keep) * var
        inverse = scale * jax.lax.rsqrt(var + self.epsilon)
        return ((x32 - spread(mean)) * spread(inverse) + spread(bias)).astype(x.dtype)


# ---------------------------------------------------------------- spectral normalisation


def as_matrix(kernel: jax.Array) -> jax.Array:
    """A dense or convolution kernel as the matrix `(inputs * window, outputs)`."""
    return kernel.reshape(-1, kernel.shape[-1])


def _product(a: jax.Array, b: jax.Array) -> jax.Array:
    # Reduced-precision products would put the norm off by 1e-3 on accelerators.
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def _unit(x: jax.Array) -> jax.Array:
    return x / jnp.maximum(jnp.linalg.norm(x), 1e-12)


def power_step(matrix: jax.Array, u: jax.Array) -> jax.Array:
    """One power iteration for the leading right singular vector `u` `(outputs,)`."""
    return _unit(_product(_unit(_product(matrix, u)), matrix))


def spectral_norm(matrix: jax.Array, u: jax.Array) -> jax.Array:
    """Estimate `v' W u` of the largest singular value, with `v = W u / |W u|`.

    `u` and `v` are constants of the gradient, which is therefore `v u'`: exactly that of the
    largest singular value once `u` has converged (Miyato et al. 2018).
    """
    u = jax.lax.stop_gradient(u)
    v = jax.lax.stop_gradient(_unit(_product(matrix, u)))
    return _product(v, _product(matrix, u))


def _normalised(module: nn.Module, kernel: jax.Array, update_stats: bool, gain: bool) -> jax.Array:
    """`kernel` over its spectral norm; keeps the vector `u` and gain of the calling module."""
    outputs = kernel.shape[-1]
    stored = module.variable(
        "spectral", "u", lambda: _unit(jax.random.normal(module.make_rng("params"), (outputs,)))
    )
    matrix, u = as_matrix(kernel), stored.value
    if update_stats and not module.is_initializing():
        u = jax.lax.stop_gradient(power_step(matrix, u))
        if module.is_mutable_collection("spectral"):
            stored.value = u
    kernel = kernel / jnp.maximum(spectral_norm(matrix, u), 1e-12)
    return module.param("gain", nn.initializers.ones, ()) * kernel if gain else kernel


def _check_gain(gain: bool, normalise: bool) -> None:
    if gain and not normalise:
        raise ValueError(
            "trainable_gain=True multiplies spectrally normalised kernels, but"
            " spectral_norm=False; set spectral_norm=True or trainable_gain=False"
        )


class SNDense(nn.Module):
    """Dense layer whose kernel is divided by its largest singular value.

    The vector of the power iteration is kept in the collection "spectral". With `update_stats`
    a call takes one power step from the stored vector; the result is stored only where the call
    makes the collection mutable, so that several passes of one training step (real, fake,
    interpolated) can use one and the same normalised network.

    Attributes:
      features: number of outputs.
      normalise: False gives a plain dense layer.
      kernel_init: initialiser of the kernel `(inputs, features)`.
      gain: the normalised kernel is multiplied by a learnt scalar "gain" that starts at 1, which
        is then the layer's largest singular value up to its sign.
      multiplier: the kernel is multiplied by it at run time, before it is normalised.
    """

    features: int
    normalise: bool = True
    kernel_init: nn.initializers.Initializer = xavier_uniform()
    gain: bool = False
    multiplier: float = 1.0

    @nn.compact
    def __call__(self, x: jax.Array, update_stats: bool) -> jax.Array:
        """`(n, inputs)` -> `(n, features)`."""
        _check_gain(self.gain, self.normalise)
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        kernel = kernel if self.multiplier == 1.0 else self.multiplier * kernel
        if self.normalise:
            kernel = _normalised(self, kernel, update_stats, self.gain)
        return x @ kernel + bias.reshape((1,) * (x.ndim - 1) + (self.features,))


class SNConv(nn.Module):
    """2-D convolution with SAME padding; see `SNDense` for the normalisation.

    The kernel is normalised as the matrix `(window * inputs, features)` (Miyato et al. 2018),
    which bounds the norm of the convolution itself by `ceil(kernel_size / stride)`.

    Attributes:
      features: number of output channels.
      kernel_size: side of the square window.
      stride: step of the window in both directions.
      normalise: False gives a plain convolution.
      kernel_init: initialiser of the kernel `(size, size, inputs, features)`.
      gain: see `SNDense`.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    normalise: bool = True
    kernel_init: nn.initializers.Initializer = xavier_uniform()
    gain: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, update_stats: bool) -> jax.Array:
        """`(n, h, w, c)` -> `(n, h / stride, w / stride, features)`."""
        _check_gain(self.gain, self.normalise)
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        if self.normalise:
            kernel = _normalised(self, kernel, update_stats, self.gain)
        y = jax.lax.conv_general_dilated(
            x, kernel, (self.stride,) * 2, "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return y + bias.reshape(1, 1, 1, self.features)


def gains(params: dict[str, Any]) -> jax.Array:
    """All trainable gains of spectrally normalised layers, `(k,)`, in the order of their paths.

    In a chain of normalised layers and 1-Lipschitz activations the product of their sizes bounds
    the Lipschitz constant, up to the bound of each convolution (`SNConv`).

    Args:
      params: parameters of a network made with `trainable_gain=True`; k = 0 without.
    """
    flat: dict[tuple[str, ...], Any] = traverse_util.flatten_dict(params)
    found = [flat[path] for path in sorted(flat) if path[-1] == "gain"]
    return jnp.stack(found) if found else jnp.zeros(0)


def leading_vector(matrix: jax.Array, u: jax.Array, squarings: int) -> jax.Array:
    """`u` after `2**squarings` power steps, by repeated squaring of the Gram matrix."""

    def square(_: int, gram: jax.Array) -> jax.Array:
        gram = _product(gram, gram)
        return gram / jnp.maximum(jnp.linalg.norm(gram), 1e-30)

    gram = _product(matrix.T, matrix)
    gram = gram / jnp.maximum(jnp.linalg.norm(gram), 1e-30)
    return _unit(_product(jax.lax.fori_loop(0, squarings, square, gram), u))


def spectral_warmup(
    variables: dict[str, Any], params: dict[str, Any], squarings: int = 15
) -> dict[str, Any]:
    """Variables after `2**squarings` power steps on every spectrally normalised kernel.

    Run it once after `init`: from a random vector the first estimates of the norms are too small
    by a factor of 2 to 10, and since a random kernel has many singular values next to its
    largest, 15 plain power steps still leave them up to 4 % too small, 150 up to 0.2 %.

    Args:
      variables: what the network carries besides parameters, `{"spectral": ..., ...}`.
      params: its parameters.
      squarings: how often the Gram matrix of a kernel is squared.

    Returns:
      `variables` with new vectors; the same where there are none.
    """
    if "spectral" not in variables:
        return variables
    kernels: dict[tuple[str, ...], Any] = traverse_util.flatten_dict(params)
    vectors: dict[tuple[str, ...], Any] = traverse_util.flatten_dict(variables["spectral"])
    warmed = {
        path: leading_vector(as_matrix(kernels[(*path[:-1], "kernel")]), u, squarings)
        for path, u in vectors.items()
    }
    return {**variables, "spectral": traverse_util.unflatten_dict(warmed)}
