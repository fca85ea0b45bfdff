"""The tensors of a TorchScript file, taken out of its archive as data: no code of it runs.

A TorchScript file is a zip: `code/` holds programs, `data.pkl` the modules as a pickle, `data/<key>` the numbers of
tensors. `torch.jit.load` runs a program of it at once where a module has a `__setstate__`. Here the opcodes of the
pickle are only listed (`pickletools.genops`), and those that torch writes are followed by hand: names stay names, and
no call is made.
"""

import math
import pickletools
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

__all__ = ["torchscript_state"]

DTYPES = {
    "BFloat16Storage": torch.bfloat16, "BoolStorage": torch.bool, "ByteStorage": torch.uint8, "CharStorage": torch.int8,
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "IntStorage": torch.int32, "LongStorage": torch.int64, "ShortStorage": torch.int16,
}  # fmt: skip
REBUILD = "torch._utils _rebuild_tensor_v2"
VALUES = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
MARK = object()
MOST_BYTES = 2**26  # of data.pkl; ours take 10 KB
MOST_LEVELS = 50  # of modules in modules; ours have eight
MOST_TENSORS = 100_000


class _Call(NamedTuple):
    """A call that the pickle asks for, and nobody makes."""

    name: str
    arguments: Any


class _Module:
    """A module, as the dict of its attributes."""

    def __init__(self) -> None:
        self.attributes: dict[Any, Any] = {}


def torchscript_state(file: Path) -> dict[str, torch.Tensor]:
    """Tensors of all modules of a TorchScript file by their dotted names, as in its state dict; on the CPU.

    Raises:
        OSError: the file cannot be read.
        ValueError, LookupError, RuntimeError, and what zipfile raises: it is no such file, or a damaged one.
    """
    with zipfile.ZipFile(file) as archive:
        members = {name.partition("/")[2]: info for name, info in archive.NameToInfo.items()}
        if sum(info.file_size for name, info in members.items() if name.startswith("data/")) > file.stat().st_size:
            raise ValueError("an archive of more numbers than it has bytes")  # torch does not compress them
        if members["data.pkl"].file_size > MOST_BYTES:
            raise ValueError("too large a pickle")
        if "byteorder" in members and archive.read(members["byteorder"]) != b"little":
            raise ValueError("numbers in another byte order")
        root = _read_modules(archive.read(members["data.pkl"]))
        storages: dict[str, bytearray] = {}
        state: dict[str, torch.Tensor] = {}
        for name, call in _tensors(root):
            key = call.arguments[0][2]
            if key not in storages:
                storages[key] = bytearray(archive.read(members[f"data/{key}"]))
            state[name] = _tensor(call, storages[key])
            if len(state) > MOST_TENSORS:
                raise ValueError("too many tensors")
    return state


def _tensors(root: object) -> Iterator[tuple[str, _Call]]:
    """The tensors of a module and of those in it, with their dotted names."""
    left, seen = [("", root, 0)], 0
    while left:
        prefix, module, level = left.pop()
        seen += 1
        if level > MOST_LEVELS or seen > MOST_TENSORS:
            raise ValueError("too many modules in modules")
        if not isinstance(module, _Module):
            raise ValueError("no module")
        for name, value in module.attributes.items():
            if isinstance(value, _Module):
                left.append((f"{prefix}{name}.", value, level + 1))
            elif isinstance(value, _Call) and value.name == REBUILD:
                yield f"{prefix}{name}", value


def _tensor(call: _Call, content: bytearray) -> torch.Tensor:
    """The tensor that a call of torch's `_rebuild_tensor_v2` describes; its numbers must all be there."""
    (_, kind, *_), offset, shape, strides, *_ = call.arguments
    dtype = DTYPES[kind.removeprefix("torch ")]
    if any(not isinstance(n, int) or n < 0 for n in (offset, *shape, *strides)):
        raise ValueError("a tensor of no size")
    if math.prod(shape) * dtype.itemsize > len(content):  # by strides of 0, few numbers would become many
        raise ValueError("a tensor of more numbers than there are")
    if not math.prod(shape):
        return torch.empty(shape, dtype=dtype)
    numbers = torch.frombuffer(content, dtype=dtype)
    return numbers.as_strided(shape, strides, offset).clone()


def _read_modules(pickle: bytes) -> object:
    """What the pickle describes: modules, plain values, and calls that are not made."""
    stack: list[Any] = []
    memo: dict[Any, Any] = {}
    for opcode, argument, _ in pickletools.genops(pickle):
        if opcode.name == "STOP":
            return stack.pop()
        if opcode.name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif opcode.name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif opcode.name != "PROTO":
            _follow(opcode.name, argument, stack)
    raise ValueError("a pickle without an end")


def _follow(opcode: str, argument: Any, stack: list[Any]) -> None:  # noqa: ANN401
    if opcode in VALUES or opcode == "GLOBAL":
        stack.append(argument)
    elif opcode in CONSTANTS:
        stack.append(CONSTANTS[opcode])
    elif opcode in EMPTY:
        stack.append(EMPTY[opcode]())
    elif opcode == "MARK":
        stack.append(MARK)
    elif opcode in TUPLES:
        stack[-TUPLES[opcode] :] = [tuple(stack[-TUPLES[opcode] :])]
    elif opcode == "TUPLE":
        stack.append(tuple(_marked(stack)))
    elif opcode == "APPENDS":
        items = _marked(stack)
        stack[-1].extend(items)
    elif opcode == "APPEND":
        item = stack.pop()
        stack[-1].append(item)
    elif opcode == "SETITEMS":
        items = _marked(stack)
        stack[-1].update(zip(items[::2], items[1::2], strict=True))
    elif opcode == "NEWOBJ":
        stack[-2:] = [_Module()]
    elif opcode == "BUILD":
        attributes = stack.pop()
        stack[-1].attributes.update(attributes)
    elif opcode == "REDUCE":
        stack[-2:] = [_Call(*stack[-2:])]
    elif opcode != "BINPERSID":  # a storage, told by its tuple
        raise ValueError(f"a pickle with {opcode}, which torch does not write")


def _marked(stack: list[Any]) -> list[Any]:
    """Take everything above the last mark."""
    place = len(stack) - 1 - next(n for n, item in enumerate(reversed(stack)) if item is MARK)
    items, stack[place:] = stack[place + 1 :], []
    return items
