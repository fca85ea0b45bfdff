"""What headers claim is checked before memory is taken for it, and what is read at one time has a bound in all."""

import math
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

__all__ = ["DEFLATED", "READING", "MemoryBudget", "check_claim"]

DEFLATED = 1032  # times its size is the most that deflate, as gzip and zlib write it, can hold
BYTES_PER_VALUE = 24  # measured: a grey picture as decoded, and twice as three channels of float32
MOST_AT_ONCE = 4 * 2**30  # bytes, of all threads together


def check_claim(shape: Sequence[int], bits: float, size: int, ratio: int = 1) -> None:
    """Refuse a header that speaks of more pixels than its file can hold.

    Args:
        shape: frames, rows, columns, samples: their product is what is claimed.
        bits: of one of them in the file.
        size: bytes of the file.
        ratio: how many times its size the file can hold, compressed.

    Raises:
        ValueError: the file is too short.
    """
    claimed = math.ceil(math.prod(shape) * bits / 8)
    if claimed > size * ratio:
        raise ValueError(
            f"its header speaks of {' x '.join(map(str, shape))} values, {claimed} bytes, but the file has {size}; it "
            "is damaged or cut short"
        )


class MemoryBudget:
    """Bytes that all threads of a process together take for images that they read.

    Args:
        most: bytes; an image that needs more is read alone.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._reset()

    @contextmanager
    def job(self) -> Iterator[None]:
        """What this thread claims in here is free again at the end; a job inside of a job is a part of it."""
        if hasattr(self._own, "claimed"):
            yield
            return
        self._own.claimed = 0
        try:
            yield
        finally:
            with self._changed:
                self._taken -= self._own.claimed
                del self._own.claimed
                self._changed.notify_all()

    def claim(self, values: int) -> None:
        """Wait until there is room for so many values beside what other threads have; inside of a `job`."""
        count = BYTES_PER_VALUE * values
        with self._changed:
            if not self._own.claimed:  # who has some already would wait for others that wait for him
                self._changed.wait_for(lambda: not self._taken or self._taken + count <= self.most)
            self._taken += count
            self._own.claimed += count

    def _reset(self) -> None:
        self._taken, self._changed, self._own = 0, threading.Condition(), threading.local()


READING = MemoryBudget(MOST_AT_ONCE)
if hasattr(os, "register_at_fork"):  # a process that loads images must not wait for threads that it does not have
    os.register_at_fork(after_in_child=READING._reset)
