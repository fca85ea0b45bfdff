"""Seconds of a benchmark: contenders are interleaved, so that a busy machine slows them alike.

Whoever counts processor seconds is disturbed less still: what else the machine does takes none of them.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch

__all__ = [
    "COPIES",
    "Call",
    "Ceilings",
    "Copies",
    "Spread",
    "Stopwatch",
    "Timing",
    "copies_of",
    "interleaved",
    "measure_ceilings",
    "pytorch_threads",
    "time_interleaved",
]

COPIES = 2  # the same network made again was up to 6 % faster or slower, by where its memory lay
SIDE = {"cpu": 1024, "cuda": 8192}  # of square matrices
FLOATS = {"cpu": 2**24, "cuda": 2**28}  # to copy: far more than caches hold
REPEATS = 5  # of the ceilings

Call = Callable[[], object]
Copies = Sequence[Call]
T = TypeVar("T")


@dataclass(frozen=True)
class Spread:
    """Median and range over the repeats."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> "Spread":
        """Summarise one number for each repeat."""
        return cls(statistics.median(samples), min(samples), max(samples))


@dataclass(frozen=True)
class Timing:
    """Seconds of one call in every repeat, the mean of a contender's copies.

    Attributes:
        wall: by the clock.
        cores: of all cores together, those of other processes left out.
    """

    wall: tuple[float, ...]
    cores: tuple[float, ...]


class Stopwatch:
    """Seconds of the `with` blocks that it stands at, added up; GPUs have done their work when a block ends.

    Attributes:
        wall: by the clock.
        cores: of all cores together, those of other processes left out.
    """

    def __init__(self) -> None:
        self.wall = self.cores = 0.0

    def __enter__(self) -> "Stopwatch":
        _wait_for_gpu()
        self._start = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        _wait_for_gpu()
        self.wall += time.perf_counter() - self._start[0]
        self.cores += time.process_time() - self._start[1]


@dataclass(frozen=True)
class Ceilings:
    """What a device reaches, the best of a few runs.

    Attributes:
        gflops: 1e9 floating-point operations a second in products of float32 matrices, an addition and a
            multiplication counted as two.
        copy_gb_s: 1e9 bytes a second, read and written ones together.
    """

    gflops: float
    copy_gb_s: float


def copies_of(make: Callable[[], Call]) -> Copies:
    """Make a contender as often as it is measured."""
    return [make() for _ in range(COPIES)]


def interleaved(contenders: Sequence[T], turn: int) -> list[T]:
    """Contenders in the order of a turn, from 0: every other turn goes in reverse."""
    return list(contenders)[:: -1 if turn % 2 else 1]


def time_interleaved(
    calls: Mapping[str, Copies], repeats: int, rounds: int = 1, at_least: float = 0.0
) -> dict[str, Timing]:
    """Time contenders interleaved, all first copies and then all second ones, each warmed up once.

    Args:
        calls: the copies of each contender, of all as many.
        repeats: length of what is returned for each contender.
        rounds: short turns whose mean is one repeat; more of them even out what else the machine does.
        at_least: seconds for which a contender is called again and again in a turn, since a single short call is
            mostly noise; 0 times one call.
    """
    order = [(name, call) for copy in zip(*calls.values(), strict=True) for name, call in zip(calls, copy, strict=True)]
    for _, call in order:
        call()
    wall: dict[str, list[float]] = {name: [0.0] * repeats for name in calls}
    cores: dict[str, list[float]] = {name: [0.0] * repeats for name in calls}
    for turn in range(repeats * rounds):
        now = interleaved(order, turn)
        if not at_least:
            now[len(now) // 2][1]()  # untimed: whoever ran last and now runs first would find its data in the caches
        for name, call in now:
            seconds = _mean_seconds(call, at_least)
            for found, value in zip((wall, cores), seconds, strict=True):
                found[name][turn // rounds] += value / (len(calls[name]) * rounds)
    return {name: Timing(tuple(wall[name]), tuple(cores[name])) for name in calls}


@torch.no_grad()
def measure_ceilings(device: torch.device) -> Ceilings:
    """Measure both on a device, with PyTorch's threads."""
    side, floats = SIDE[device.type], FLOATS[device.type]
    a, b = (torch.rand(side, side, device=device) for _ in range(2))
    product = torch.empty(side, side, device=device)
    source, target = (torch.zeros(floats, device=device) for _ in range(2))
    calls = {"multiply": [lambda: torch.mm(a, b, out=product)], "copy": [lambda: target.copy_(source)]}
    multiplied, copied = (min(took.wall) for took in time_interleaved(calls, REPEATS).values())
    return Ceilings(2 * side**3 / multiplied / 1e9, 2 * 4 * floats / copied / 1e9)


@contextmanager
def pytorch_threads(count: int | None) -> Iterator[None]:
    """Let PyTorch use so many threads, its own choice with None, and then as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _mean_seconds(call: Call, at_least: float) -> tuple[float, float]:
    """Of one call, by the clock and of all cores together."""
    watch, count = Stopwatch(), 0
    while not count or watch.wall < at_least:
        with watch:
            call()
        count += 1
    return watch.wall / count, watch.cores / count


def _wait_for_gpu() -> None:
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # kernels run on after the call that starts them returns
        torch.cuda.synchronize()
