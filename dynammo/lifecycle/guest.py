"""Work inside somebody's program, which stays as it was: its random generators, threads, output and exception hook."""

import random
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import TextIOBase
from typing import TextIO, cast

import numpy as np
import torch

__all__ = ["as_guest"]

_one_at_a_time = threading.RLock()


@contextmanager
def as_guest(verbose: bool = False) -> Iterator[None]:
    """Put back what the block changes; blocks of several threads take turns.

    Args:
        verbose: let the block print; else what its own thread prints is swallowed.
    """
    from monai.utils import misc

    with _one_at_a_time:
        states = random.getstate(), np.random.get_state(), torch.get_rng_state(), misc._seed
        on_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
        switches = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
        threads, hook = torch.get_num_threads(), sys.excepthook
        out, err = (stream if verbose else cast(TextIO, _Muted(stream)) for stream in (sys.stdout, sys.stderr))
        try:
            with redirect_stdout(out), redirect_stderr(err):
                yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
            torch.set_rng_state(states[2])
            misc._seed = states[3]  # MONAI's own, which its data loaders draw from
            if on_gpus:
                torch.cuda.set_rng_state_all(on_gpus)
            torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = switches
            torch.set_num_threads(threads)
            sys.excepthook = hook


class _Muted(TextIOBase):
    """Swallows what the thread of a call prints; what other threads print goes on."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream, self._thread = stream, threading.get_ident()

    def write(self, text: str) -> int:
        if self._stream is not None and threading.get_ident() != self._thread:
            self._stream.write(text)
        return len(text)
