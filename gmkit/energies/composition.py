"""Attributes composed by AND, OR and NOT, as an expression tree and one function that reads it.

Energies compose as unnormalised log-probabilities (Nie et al. 2021)::

    glasses, smiling = Atom("glasses", 1), Atom("smile", 1)
    total = compose(glasses & ~smiling, {glasses: log_p_glasses, smiling: log_p_smiling})

Only AND is a probability (of independent attributes). OR adds probabilities and may exceed 1;
NOT is a bounded push away, so neither De Morgan's laws nor double negation hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp

#: Log-probabilities are kept within plus and minus this, so that an impossible attribute (-inf)
#: makes no NaN of a sum or a gradient.
LARGEST = 1e30
#: Weight of the left operand of OR in the official code, as a logarithm.
OFFICIAL_LOG_WEIGHT = math.log(20.0)


class Expression:
    """Node of a tree; `a & b`, `a | b` and `~a` make larger ones."""

    def __and__(self, other: Expression) -> And:
        return And((self, other))

    def __or__(self, other: Expression) -> Or:
        return Or((self, other))

    def __invert__(self) -> Not:
        return Not(self)


@dataclass(frozen=True)
class Atom(Expression):
    """One attribute at one value.

    Attributes:
      name: of the attribute.
      value: class for kind "=", target for kind "~".
      kind: "=" for a discrete attribute, "~" for a continuous one.

    Raises:
      ValueError: another kind.
    """

    name: str
    value: int | float | str
    kind: Literal["=", "~"] = "="

    def __post_init__(self) -> None:
        if self.kind not in ("=", "~"):
            raise ValueError(f"attribute {self.name}: kind={self.kind!r}: choose = or ~")

    def __str__(self) -> str:
        return f"{self.name}{self.kind}{self.value}"


@dataclass(frozen=True)
class And(Expression):
    """`sum_i L_i`: all of the children.

    Raises:
      ValueError: no children.
    """

    children: tuple[Expression, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "children", _nonempty("And", self.children))

    def __str__(self) -> str:
        return " & ".join(f"({c})" if isinstance(c, Or) else str(c) for c in self.children)


@dataclass(frozen=True)
class Or(Expression):
    """`T log sum_i exp(L_i / T + log w_i)`: at least one of the children.

    Attributes:
      children: alternatives.
      log_weights: `log w_i`, one per child; None for 0. The official code has log 20 on the left.
      temperature: T > 0; towards 0 this becomes the maximum.

    Raises:
      ValueError: no children, not as many weights, or a temperature that is not positive.
    """

    children: tuple[Expression, ...]
    log_weights: tuple[float, ...] | None = None
    temperature: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "children", _nonempty("Or", self.children))
        if self.log_weights is not None:
            object.__setattr__(self, "log_weights", tuple(self.log_weights))
            if len(self.log_weights) != len(self.children):
                raise ValueError(
                    f"Or has log_weights={self.log_weights} for {len(self.children)} children: "
                    "give one each"
                )
        if not self.temperature > 0:
            raise ValueError(f"Or has temperature={self.temperature}: must be positive")

    def __str__(self) -> str:
        return " | ".join(map(str, self.children))


@dataclass(frozen=True)
class Not(Expression):
    """`-a L`: away from the child.

    Attributes:
      child: what is unwanted.
      mode: "adaptive": `a = min(1, alpha / |L|)` without a gradient of its own, so the value is
        at most alpha and the push fades where the child is already improbable (the official
        code's); "fixed": `a = alpha`, which is not bounded (Du et al. 2020).
      alpha: the bound, or the coefficient.

    Raises:
      ValueError: another mode, or an alpha that is not positive.
    """

    child: Expression
    mode: Literal["adaptive", "fixed"] = "adaptive"
    alpha: float = 0.1

    def __post_init__(self) -> None:
        if self.mode not in ("adaptive", "fixed"):
            raise ValueError(f"Not has mode={self.mode!r}: choose adaptive or fixed")
        if not self.alpha > 0:
            raise ValueError(f"Not has alpha={self.alpha}: must be positive")

    def __str__(self) -> str:
        text = str(self.child)
        return f"~({text})" if isinstance(self.child, And | Or) else f"~{text}"


def _nonempty(name: str, children: Sequence[Expression]) -> tuple[Expression, ...]:
    if not children:
        raise ValueError(f"{name} has no children: give at least one")
    return tuple(children)


def atoms(expression: Expression) -> tuple[Atom, ...]:
    """The different atoms of an expression, in the order in which it names them."""
    if isinstance(expression, Atom):
        return (expression,)
    if isinstance(expression, Not):
        return atoms(expression.child)
    assert isinstance(expression, And | Or)
    return tuple(dict.fromkeys(atom for child in expression.children for atom in atoms(child)))


def compose(
    expression: Expression,
    log_probs: Mapping[Atom, jax.Array] | Callable[[Atom], jax.Array],
) -> jax.Array:
    """Total log-probability L of an expression, elementwise.

    Values and gradients are finite also where an atom's log-probability is infinite: atoms are
    kept within `LARGEST`, where they have no gradient.

    Args:
      expression: tree of `And`, `Or`, `Not` and `Atom`.
      log_probs: log-probability of every atom, arrays of one shape (or that broadcast), as a
        mapping or a function that is asked once per atom.

    Raises:
      ValueError: the mapping lacks an atom.
    """
    values: dict[Atom, jax.Array] = {}
    for atom in atoms(expression):
        if isinstance(log_probs, Mapping) and atom not in log_probs:
            known = ", ".join(map(str, log_probs))
            raise ValueError(f"no log-probability for {atom}: there are {known or 'none'}")
        value = log_probs[atom] if isinstance(log_probs, Mapping) else log_probs(atom)
        values[atom] = jnp.clip(value, -LARGEST, LARGEST)
    return _evaluate(expression, values)


def _evaluate(node: Any, values: Mapping[Atom, jax.Array]) -> jax.Array:
    if isinstance(node, Atom):
        return values[node]
    if isinstance(node, Not):
        value = _evaluate(node.child, values)
        if node.mode == "fixed":
            return -node.alpha * value
        size = jnp.abs(jax.lax.stop_gradient(value))
        # alpha / max(|L|, alpha) is min(1, alpha / |L|) without a division by 0.
        return -node.alpha / jnp.maximum(size, node.alpha) * value
    children = [_evaluate(child, values) for child in node.children]
    if isinstance(node, And):
        return sum(children[1:], children[0])
    weights = node.log_weights or (0.0,) * len(children)
    terms = [c / node.temperature + w for c, w in zip(children, weights, strict=True)]
    stacked = jnp.stack(jnp.broadcast_arrays(*terms))
    return node.temperature * jax.nn.logsumexp(stacked, axis=0)
