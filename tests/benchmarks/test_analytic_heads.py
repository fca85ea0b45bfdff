"""Analytic heads are timed by the clock and in core seconds."""

import pytest

from benchmarks import analytic_heads


def test_every_repeat_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("VECTORS", 200), ("FEATURES", 32), ("REPEATS", 2)):
        monkeypatch.setattr(analytic_heads, name, value)
    found = analytic_heads.measure_heads()
    for wall, cores in (found.given, found.chosen):
        assert 0 < wall.lowest <= wall.median <= wall.highest and cores.median > 0
