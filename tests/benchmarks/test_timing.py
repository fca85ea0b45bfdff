"""Contenders are measured in every round, each behind another."""

from collections.abc import Callable
from functools import partial

import pytest
import torch

from benchmarks import timing
from benchmarks.timing import Spread, Stopwatch, measure_ceilings, pytorch_threads, time_interleaved


def test_copies_are_interleaved_there_and_back() -> None:
    order: list[str] = []
    took = time_interleaved(
        {name: [partial(order.append, name), partial(order.append, name.upper())] for name in "ab"}, 2
    )
    assert "".join(order) == "abAB" + "A" + "abAB" + "b" + "BAba"  # warmed up, there, and back, each behind another
    assert all(len(found.wall) == 2 and min(found.cores) >= 0 for found in took.values())


def test_contenders_are_interleaved_in_both_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    calls = {"a": [lambda: order.append("a")], "b": [lambda: order.append("b")]}
    clock = iter([1.0, 10.0, 30.0, 3.0, 5.0, 50.0, 70.0, 7.0])

    def timed(call: Callable[[], object], at_least: float) -> tuple[float, float]:
        call()
        return (next(clock), 0.0)

    monkeypatch.setattr(timing, "_mean_seconds", timed)
    took = time_interleaved(calls, repeats=2, rounds=2, at_least=0.1)
    assert "".join(order) == "ab" + "abba" * 2  # warmed up first
    assert {name: list(found.wall) for name, found in took.items()} == {"a": [2.0, 6.0], "b": [20.0, 60.0]}


def test_short_calls_are_repeated_and_their_mean_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    clock = iter([0.0, 1.0, 1.0, 2.0, 2.0, 6.0])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    took = time_interleaved({"a": [partial(calls.append, 0)]}, repeats=1, at_least=3)["a"]
    monkeypatch.undo()
    assert len(calls) == 1 + 3 and took.wall == (2.0,)  # warmed up first


def test_a_stopwatch_adds_up_its_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, cores = iter([1.0, 2.0, 10.0, 12.0]), iter([0.0, 4.0, 4.0, 9.0])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(timing.time, "process_time", lambda: next(cores))
    watch = Stopwatch()
    for _ in range(2):
        with watch:
            pass
    monkeypatch.undo()
    assert (watch.wall, watch.cores) == (3.0, 9.0)


def test_spread_is_median_and_range() -> None:
    assert Spread.of([5.0, 1.0, 2.0]) == Spread(2.0, 1.0, 5.0)


def test_threads_are_put_back() -> None:
    before = torch.get_num_threads()
    with pytorch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_ceilings_are_of_this_device() -> None:
    found = measure_ceilings(torch.device("cpu"))
    assert 0.1 < found.gflops < 1e5 and 0.1 < found.copy_gb_s < 1e4
