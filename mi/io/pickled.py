"""Pickles as data: bytes in, plain values out, and nothing is ever called.

A pickle is a program for a small stack machine. `pickle.load` runs it, and what it names it imports and calls, so that
a file of strangers can do anything. This machine only builds a description: a name stays a `Name`, a call a `Call` with
its arguments, an object a `Call` with the state that it would be given. Who reads a format then looks for the few names
that the format has, and refuses all others.
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass, field
from typing import Any, NoReturn

from mi.errors import MiError

MOST_STEPS = 50_000_000  # of the stack machine: the largest graph there is takes ten million


@dataclass(frozen=True)
class Name:
    """Something of a Python module, as `torch.FloatStorage`. It is not looked up."""

    text: str


@dataclass(frozen=True)
class Reference:
    """Something that lies outside the pickle: in torch's files, a tensor's data."""

    what: Any


@dataclass(eq=False)
class Call:
    """What a call would have made: the name, its arguments, and what was put into the result afterwards."""

    name: str
    arguments: tuple[Any, ...]
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)
    values: list[Any] = field(default_factory=list)


_MARK = object()
# Opcodes that hold their value, and those that make an empty container or put one together.
_VALUES = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE",
    "BINUNICODE8",
}  # fmt: skip
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_SILENT = {"PROTO", "FRAME"}


def loads(data: bytes, place: str) -> Any:
    """The value that a pickle describes.

    Raises:
        MiError: the bytes are no pickle, or one that does more than describe a value.
    """
    try:
        return _Machine(place).run(data)
    except MiError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise MiError(f"a damaged pickle: {error}", _HINT, place=place) from None


_HINT = "was it cut short, or is it another kind of file?"


class _Machine:
    """The stack, the marks on it, and the memo."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, data: bytes) -> Any:
        for step, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if step > MOST_STEPS:
                raise MiError("a pickle of more steps than any file of this kind has", place=self.place)
            name = opcode.name
            if name == "STOP":
                return self.stack.pop()
            if name in _VALUES:
                self.stack.append(argument)
            elif name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name])
            elif name not in _SILENT:
                act = getattr(self, f"_{name.lower()}", None)
                if act is None:
                    self._refuse(name)
                act(argument)
        raise MiError("a pickle without an end", _HINT, place=self.place)

    def _refuse(self, name: str) -> NoReturn:
        raise MiError(f"a pickle that uses {name}, which no file of this kind needs", _HINT, place=self.place)

    # --- marks and the memo

    def _mark(self, _: Any) -> None:
        self.stack.append(_MARK)

    def _since_mark(self) -> list[Any]:
        at = len(self.stack) - 1
        while self.stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise ValueError("a mark is missing")
        found = self.stack[at + 1 :]
        del self.stack[at:]
        return found

    def _put(self, key: Any) -> None:
        self.memo[int(key)] = self.stack[-1]

    _binput = _long_binput = _put

    def _memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def _get(self, key: Any) -> None:
        self.stack.append(self.memo[int(key)])

    _binget = _long_binget = _get

    def _pop(self, _: Any) -> None:
        self.stack.pop()

    def _pop_mark(self, _: Any) -> None:
        self._since_mark()

    def _dup(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    # --- containers

    def _empty_dict(self, _: Any) -> None:
        self.stack.append({})

    def _empty_list(self, _: Any) -> None:
        self.stack.append([])

    def _empty_set(self, _: Any) -> None:
        self.stack.append([])  # a set of descriptions: its members need no hash

    def _empty_tuple(self, _: Any) -> None:
        self.stack.append(())

    def _tuple(self, _: Any) -> None:
        self.stack.append(tuple(self._since_mark()))

    def _tuple1(self, _: Any) -> None:
        self.stack[-1:] = [(self.stack[-1],)]

    def _tuple2(self, _: Any) -> None:
        self.stack[-2:] = [tuple(self.stack[-2:])]

    def _tuple3(self, _: Any) -> None:
        self.stack[-3:] = [tuple(self.stack[-3:])]

    def _list(self, _: Any) -> None:
        self.stack.append(self._since_mark())

    def _dict(self, _: Any) -> None:
        found = self._since_mark()
        self.stack.append(dict(zip(found[::2], found[1::2], strict=True)))

    _frozenset = _list

    def _append(self, _: Any) -> None:
        value = self.stack.pop()
        self._values_of(self.stack[-1]).append(value)

    def _appends(self, _: Any) -> None:
        found = self._since_mark()
        self._values_of(self.stack[-1]).extend(found)

    _additems = _appends

    def _setitem(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._items_of(self.stack[-1])[key] = value

    def _setitems(self, _: Any) -> None:
        found = self._since_mark()
        self._items_of(self.stack[-1]).update(zip(found[::2], found[1::2], strict=True))

    def _values_of(self, holder: Any) -> list[Any]:
        return holder.values if isinstance(holder, Call) else _of(list, holder)

    def _items_of(self, holder: Any) -> dict[Any, Any]:
        return holder.items if isinstance(holder, Call) else _of(dict, holder)

    # --- names and calls, described

    def _global(self, argument: Any) -> None:
        self.stack.append(Name(str(argument).replace(" ", ".", 1)))

    def _stack_global(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.stack.append(Name(f"{_of(str, module)}.{_of(str, name)}"))

    def _reduce(self, _: Any) -> None:
        arguments = _of(tuple, self.stack.pop())
        self.stack[-1] = Call(_of(Name, self.stack[-1]).text, arguments)

    _newobj = _reduce

    def _newobj_ex(self, _: Any) -> None:
        self.stack.pop()  # keyword arguments
        self._reduce(_)

    def _build(self, _: Any) -> None:
        state = self.stack.pop()
        _of(Call, self.stack[-1]).state = state

    def _binpersid(self, _: Any) -> None:
        self.stack[-1] = Reference(self.stack[-1])


def _of(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"{type(value).__name__} where {kind.__name__} belongs")
    return value
