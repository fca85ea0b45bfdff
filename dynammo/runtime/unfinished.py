"""Files and folders of work that is not done, so marked that a later process can remove those that a dead one left.

A process that works holds a lock on what it makes, and the system frees the lock however the process ends: what can be
locked by another one is a leftover.
"""

import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows: nothing is locked there, so nothing is taken for a leftover
    fcntl = None  # type: ignore[assignment]

__all__ = ["UNFINISHED", "remove_leftovers", "unfinished_file", "work_folder"]

UNFINISHED = ".unfinished."  # begins the name of a file that is being written
IN_USE = ".in_use"  # the file in a work folder that is locked
RANDOM = re.compile(r"[a-z0-9_]{8}")  # what tempfile puts behind a prefix
TRIES, PAUSE = 100, 0.05  # seconds: threads may still write into a folder that is to go


@contextmanager
def unfinished_file(path: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    """A new file in the folder of `path`, which takes its place when the block ends well and else is removed.

    Who may read it is decided by the umask of the process, as for any new file.

    Yields:
        The name for the time being, and the file, open for writing.
    """
    aside, handle = _new_file(path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield aside, file
            file.flush()
            if fcntl is not None:  # else its lock would end before it has its name
                os.replace(aside, path)
        if fcntl is None:  # Windows renames no open file
            os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


@contextmanager
def work_folder(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """A folder for this user alone that is gone after the block; leftovers of the same prefix are removed before.

    Args:
        prefix: of its name, of this program alone.
        parent: where it is made; None for the system's folder of temporary files.
    """
    parent = parent or Path(tempfile.gettempdir())
    remove_leftovers(parent, prefix)
    folder, handle = _new_folder(prefix, parent)
    try:
        yield folder
    finally:
        _remove(folder)
        os.close(handle)


def remove_leftovers(folder: Path, prefix: str = UNFINISHED, recursively: bool = False) -> None:
    """Remove files and folders so named in `folder` whose process is dead; what cannot be removed stays.

    Args:
        folder: where to look; it may be missing.
        prefix: as given to `work_folder`; by default files of `unfinished_file`.
        recursively: look in the folders inside, too.
    """
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            if name.startswith(prefix) and RANDOM.fullmatch(name.removeprefix(prefix)):
                with suppress(OSError):
                    _remove_if_left(Path(place, name))
        if not recursively:
            return


def _new_file(folder: Path) -> tuple[Path, int]:
    while True:
        path = folder / f"{UNFINISHED}{secrets.token_hex(4)}"
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)  # not mkstemp, which ignores the umask
        except FileExistsError:
            continue
        if _holds(path, handle):
            return path, handle
        os.close(handle)


def _new_folder(prefix: str, parent: Path) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        with suppress(FileNotFoundError):  # another process took it for a leftover before it was marked
            handle = os.open(folder / IN_USE, os.O_RDWR | os.O_CREAT, 0o600)
            if _holds(folder / IN_USE, handle):
                return folder, handle
            os.close(handle)


def _holds(path: Path, handle: int) -> bool:
    """Whether this process has what it made, locked where the file system knows locks."""
    if _lock(handle) == "held":
        return False
    try:
        return path.stat().st_ino == os.fstat(handle).st_ino
    except FileNotFoundError:
        return False


def _lock(handle: int) -> str:
    """`locked` by this process, `held` by another, or `unknown` where there are no locks."""
    if fcntl is None:
        return "unknown"
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return "held"
    except OSError:
        return "unknown"
    return "locked"


def _remove_if_left(path: Path) -> None:
    state = path.lstat()
    if path.is_symlink() or (hasattr(os, "getuid") and state.st_uid != os.getuid()):
        return
    is_folder = path.is_dir()
    flags = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | (os.O_CREAT if is_folder else 0)
    handle = os.open(path / IN_USE if is_folder else path, flags, 0o600)
    try:
        if _lock(handle) == "locked":
            _remove(path)
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    if not path.is_dir():
        path.unlink(missing_ok=True)
    for _ in range(TRIES):
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            return
        time.sleep(PAUSE)
