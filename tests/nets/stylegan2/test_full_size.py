"""The published 1024 x 1024 network on a CPU, with random weights."""

import jax
import numpy as np
import pytest

from gmkit.nets import stylegan2
from gmkit.nets.stylegan2 import weights

GIB = 2**30


@pytest.mark.slow
def test_an_image_of_1024_pixels_fits_a_small_machine():
    """519 MiB of activations beside 127 MiB of weights; 2.4 s of one core, 7 s to compile."""
    net, _ = stylegan2.networks(
        stylegan2.configuration("stylegan2", 1024), 1024, half_precision=False
    )
    rng = np.random.default_rng(0)
    arrays = {k: np.float32(rng.normal(size=s.shape)) for k, s in weights.slots(net).items()}
    variables = stylegan2.from_official(net, arrays | weights.filters(net, arrays))
    z = np.float32(rng.normal(size=(1, 512)))
    compiled = jax.jit(lambda v, z: net.apply(v, z, psi=0.7)).lower(variables, z).compile()
    used = compiled.memory_analysis()
    assert used.temp_size_in_bytes + used.argument_size_in_bytes < GIB
    x = np.asarray(compiled(variables, z))
    assert x.shape == (1, 1024, 1024, 3) and np.isfinite(x).all() and x.std() > 0
    again = stylegan2.to_official(net, variables)
    assert all(np.array_equal(again[k], a) for k, a in arrays.items())
