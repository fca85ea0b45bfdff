"""Refits are timed beside scikit-learn's, and said to be met or missed."""

import json
from pathlib import Path

import pytest

from benchmarks.refit import OURS, REFERENCE, Size, benchmark_refit
from dynammo.errors import UserError

TINY = {
    "a later task": Size(24, 2, 2, 2, 20, seconds=60.0, features=8),
    "a first task": Size(30, 1, 3, 0, 0, seconds=1e-9, features=8),
}


def test_figures_are_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark_refit(2, tmp_path / "refit.json", TINY)
    shown = capsys.readouterr().out
    assert "met" in shown and "missed" in shown
    record = json.loads((tmp_path / "refit.json").read_text())
    assert [bar["met"] for bar in record["bars"]] == [True, False]
    for name in TINY:
        for who in (OURS, REFERENCE):
            wall = record["seconds"][name][who]["wall"]
            assert 0 < wall["lowest"] <= wall["median"] <= wall["highest"]
    assert record["settings"]["repeats"] == 2 and {"machine", "commit", "date"} <= set(record)


def test_no_repeats_are_refused() -> None:
    with pytest.raises(UserError, match="repeats is 0"):
        benchmark_refit(0, sizes=TINY)
