"""Reads the CSV tables that come with data sets."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from dynammo.errors import UserError
from dynammo.runtime.tables import head_of, read_text, split_table

__all__ = ["read_table"]


def read_table(file: Path, columns: Sequence[str], where: str = "") -> list[dict[str, str]]:
    """Read a CSV file with a header.

    Args:
        file: the file, as any spreadsheet writes it.
        columns: columns it must have.
        where: where to get the file, for the message when it is missing.

    Returns:
        Its rows, column to text without blanks around it.

    Raises:
        UserError: no such file, not a table, a column missing, a row too short or too long, no row.
    """
    if not file.is_file():
        raise UserError(f"there is no file {file}" + (f"; get it at {where}." if where else "; give a CSV file."))
    try:
        table = split_table(read_text(file), {head_of(name) for name in columns}, strict=True)
    except (ValueError, csv.Error) as error:
        raise UserError(f"{file} cannot be read as a table ({error}); expected CSV in UTF-8 or UTF-16.") from error
    found, rows = (table[0], table[1:]) if table else ([], [])
    lacking = [name for name in columns if name not in found]
    if lacking:
        raise UserError(f"{file} has no column {', '.join(lacking)}; it has {', '.join(found[:12]) or 'none'}.")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(found):
            raise UserError(f"line {number} of {file} does not have {len(found)} values; mend or download it again.")
    if not rows:
        raise UserError(f"{file} has a header but no row; download it again.")
    return [{name: value.strip() for name, value in zip(found, row, strict=True)} for row in rows]
