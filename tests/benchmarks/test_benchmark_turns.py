"""Contenders are measured in every round, each behind another."""

from functools import partial

from benchmarks.timing import times_by_turns


def test_contenders_take_turns_there_and_back() -> None:
    order: list[str] = []
    took = times_by_turns(
        {name: [partial(order.append, name), partial(order.append, name.upper())] for name in "ab"}, 2
    )
    assert "".join(order) == "abAB" + "A" + "abAB" + "b" + "BAba"  # warmed up, there, and back, each behind another
    assert all(len(found.wall) == 2 and min(found.cores) >= 0 for found in took.values())
