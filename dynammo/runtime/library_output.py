"""What libraries in C, C++ or Rust print about a file is caught, to be said of that file, and not printed."""

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

__all__ = ["caught_output"]

STDERR = 2  # the file descriptor, whatever sys.stderr is
MOST = 2**16  # bytes that are looked at


class _Catcher:
    """The descriptor belongs to the whole process, so one thread at a time diverts it to a file."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.lock = threading.RLock()
        self._file: BinaryIO | None = None

    def divert(self) -> int:
        """Send what is printed to the file; give a descriptor of where it went before."""
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115  # kept: making one takes longer than many images
        before = os.dup(STDERR)
        os.dup2(self._file.fileno(), STDERR)
        return before

    def restore(self, before: int) -> list[str]:
        """Send it there again; give the lines that were caught."""
        os.dup2(before, STDERR)
        os.close(before)
        assert self._file is not None
        size = self._file.seek(0, os.SEEK_END)
        if not size:
            return []
        self._file.seek(0)
        content = self._file.read(MOST).splitlines(keepends=True)
        self._file.seek(0)
        self._file.truncate()
        os.write(STDERR, b"".join(line for line in content if not _is_plain(line)))
        return [line.decode().strip() for line in content if _is_plain(line) and line.strip()]


_catcher = _Catcher()
if hasattr(os, "register_at_fork"):  # a child has its own file, and no thread that would give the lock back
    os.register_at_fork(after_in_child=_catcher.reset)


@contextmanager
def caught_output() -> Iterator[list[str]]:
    """Catch what is printed to the descriptor of stderr meanwhile.

    For short calls into libraries that keep Python's other threads waiting anyway. A progress bar, which another
    thread may draw at that moment, is no plain text and goes where it belongs.

    Yields:
        A list that holds the lines once the block has ended, with an exception or without.
    """
    lines: list[str] = []
    with _catcher.lock:
        before = None
        with suppress(OSError):  # stderr is closed, or there is no folder for the file
            before = _catcher.divert()
        try:
            yield lines
        finally:
            if before is not None:
                lines += _catcher.restore(before)


def _is_plain(line: bytes) -> bool:
    return line.isascii() and line.decode().strip().isprintable()
