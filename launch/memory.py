"""What a command asks of the C library's memory allocator."""

from __future__ import annotations

import ctypes
import os
from typing import Any

#: Parameters of `mallopt(3)`: M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_ARENA_MAX.
_SETTINGS = ((-1, 2**31 - 1), (-2, 2**28), (-3, 2**30), (-8, 1))


def keep_freed_memory() -> bool:
    """Lets glibc keep the memory that a step frees for the next one.

    By default large buffers go back to the system after every step and are mapped anew, a page
    fault for each 4 KiB: a third of the time of convolutions on a CPU. Settings in the
    environment (`MALLOC_...`, `GLIBC_TUNABLES`) are left alone.

    Returns:
      Whether the allocator took the settings: False for other C libraries.
    """
    if "GLIBC_TUNABLES" in os.environ or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        mallopt: Any = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return all([mallopt(parameter, value) == 1 for parameter, value in _SETTINGS])
