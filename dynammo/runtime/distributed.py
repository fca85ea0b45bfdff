"""Several processes as one: which of them this is, its part of the work, and what they tell each other.

With a single process, which is how most trainings run, every function gives back what it got.
"""

import io
from typing import Any, Protocol

import ignite.distributed as idist
import torch
import torch.distributed as dist

from dynammo.runtime.files import state_bytes

__all__ = ["agree", "count", "gathered", "is_first", "joined", "number", "of_first", "part", "share_of", "summed"]


class Stateful(Protocol):
    """What can be brought into the state of another."""

    def state_dict(self) -> Any:  # noqa: ANN401
        """Tensors and plain values."""

    def load_state_dict(self, state: Any) -> Any:  # noqa: ANN401
        """Take up such a state."""


def count() -> int:
    """Number of processes."""
    return int(idist.get_world_size())


def number() -> int:
    """Number of this process, from 0."""
    return int(idist.get_rank())


def is_first() -> bool:
    """Whether this process is the one that writes files, prints, and whose word counts."""
    return number() == 0


def part(length: int) -> range:
    """Which of `length` things in a row are this process's: all parts one after the other are the whole."""
    rank, ranks = number(), count()
    return range(rank * length // ranks, (rank + 1) * length // ranks)


def share_of(length: int) -> torch.Tensor:
    """`part` as a mask (length,)."""
    here = torch.zeros(length, dtype=torch.bool)
    here[list(part(length))] = True
    return here


def summed(tensor: torch.Tensor) -> torch.Tensor:
    """The sum of a tensor over all processes, the same to the last bit in each of them."""
    if count() == 1:
        return tensor
    total = tensor.detach().to(_place(), copy=True).contiguous()
    dist.all_reduce(total)
    return total.to(tensor.device)


def joined(rows: torch.Tensor) -> torch.Tensor:
    """The rows (n, ...) of all processes, n of their own in each, one after the other (N, ...)."""
    if count() == 1:
        return rows
    lengths = [int(length) for length in _all(torch.tensor([len(rows)]))]
    padded = torch.zeros(max(lengths), *rows.shape[1:], dtype=rows.dtype)
    padded[: len(rows)] = rows
    return torch.cat([found[:n] for found, n in zip(_all(padded), lengths, strict=True)]).to(rows.device)


def gathered(value: Any) -> list[Any]:  # noqa: ANN401
    """What every process has, in the order of the processes; tensors, which come to the CPU, and plain values."""
    if count() == 1:
        return [value]
    content = _packed(value)
    lengths = [int(length) for length in _all(torch.tensor([len(content)]))]
    padded = torch.zeros(max(lengths), dtype=torch.uint8)
    padded[: len(content)] = content
    return [_unpacked(found[:n]) for found, n in zip(_all(padded), lengths, strict=True)]


def of_first(value: Any) -> Any:  # noqa: ANN401
    """What the first process has; tensors, which come to the CPU, and plain values."""
    if count() == 1:
        return value
    content = _packed(value) if is_first() else torch.zeros(0, dtype=torch.uint8)
    length = torch.tensor([len(content)], device=_place())
    dist.broadcast(length, 0)
    content = content if is_first() else torch.zeros(int(length), dtype=torch.uint8)
    content = content.to(_place())
    dist.broadcast(content, 0)
    return value if is_first() else _unpacked(content.cpu())


def agree(thing: Stateful) -> None:
    """Bring `thing` into the state that it has in the first process."""
    if count() > 1:
        state = of_first(thing.state_dict() if is_first() else None)
        if not is_first():
            thing.load_state_dict(state)


def _place() -> torch.device:
    """Where tensors have to lie to be sent."""
    return idist.device() if idist.backend() == "nccl" else torch.device("cpu")


def _all(tensor: torch.Tensor) -> list[torch.Tensor]:
    """The tensors, of one shape, of all processes, on the CPU."""
    sent = tensor.detach().to(_place()).contiguous()
    found = [torch.empty_like(sent) for _ in range(count())]
    dist.all_gather(found, sent)
    return [one.cpu() for one in found]


def _packed(value: Any) -> torch.Tensor:  # noqa: ANN401
    return torch.frombuffer(bytearray(state_bytes(value)), dtype=torch.uint8)


def _unpacked(content: torch.Tensor) -> Any:  # noqa: ANN401
    return torch.load(io.BytesIO(content.numpy().tobytes()), map_location="cpu", weights_only=True)
