"""Networks filled with known numbers, on which the official implementation was run."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

from gmkit.nets import stylegan2
from gmkit.nets.stylegan2 import weights

GENERATOR = {
    "img_resolution": 16,
    "z_dim": 8,
    "w_dim": 8,
    "channel_base": 64,
    "channel_max": 8,
    "num_layers": 2,
}


def filled(name, shape):
    """sin(1.7 i + 0.3 j) over the flat index i, j from the name, scaled by the kind of array."""
    i = np.arange(int(np.prod(shape)))
    s = np.sin(1.7 * i + 0.3 * (sum(map(ord, name)) % 101))
    if name.endswith("affine.bias"):
        s = 1 + 0.1 * s
    elif name.endswith("noise_strength"):
        s = 0.2 * s
    elif name.endswith("w_avg"):
        s = 0.3 * s
    elif name.startswith("mapping.fc"):
        s = (s if name.endswith("weight") else 0.1 * s) / 0.01
    elif name.endswith("bias"):
        s = 0.1 * s
    return s.astype(np.float32).reshape(shape)


def state_dict(net):
    arrays = {name: filled(name, slot.shape) for name, slot in weights.slots(net).items()}
    if isinstance(net, stylegan2.Discriminator):
        arrays = {k: 2 * v if k.endswith("weight") else v for k, v in arrays.items()}
    return arrays | weights.filters(net, arrays)


@functools.cache
def known(kind, **changes):
    """A network and its variables."""
    if kind == "generator":
        net = stylegan2.Generator(**{**GENERATOR, **changes})
    else:
        net = stylegan2.Discriminator(
            **{"img_resolution": 16, "channel_base": 64, "channel_max": 8, **changes}
        )
    return net, stylegan2.from_official(net, state_dict(net))


@pytest.fixture(name="known", scope="session")
def _known():
    return known


@pytest.fixture(name="state_dict", scope="session")
def _state_dict():
    return state_dict


@pytest.fixture(scope="session")
def z():
    n, i = np.arange(2)[:, None], np.arange(8)[None]
    return jnp.asarray(np.sin(1 + 2 * n + 0.9 * i), jnp.float32)


@pytest.fixture(scope="session")
def images():
    i = np.arange(4 * 3 * 16 * 16)
    x = 3 * np.sin(0.37 * i * (1 + 0.01 * (i % 101)))
    return jnp.asarray(x.reshape(4, 3, 16, 16).transpose(0, 2, 3, 1), jnp.float32)
