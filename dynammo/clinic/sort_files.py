"""Copies of classified images, sorted into a folder for each class; the originals stay where they are."""

import errno
import filecmp
import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from dynammo.errors import UserError
from dynammo.io.studies import Study
from dynammo.runtime.plain import expanded
from dynammo.runtime.unfinished import UNFINISHED, unfinished_file

__all__ = ["class_folder", "sort_into", "sort_studies"]

FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]|[. ]+$|^[. ]+')  # on any of the usual file systems
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # names of devices on Windows
NO_MORE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EIO}
LONGEST = 80  # characters; in UTF-8 at most 240 bytes for letters outside of emoji


def sort_studies(folder: str | Path, studies: Sequence[tuple[Study, str]]) -> list[tuple[str, str]]:
    """Copy every study into the folder of its class, see `sort_into`; one that cannot be copied stops no other.

    Args:
        folder: where the class folders are made.
        studies: each with its class.

    Returns:
        Name and reason of every study that was not copied.

    Raises:
        UserError: the folder cannot be written, or its disk is full.
    """
    failed = []
    for study, class_name in studies:
        try:
            sort_into(folder, study, class_name)
        except Exception as error:  # one odd study must not stop the others, whatever it raises
            if _concerns_all(error):
                raise
            failed.append((study.name, _reason(error)))
    return failed


def sort_into(folder: str | Path, study: Study, class_name: str) -> list[Path]:
    """Copy the files of a study into the folder of its class, a series into a folder of its own there.

    A copy is whole or not there. A file of the same name that holds something else is kept, and the copy gets a number;
    one that holds the same is the copy, so that sorting again changes nothing.

    Args:
        folder: where the class folders are made.
        study: what was classified; one that could not be read is not copied.
        class_name: any text.

    Returns:
        The copies, in the order of the files.

    Raises:
        UserError: the folder cannot be written, or a file has gone.
    """
    if study.reason:
        return []
    target = expanded(folder) / class_folder(class_name)
    try:
        target.mkdir(parents=True, exist_ok=True)
        places = next(found for found in _candidates(target, study) if _free(found, study.files))
        for source, place in zip(study.files, places, strict=True):
            if not place.exists():
                place.parent.mkdir(exist_ok=True)
                _copy(source, place)
    except OSError as error:
        raise UserError(
            f"the images cannot be sorted into {folder} ({error.strerror}); give --sort-into a folder of "
            "yours with room."
        ) from error
    return places


def _concerns_all(error: BaseException) -> bool:
    """Whether no other study could be copied either: a disk that is full or may not be written."""
    cause = error.__cause__ or error
    return isinstance(cause, OSError) and cause.errno in NO_MORE


def _reason(error: BaseException) -> str:
    cause = error.__cause__ or error
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror.lower()
    return f"it cannot be copied ({type(cause).__name__})"


def class_folder(class_name: str) -> str:
    """Name of the folder of a class: the class itself, or, where no folder can be called so, something like it.

    What was changed gets eight characters of a checksum behind it, so that two classes never share a folder.
    """
    name = FORBIDDEN.sub("_", class_name)[:LONGEST].rstrip(". ") or "_"
    if name == class_name and not RESERVED.fullmatch(name):
        return name
    return f"{name}_{hashlib.sha256(class_name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def _candidates(target: Path, study: Study) -> Iterator[list[Path]]:
    """Places for the copies, numbered from the second on."""
    count = 1
    while True:
        mark = f" ({count})" if count > 1 else ""
        if len(study.files) == 1:
            ending = (
                "".join(study.files[0].suffixes[-2:]) if study.files[0].name.endswith(".gz") else study.files[0].suffix
            )
            yield [target / f"{study.files[0].name.removesuffix(ending)}{mark}{ending}"]
        else:
            series = target / (class_folder(PurePosixPath(study.name).name) + mark)
            yield [series / name for name in _names(study.files)]
        count += 1


def _names(files: Sequence[Path]) -> list[str]:
    """Names of the files of a series, numbered where files of several folders are called the same."""
    names = [file.name for file in files]
    if len(set(names)) == len(names):
        return names
    return [f"{i:05d} {name}" for i, name in enumerate(names, 1)]


def _free(places: Sequence[Path], files: Sequence[Path]) -> bool:
    """Whether the copies can go there, or are there already; a folder with files of another series is not free."""
    if len(files) > 1 and places[0].parent.is_dir():
        own = {place.name for place in places}
        if any(name not in own and not name.startswith(UNFINISHED) for name in os.listdir(places[0].parent)):
            return False
    return all(
        not os.path.lexists(place) or (place.is_file() and filecmp.cmp(file, place, shallow=False))
        for place, file in zip(places, files, strict=True)
    )


def _copy(source: Path, place: Path) -> None:
    with unfinished_file(place) as (aside, _):
        shutil.copyfile(source, aside)
