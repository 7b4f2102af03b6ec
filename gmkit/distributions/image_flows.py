"""Flows of images by name."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from gmkit.distributions.bijector import Bijector, chain, scanned
from gmkit.distributions.conditioners import Conditioner, convolutional
from gmkit.distributions.coupling import channel_mask, checker_mask, coupling
from gmkit.distributions.density import Density, flow
from gmkit.distributions.elementwise import affine, location_scale, sigmoid_affine
from gmkit.distributions.linear import invertible_1x1, random_rotations
from gmkit.distributions.multiscale import level_shapes, multi_scale
from gmkit.distributions.normalisation import actnorm, diagonal
from gmkit.distributions.permutation import squeeze
from gmkit.distributions.simple import standard_normal

Shape = tuple[int, int, int]


def real_nvp_images(
    shape: Shape, levels: int = 2, width: int = 64, unroll: int | bool = 1
) -> Density:
    """RealNVP of images: per level 3 checkerboard couplings, squeeze, 3 channel couplings, split.

    Log-scales are bounded at 2 by a tanh, every coupling starts at the identity, and actnorm
    takes the place of batch normalisation (Dinh et al. 2017, section 3.6).

    Args:
      shape: (height, width, channels); the sides are divisible by `2**levels`.
      levels: scales.
      width: channels of the couplings' networks.
      unroll: as in `scanned`.
    """
    level_shapes(shape, levels)
    function, network = affine(bound=2.0), convolutional(width)

    def level(side: Shape) -> Bijector:
        def checker(i: jax.Array) -> Bijector:
            return chain([actnorm(), coupling(checker_mask(side, i), function, network)])

        def channel(i: jax.Array) -> Bijector:
            mask = channel_mask(4 * side[2], i)
            return chain([actnorm(), coupling(mask, function, network)])

        return chain([scanned(checker, 3, unroll), squeeze(), scanned(channel, 3, unroll)])

    inputs = [(2 * h, 2 * w, c // 4) for h, w, c in level_shapes(shape, levels)]
    return flow(standard_normal(math.prod(shape)), multi_scale([level(s) for s in inputs], shape))


def glow(
    shape: Shape,
    levels: int = 3,
    depth: int = 32,
    width: int = 512,
    seed: int = 0,
    unroll: int | bool = 1,
) -> Density:
    """Glow (Kingma & Dhariwal 2018): `depth` times actnorm, 1x1 convolution, affine coupling.

    What a level gives to the latents is first standardised by a convolution of what it keeps
    (Glow's learned prior of the split), and the last level by a trained scale and shift per
    channel (its learned top prior).

    Args:
      shape: (height, width, channels); the sides are divisible by `2**levels`.
      levels: scales.
      depth: steps per level, scanned.
      width: channels of the couplings' networks.
      seed: of the fixed rotations that the 1x1 convolutions start from.
      unroll: as in `scanned` (True is faster on CPU, where it compiles longer).
    """
    network: Conditioner = convolutional(width)

    def level(number: int, channels: int) -> Bijector:
        rotations = jnp.asarray(random_rotations(depth, channels, seed + number))
        mask = channel_mask(channels)

        def step(i: jax.Array) -> Bijector:
            couple = coupling(mask, sigmoid_affine(), network)
            return chain([actnorm(), invertible_1x1(rotations[i]), couple])

        prior = coupling(mask, location_scale(), convolutional(None))
        final = diagonal() if number == levels - 1 else prior
        return chain([squeeze(), scanned(step, depth, unroll), final])

    parts = [level(i, c) for i, (_, _, c) in enumerate(level_shapes(shape, levels))]
    return flow(standard_normal(math.prod(shape)), multi_scale(parts, shape))
