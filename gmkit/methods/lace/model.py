"""The joint energy of latents and attributes, on a generator that stays as it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from gmkit import samplers
from gmkit.core import FinishedStage, LatentGenerator, TrainState, eval_params, truncate
from gmkit.energies import Atom, Expression, compose
from gmkit.methods.lace.attributes import Attribute
from gmkit.samplers import GuidedSample

Array = jax.Array
SAMPLERS = ("ode", "exact", "langevin", "predictor_corrector")


class Weights(NamedTuple):
    """What the energy is made of, as arguments of compiled functions.

    Attributes:
      classifiers: parameters by attribute.
      generator: the generator's parameters and variables.
    """

    classifiers: Mapping[str, Any]
    generator: tuple[Any, Any]


@dataclasses.dataclass(frozen=True)
class Lace:
    """Attributes of generated images, read off their latents.

    Attributes:
      attributes: what there is to control.
      networks: classifier of each, latents `(..., d)` -> `(..., n_outputs)`.
      generator: a finished stage that decodes.
      z_dim: size of its latent.
      space: what the classifiers read: "w", the generator's intermediate latent, or "z".
      psi: truncation of w, of what the classifiers read and of the images.
    """

    attributes: tuple[Attribute, ...]
    networks: Mapping[str, nn.Module]
    generator: FinishedStage
    z_dim: int
    space: str = "w"
    psi: float = 1.0

    def __post_init__(self) -> None:
        if self.space not in ("w", "z"):
            raise ValueError(f"space={self.space!r}: choose w or z")

    # ------------------------------------------------------------ parts

    def latent_generator(self, weights: Any) -> LatentGenerator:
        """The generator with its weights bound, truncated."""
        made = self.generator.latent_generator(*weights, z_dim=self.z_dim)
        return made if self.psi == 1.0 else truncate(made, self.psi)

    def weights(self, state: TrainState) -> Weights:
        """The weights that a state holds."""
        averaged = {a.name: eval_params(state, a.name) for a in self.attributes}
        return Weights(averaged, state.variables["generator"])

    def outputs(self, weights: Weights, z: Array) -> tuple[Array, ...]:
        """Logits or prediction of every attribute, of latents `(..., z_dim)`."""
        read = self.latent_generator(weights.generator).mapping(z) if self.space == "w" else z
        return self.read(weights.classifiers, read)

    def read(self, classifiers: Mapping[str, Any], w: Array) -> tuple[Array, ...]:
        """The same of what the classifiers read."""
        return tuple(
            a.read(cast(Array, self.networks[a.name].apply({"params": classifiers[a.name]}, w)))
            for a in self.attributes
        )

    # ------------------------------------------------------------ energies

    def conditional(self, z: Array, args: tuple[Weights, Array, Array]) -> Array:
        """`sum_i log p(c_i | z)` of one latent over the attributes that are wanted.

        Args:
          z: `(z_dim,)`.
          args: the weights, a target per attribute and whether it is wanted, both `(A,)`.
        """
        weights, targets, wanted = args
        return jnp.sum(jnp.where(wanted, self.log_probs(self.outputs(weights, z), targets), 0.0))

    def log_probs(self, outputs: tuple[Array, ...], targets: Array) -> Array:
        """`log p(c_i | z)` of every attribute at its target, `(A,)`."""
        pairs = zip(self.attributes, outputs, targets, strict=True)
        return jnp.stack([a.log_prob(output, target) for a, output, target in pairs])

    def composed(self, expression: Expression) -> Callable[[Array, Weights], Array]:
        """`(z (z_dim,), weights) -> ()`, the total log-probability of an expression."""
        index = {a.name: i for i, a in enumerate(self.attributes)}

        def log_prob(z: Array, weights: Weights) -> Array:
            outputs = self.outputs(weights, z)

            def of(atom: Atom) -> Array:
                i = index[atom.name]
                return self.attributes[i].log_prob(outputs[i], cast(float, atom.value))

            return compose(expression, of)

        return log_prob


def draw(
    kind: str,
    log_prob: samplers.LogProb,
    z: Array,
    key: Array,
    args: Any,
    axes: Any,
    settings: Mapping[str, Any],
) -> GuidedSample:
    """Latents by one of `SAMPLERS`, from `z (n, z_dim)` on.

    Raises:
      ValueError: another sampler, or settings it does not have.
    """
    if kind == "ode":
        return samplers.lace_ode(log_prob, z, args, args_axis=axes, **settings)
    if kind not in SAMPLERS:
        raise ValueError(f"sampler {kind!r}: choose {', '.join(SAMPLERS)}")
    function = {
        "exact": samplers.exact_ode,
        "langevin": samplers.guided_langevin,
        "predictor_corrector": samplers.predictor_corrector,
    }[kind]
    return function(log_prob, z, key, args, args_axis=axes, **settings)
