"""The files that a person means: those of a folder, of a DICOMDIR, of a list."""

import csv
import os
import re
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

import pydicom
from pydicom.filereader import read_file_meta_info

from dynammo.errors import UserError
from dynammo.runtime.tables import head_of, listed_path, read_text, split_table

__all__ = [
    "MOST_FILES", "MOST_UNPACKED", "FoundFiles", "files_of_dicomdir", "files_of_folder", "files_of_list", "is_clutter",
    "is_dicomdir", "is_zip", "unpack",
]  # fmt: skip

DICOMDIR = "1.2.840.10008.1.3.10"  # Media Storage Directory Storage
CLUTTER = ("thumbs.db", "desktop.ini", "ehthumbs.db", "__macosx")  # what Windows and archives of macOS leave behind
COLUMNS = ("path", "file", "filename", "image")
MISSING = "there is no such file"


@dataclass
class FoundFiles:
    """Files, not yet opened.

    Attributes:
        root: the folder that names start from.
        files: ordinary files.
        faults: files and folders that cannot be read, each with the reason.
        links: symbolic links that were not followed.
        others: what is neither file nor folder, such as a pipe.
    """

    root: Path
    files: list[Path] = field(default_factory=list)
    faults: dict[Path, str] = field(default_factory=dict)
    links: int = 0
    others: int = 0


def is_clutter(name: str) -> bool:
    """Whether a file or folder is hidden or what systems leave in folders of pictures."""
    return name.startswith(".") or name.lower() in CLUTTER


def files_of_folder(folder: Path, leave_out: Collection[Path] = ()) -> FoundFiles:
    """Files of a folder and all folders in it, hidden ones and what Windows leaves behind apart.

    Links are not followed: what they lead to lies in the folder anyway, or outside of what was asked for.

    Args:
        folder: where to start; it may be a link itself.
        leave_out: folders that are not entered.
    """
    found, waiting = FoundFiles(folder), [folder]
    barred = {path.resolve() for path in leave_out}
    while waiting:  # no recursion: folders may be nested deeper than Python calls
        current = waiting.pop()
        if barred and current.resolve() in barred:
            continue
        try:
            with os.scandir(current) as entries:
                waiting.extend(_sort_out(entries, found))
        except OSError as error:
            found.faults[current] = f"the folder cannot be opened ({_why(error)})"
    found.files.sort()
    return found


def files_of_list(file: Path) -> FoundFiles:
    """Files that a text file names, one a line, or a CSV in its first column or in the one called path.

    Paths are relative to the list; a folder stands for the files in it.

    Raises:
        UserError: no text, an empty list, or one of which no line names a file.
    """
    lines = _lines(file)
    if not lines:
        raise UserError(f"the list {file} is empty; write one path a line, relative to {file.parent}.")
    found = FoundFiles(file.parent)
    for line in dict.fromkeys(lines):
        path = listed_path(found.root, line)
        try:
            mode = path.stat().st_mode
        except (OSError, ValueError) as error:  # ValueError: a zero byte
            found.faults[path] = MISSING if isinstance(error, FileNotFoundError | ValueError) else _why(error)
            continue
        if stat.S_ISDIR(mode):
            more = files_of_folder(path)
            found.files.extend(more.files)
            found.faults.update(more.faults)
            found.links, found.others = found.links + more.links, found.others + more.others
        elif stat.S_ISREG(mode):
            found.files.append(path)
        else:
            found.others += 1
    found.files = list(dict.fromkeys(found.files))
    if not found.files:
        raise UserError(
            f"{file} is no image, and none of its {len(lines)} lines names a file; give an image, a folder, a zip, a "
            f"DICOMDIR, or a list with one path a line, relative to {file.parent}."
        )
    return found


def is_dicomdir(file: Path) -> bool:
    """Say whether a file is the directory of a DICOM medium, by its content."""
    try:
        return bool(read_file_meta_info(file).get("MediaStorageSOPClassUID") == DICOMDIR)
    except Exception:  # pydicom raises many kinds; all mean that it is something else
        return False


def files_of_dicomdir(file: Path) -> FoundFiles:
    """Files that a DICOMDIR refers to; images that are not there are faults.

    Records are read one by one: pydicom's FileSet would drop missing files, and refuse a medium for one bad record.

    Raises:
        UserError: a damaged DICOMDIR, or one without files.
    """
    try:
        records = pydicom.dcmread(file, specific_tags=["DirectoryRecordSequence"]).DirectoryRecordSequence
        named = [(str(r.get("DirectoryRecordType", "")), _parts(r)) for r in records if "ReferencedFileID" in r]
    except Exception as error:  # as above
        raise UserError(
            f"{file} is a damaged DICOMDIR ({type(error).__name__}); give the folder {file.parent} instead."
        ) from error
    found, names = FoundFiles(file.parent), _NamesOnDisk()
    for kind, parts in dict.fromkeys(named):
        path = names.find(found.root, parts)
        if path is not None and path.is_file():
            found.files.append(path)
        elif kind == "IMAGE":
            found.faults[found.root.joinpath(*parts)] = "the DICOMDIR names it, but there is no such file"
    if not found.files and not found.faults:
        raise UserError(f"the DICOMDIR {file} names no files; give the folder {file.parent} instead.")
    return found


def _sort_out(entries: Iterator["os.DirEntry[str]"], found: FoundFiles) -> list[Path]:
    """Note the files of one folder, and return the folders in it."""
    folders = []
    for entry in entries:
        if is_clutter(entry.name):
            continue
        if entry.is_symlink():
            found.links += 1
        elif entry.is_dir(follow_symlinks=False):
            folders.append(Path(entry.path))
        elif entry.is_file(follow_symlinks=False):
            found.files.append(Path(entry.path))
        else:
            found.others += 1
    return folders


def _lines(file: Path) -> list[str]:
    try:
        text = read_text(file, names=True)
        if file.suffix.lower() == ".csv":
            return _column(split_table(text, COLUMNS))
        return [line for line in re.split("\r\n|\r|\n", text) if line.strip()]
    except (ValueError, csv.Error) as error:  # ValueError: no text
        raise UserError(
            f"{file} is neither an image nor a list of paths; give an image, a folder, a zip, a DICOMDIR or a list."
        ) from error


def _column(rows: list[list[str]]) -> list[str]:
    header = [head_of(cell) for cell in rows[0]] if rows else []
    place = next((header.index(name) for name in COLUMNS if name in header), None)
    if place is None:
        return [row[0] for row in rows if row[0].strip()]
    return [row[place] for row in rows[1:] if len(row) > place and row[place].strip()]


def _parts(record: Any) -> tuple[str, ...]:  # noqa: ANN401
    """Folders and name of a referenced file; what could lead out of the medium is a name that does not exist."""
    value = record.ReferencedFileID
    parts = [value] if isinstance(value, str) else list(value or [])
    return tuple(part.replace("/", "_") if part not in ("", ".", "..") else "_" for part in map(str, parts))


class _NamesOnDisk:
    """Finds files whatever the case of their letters: media name them in capitals, copies of media often do not."""

    def __init__(self) -> None:
        self._folders: dict[Path, dict[str, str]] = {}

    def find(self, root: Path, parts: tuple[str, ...]) -> Path | None:
        path = root
        for part in parts:
            if path not in self._folders:
                names = sorted(os.listdir(path)) if path.is_dir() and not (path.is_symlink() and path != root) else []
                self._folders[path] = {name.lower(): name for name in names} | {name: name for name in names}
            name = self._folders[path].get(part) or self._folders[path].get(part.lower())
            if name is None:
                return None
            path = path / name
        return None if path.is_symlink() else path


def _why(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()


MOST_UNPACKED = 50 * 2**30  # bytes of one archive
MOST_FILES = 200_000
LARGEST_RATIO = 200  # unpacked to packed; uncompressed CT and masks stay below, bombs start at 1000
HARMLESS = 2**28  # bytes up to which the ratio does not matter
BLOCK = 2**20
MARKS = (b"PK\x03\x04", b"PK\x05\x06")  # with and without files inside


def is_zip(file: Path) -> bool:
    """Say whether a file begins as a zip does; images that merely carry one at their end do not count."""
    with file.open("rb") as stream:
        return stream.read(4) in MARKS


def unpack(archive: Path, into: Path) -> dict[Path, str]:
    """Unpack a zip into a folder; links in it are left out.

    Args:
        archive: the zip.
        into: folder, made if need be; files of the same names are replaced.

    Returns:
        Files that could not be unpacked, each with the reason; nothing of them lies in the folder.

    Raises:
        UserError: no zip, a damaged or encrypted one, one that reaches out of the folder, one that unpacks to more than
            50 GiB, 200 000 files or 200 times its size, not enough room on the disk.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = {_target(info, into, archive): info for info in opened.infolist() if _is_file(info)}
            _check(archive, members, into)
            return _unpack_all(opened, members, archive)
    except (zipfile.BadZipFile, UnicodeError, NotImplementedError, struct.error) as error:
        raise UserError(f"{archive} is damaged or no zip ({error}); pack it again, or give the folder.") from error
    except OSError as error:
        raise UserError(
            f"{archive} cannot be unpacked ({error.strerror or error}); unpack it yourself and give the folder."
        ) from error


def _is_file(info: zipfile.ZipInfo) -> bool:
    kind = stat.S_IFMT(info.external_attr >> 16)
    return not info.is_dir() and kind in (0, stat.S_IFREG)


def _target(info: zipfile.ZipInfo, into: Path, archive: Path) -> Path:
    """Where a file goes; some Windows programs write backslashes."""
    path = PurePosixPath(info.filename.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or not path.parts or ":" in path.parts[0]:
        raise UserError(
            f"{archive} holds a file whose name leads out of its folder, which no ordinary program writes; it was not "
            "unpacked. Ask where it comes from."
        )
    return into.joinpath(*path.parts)


def _check(archive: Path, members: dict[Path, zipfile.ZipInfo], into: Path) -> None:
    if any(info.flag_bits & 1 for info in members.values()):
        raise UserError(f"{archive} is encrypted; unpack it with its password and give the folder.")
    if len(members) > MOST_FILES:
        raise UserError(f"{archive} holds {len(members)} files; expected at most {MOST_FILES}. Unpack it yourself.")
    room = _room(archive)
    total = sum(info.file_size for info in members.values())
    if total > room:
        raise _too_large(archive, room)
    into.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(into).free
    if total > free:
        raise UserError(
            f"{archive} unpacks to {total / 2**30:.1f} GiB, but {into} has {free / 2**30:.1f} GiB left; make room, or "
            "unpack it elsewhere and give that folder."
        )


def _room(archive: Path) -> int:
    """Bytes that the archive may unpack to."""
    return min(MOST_UNPACKED, max(HARMLESS, LARGEST_RATIO * archive.stat().st_size))


def _too_large(archive: Path, room: int) -> UserError:
    return UserError(
        f"{archive} unpacks to more than {room / 2**30:.2f} GiB ({LARGEST_RATIO} times its size, "
        f"{MOST_UNPACKED / 2**30:.0f} GiB at most), as archives made to fill disks do; unpack it yourself if you trust "
        "it."
    )


def _unpack_all(opened: zipfile.ZipFile, members: dict[Path, zipfile.ZipInfo], archive: Path) -> dict[Path, str]:
    faults, room = {}, _room(archive)
    for target, info in members.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with opened.open(info) as source, target.open("wb") as file:
                room -= _copy(source, file, room)
        except (zipfile.BadZipFile, zlib.error, EOFError):
            faults[target] = "it is damaged in the zip"
        except NotImplementedError:
            faults[target] = "it is compressed in a way that is not read; zip it again with the usual settings"
        if target in faults:
            target.unlink(missing_ok=True)
        if room < 0:
            raise _too_large(archive, _room(archive))
    return faults


def _copy(source: IO[bytes], file: IO[bytes], room: int) -> int:
    """Copy at most a block more than `room` bytes: the sizes that a zip states may be lies."""
    copied = 0
    while copied <= room and (block := source.read(BLOCK)):
        copied += file.write(block)
    return copied
