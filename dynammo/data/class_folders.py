"""Class folders as the images that they hold, none of them opened; read without torch."""

from collections.abc import Iterator
from pathlib import Path

from dynammo.data.data_list import ImageRecord
from dynammo.errors import UserError
from dynammo.io.file_sources import is_clutter

__all__ = ["class_folders", "files_below", "read_class_folders", "read_undivided"]


def read_class_folders(folder: Path) -> list[ImageRecord]:
    """The images of `train/<class>/*` and `test/<class>/*`.

    Raises:
        UserError: no class folder in one of the two, or one without a file.
    """
    for split in ("train", "test"):
        if not class_folders(folder / split):
            raise UserError(
                f"{folder} has no class folder in {split}/; expected {folder}/{split}/<class>/<images>, "
                "or a data list: --data_list FILE."
            )
    return [record for split in ("train", "test") for record in _records(folder / split, split)]


def read_undivided(folder: Path) -> list[ImageRecord]:
    """The images of `<class>/*`, without a split.

    Raises:
        UserError: a class folder without a file.
    """
    return list(_records(folder, ""))


def class_folders(folder: Path) -> list[Path]:
    """Folders in a folder, sorted, but for what systems leave lying about."""
    return sorted(p for p in folder.glob("*") if p.is_dir() and not is_clutter(p.name))


def files_below(folder: Path) -> list[Path]:
    """Files below a folder, sorted, but for what systems leave lying about."""
    return sorted(p for p in folder.rglob("*") if p.is_file() and not is_clutter(p.name))


def _records(folder: Path, split: str) -> Iterator[ImageRecord]:
    for class_dir in class_folders(folder):
        files = files_below(class_dir)
        if not files:
            raise UserError(f"the class folder {class_dir} holds no image; put images there or remove the folder.")
        yield from (ImageRecord(path, class_dir.name, split) for path in files)
