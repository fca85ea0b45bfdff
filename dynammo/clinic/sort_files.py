"""Copies of classified images, sorted into a folder for each class; the originals stay where they are."""

import filecmp
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from dynammo.errors import UserError
from dynammo.io.studies import Study

__all__ = ["class_folder", "sort_into"]

FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]|[. ]+$|^[. ]+')  # on any of the usual file systems
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # names of devices on Windows
MARK = ".copying."
LONGEST = 80  # characters; in UTF-8 at most 240 bytes for letters outside of emoji


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
    target = Path(folder).expanduser() / class_folder(class_name)
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
        if any(name not in own and not name.startswith(MARK) for name in os.listdir(places[0].parent)):
            return False
    return all(
        not os.path.lexists(place) or (place.is_file() and filecmp.cmp(file, place, shallow=False))
        for place, file in zip(places, files, strict=True)
    )


def _copy(source: Path, place: Path) -> None:
    handle, temporary = tempfile.mkstemp(dir=place.parent, prefix=MARK)
    os.close(handle)
    try:
        shutil.copyfile(source, temporary)
        os.chmod(temporary, 0o644)
        os.replace(temporary, place)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
