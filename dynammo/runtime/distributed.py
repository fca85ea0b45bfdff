"""Several processes as one: which of them this is, its part of the work, and what they tell each other.

With a single process, which is how most trainings run, every function gives back what it got.
"""

import atexit
import io
import logging
import os
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import Any, Protocol

import ignite.distributed as idist
import torch
import torch.distributed as dist
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

from dynammo.runtime.files import state_bytes

__all__ = [
    "all_gather_object",
    "all_gather_rows",
    "all_reduce_sum",
    "broadcast",
    "init_processes",
    "is_first",
    "rank",
    "rank_device",
    "shard",
    "shard_mask",
    "sync_state",
    "world_size",
]


class Stateful(Protocol):
    """What can be brought into the state of another."""

    def state_dict(self) -> Any:  # noqa: ANN401
        """Tensors and plain values."""

    def load_state_dict(self, state: Any) -> Any:  # noqa: ANN401
        """Load such a state."""


def world_size() -> int:
    """Number of processes."""
    return int(idist.get_world_size())


def rank() -> int:
    """Number of this process, from 0."""
    return int(idist.get_rank())


def is_first() -> bool:
    """Whether this process is the one that writes files, prints, and whose word counts."""
    return rank() == 0


def shard(length: int) -> range:
    """Which of `length` things in a row are this process's: all parts one after the other are the whole."""
    here, processes = rank(), world_size()
    return range(here * length // processes, (here + 1) * length // processes)


def shard_mask(length: int) -> torch.Tensor:
    """`part` as a mask (length,)."""
    here = torch.zeros(length, dtype=torch.bool)
    here[list(shard(length))] = True
    return here


def all_reduce_sum(tensor: torch.Tensor) -> torch.Tensor:
    """The sum of a tensor over all processes, the same to the last bit in each of them."""
    if world_size() == 1:
        return tensor
    total = tensor.detach().to(_place(), copy=True).contiguous()
    dist.all_reduce(total)
    return total.to(tensor.device)


def all_gather_rows(rows: torch.Tensor) -> torch.Tensor:
    """The rows (n, ...) of all processes, n of their own in each, one after the other (N, ...)."""
    if world_size() == 1:
        return rows
    lengths = [int(length) for length in _all(torch.tensor([len(rows)]))]
    padded = torch.zeros(max(lengths), *rows.shape[1:], dtype=rows.dtype)
    padded[: len(rows)] = rows
    return torch.cat([found[:n] for found, n in zip(_all(padded), lengths, strict=True)]).to(rows.device)


def all_gather_object(value: Any) -> list[Any]:  # noqa: ANN401
    """What every process has, in the order of the processes; tensors, which come to the CPU, and plain values."""
    if world_size() == 1:
        return [value]
    content = _packed(value)
    lengths = [int(length) for length in _all(torch.tensor([len(content)]))]
    padded = torch.zeros(max(lengths), dtype=torch.uint8)
    padded[: len(content)] = content
    return [_unpacked(found[:n]) for found, n in zip(_all(padded), lengths, strict=True)]


def broadcast(value: Any) -> Any:  # noqa: ANN401
    """What the first process has; tensors, which come to the CPU, and plain values."""
    if world_size() == 1:
        return value
    content = _packed(value) if is_first() else torch.zeros(0, dtype=torch.uint8)
    length = torch.tensor([len(content)], device=_place())
    dist.broadcast(length, 0)
    content = content if is_first() else torch.zeros(int(length), dtype=torch.uint8)
    content = content.to(_place())
    dist.broadcast(content, 0)
    return value if is_first() else _unpacked(content.cpu())


def sync_state(thing: Stateful) -> None:
    """Bring `thing` into the state that it has in the first process."""
    if world_size() > 1:
        state = broadcast(thing.state_dict() if is_first() else None)
        if not is_first():
            thing.load_state_dict(state)


def _place() -> torch.device:
    """Where tensors have to lie to be sent."""
    return idist.device() if idist.backend() == "nccl" else torch.device("cpu")


def _all(tensor: torch.Tensor) -> list[torch.Tensor]:
    """The tensors, of one shape, of all processes, on the CPU."""
    sent = tensor.detach().to(_place()).contiguous()
    found = [torch.empty_like(sent) for _ in range(world_size())]
    dist.all_gather(found, sent)
    return [one.cpu() for one in found]


def _packed(value: Any) -> torch.Tensor:  # noqa: ANN401
    return torch.frombuffer(bytearray(state_bytes(value)), dtype=torch.uint8)


def _unpacked(content: torch.Tensor) -> Any:  # noqa: ANN401
    return torch.load(io.BytesIO(content.numpy().tobytes()), map_location="cpu", weights_only=True)


Hook = Callable[[type[BaseException], BaseException, TracebackType | None], object]
PATIENCE = timedelta(seconds=10)  # for the words of the process that failed first


def rank_device() -> torch.device:
    """The GPU of this process, or the CPU where a machine has fewer GPUs than processes."""
    local, processes = int(os.environ.get("LOCAL_RANK", 0)), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    enough = torch.cuda.is_available() and torch.cuda.device_count() >= processes
    return torch.device("cuda", local) if enough else torch.device("cpu")


def init_processes(minutes: float = 60) -> None:
    """Meet the other processes that `torchrun` has started; does nothing where it has not.

    From then on the first process alone prints, and of several that fail the first to do so alone says why.

    Args:
        minutes: the longest time that a process waits for the others, as for the first while it writes its files.
    """
    if "RANK" not in os.environ or dist.is_initialized():
        return
    device, tell = rank_device(), sys.excepthook
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(minutes=minutes))
    idist.sync()
    if world_size() > 1:
        _explain_once(tell)  # not by the hook that torch has just put before it
    if not is_first():
        _be_quiet()


def _be_quiet() -> None:
    """Say nothing for the rest of the process, but why it failed."""
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")


def _explain_once(tell: Hook) -> None:
    """Of several failures only the first is told: the others follow from it, or are the same mistake."""
    store, at_end = _failures(), atexit.register(idist.finalize)

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        atexit.unregister(at_end)  # the others may be anywhere, and would be waited for
        if _fails_first(store):
            tell(kind, error, trace)
            sys.stderr.flush()
            with suppress(RuntimeError):
                store.set("told", "")
        else:  # torchrun ends all processes as soon as one has ended
            with suppress(RuntimeError):
                store.wait(["told"], PATIENCE)

    hook.explains_user_errors = True  # type: ignore[attr-defined]
    sys.excepthook = hook


def _failures() -> Any:  # noqa: ANN401
    """What all processes of this start can read and write."""
    meeting_place = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    return PrefixStore(f"dynammo/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", meeting_place)


def _fails_first(store: Any) -> bool:  # noqa: ANN401
    try:
        return bool(store.add("failures", 1) == 1)
    except RuntimeError:  # the place is gone: better twice than never
        return True
