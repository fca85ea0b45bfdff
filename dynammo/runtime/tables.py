"""Tables as CSV that a spreadsheet takes for what they are: the one writer of it."""

import csv
import io
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dynammo.runtime.plain import as_text

__all__ = ["csv_bytes"]

FORMULA = ("=", "+", "-", "@")  # what begins a formula in a spreadsheet, full-width signs too
BLANK = ("\t", "\r", "\n")  # programs pass these by when they look for a formula


def csv_bytes(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    """A table in UTF-8; no text in it, of the head neither, is a formula to a spreadsheet.

    Args:
        columns: keys of the rows, in order.
        rows: a value for each column; None is left empty.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(map(_harmless, columns))
    writer.writerows([_harmless(row[name]) for name in columns] for row in rows)
    return text.getvalue().encode()


def _harmless(value: Any) -> Any:  # noqa: ANN401
    """A text with an apostrophe before it where a spreadsheet would take it for a formula."""
    if not isinstance(value, str):
        return value
    value = as_text(value)
    start = unicodedata.normalize("NFKC", value.lstrip()[:1])
    return f"'{value}" if value.startswith(BLANK) or start.startswith(FORMULA) else value
