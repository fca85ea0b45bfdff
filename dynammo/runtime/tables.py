"""Tables as CSV: the one writer, whose text a spreadsheet takes for what it is, and the reader of what people write."""

import csv
import io
import os
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dynammo.runtime.plain import as_text

__all__ = ["cell_text", "csv_bytes", "head_of", "listed_path", "read_text", "split_table"]

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


def cell_text(cell: str) -> str:
    """The text that a cell of `csv_bytes`, or of a table that is guarded as it does, stands for."""
    return cell[1:] if cell.startswith("'") and _harmless(cell[1:]) == cell else cell


LONGEST_LIST = 2**27  # bytes
SEPARATORS = ",;\t|"
MARKED = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}  # by the first bytes of a file


def read_text(file: Path, names: bool = False) -> str:
    """The text of a list in UTF-8 or UTF-16, line ends as they are.

    Args:
        file: the list.
        names: keep bytes that are no UTF-8, as names of files may hold them, the way Python keeps them in paths.

    Raises:
        OSError: it cannot be read.
        ValueError: no text in these encodings, or more than 128 MiB.
    """
    if file.stat().st_size > LONGEST_LIST:
        raise ValueError("too long for a list")
    content = file.read_bytes()
    marked = next((name for mark, name in MARKED.items() if content.startswith(mark)), "")
    if not marked and b"\0" in content[:2]:  # UTF-16 without a mark: a list begins with a plain letter
        marked = "utf-16-be" if content[:1] == b"\0" else "utf-16-le"
    text = content.decode(marked or "utf-8", "surrogateescape" if names and not marked else "strict")
    if "\0" in text:
        raise ValueError("no text")
    return text


def split_table(text: str, heads: Collection[str], strict: bool = False) -> list[list[str]]:
    """The rows of a CSV table, the row of its heads among them; rows without any text are left out.

    Args:
        text: with `,`, `;`, tab or `|` between the values, and perhaps a first line `sep=;`, as Excel writes it.
        heads: of which at least one is expected; they tell what separates, and a comma does where none is found.
        strict: refuse quotes that are not closed.

    Raises:
        csv.Error: no table.
    """
    first, _, rest = text.partition("\n")
    stated = first.strip().strip('"').lower()
    if stated.startswith("sep=") and first.rstrip("\r\n").strip('"')[4:5]:
        separators, text = first.strip("\r\n").strip('"')[4], rest
    else:
        separators = SEPARATORS
    separator = next((s for s in separators if _has_head(text, s, heads)), separators[0])
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=strict)
    return [row for row in rows if any(cell.strip() for cell in row)]


def head_of(cell: object) -> str:
    """The head of a column as it is compared: small letters, no blanks around it, no mark of the encoding."""
    return unicodedata.normalize("NFKC", str(cell)).strip().strip("\ufeff").strip().lower()


def listed_path(root: Path, name: str) -> Path:
    """Where a row of a list leads: where no file is called so, backslashes separate folders and outer blanks go."""
    if os.path.exists(root / name):
        return root / name
    return root / name.strip().replace("\\", "/")


def _has_head(text: str, separator: str, heads: Collection[str]) -> bool:
    first = next((row for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator) if row), [])
    return any(head_of(cell) in heads for cell in first)
