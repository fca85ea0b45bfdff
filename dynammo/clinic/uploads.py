"""Files that a browser sends become studies: kept in one folder, zips unpacked, more than the limits refused."""

import re
import struct
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Protocol

from dynammo.errors import UserError
from dynammo.io.file_sources import is_zip
from dynammo.io.studies import Study, find_studies
from dynammo.runtime.plain import as_text

__all__ = ["Upload", "UploadLimits", "find_uploaded", "names_left_out", "without_folder"]

MEGABYTE = 10**6
MOST_NAMES = 100  # of files left out
LONGEST_NAME = 150  # bytes; file systems take 255
HARMFUL = re.compile(r"[^\w .,()+=@#&'!-]")  # in names of files, on one system or another


class Upload(Protocol):
    """A file of a form, as Flask gives it."""

    filename: str | None

    def save(self, dst: Path) -> None:
        """Write it to a file."""


@dataclass(frozen=True)
class UploadLimits:
    """What one request may hold.

    Attributes:
        megabytes: of all files together, 10**6 bytes each.
        files: sent, and in each zip.
        studies: images, volumes or series to classify.
        unpacked: how many times `megabytes` a zip may unpack to.
    """

    megabytes: int = 200
    files: int = 2000
    studies: int = 100
    unpacked: int = 10


def find_uploaded(uploads: Sequence[Upload], folder: Path, limits: UploadLimits) -> tuple[list[Study], int]:
    """Keep uploads in a folder and find what is to be classified in them.

    Args:
        uploads: images, slices of series, zips; their names are made harmless.
        folder: an empty folder; the caller removes it.
        limits: see `UploadLimits`.

    Returns:
        Studies, and the number of files that are no images. A zip that cannot be used is a study with its reason.

    Raises:
        UserError: nothing to classify, more than the limits.
    """
    if not uploads:
        raise UserError("no file came; choose at least one image, zip or series of slices.")
    if len(uploads) > limits.files:
        raise _too_many(f"{len(uploads)} files", f"{limits.files} files")
    saved = list(_save(uploads, folder))
    zips = [file for file in saved if is_zip(file)]
    plain = len(saved) - len(zips)
    archives = [_in_zip(file, folder, limits) for file in zips]
    studies = [study for found, _ in archives for study in found]
    ignored = sum(others for _, others in archives)
    if plain:
        try:
            listed = find_studies(_apart(zips, folder), folder)
            studies, ignored = [*listed.studies, *studies], ignored + listed.ignored
        except UserError as error:  # no image among them
            if not studies:
                raise UserError(without_folder(str(error), folder)) from error
            ignored += plain
    if len(studies) > limits.studies:
        raise _too_many(f"{len(studies)} images or series", f"{limits.studies} images or series")
    return studies, ignored


def names_left_out(studies: Sequence[Study], folder: Path) -> list[str]:
    """Names of uploaded files, in zips too, that no study holds; the first `MOST_NAMES` of them."""
    taken = {file.resolve() for study in studies for file in study.files}
    inside = [path for part in ("files", "unpacked") for path in sorted((folder / part).rglob("*")) if path.is_file()]
    found = [
        without_folder(str(path), folder).removeprefix("unpacked/") for path in inside if path.resolve() not in taken
    ]
    return [as_text(name) for name in found[:MOST_NAMES]]


def without_folder(text: str, folder: Path) -> str:
    """A sentence about files in the folder of the uploads, with their names alone."""
    for part in (folder / "files", folder / "zips", folder):
        text = text.replace(f"{part}/", "").replace(str(part), "the upload")
    return text


def _save(uploads: Sequence[Upload], folder: Path) -> Iterator[Path]:
    inside = folder / "files"
    inside.mkdir()
    names = _free_names(_harmless(upload.filename or "") for upload in uploads)
    for upload, name in zip(uploads, names, strict=True):
        upload.save(inside / name)
        yield inside / name


def _harmless(name: str) -> str:
    """The last part of a name, without what a file system may not like; its ending stays."""
    name = HARMFUL.sub("_", PureWindowsPath(name).name)  # knows both separators
    name = name.encode("utf-8", "replace")[-LONGEST_NAME:].decode("utf-8", "ignore").rstrip(". ")
    return name or "file"


def _free_names(names: Iterable[str]) -> Iterator[str]:
    """Slices of different series often have the same names."""
    taken: set[str] = set()
    copies: Counter[str] = Counter()
    for name in names:
        head, dot, tail = name.partition(".")
        free = name
        while free.lower() in taken:
            copies[name.lower()] += 1
            free = f"{head} ({copies[name.lower()] + 1}){dot}{tail}"
        taken.add(free.lower())
        yield free


def _apart(zips: Sequence[Path], folder: Path) -> Path:
    """Take the zips out of the folder of the images."""
    (folder / "zips").mkdir(exist_ok=True)
    for file in zips:
        file.replace(folder / "zips" / file.name)
    return folder / "files"


def _in_zip(file: Path, folder: Path, limits: UploadLimits) -> tuple[list[Study], int]:
    try:
        _check_zip(file, limits)
        listed = find_studies(file, folder / "unpacked" / file.name)
    except UserError as error:
        return [Study((file,), file.name, reason=without_folder(str(error), folder))], 0
    return listed.studies, listed.ignored


def _check_zip(file: Path, limits: UploadLimits) -> None:
    """Refuse a large zip by the sizes it states; Python never unpacks more of a file than its stated size."""
    try:
        with zipfile.ZipFile(file) as archive:
            sizes = [info.file_size for info in archive.infolist()]
    except (zipfile.BadZipFile, UnicodeError, NotImplementedError, struct.error):
        return  # unpacking says why
    megabytes = limits.unpacked * limits.megabytes
    if sum(sizes) > megabytes * MEGABYTE:
        raise _too_many(f"{file.name}, which unpacks to {sum(sizes) / MEGABYTE:,.0f} MB", f"{megabytes} MB")
    if len(sizes) > limits.files:
        raise _too_many(f"{len(sizes)} files in {file.name}", f"{limits.files} files")


def _too_many(came: str, most: str) -> UserError:
    return UserError(f"{came}: this page takes at most {most} at once; type dynammo classify for more.")
