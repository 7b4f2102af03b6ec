"""`launch.memory`: settings of the allocator."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from launch import memory

ROOT = Path(__file__).parents[2]
#: Maps a large buffer, frees it and maps another; prints the page faults of the second.
FAULTS = """
import resource
import numpy as np
from launch import memory
{call}
count = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(1 << 24)
before = count()
np.ones(1 << 24)
print(count() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="settings of glibc")
def test_freed_memory_is_used_again():
    def faults(call):
        program = [sys.executable, "-c", FAULTS.format(call=call)]
        return int(subprocess.run(program, cwd=ROOT, check=True, capture_output=True).stdout)

    # 128 MiB are 32 768 pages, or 64 huge ones.
    assert faults("") > 50
    assert faults("assert memory.keep_freed_memory()") < 10


def test_settings_of_the_environment_are_left_alone(monkeypatch):
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    assert not memory.keep_freed_memory()
