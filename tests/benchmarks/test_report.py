"""What the reports of several benchmarks share."""

from pathlib import Path

import pytest

from benchmarks.report import Bar, bar_table, cell, check_writable, shown_number, table
from benchmarks.timing import Spread
from dynammo.errors import UserError


@pytest.mark.parametrize("value", [0.894, 12.34, 1234.5, 0.0123, 0.0])
def test_numbers_keep_three_digits(value: float) -> None:
    assert float(shown_number(value)) == pytest.approx(value, rel=5e-3)


def test_a_cell_shows_the_median_or_another_value_and_the_range() -> None:
    assert cell(Spread(2.0, 1.0, 12.0)) == "2.00 (1.00 to 12.0)"
    assert cell(Spread(2.0, 1.0, 12.0), 3.0) == "3.00 (1.00 to 12.0)"


def test_a_bar_is_met_up_to_its_figure() -> None:
    assert Bar.at_least(0.8, "speed", 0.8) == Bar("speed", 0.8, "at least 0.8", met=True)
    assert [Bar.at_most(3, "seconds", seconds).met for seconds in (3.0, 3.1)] == [True, False]
    made = bar_table("bars", [Bar.at_least(0.8, "speed", 0.79)])
    assert [list(column.cells) for column in made.columns] == [["speed"], ["0.79"], ["at least 0.8"], ["missed"]]


def test_numbers_stand_to_the_right_of_words() -> None:
    assert [column.justify for column in table("", "set", "engine", "speed", words=2).columns] == [
        "left",
        "left",
        "right",
    ]


def test_unwritable_files_are_refused(tmp_path: Path) -> None:
    check_writable(tmp_path / "new.json")
    check_writable(None)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="cannot be written"):
        check_writable(tmp_path / "missing" / "new.json")
    with pytest.raises(UserError, match="is not a file"):
        check_writable(tmp_path)
