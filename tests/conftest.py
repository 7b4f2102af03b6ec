"""What every test runs under: four CPU devices, no implicit rank promotion, one compile cache."""

from __future__ import annotations

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "agg")

import jax
import pytest
from absl import flags

from gmkit import cache_dir

CACHE = cache_dir("jax-tests")
CACHE.mkdir(mode=0o700, parents=True, exist_ok=True)

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)

# Libraries that read absl flags find their defaults.
flags.FLAGS.mark_as_parsed()


@pytest.fixture
def key() -> jax.Array:
    """A root PRNG key."""
    return jax.random.key(0)
