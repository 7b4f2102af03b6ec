"""The generator and the discriminator of AdvGAN (Xiao et al. 2018)."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from gmkit.nets.layers import leaky_relu

_NORMAL = nn.initializers.normal(0.02)


class AdvGANGenerator(nn.Module):
    """Perturbations of images, before they are bounded: `c3s1-8, d16, d32, r32 x 4, u16, u8, c3s1`.

    Convolutions of 3 x 3 with instance normalisation and rectifiers; every width after the first
    halves the side, residual blocks follow at the coarsest one, and as many fractional-stride
    convolutions come back.

    Attributes:
      channels: of the images.
      widths: channels of the first convolution and of those that halve.
      blocks: residual blocks.
    """

    channels: int
    widths: tuple[int, ...] = (8, 16, 32)
    blocks: int = 4

    @nn.compact
    def __call__(self, x: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        """Raw perturbations of images in [0, 1].

        Args:
          x: images `(n, h, w, c)`; sides that 2 divides as often as there are widths after the
            first.
          condition: one-hot classes `(n, K)`, which become constant channels; or None.

        Returns:
          `(n, h, w, channels)`, any real.

        Raises:
          ValueError: sides that do not divide.
        """
        n, height, width = x.shape[:3]
        step = 2 ** (len(self.widths) - 1)
        if height % step or width % step:
            raise ValueError(
                f"images of {height}x{width}: generator.widths={self.widths} needs sides divisible "
                f"by {step}; drop a width or set data.image_size"
            )
        if condition is not None:
            planes = jnp.broadcast_to(
                condition[:, None, None, :], (n, height, width, condition.shape[-1])
            )
            x = jnp.concatenate([x, planes.astype(x.dtype)], axis=-1)
        x = nn.relu(self._norm(self._conv(x, self.widths[0])))
        for features in self.widths[1:]:
            x = nn.relu(self._norm(self._conv(x, features, 2)))
        for _ in range(self.blocks):
            y = nn.relu(self._norm(self._conv(x, self.widths[-1])))
            x = x + self._norm(self._conv(y, self.widths[-1]))
        for features in reversed(self.widths[:-1]):
            x = nn.ConvTranspose(features, (3, 3), (2, 2), use_bias=False, kernel_init=_NORMAL)(x)
            x = nn.relu(self._norm(x))
        return nn.Conv(self.channels, (3, 3), kernel_init=_NORMAL)(x)

    def _conv(self, x: jax.Array, features: int, stride: int = 1) -> jax.Array:
        # The normalisation that follows takes any bias away.
        return nn.Conv(features, (3, 3), stride, use_bias=False, kernel_init=_NORMAL)(x)

    def _norm(self, x: jax.Array) -> jax.Array:
        return nn.InstanceNorm()(x)


class AdvGANDiscriminator(nn.Module):
    """Scores of images, `(n, h, w, c) -> (n,)`: `C8, C16, C32, FC`.

    Convolutions of 4 x 4 with stride 2 and leaky rectifiers of slope 0.2; all but the first are
    normalised per image (`norm`). The scores are not squashed.

    Attributes:
      widths: channels of the convolutions.
      norm: normalise.
    """

    widths: tuple[int, ...] = (8, 16, 32)
    norm: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for i, features in enumerate(self.widths):
            normed = self.norm and i > 0
            x = nn.Conv(features, (4, 4), 2, use_bias=not normed, kernel_init=_NORMAL)(x)
            if normed:
                x = nn.InstanceNorm()(x)
            x = leaky_relu(0.2)(x)
        return nn.Dense(1)(x.reshape(x.shape[0], -1))[:, 0]
