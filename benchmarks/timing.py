"""Contenders of a benchmark take turns.

Each is made twice and the mean of both counts: the same network made again was up to 6 % faster or slower in the same
engine, by where its memory lay.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["COPIES", "Call", "Copies", "Took", "copies_of", "times_by_turns"]

COPIES = 2
Call = Callable[[], object]
Copies = Sequence[Call]


@dataclass(frozen=True)
class Took:
    """Seconds of one call in every repeat, the mean of a contender's copies.

    Attributes:
        wall: by the clock.
        cores: of all cores together, those of other processes left out.
    """

    wall: tuple[float, ...]
    cores: tuple[float, ...]


def copies_of(make: Callable[[], Call]) -> Copies:
    """Make a contender as often as it is measured."""
    return [make() for _ in range(COPIES)]


def times_by_turns(calls: Mapping[str, Copies], repeats: int) -> dict[str, Took]:
    """Time contenders by turns, all first copies and then all second ones; every other round goes in reverse order.

    Calls must wait for their device: those of an engine do, since rows come back to the CPU.

    Args:
        calls: the copies of each contender, of all as many; each is warmed up once.
        repeats: rounds.
    """
    order = [(name, call) for copy in zip(*calls.values(), strict=True) for name, call in zip(calls, copy, strict=True)]
    for _, call in order:
        call()
    wall: dict[str, list[float]] = {name: [0.0] * repeats for name in calls}
    cores: dict[str, list[float]] = {name: [0.0] * repeats for name in calls}
    for turn in range(repeats):
        order[len(order) // 2][1]()  # untimed: whoever ran last and now runs first would find its data in the caches
        for name, call in order:
            start, used = time.perf_counter(), time.process_time()
            call()
            wall[name][turn] += (time.perf_counter() - start) / len(calls[name])
            cores[name][turn] += (time.process_time() - used) / len(calls[name])
        order.reverse()
    return {name: Took(tuple(wall[name]), tuple(cores[name])) for name in calls}
