"""Reading a pickle as data: nothing that it names is imported, and nothing in it is called.

A pickle is a program for a small stack machine, which may import and call anything. This is that
machine without those two abilities: a global becomes its name, a call becomes a record of the
function's name and its arguments, an assignment of attributes is noted in the record. Instructions
and names outside two short lists end the reading, and no instruction can ask for more memory than
the file has bytes.
"""

from __future__ import annotations

import dataclasses
import pickletools
from collections.abc import Callable, Collection
from typing import Any, NamedTuple, cast


class PickleError(ValueError):
    """A pickle that is damaged, or that does what reading weights never needs."""


class Global(NamedTuple):
    """The name of a class or function, which is not looked up.

    Attributes:
      module: where it says it is.
      name: what it says it is called.
    """

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclasses.dataclass(eq=False)
class Call:
    """What a pickle would have called.

    Attributes:
      function: its name.
      args: its arguments.
      state: what would have been assigned to the result's attributes, or None.
    """

    function: Global
    args: tuple[Any, ...]
    state: Any = None


class Persistent(NamedTuple):
    """A reference to something stored outside of the pickle: a storage of tensors.

    Attributes:
      reference: as the file gives it.
    """

    reference: Any


_MARK = object()
_CONSTANTS = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": list,
}
_LITERALS = {
    "BININT",
    "BININT1",
    "BININT2",
    "LONG1",
    "BINFLOAT",
    "SHORT_BINSTRING",
    "BINSTRING",
    "BINUNICODE",
    "SHORT_BINUNICODE",
    "BINUNICODE8",
    "BINBYTES",
    "SHORT_BINBYTES",
    "BINBYTES8",
}
_IGNORED = {"PROTO", "FRAME"}
#: Calls that make plain containers: dict subclasses, sets, and bytes before protocol 3.
_DICTS = {("collections", "OrderedDict"), ("dnnlib.util", "EasyDict"), ("dnnlib", "EasyDict")}
_SETS = {("builtins", "set"), ("__builtin__", "set"), ("builtins", "frozenset")}
_ENCODE = ("_codecs", "encode")
#: Globals that every stream may name.
CONTAINERS = frozenset(_DICTS | _SETS | {_ENCODE})


def load(
    data: bytes,
    allowed: Callable[[Global], bool],
    start: int = 0,
    persistent: bool = False,
) -> tuple[Any, int]:
    """One pickle of a buffer, as plain containers, numbers, strings and records.

    Sets become lists, in the file's order.

    Args:
      data: the buffer.
      allowed: which globals may be named, besides `CONTAINERS`.
      start: where the pickle begins.
      persistent: whether it may refer to things outside.

    Returns:
      What it holds, and the position after it.

    Raises:
      PickleError: anything else.
    """
    machine = _Machine(allowed, persistent)
    view = data if start == 0 else data[start:]
    try:
        for opcode, argument, position in pickletools.genops(view):
            machine.execute(opcode.name, argument, start + cast(int, position))
            if opcode.name == "STOP":
                if len(machine.stack) != 1:
                    raise PickleError(f"not a pickle: {len(machine.stack)} values at its end")
                return machine.stack[0], start + cast(int, position) + 1
    except PickleError:
        raise
    # What the decoder of instructions raises for bytes that are none.
    except (ValueError, IndexError, TypeError, KeyError, OverflowError) as error:
        raise PickleError(f"not a readable pickle: {str(error)[:80]!r}") from error
    raise PickleError("not a readable pickle: it has no end")


class _Machine:
    """Stack and memo; one method call per instruction."""

    def __init__(self, allowed: Callable[[Global], bool], persistent: bool):
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.allowed, self.persistent = allowed, persistent

    def execute(self, name: str, argument: Any, position: int) -> None:
        """Carries one instruction out."""
        stack = self.stack
        if name in _LITERALS:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name == "MARK":
            stack.append(_MARK)
        elif name in ("BINGET", "LONG_BINGET"):
            if argument not in self.memo:
                raise PickleError(f"byte {position}: nothing was stored under {argument}")
            stack.append(self.memo[argument])
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self._top(position)
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self._top(position)
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            self._global(name, argument, position)
        elif name == "BINPERSID" and self.persistent:
            stack.append(Persistent(self._pop(position)))
        elif name not in _IGNORED and name != "STOP":
            action = getattr(self, f"_{name.lower()}", None) if name in _ACTIONS else None
            if action is None:
                raise PickleError(
                    f"byte {position}: the instruction {name} has no place in a file of weights"
                )
            action(position)

    # ------------------------------------------------------------ the stack

    def _top(self, position: int) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise PickleError(f"byte {position}: the pickle's stack is empty")
        return self.stack[-1]

    def _pop(self, position: int) -> Any:
        top = self._top(position)
        self.stack.pop()
        return top

    def _marked(self, position: int) -> list[Any]:
        """Everything above the last mark, which goes too."""
        for i in range(len(self.stack) - 1, -1, -1):
            if self.stack[i] is _MARK:
                found = self.stack[i + 1 :]
                del self.stack[i:]
                return found
        raise PickleError(f"byte {position}: the pickle's stack has no mark")

    # ------------------------------------------------------------ globals and calls

    def _global(self, instruction: str, argument: Any, position: int) -> None:
        if instruction == "GLOBAL":
            module, _, name = argument.partition(" ")
        else:
            name, module = self._pop(position), self._pop(position)
        if not (isinstance(module, str) and isinstance(name, str)):
            raise PickleError(f"byte {position}: a global whose name is no string")
        found = Global(module, name)
        if found not in CONTAINERS and not self.allowed(found):
            raise PickleError(
                f"byte {position}: it names {str(found)[:80]!r}, which weights never need; "
                "the file is refused, nothing of it was run"
            )
        self.stack.append(found)

    def _reduce(self, position: int) -> None:
        args, function = self._pop(position), self._pop(position)
        if not isinstance(function, Global) or not isinstance(args, tuple):
            raise PickleError(f"byte {position}: a call of something that is no global")
        self.stack.append(_called(function, args, position))

    _newobj = _reduce

    def _build(self, position: int) -> None:
        state, built = self._pop(position), self._top(position)
        if isinstance(built, dict) and isinstance(state, dict) and not state:
            return
        if not isinstance(built, Call) or built.state is not None:
            raise PickleError(f"byte {position}: attributes of something that has none")
        built.state = state

    # ------------------------------------------------------------ containers

    def _append(self, position: int) -> None:
        self._extend([self._pop(position)], position)

    def _appends(self, position: int) -> None:
        self._extend(self._marked(position), position)

    _additems = _appends

    def _extend(self, items: list[Any], position: int) -> None:
        if not isinstance(self._top(position), list):
            raise PickleError(f"byte {position}: items for something that is no list")
        self.stack[-1].extend(items)

    def _setitem(self, position: int) -> None:
        value, key = self._pop(position), self._pop(position)
        self._set([key, value], position)

    def _setitems(self, position: int) -> None:
        self._set(self._marked(position), position)

    def _set(self, items: list[Any], position: int) -> None:
        if not isinstance(self._top(position), dict):
            raise PickleError(f"byte {position}: entries for something that is no dictionary")
        self.stack[-1].update(_pairs(list(zip(items[::2], items[1::2], strict=True)), position))

    def _tuple(self, position: int) -> None:
        self.stack.append(tuple(self._marked(position)))

    def _tuple_of(self, n: int, position: int) -> None:
        items = [self._pop(position) for _ in range(n)]
        self.stack.append(tuple(reversed(items)))

    def _tuple1(self, position: int) -> None:
        self._tuple_of(1, position)

    def _tuple2(self, position: int) -> None:
        self._tuple_of(2, position)

    def _tuple3(self, position: int) -> None:
        self._tuple_of(3, position)


_ACTIONS: Collection[str] = {
    "REDUCE",
    "NEWOBJ",
    "BUILD",
    "APPEND",
    "APPENDS",
    "ADDITEMS",
    "SETITEM",
    "SETITEMS",
    "TUPLE",
    "TUPLE1",
    "TUPLE2",
    "TUPLE3",
}


def _called(function: Global, args: tuple[Any, ...], position: int) -> Any:
    """The record of a call; of a container, an empty or filled one of ours."""
    if function in _DICTS:
        given = args[0] if args else []
        return _pairs(list(given.items()) if isinstance(given, dict) else given, position)
    if function in _SETS:
        given = args[0] if args else []
        if not isinstance(given, list):
            raise PickleError(f"byte {position}: a set of something that is no list")
        return list(given)
    if function == _ENCODE:
        if len(args) != 2 or not isinstance(args[0], str) or args[1] != "latin1":
            raise PickleError(f"byte {position}: bytes that are not spelt in latin1")
        return args[0].encode("latin1")
    return Call(function, args)


def _pairs(items: Any, position: int) -> dict[Any, Any]:
    found = {}
    for key, value in items:
        if not isinstance(key, str | int | None):
            raise PickleError(f"byte {position}: a dictionary with a {type(key).__name__} for key")
        found[key] = value
    return found
