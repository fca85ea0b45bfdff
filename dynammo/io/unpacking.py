"""Unpack a zip without trusting it: no path out of the folder, no links, no bomb, no guessing of passwords."""

import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO

from dynammo.errors import UserError

__all__ = ["MOST_FILES", "MOST_UNPACKED", "is_zip", "unpack"]

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
    except zipfile.BadZipFile as error:
        raise UserError(
            f"{archive} is damaged or no zip ({error}); pack it again, or give the folder itself."
        ) from error
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
