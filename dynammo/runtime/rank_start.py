"""The start of several processes that train as one, as `torchrun` starts them, and what they say when one fails."""

import atexit
import logging
import os
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import Any

import ignite.distributed as idist
import torch
import torch.distributed as dist
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

from dynammo.runtime.distributed import count, is_first

__all__ = ["join_ranks", "rank_device"]

Hook = Callable[[type[BaseException], BaseException, TracebackType | None], object]
PATIENCE = timedelta(seconds=10)  # for the words of the process that failed first


def rank_device() -> torch.device:
    """The GPU of this process, or the CPU where a machine has fewer GPUs than processes."""
    local, processes = int(os.environ.get("LOCAL_RANK", 0)), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    enough = torch.cuda.is_available() and torch.cuda.device_count() >= processes
    return torch.device("cuda", local) if enough else torch.device("cpu")


def join_ranks(minutes: float = 60) -> None:
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
    if count() > 1:
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
