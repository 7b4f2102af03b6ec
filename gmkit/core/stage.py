"""A finished run of one method, as a part of another."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

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

    def _state(self, params: Any, variables: Any) -> TrainState:
        return dataclasses.replace(
            self.trained, params=params, variables=variables, opt_state={}, ema={}, memory=None
        )
