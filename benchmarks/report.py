"""What the reports of several benchmarks share: bars, tables, numbers, and a file that can be written."""

import math
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from benchmarks.timing import Spread
from dynammo.errors import UserError

__all__ = ["Bar", "bar_table", "cell", "cells", "check_writable", "shown_number", "table"]


@dataclass(frozen=True)
class Bar:
    """A ratio and what is expected of it."""

    name: str
    ratio: float
    expected: str
    met: bool

    @classmethod
    def at_least(cls, least: float, name: str, ratio: float) -> "Bar":
        """Met from `least` on."""
        return cls(name, ratio, f"at least {least:g}", ratio >= least)

    @classmethod
    def at_most(cls, most: float, name: str, ratio: float) -> "Bar":
        """Met up to `most`."""
        return cls(name, ratio, f"at most {most:g}", ratio <= most)


def check_writable(file: Path | None) -> None:
    """Prove that `file`, if there is one, can be written.

    Raises:
        UserError: it cannot, or it is a folder or a device.
    """
    if file is None:
        return
    if file.exists() and not file.is_file():
        raise UserError(f"{file} is not a file; give --json the name of a file to write.")
    try:
        with tempfile.TemporaryFile(dir=file.parent):
            pass
    except OSError as error:
        raise UserError(
            f"{file} cannot be written ({error.strerror}); give --json a file in a folder of yours."
        ) from error


def table(title: str, *columns: str, words: int = 1, no_wrap: bool = False, **style: Any) -> Table:  # noqa: ANN401
    """A table without rows.

    Args:
        title: above it.
        columns: headings.
        words: how many of the first columns hold words; the others hold numbers, to the right.
        no_wrap: whether words stay on one line.
        style: of rich's `Table`.
    """
    made = Table(title=title, title_justify="left", caption_justify="left", box=box.SIMPLE_HEAD, **style)
    for i, column in enumerate(columns):
        made.add_column(column, justify="left" if i < words else "right", no_wrap=no_wrap and i < words)
    return made


def bar_table(
    title: str, bars: Iterable[Bar], what: str = "", number: Callable[[float], str] = "{:.2f}".format
) -> Table:
    """Every bar, what was measured, what is expected, and whether it is met.

    Args:
        title: above it.
        bars: one for each row.
        what: heading above their names.
        number: shows what was measured.
    """
    made = table(title, what, "measured", "expected", "")
    for bar in bars:
        made.add_row(bar.name, number(bar.ratio), bar.expected, "met" if bar.met else "missed")
    return made


def cells(spread: Spread) -> tuple[str, str]:
    """Median and range, for two columns."""
    return shown_number(spread.median), f"{shown_number(spread.lowest)} to {shown_number(spread.highest)}"


def cell(spread: Spread, value: float | None = None) -> str:
    """Median, or another value, and the range in brackets, for one column."""
    median, extent = cells(spread)
    return f"{median if value is None else shown_number(value)} ({extent})"


def shown_number(value: float) -> str:
    """At least three digits that count, and no exponent: 0.994, 12.3, 1234."""
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}" if value > 0 else "0"
