"""From the images of a download to a data list: divided by group, thinned out, checked for leaks, written."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from rich.table import Table

from dynammo import __version__
from dynammo.data.data_list import ImageRecord, check_classes
from dynammo.data.splits import divided
from dynammo.errors import UserError
from dynammo.io.file_sources import is_clutter
from dynammo.runtime.files import write_atomically
from dynammo.runtime.provenance import command

from .command_line import console
from .leak_check import Duplicates, refuse_shared_groups, without_shared_pixels

__all__ = ["About", "Choice", "choose", "files_below", "finish", "image_files", "write_data_list"]

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"}


@dataclass(frozen=True)
class Choice:
    """How a set is divided and thinned out.

    Attributes:
        seed: same seed, same choice.
        test_fraction: share of the test images where the set has no split of its own.
        max_train: training images per class at most; 0 for all.
        max_test: test images per class at most; 0 for all.
    """

    seed: int = 0
    test_fraction: float = 0.2
    max_train: int = 0
    max_test: int = 0


@dataclass(frozen=True)
class About:
    """What the record beside the list says of the data set.

    Attributes:
        name: name of the set.
        url: where it comes from.
        licence: under which terms.
        increments: classes of each task in their published order, where there is one.
        notes: what a reader of results must know, printed too.
        facts: anything else, such as sums that were checked.
    """

    name: str
    url: str = ""
    licence: str = ""
    increments: Sequence[Sequence[str]] = ()
    notes: Sequence[str] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


def choose(records: Iterable[ImageRecord], choice: Choice) -> list[ImageRecord]:
    """Divide images without a split by group, then keep at most so many of each class and split.

    Args:
        records: the images, all with a split or all without.
        choice: how.

    Returns:
        The chosen images, sorted by path.

    Raises:
        UserError: no image, a class of one group alone, some images with a split and some without.
    """
    ordered = sorted(records, key=lambda record: str(record.path))
    if not ordered:
        raise UserError("the download holds no image of a known class; look at docs/datasets.md for its layout.")
    limits = {"train": choice.max_train, "test": choice.max_test}
    cells: dict[tuple[str, str], list[ImageRecord]] = {}
    for record in divided(ordered, choice.test_fraction, choice.seed):
        cells.setdefault((record.split, record.class_name), []).append(record)
    kept = [r for (split, name), cell in cells.items() for r in _drawn(cell, limits[split], split, name, choice.seed)]
    return sorted(kept, key=lambda record: str(record.path))


def finish(
    records: Sequence[ImageRecord], base: Path, out: Path, choice: Choice, duplicates: Duplicates, about: About
) -> None:
    """Check chosen images for leaks, write their list and its record, say what to type next.

    Args:
        records: the chosen images.
        base: the folder that the list's paths start from, later `--dataset_dir`.
        out: where the list goes.
        choice: how they were chosen.
        duplicates: what to do with pixels that are on both sides.
        about: what the record says of the set.

    Raises:
        UserError: a group or pixels on both sides, unreadable images, a class on one side only.
    """
    refuse_shared_groups(records)
    kept, shared = without_shared_pixels(records, duplicates)
    check_classes(kept)
    facts = {"training images with the pixels of a test image": {"found": shared, "rule": duplicates.value}}
    write_data_list(kept, base, out, choice, replace(about, facts={**about.facts, **facts}))
    _show(kept, about)
    console.print(f"Train on it with: --dataset_dir {base} --data_list {out / 'data_list.csv'}")


def write_data_list(records: Sequence[ImageRecord], base: Path, out: Path, choice: Choice, about: About) -> None:
    """Write data_list.csv (path, label, split, group) and data_list.provenance.json, each whole or not at all."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["path", "label", "split", "group"])
    rows.writerows([_relative(r.path, base), r.class_name, r.split, r.group] for r in records)
    content = text.getvalue().encode()
    record = {
        "data_set": about.name,
        "url": about.url,
        "licence": about.licence,
        "command": command(),
        "dynammo": __version__,
        "dataset_dir": str(base),
        "choice": vars(choice),
        "images": _counts(records),
        "groups": len({r.group for r in records if r.group}),
        "increments": [list(names) for names in about.increments],
        "notes": list(about.notes),
        "sha256 of data_list.csv": hashlib.sha256(content).hexdigest(),
        **about.facts,
    }
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "data_list.csv", lambda file: file.write(content))
    described = (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode()
    write_atomically(out / "data_list.provenance.json", lambda file: file.write(described))


def files_below(folder: Path) -> list[Path]:
    """Every file below a folder, sorted, without hidden ones; links to folders are not followed.

    Raises:
        UserError: no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; give -i the folder of the download.")
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not is_clutter(name)]
        found += [Path(parent, name) for name in names if not is_clutter(name)]
    return sorted(found)


def image_files(folder: Path) -> list[Path]:
    """Pictures (PNG, JPEG, TIFF, BMP, by name) below a folder, sorted."""
    return [path for path in files_below(folder) if path.suffix.lower() in IMAGE_SUFFIXES]


def _drawn(cell: list[ImageRecord], limit: int, split: str, name: str, seed: int) -> list[ImageRecord]:
    if not limit or len(cell) <= limit:
        return cell
    # a stream of its own, so that the choice in one class does not depend on the other classes
    rng = np.random.default_rng([seed, crc32(f"{split}/{name}".encode())])
    return [cell[i] for i in rng.permutation(len(cell))[:limit]]


def _relative(path: Path, base: Path) -> str:
    name = Path(os.path.relpath(path, base)).as_posix()
    if len(name.splitlines()) != 1:
        raise UserError(f"the file name {name!r} has a line break, which a data list cannot hold; rename the file.")
    return name


def _counts(records: Sequence[ImageRecord]) -> dict[str, dict[str, int]]:
    counted = Counter((r.class_name, r.split) for r in records)
    names = sorted({r.class_name for r in records})
    return {name: {split: counted[name, split] for split in ("train", "test")} for name in names}


def _show(records: Sequence[ImageRecord], about: About) -> None:
    table = Table("class", "train", "test", title=about.name)
    counts = _counts(records)
    for name, row in counts.items():
        table.add_row(name, str(row["train"]), str(row["test"]))
    table.add_section()
    table.add_row("all", *(str(sum(row[split] for row in counts.values())) for split in ("train", "test")))
    console.print(table)
    for note in about.notes:
        console.print(f"note: {note}")
