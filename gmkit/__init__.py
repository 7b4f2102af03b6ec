"""gmkit: deep generative modelling research as pure JAX functions around one `TrainState`.

Import the piece you need from the floor it lives on, for example::

    from gmkit import samplers, objectives
    from gmkit.core import TrainState, Method
"""

__version__ = "0.1.0"
