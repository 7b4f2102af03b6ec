"""A finished run of one method, as a part of another."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from gmkit.core.generator import LatentGenerator, from_decoder
from gmkit.core.method import Method
from gmkit.core.state import TrainState, eval_params


@dataclasses.dataclass(frozen=True)
class FinishedStage:
    """A method that has been trained, whose weights travel in the state that uses it.

    Weights that a compiled step closes over would be constants of its program: pass them as
    arguments instead, from the state's own `params` and `variables` or its `memory`.

    Attributes:
      name: of the stage.
      method: what it is.
      trained: its state.
    """

    name: str
    method: Method
    trained: TrainState

    @property
    def params(self) -> dict[str, Any]:
        """Parameters per network, averaged ones where it keeps them."""
        return {name: eval_params(self.trained, name) for name in self.trained.params}

    @property
    def variables(self) -> dict[str, Any]:
        """What its networks carry besides."""
        return self.trained.variables

    def logits(self, params: Any, variables: Any, x: jax.Array) -> jax.Array:
        """`Method.logits` with these weights.

        Raises:
          ValueError: a method that does not classify.
        """
        if self.method.logits is None:
            raise ValueError(f"stage {self.name!r} is a {self.method.name}, which has no logits")
        return self.method.logits(self._state(params, variables), x)

    def perturb(
        self, params: Any, variables: Any, key: jax.Array, x: jax.Array, labels: jax.Array
    ) -> jax.Array:
        """`Method.perturb` with these weights.

        Raises:
          ValueError: a method that makes no adversarial examples.
        """
        if self.method.perturb is None:
            raise ValueError(f"stage {self.name!r} is a {self.method.name}, which perturbs nothing")
        return self.method.perturb(self._state(params, variables), key, x, labels)

    def latent_generator(self, params: Any, variables: Any, z_dim: int) -> LatentGenerator:
        """The generator with these weights; one that only decodes has `w = z`.

        Args:
          params, variables: the weights.
          z_dim: size of the latent of one that only decodes.

        Raises:
          ValueError: a method that generates from no latent, or another size.
        """
        state, method = self._state(params, variables), self.method
        if method.generator is not None:
            found = method.generator(state)
            if found.z_dim != z_dim:
                raise ValueError(f"stage {self.name!r} has latents of {found.z_dim}, not {z_dim}")
            return found
        if method.decode is None:
            raise ValueError(f"stage {self.name!r} is a {method.name}, which does not decode")
        decode = method.decode
        return from_decoder(lambda z: decode(state, z), z_dim)

    def _state(self, params: Any, variables: Any) -> TrainState:
        return dataclasses.replace(
            self.trained, params=params, variables=variables, opt_state={}, ema={}, memory=None
        )
