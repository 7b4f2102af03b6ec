"""gmkit: deep generative modelling research as pure JAX functions around one `TrainState`.

Import the piece you need from the floor it lives on, for example::

    from gmkit import samplers, objectives
    from gmkit.core import TrainState, Method
"""

import os
from pathlib import Path

__version__ = "0.1.0"


def cache_dir(name: str) -> Path:
    """Folder `name` of what gmkit can make again: `$GMKIT_CACHE/name` or `~/.cache/gmkit/name`."""
    root = os.environ.get("GMKIT_CACHE")
    return (Path(root) if root else Path.home() / ".cache" / "gmkit") / name
