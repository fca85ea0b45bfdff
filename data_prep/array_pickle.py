"""Reads the plain values and byte arrays of a pickle without executing it.

A pickle is a program: unpickling calls what it names. Here its opcodes are only listed (`pickletools.genops`) and
those that build lists, dicts, text, numbers and numpy arrays of bytes are followed by hand. Names of functions and
classes stay names; a call is never made. Anything else is refused.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["PickleRefused", "read_pickle"]

RECONSTRUCT = {"numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct"}
NO_BYTES = {"__builtin__ bytes", "builtins bytes"}  # how protocols up to 2 write b""
NAMES = RECONSTRUCT | NO_BYTES | {"numpy ndarray", "numpy dtype", "_codecs encode"}
BYTES = ("u1", "|u1", "uint8")
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
NEW: dict[str, Callable[[], Any]] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
VALUES = {
    "BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "BINFLOAT", "FLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
}  # fmt: skip


class PickleRefused(ValueError):
    """A pickle that is damaged or holds more than plain values and byte arrays."""


@dataclass(frozen=True)
class _Name:
    text: str


@dataclass
class _Call:
    name: str
    arguments: tuple[Any, ...]


class _Mark:
    """Where a run of items begins on the stack."""


def read_pickle(content: bytes) -> Any:  # noqa: ANN401
    """Read a pickle of lists, tuples, dicts, text, bytes, numbers and arrays of dtype uint8.

    Args:
        content: the pickle, protocol 0 to 5 (arrays: to 4). Text of Python 2 becomes str, byte for byte (Latin-1).

    Returns:
        The value; arrays are read-only.

    Raises:
        PickleRefused: a name that is not needed for arrays, an unexpected opcode, a damaged pickle.
    """
    reader = _Reader()
    try:
        for opcode, argument, _ in pickletools.genops(content):
            if opcode.name == "STOP":
                return _checked(reader.stack.pop())
            reader.follow(opcode.name, argument)
    except PickleRefused:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise PickleRefused(f"is damaged ({error})") from error
    raise PickleRefused("ends too early")


class _Reader:
    """The stack and the memo of a pickle."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def follow(self, name: str, argument: Any) -> None:  # noqa: ANN401
        """Follow one opcode."""
        if name in VALUES:
            self.stack.append(argument)
        elif name in CONSTANTS:
            self.stack.append(CONSTANTS[name])
        elif name in NEW:
            self.stack.append(NEW[name]())
        elif name in TUPLES:
            items = [self.stack.pop() for _ in range(TUPLES[name])]
            self.stack.append(tuple(reversed(items)))
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif name not in ("PROTO", "FRAME"):
            handler = getattr(self, f"on_{name.lower()}", None)
            if handler is None:
                raise PickleRefused(f"holds {name}, which plain values and arrays do not need")
            handler(argument)

    def items(self) -> list[Any]:
        """Take everything above the last mark."""
        found = []
        while not isinstance(item := self.stack.pop(), _Mark):
            found.append(item)
        return found[::-1]

    def on_mark(self, _: object) -> None:
        self.stack.append(_Mark())

    def on_memoize(self, _: object) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def on_tuple(self, _: object) -> None:
        self.stack.append(tuple(self.items()))

    def on_list(self, _: object) -> None:
        self.stack.append(self.items())

    def on_dict(self, _: object) -> None:
        items = self.items()
        self.stack.append({})
        self._fill(items)

    def on_append(self, _: object) -> None:
        item = self.stack.pop()
        self._list().append(item)

    def on_appends(self, _: object) -> None:
        items = self.items()
        self._list().extend(items)

    def on_setitem(self, _: object) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._fill([key, value])

    def on_setitems(self, _: object) -> None:
        self._fill(self.items())

    def on_global(self, argument: str) -> None:
        self._name(argument)

    def on_stack_global(self, _: object) -> None:
        attribute, module = self.stack.pop(), self.stack.pop()
        self._name(f"{module} {attribute}")

    def on_reduce(self, _: object) -> None:
        arguments, name = self.stack.pop(), self.stack.pop()
        if name.text == "_codecs encode":  # how protocols up to 2 write bytes
            self.stack.append(arguments[0].encode("latin-1"))
        elif name.text in NO_BYTES and not arguments:
            self.stack.append(b"")
        else:
            self.stack.append(_Call(name.text, tuple(arguments)))

    def on_build(self, _: object) -> None:
        state, call = self.stack.pop(), self.stack.pop()
        if not isinstance(call, _Call):
            raise PickleRefused("changes an object that is no array")
        built = _array(state) if call.name in RECONSTRUCT else call
        self.memo = {key: built if value is call else value for key, value in self.memo.items()}
        self.stack.append(built)

    def _name(self, text: str) -> None:
        if text not in NAMES:
            raise PickleRefused(f"names {text.replace(' ', '.')}, which is no array, and would have called it")
        self.stack.append(_Name(text))

    def _list(self) -> list[Any]:
        if not isinstance(self.stack[-1], list):
            raise PickleRefused("is damaged (items without a list)")
        return self.stack[-1]

    def _fill(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], dict) or len(items) % 2:
            raise PickleRefused("is damaged (items without a dict)")
        self.stack[-1].update(zip(items[::2], items[1::2], strict=True))


def _array(state: tuple[Any, ...]) -> np.ndarray:
    _, shape, dtype, fortran, content = state
    if not isinstance(dtype, _Call) or dtype.name != "numpy dtype" or dtype.arguments[0] not in BYTES or fortran:
        raise PickleRefused("holds an array that is not of bytes (uint8, C order)")
    content = content.encode("latin-1") if isinstance(content, str) else content
    pixels: np.ndarray = np.frombuffer(content, np.uint8).reshape(shape)
    return pixels


def _checked(value: Any) -> Any:  # noqa: ANN401
    """Give the value back when nothing in it is a name or an unfinished call; every container is seen once."""
    seen, left = set(), [value]
    while left:
        item = left.pop()
        if isinstance(item, _Name | _Call | _Mark):
            raise PickleRefused("holds a class, a function or an unfinished array where a value is expected")
        if isinstance(item, list | tuple | dict) and id(item) not in seen:
            seen.add(id(item))
            left += [*item, *item.values()] if isinstance(item, dict) else item
    return value
