"""What a clinician corrected in a report (`review.csv`), as training images of the right class."""

import csv
from collections.abc import Mapping
from pathlib import Path

from dynammo.data.data_list import ImageRecord, class_name
from dynammo.errors import UserError
from dynammo.runtime.files import content_of
from dynammo.runtime.plain import say
from dynammo.runtime.tables import cell_text, head_of, listed_path, read_text, split_table

__all__ = ["ACCEPTED", "COLUMNS", "CORRECTED", "read_reviews"]

COLUMNS = ("path", "content", "model", "predicted", "review", "label", "comment")
"""Of a `review.csv`: the item, the SHA-256 of what its files hold and of the model, what the model said, and what the
clinician did; `label` is the right class."""
ACCEPTED, CORRECTED, COMMENTED = "accepted", "corrected", "commented"


def read_reviews(file: Path, folder: Path, model: str) -> list[ImageRecord]:
    """The corrected images of a review, for training.

    Args:
        file: the `review.csv` that a report gave.
        folder: what was classified.
        model: SHA-256 of the model that learns.

    Raises:
        UserError: no such table, of another model, of images that have changed or gone, or without a correction.
    """
    rows = _rows(file)
    others = sorted({row["model"] for row in rows if row["review"] == CORRECTED} - {model})
    if others:
        raise UserError(
            f"{file} reviews what the model {others[0][:12]} said, but --model is {model[:12]}; give the model of the "
            "report."
        )
    records = [_record(row, f"row {number} of {file}", folder) for number, row in enumerate(rows, start=1)
               if row["review"] == CORRECTED]  # fmt: skip
    if not records:
        raise UserError(f"{file} corrects no image, so there is nothing to learn from it.")
    say(f"{len(records)} corrected images of {len(rows)} reviewed ones are learnt")
    return records


def _rows(file: Path) -> list[dict[str, str]]:
    if not file.is_file():
        raise UserError(f"there is no file {file}; give --reviews the review.csv that a report saved.")
    try:
        table = split_table(read_text(file), COLUMNS)
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{file} cannot be read ({error}); expected the review.csv that a report saved.") from error
    heads = [head_of(cell) for cell in table[0]] if table else []
    if missing := [name for name in COLUMNS if heads.count(name) != 1]:
        raise UserError(f"{file} has no column {missing[0]}, or two; expected the columns {', '.join(COLUMNS)}.")
    cells = [dict(zip(heads, map(cell_text, row), strict=False)) for row in table[1:]]
    rows = [{name: row.get(name, "") for name in COLUMNS} for row in cells]
    for number, row in enumerate(rows, start=1):
        if row["review"] not in (ACCEPTED, CORRECTED, COMMENTED):
            raise UserError(
                f"row {number} of {file} has the review {row['review'][:20]!r}; expected {ACCEPTED}, {CORRECTED} or "
                f"{COMMENTED}."
            )
    return rows


def _record(row: Mapping[str, str], name: str, folder: Path) -> ImageRecord:
    path = _inside(folder, row["path"], name)
    if path.is_dir():
        raise UserError(f"{name} corrects {row['path']}, a series of several files; only single images can be learnt.")
    if not path.is_file():
        raise UserError(
            f"{name} names {row['path']}, which is not in {folder}; give --input the folder that was classified."
        )
    if content_of([path]) != row["content"]:
        raise UserError(f"{row['path']} has changed since it was classified; classify it again, or remove {name}.")
    return ImageRecord(path, class_name(row["label"].strip(), name), "train", "", (str(path),))


def _inside(folder: Path, text: str, name: str) -> Path:
    path = listed_path(folder, text) if text and "\0" not in text else folder
    if not path.resolve().is_relative_to(folder.resolve()) or path == folder:
        raise UserError(f"{name} names {text[:50]!r}, which is no image in {folder}.")
    return path
