"""Any folder of pictures in class folders: ``python -m data_prep.image_folder -i downloads/clinic -o data/clinic``.

Either <class>/<images>, divided here, or train/<class>/<images> and test/<class>/<images>.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from dynammo.data.images import ImageRecord
from dynammo.errors import UserError
from dynammo.io.file_sources import is_clutter

from .command_line import DuplicatesOption, Folder, MaxTest, MaxTrain, Out, Seed, TestFraction, one_sentence
from .csv_table import read_table
from .data_list import About, Choice, choose, files_below, finish
from .leak_check import Duplicates

SPLITS = ("train", "test")

app = typer.Typer(add_completion=False)


def read_image_folder(folder: Path) -> list[ImageRecord]:
    """List the images of every class folder; a folder is split when it has train/ and test/.

    Raises:
        UserError: no such folder, no class folder, a class folder without an image.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; give -i a folder with a folder of images for each class.")
    if all((folder / split).is_dir() for split in SPLITS):
        return [record for split in SPLITS for record in _classes(folder / split, split)]
    return _classes(folder, "")


def with_groups(records: Sequence[ImageRecord], folder: Path, file: Path) -> list[ImageRecord]:
    """Add groups from a table with the columns file (relative path, or name alone) and group.

    Raises:
        UserError: a malformed table, a file named twice with two groups, an image without a row.
    """
    groups: dict[str, str] = {}
    for row in read_table(file, ["file", "group"]):
        if groups.setdefault(row["file"], row["group"]) != row["group"]:
            raise UserError(f"{file} gives {row['file']} two groups; give each file one.")
    found = [groups.get(r.path.relative_to(folder).as_posix(), groups.get(r.path.name, "")) for r in records]
    return _grouped(records, found, f"a row with a group in {file}")


def with_pattern(records: Sequence[ImageRecord], folder: Path, pattern: str) -> list[ImageRecord]:
    r"""Add groups found in relative paths by a regular expression with one bracket, such as ``(P\\d+)_``.

    Raises:
        UserError: no regular expression with one bracket, an image that it does not match.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UserError(f"--group-pattern {pattern} is no regular expression ({error}).") from error
    if compiled.groups != 1:
        raise UserError(f"--group-pattern {pattern} has {compiled.groups} brackets; expected one, as in '(P[0-9]+)_'.")
    matches = [compiled.search(record.path.relative_to(folder).as_posix()) for record in records]
    return _grouped(records, [match[1] if match else "" for match in matches], f"a match of {pattern} in their path")


def _classes(folder: Path, split: str) -> list[ImageRecord]:
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not is_clutter(path.name))
    if len(classes) < 2:
        raise UserError(f"{folder} has {len(classes)} class folders; expected {folder}/<class>/<images>, at least two.")
    records = [ImageRecord(path, kind.name, split) for kind in classes for path in files_below(kind)]
    empty = {kind.name for kind in classes} - {record.class_name for record in records}
    if empty:
        raise UserError(f"the class folders {', '.join(sorted(empty))} of {folder} hold no image; fill or remove them.")
    return records


def _grouped(records: Sequence[ImageRecord], groups: Sequence[str | None], expected: str) -> list[ImageRecord]:
    without = [record.path.name for record, group in zip(records, groups, strict=True) if not group]
    if without:
        raise UserError(
            f"{len(without)} of {len(records)} images have no group ({', '.join(without[:3])}); expected {expected} "
            "for every image, so that none is on the wrong side."
        )
    return [replace(record, group=str(group)) for record, group in zip(records, groups, strict=True)]


@app.command()
def main(
    download: Folder,
    out: Out,
    groups: Annotated[Path | None, typer.Option(help="CSV with file and group (patient, lesion).")] = None,
    group_pattern: Annotated[
        str | None, typer.Option(help="Regular expression whose one bracket is the group.")
    ] = None,
    max_train: MaxTrain = 0,
    max_test: MaxTest = 0,
    test_fraction: TestFraction = 0.2,
    seed: Seed = 0,
    duplicates: DuplicatesOption = Duplicates.refuse,
) -> None:
    """Make the data list of a folder with one folder of images for each class."""
    with one_sentence():
        records = read_image_folder(download)
        if groups is not None and group_pattern is not None:
            raise UserError("--groups and --group-pattern were both given; expected one of them.")
        if groups is not None:
            records = with_groups(records, download, groups)
        if group_pattern is not None:
            records = with_pattern(records, download, group_pattern)
        known = groups is not None or group_pattern is not None
        notes = [] if known else ["no groups were given: a patient with several images may be on both sides"]
        choice = Choice(seed, test_fraction, max_train, max_test)
        finish(choose(records, choice), download, out, choice, duplicates, About(download.name, notes=notes))


if __name__ == "__main__":
    app()
