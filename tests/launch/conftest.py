"""The commands under test, called in process: a subprocess spends seconds on imports."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

import jax
import pytest

import gmkit  # noqa: F401 - first, so that the installed package is what the commands import

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = Path(__file__).resolve().parent / "fixtures"
CONFIG = str(FIXTURES / "mean.py")

sys.path.append(str(ROOT))


class Call(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


@pytest.fixture
def main(tmp_path, monkeypatch, capsys):
    """`launch/main.py` with an empty current directory; returns what it printed."""
    from launch.main import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(FIXTURES))
    cache = f"--compilation_cache={jax.config.jax_compilation_cache_dir}"

    def call(*argv: str) -> Call:
        code = main([*argv, cache])
        out, err = capsys.readouterr()
        return Call(code, out, err)

    return call


@pytest.fixture
def mean_config() -> str:
    """A config of a tiny method that lives outside gmkit."""
    return CONFIG
