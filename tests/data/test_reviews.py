"""What was corrected in a report becomes training images, or is refused by name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from synthetic.datasets import write_image

from dynammo.data.reviews import COLUMNS, read_reviews
from dynammo.errors import UserError
from dynammo.runtime.files import content_of
from dynammo.runtime.tables import csv_bytes

MODEL = "ab" * 32
Row = dict[str, Any]


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    """Reviews of three images in `tmp_path`: one accepted, two corrected, the last to a class of odd name."""
    said = [("accepted", "red"), ("corrected", "green"), ("corrected", "=odd")]
    for i in range(3):
        write_image(tmp_path / "a" / f"{i}.png", "red", i, size=8)
    return [
        {
            "path": f"a/{i}.png", "content": content_of([tmp_path / "a" / f"{i}.png"]), "model": MODEL,
            "predicted": "red", "review": review, "label": label, "comment": "",
        }
        for i, (review, label) in enumerate(said)
    ]  # fmt: skip


def written(folder: Path, rows: list[Row]) -> Path:
    file = folder / "review.csv"
    file.write_bytes(csv_bytes(COLUMNS, rows))
    return file


def test_corrected_images_are_for_training(tmp_path: Path, rows: list[Row]) -> None:
    found = read_reviews(written(tmp_path, rows), tmp_path, MODEL)
    assert [(record.path.name, record.class_name, record.split) for record in found] == [
        ("1.png", "green", "train"), ("2.png", "=odd", "train")
    ]  # fmt: skip


def test_a_table_that_a_spreadsheet_saved_is_read(tmp_path: Path, rows: list[Row]) -> None:
    file = written(tmp_path, rows)
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b",", b";"))
    assert len(read_reviews(file, tmp_path, MODEL)) == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda row: row.update(model="cd" * 32), "reviews what the model cdcdcdcdcdcd said, but --model is abab"),
        (lambda row: row.update(content="00"), "a/1.png has changed since it was classified"),
        (lambda row: row.update(path="a/9.png"), "names a/9.png, which is not in"),
        (lambda row: row.update(path="a"), "a series of several files"),
        (lambda row: row.update(path="../x.png"), "which is no image in"),
        (lambda row: row.update(path="/etc/hostname"), "which is no image in"),
        (lambda row: row.update(path=""), "which is no image in"),
        (lambda row: row.update(review="maybe"), "has the review 'maybe'"),
        (lambda row: row.update(label=" "), "gives the class name ''"),
        (lambda row: row.update(label="two\nlines"), "gives the class name"),
    ],
)
def test_what_cannot_be_learnt_is_refused(
    tmp_path: Path, rows: list[Row], change: Callable[[Row], None], words: str
) -> None:
    change(rows[1])
    with pytest.raises(UserError, match=words):
        read_reviews(written(tmp_path, rows), tmp_path, MODEL)


def test_what_is_no_review_is_refused(tmp_path: Path, rows: list[Row]) -> None:
    with pytest.raises(UserError, match="there is no file"):
        read_reviews(tmp_path / "none.csv", tmp_path, MODEL)
    with pytest.raises(UserError, match="corrects no image"):
        read_reviews(written(tmp_path, rows[:1]), tmp_path, MODEL)
    file = tmp_path / "other.csv"
    for content in (b"", b"path,label\na,b\n", b"\0\1\2\3", b"\xff\xff"):
        file.write_bytes(content)
        with pytest.raises(UserError, match=r"review\.csv|no column"):
            read_reviews(file, tmp_path, MODEL)
