"""PATH16, seven histology sets: ``python -m data_prep.path16 -i downloads/path16 -o data/path16``.

Seven tasks, 16 classes, about 800 training and 100 test images each.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from dynammo.data.images import ImageRecord
from dynammo.errors import UserError

from .command_line import DuplicatesOption, Folder, MaxTest, MaxTrain, Out, Seed, TestFraction, one_sentence
from .data_list import About, Choice, choose, finish
from .leak_check import Duplicates
from .path16_sources import LC25000_NOTE, SOURCES

SetName = Enum("SetName", {name: name for name in SOURCES}, type=str)  # type: ignore[misc]

app = typer.Typer(add_completion=False)


def refuse_incomplete(download: Path, names: Sequence[str]) -> None:
    """Look at all sets before the first is read.

    Raises:
        UserError: naming every set that lacks something, what it lacks and where to get it.
    """
    lacking = {name: SOURCES[name].missing(download) for name in names}
    lacking = {name: missing for name, missing in lacking.items() if missing}
    if lacking:
        told = "; ".join(
            f"{name} lacks {', '.join(missing)} (from {SOURCES[name].url})" for name, missing in lacking.items()
        )
        raise UserError(
            f"{len(lacking)} of {len(names)} sets are incomplete in {download}: {told}; put them there, or name the "
            "sets you have with --only."
        )


def read_set(name: str, download: Path, out: Path, choice: Choice) -> list[ImageRecord]:
    """Read, divide and thin out one of the seven sets; packed images that were chosen are unpacked.

    Raises:
        UserError: malformed files, a class without an image.
    """
    source = SOURCES[name]
    chosen = choose(source.read(download / source.folder, out / "images"), choice)
    empty = set(source.classes) - {record.class_name for record in chosen}
    if empty:
        raise UserError(f"{name} holds no image of {', '.join(sorted(empty))}; download it again at {source.url}.")
    if source.unpack is not None:
        source.unpack(download / source.folder, chosen)
    return chosen


def notes_of(names: Sequence[str], records: Sequence[ImageRecord]) -> list[str]:
    """What a reader of results must know of these sets."""
    notes = [SOURCES[name].note for name in names if SOURCES[name].note]
    augmented = [r for r in records if r.class_name.startswith(("lung_", "colon_"))]
    return notes + ([LC25000_NOTE] if any(not record.group for record in augmented) else [])


def about_sets(names: Sequence[str], records: Sequence[ImageRecord]) -> About:
    """Name, sources, tasks in the published order and notes, for the record."""
    classes = sorted({record.class_name for record in records})
    stomach = [name for name in classes if name.startswith("stomach_")]
    increments = [list(SOURCES[name].classes) or stomach for name in names]
    title = "PATH16" if len(names) == len(SOURCES) else f"PATH16 ({', '.join(names)} alone)"
    facts = {"sources": {name: {"url": SOURCES[name].url, "licence": SOURCES[name].licence} for name in names}}
    return About(title, increments=increments, notes=notes_of(names, records), facts=facts)


@app.command()
def main(
    download: Folder,
    out: Out,
    only: Annotated[list[SetName] | None, typer.Option(help="Only this set; may be repeated.")] = None,
    max_train: MaxTrain = 800,
    max_test: MaxTest = 100,
    test_fraction: TestFraction = 0.2,
    seed: Seed = 0,
    duplicates: DuplicatesOption = Duplicates.refuse,
) -> None:
    """Make the data list of PATH16 from its seven source sets."""
    with one_sentence():
        wanted = {name.value for name in only} if only else set(SOURCES)
        names = [name for name in SOURCES if name in wanted]  # in the published order of tasks
        refuse_incomplete(download, names)
        choice = Choice(seed, test_fraction, max_train, max_test)
        records = [record for name in names for record in read_set(name, download, out, choice)]
        finish(records, download, out, choice, duplicates, about_sets(names, records))


if __name__ == "__main__":
    app()
