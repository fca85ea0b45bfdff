"""What would make test results too good, or contradicts itself: patients and images on both sides, in two classes."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dynammo.data.data_list import ImageRecord
from dynammo.errors import UserError
from dynammo.io.image_reader import image_format, read_image
from dynammo.runtime.files import sha256

__all__ = ["copies", "refuse_contradictions", "refuse_shared_files", "refuse_shared_groups", "some"]

LISTED = 5  # names shown in a message before "and N more"


def refuse_shared_groups(records: Sequence[ImageRecord]) -> None:
    """Check that no group (patient, lesion) has images on both sides.

    Raises:
        UserError: naming groups that have.
    """
    splits = {split: {r.group for r in records if r.group and r.split == split} for split in ("train", "test")}
    shared = sorted(splits["train"] & splits["test"])
    if shared:
        raise UserError(
            f"{len(shared)} groups (patients, lesions) are both in train and in test ({some(shared)}), so test "
            "results would be too good; keep each group on one side, or leave the split out of the data list."
        )


def refuse_contradictions(records: Sequence[ImageRecord]) -> None:
    """Check that no file comes with two classes, splits or groups; one that comes again the same is said.

    Raises:
        UserError: naming such a file.
    """
    files: dict[str, ImageRecord] = {}
    again: list[str] = []
    for record in records:
        file = os.path.realpath(record.path)
        again += [str(record.path)] * (file in files)
        first = files.setdefault(file, record)
        for what in ("class_name", "split", "group"):
            one, other = (getattr(r, what) or "none" for r in (first, record))
            if one != other:
                name = what.split("_")[0]
                raise UserError(f"{record.path} has the {name} {one!r} and {other!r}; name every image once.")
    if again:
        print(f"note: {len(again)} images are named again and count again: {some(again)}")


def refuse_shared_files(records: Sequence[ImageRecord]) -> None:
    """Check that no image of train is byte for byte one of test; copies within a split are said.

    Blank pictures all look alike and tell nothing: they are said, too.

    Raises:
        UserError: naming such images.
    """
    found = list(copies(sorted({record.path for record in records})))
    of = {record.path: record for record in records}
    leaks = [same for same in found if len({of[path].split for path in same}) > 1 and not _is_blank(same[0])]
    if leaks:
        raise UserError(
            f"{len(leaks)} images are both in train and in test under other names ({some(map(_equal, leaks))}), so "
            "test results would be too good; remove one of each."
        )
    if found:
        mixed = sum(len({of[path].class_name for path in same}) > 1 for same in found)
        print(
            f"note: {len(found)} images have copies under other names, {mixed} of them in other classes: "
            f"{some(map(_equal, found))}"
        )


def some(names: Iterable[str]) -> str:
    """The first names, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - LISTED} more" if len(listed) > LISTED else ""
    return "; ".join(listed[:LISTED]) + more


def copies(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Files of the same content; only those of the same size are read."""
    sizes = [path.stat().st_size for path in paths]
    counts = Counter(sizes)
    alike = [path for path, size in zip(paths, sizes, strict=True) if counts[size] > 1]
    found: dict[str, list[Path]] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, digest in zip(alike, pool.map(sha256, alike), strict=True):
            found.setdefault(digest, []).append(path)
    return (same for same in found.values() if len(same) > 1)


def _is_blank(path: Path) -> bool:
    if image_format(path) == "slide":
        return False
    array = read_image(path).array
    return bool(array.min() == array.max())


def _equal(same: Sequence[Path]) -> str:
    shown = " = ".join(map(str, same[:2]))
    return shown if len(same) == 2 else f"{shown} and {len(same) - 2} more"
