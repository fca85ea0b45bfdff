"""A data list (CSV or JSON) as the images that it names, none of them opened."""

import csv
import json
import math
import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dynammo.errors import UserError
from dynammo.runtime.plain import as_text
from dynammo.runtime.tables import head_of, listed_path, read_text, split_table

__all__ = ["ImageRecord", "check_classes", "class_name", "read_data_list"]

LONGEST_PATH = 1000  # characters; systems end between 260 and 4096
LONGEST_NAME = 255  # characters of a class
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
HEADS = ("path", "label", "split", "group")
EXPECTED = "expected the columns path, label, split and, if patients are known, group"


@dataclass(frozen=True)
class ImageRecord:
    """One image of the data set: where it lies, its class, `train` or `test`, and its patient or lesion.

    `views` are what a network sees of it: the path, or paths with the `#fragment` of each slice or tile.
    """

    path: Path
    class_name: str
    split: str
    group: str = ""
    views: tuple[str, ...] = ()


def class_name(text: str, where: object) -> str:
    """The name of a class as records hold it; what is not UTF-8 in the name of a folder becomes U+FFFD.

    Raises:
        UserError: a name that no record could hold, which would be told when all is trained; it says `where`.
    """
    name = as_text(text)
    if not name.strip() or len(name) > LONGEST_NAME or CONTROL.search(name):
        raise UserError(
            f"{where} gives the class name {name[:50]!r}; expected one line of 1 to {LONGEST_NAME} characters: rename "
            "it."
        )
    return name


def read_data_list(file: Path, folder: Path, allow_outside: bool = False) -> list[ImageRecord]:
    """The images of a list, in its order.

    A group that is written in two ways (12 and 12.0, P7 and p7) is one group.

    Args:
        file: CSV, as any spreadsheet writes it, or JSON, a list of objects.
        folder: that its paths start from.
        allow_outside: its paths may lead out of that folder.

    Raises:
        UserError: no list, heads or rows that are not those of one, a path that leads out of the folder.
    """
    if not file.is_file():
        raise UserError(f"there is no data list {file}; give --data_list a JSON or CSV file.")
    try:
        text = read_text(file)
        rows = json.loads(text) if file.suffix.lower() == ".json" else _rows(text, file)
    except UserError:
        raise
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        raise UserError(
            f"the data list {file} cannot be read ({error}); expected JSON or CSV in UTF-8 or UTF-16."
        ) from error
    if not isinstance(rows, list):
        raise UserError(f"the data list {file} is no list; expected one row or object for each image.")
    if not rows:
        raise UserError(f"the data list {file} is empty; expected one row for each image.")
    groups: dict[str, str] = {}
    numbered = ((f"row {number} of {file}", row) for number, row in enumerate(rows, start=1))
    return [_record(row, name, folder, allow_outside, groups) for name, row in numbered]


def check_classes(records: Sequence[ImageRecord]) -> None:
    """Refuse classes without training or without test image.

    Raises:
        UserError: naming them.
    """
    train = {record.class_name for record in records if record.split == "train"}
    test = {record.class_name for record in records if record.split == "test"}
    if not train:
        raise UserError("the data has no training image; expected some with split train.")
    if test - train:
        raise UserError(
            f"the classes {sorted(test - train)} are in test but have no training image; the training classes are "
            f"{sorted(train)}. Add training images, or remove these classes from test."
        )
    if train - test:
        raise UserError(
            f"the classes {sorted(train - test)} have no test image, so they could not be evaluated; add some to test."
        )


def _rows(text: str, file: Path) -> list[dict[str, str]]:
    table = split_table(text, HEADS)
    if not table:
        return []
    heads = [head_of(cell) for cell in table[0]]
    if not {"path", "label"} <= set(heads) or any(heads.count(head) > 1 for head in HEADS):
        raise UserError(f"the data list {file} has the heads {_quoted(table[0])}; {EXPECTED}, each once.")
    for number, row in enumerate(table[1:], start=1):
        if any(cell.strip() for cell in row[len(heads) :]):
            raise UserError(
                f"row {number} of {file} has {len(row)} values for {len(heads)} heads; put values that hold the "
                'separator in quotes ("a, b").'
            )
    return [dict(zip(heads, row, strict=False)) for row in table[1:]]


def _record(row: object, name: str, folder: Path, allow_outside: bool, groups: dict[str, str]) -> ImageRecord:
    if not isinstance(row, Mapping):
        raise UserError(f"{name} has no path or no label; {EXPECTED}.")
    values = {head_of(head): _text(value, f"{name}, {str(head)[:20]}") for head, value in row.items() if _wanted(head)}
    path, label, split, group = (values.get(head, "") for head in HEADS)
    if not path.strip() or not label.strip():
        raise UserError(f"{name} has no path or no label; {EXPECTED}.")
    split = split.strip().lower()
    if split not in ("", "train", "test"):
        raise UserError(f"{name} has the split {split[:20]!r}; expected train or test, or none in all rows.")
    group = groups.setdefault(_same(group), group.strip())
    return ImageRecord(_listed_path(path, name, folder, allow_outside), class_name(label.strip(), name), split, group)


def _wanted(head: object) -> bool:
    return head_of(head) in HEADS


def _text(value: object, name: str) -> str:
    """A value of a list as text; nothing is "", but the number 0 is a value."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UserError(f"{name} is {str(value)[:20]!r}; expected text or a number.")
    return str(value)


def _same(group: str) -> str:
    """What two spellings of one group have in common."""
    plain = " ".join(unicodedata.normalize("NFKC", group).split()).casefold()
    return re.sub(r"(?<=[0-9])[.,]0+$", "", plain)


def _listed_path(path: str, name: str, folder: Path, allow_outside: bool) -> Path:
    """Where a row leads; what the list says is not followed out of the folder, links that lie in the folder are."""
    if "\0" in path or len(path) > LONGEST_PATH:
        raise UserError(f"{name} has a path that no file can have; mend the list.")
    listed = listed_path(folder, path)
    if allow_outside:
        return listed
    start, found = os.path.abspath(folder), os.path.abspath(listed)  # without `..`, so that this is what is read
    if Path(found) == Path(start) or not Path(found).is_relative_to(start):
        raise UserError(
            f"{name} leads out of {folder}; give --dataset_dir the folder that holds all images, or type "
            "--allow_outside True if you trust the list."
        )
    return folder / os.path.relpath(found, start)


def _quoted(heads: list[str]) -> str:
    return ", ".join(repr(head.strip()[:20]) for head in heads[:12])
