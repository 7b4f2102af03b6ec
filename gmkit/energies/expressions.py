"""Expressions of attributes as text, in a readable dialect and in that of the official code.

The readable one has the usual precedence, `~` before `&` before `|`::

    glasses=1 & ~(smile=1 | age~0.7)        haircolor=black | ~ beard=1

The official one (`logical_comb` of the LACE repository) has one digit per attribute, `+` for
AND, `*` for OR with weight 20 on the left, `-` for NOT, parentheses and no precedence: strictly
from left to right, as in `(0+1)*(2+(-3))`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Literal, NoReturn

from gmkit.energies.composition import OFFICIAL_LOG_WEIGHT, And, Atom, Expression, Not, Or

#: What is known of an attribute: its classes by name, how many there are, or None where it is
#: continuous.
Classes = Sequence[str] | int | None

_NAME = r"[A-Za-z_]\w*"
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_TOKENS = {
    "gmkit": re.compile(rf"\s*(?:(?P<name>{_NAME})|(?P<number>{_NUMBER})|(?P<sign>[&|~()=]))"),
    "official": re.compile(r"\s*(?:(?P<number>\d+)|(?P<sign>[-+*()]))"),
}


class ExpressionError(ValueError):
    """Text that is no expression; the message shows where."""


class _Tokens:
    """The tokens of a text and the place that is read next."""

    def __init__(self, text: str, dialect: str) -> None:
        self.text, self.place = text, 0
        self.tokens: list[tuple[str, str, int]] = []
        end = 0
        while text[end:].strip():
            match = _TOKENS[dialect].match(text, end)
            if match is None:
                start = end + len(text[end:]) - len(text[end:].lstrip())
                self.fail(f"unknown character {text[start]!r}", start)
            kind = match.lastgroup or ""
            self.tokens.append((kind, match[kind], match.start(kind)))
            end = match.end()
        self.tokens.append(("end", "", len(text)))

    def fail(self, problem: str, position: int) -> NoReturn:
        raise ExpressionError(f"expression {self.text!r}, position {position}: {problem}")

    def expected(self, what: str) -> NoReturn:
        _, text, position = self.tokens[self.place]
        self.fail(f"expected {what}, found {repr(text) if text else 'the end'}", position)

    @property
    def kind(self) -> str:
        return self.tokens[self.place][0]

    @property
    def position(self) -> int:
        return self.tokens[self.place][2]

    def take(self, kind: str, what: str) -> str:
        """The next token, which must be of a kind."""
        if self.kind != kind:
            self.expected(what)
        self.place += 1
        return self.tokens[self.place - 1][1]

    def accept(self, *signs: str) -> str:
        """The next token if it is one of the signs, else ""."""
        kind, text, _ = self.tokens[self.place]
        if kind != "sign" or text not in signs:
            return ""
        self.place += 1
        return text


def parse(
    text: str,
    dialect: Literal["gmkit", "official"] = "gmkit",
    attributes: Mapping[str, Classes] | Sequence[Atom] | None = None,
) -> Expression:
    """An expression from its text.

    Args:
      text: such as `glasses=1 & ~(smile=1 | age~0.7)`; `name=class` for a discrete attribute,
        `name~number` for a continuous one.
      dialect: "gmkit", or "official" for strings of the official code.
      attributes: "gmkit": what is known of each attribute, `{name: class names, number of
        classes, or None for continuous}`; without it names and classes are not checked, and
        classes must be numbers. "official": the atoms that the digits number, required.

    Raises:
      ExpressionError: a mistake in the text, with its position, counted from 0. In the official
        dialect also what the official code reads otherwise than written: numbers of several
        digits (it takes the last one), operators without an operand, parentheses that do not
        match.
      ValueError: another dialect, or attributes that do not fit it.
    """
    if dialect not in _TOKENS:
        raise ValueError(f"dialect={dialect!r}: choose gmkit or official")
    tokens = _Tokens(text, dialect)
    if dialect == "official":
        if attributes is None or isinstance(attributes, Mapping):
            raise ValueError("the official dialect needs attributes: the atoms that digits number")
        tree, operators = _official(tokens, attributes), "+, -, * or the end"
    else:
        if attributes is not None and not isinstance(attributes, Mapping):
            raise ValueError("attributes must be a mapping from names to classes")
        tree, operators = _or(tokens, attributes), "&, | or the end"
    if tokens.kind != "end":
        tokens.expected(operators)
    return tree


# ---------------------------------------------------------------- official


def _official(tokens: _Tokens, attributes: Sequence[Atom]) -> Expression:
    """Operands and operators from left to right; a minus may come before the first operand."""
    negated = tokens.accept("-")
    tree = _official_operand(tokens, attributes)
    if negated:
        tree = Not(tree)
    while operator := tokens.accept("+", "-", "*"):
        # "0+-1" is "0-1", since the official code adds nothing before the minus.
        if operator == "+" and tokens.accept("-"):
            operator = "-"
        right = _official_operand(tokens, attributes)
        if operator == "*":
            tree = Or((tree, right), log_weights=(OFFICIAL_LOG_WEIGHT, 0.0))
        else:
            tree = And((tree, Not(right) if operator == "-" else right))
    return tree


def _official_operand(tokens: _Tokens, attributes: Sequence[Atom]) -> Expression:
    if tokens.accept("("):
        tree = _official(tokens, attributes)
        if not tokens.accept(")"):
            tokens.expected("+, -, * or )")
        return tree
    position = tokens.position
    digits = tokens.take("number", "a digit or (")
    if len(digits) > 1:
        tokens.fail(f"{digits} has several digits: attributes are single digits here", position)
    if int(digits) >= len(attributes):
        tokens.fail(f"attribute {digits} of only {len(attributes)}, counted from 0", position)
    return attributes[int(digits)]


# ---------------------------------------------------------------- readable


def _or(tokens: _Tokens, attributes: Mapping[str, Classes] | None) -> Expression:
    children = [_and(tokens, attributes)]
    while tokens.accept("|"):
        children.append(_and(tokens, attributes))
    return children[0] if len(children) == 1 else Or(tuple(children))


def _and(tokens: _Tokens, attributes: Mapping[str, Classes] | None) -> Expression:
    children = [_operand(tokens, attributes)]
    while tokens.accept("&"):
        children.append(_operand(tokens, attributes))
    return children[0] if len(children) == 1 else And(tuple(children))


def _operand(tokens: _Tokens, attributes: Mapping[str, Classes] | None) -> Expression:
    if tokens.accept("~"):
        return Not(_operand(tokens, attributes))
    if tokens.accept("("):
        tree = _or(tokens, attributes)
        if not tokens.accept(")"):
            tokens.expected("&, | or )")
        return tree
    return _atom(tokens, attributes)


def _atom(tokens: _Tokens, attributes: Mapping[str, Classes] | None) -> Atom:
    start = tokens.position
    name = tokens.take("name", "an attribute, ~ or (")
    if attributes is not None and name not in attributes:
        tokens.fail(f"unknown attribute {name!r}{_nearest(name, list(attributes))}", start)
    kind = tokens.accept("=", "~")
    if not kind:
        tokens.expected(f"= or ~ after {name}")
    if attributes is not None and (kind == "~") != (attributes[name] is None):
        right = f"{name}=class" if kind == "~" else f"{name}~number"
        what = "discrete" if kind == "~" else "continuous"
        tokens.fail(f"{name} is {what}: write {right}", start)
    if kind == "~":
        return Atom(name, float(tokens.take("number", f"a number after {name}~")), "~")
    return Atom(name, _label(tokens, name, None if attributes is None else attributes[name]))


def _label(tokens: _Tokens, name: str, classes: Classes) -> int:
    """The class after `name=`, by number or by its name."""
    position = tokens.position
    named = () if classes is None or isinstance(classes, int) else tuple(classes)
    if tokens.kind == "name":
        label = tokens.take("name", "a class")
        if label not in named:
            hint = _nearest(label, named) if named else ", which has no named classes"
            tokens.fail(f"unknown class {label!r} of {name}{hint}", position)
        return named.index(label)
    text = tokens.take("number", f"a class after {name}=")
    count = classes if isinstance(classes, int) else len(named)
    if not text.isdigit() or (classes is not None and int(text) >= count):
        offered = "a class number" if classes is None else f"a class in 0 .. {count - 1}"
        tokens.fail(f"{name}={text}: give {offered}", position)
    return int(text)


def _nearest(word: str, offered: Sequence[str]) -> str:
    """A hint to the name that was meant."""
    match = difflib.get_close_matches(word, offered, 1)
    return f"; did you mean {match[0]!r}?" if match else f": choose {', '.join(offered)}"
