"""Results on disk as they come, so that long work can be interrupted and its pictures need no memory."""

import base64
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dynammo.errors import UserError
from dynammo.runtime.files import content_of

__all__ = ["Contents", "Journal"]

Picture = tuple[bytes, bytes | None]
SYNC_SECONDS = 1.0  # a flush to disk for every result would take longer than many a network


class Contents:
    """What files hold, so that no result is taken for that of other files under the same names.

    Args:
        files: of everything that is to be classified, by name.
    """

    def __init__(self, files: Mapping[str, Sequence[Path]]) -> None:
        self.files = files
        self._seen = {name: _sizes_and_times(paths) for name, paths in files.items()}

    def exchanged(self, name: str) -> bool:
        """Whether size or time of change of a file is another than at the start; files may go, once they are read."""
        now = zip(self._seen[name], _sizes_and_times(self.files[name]), strict=True)
        return any(before != after for before, after in now if before and after)

    def digest(self, name: str) -> str:
        """SHA-256 over all files; empty where one cannot be read, or is not what it was at the start."""
        try:
            digest = content_of(self.files[name])
        except OSError:
            return ""
        return "" if self.exchanged(name) else digest


class Journal:
    """One line for each result; a line that a crash cut short is left out.

    A result outlives the process at once; a machine that loses its power loses the last second.

    Args:
        file: where it is kept; one that is there is loaded when `resume`, else begun anew.
        key: what must be the same for results to belong together, such as the model's sha256.
        resume: continue the file.

    Raises:
        UserError: the file to continue belongs to other work.
        OSError: it cannot be written.
    """

    def __init__(self, file: Path, key: Mapping[str, Any], resume: bool) -> None:
        self.file = file
        self.items: list[dict[str, Any]] = []
        self._contents: list[str] = []
        self._offsets: list[int] = []
        self._end = 0
        self._synced = 0.0
        if resume and file.is_file():
            self._load(dict(key))
        self._out = file.open("r+b" if self._end else "w+b")
        self._out.seek(self._end)
        self._out.truncate()
        if not self._end:
            self._write({"key": dict(key)})

    def add(self, item: dict[str, Any], picture: Picture | None, content: str = "") -> None:
        """Hand a result to the system, which has it on disk within a second of the next.

        Args:
            item: the result.
            picture: what is shown of it.
            content: `Contents.digest` of its files.
        """
        self._note(item, content)
        encoded = [base64.b64encode(part).decode() if part else None for part in picture or ()]
        self._write({"item": item, "picture": encoded, "content": content})

    def keep(self, valid: Callable[[str, str], bool]) -> None:
        """Forget results whose path and content are not valid (any more), and all but the newest of a path."""
        newest = {item["path"]: i for i, item in enumerate(self.items) if valid(item["path"], self._contents[i])}
        order = sorted(newest.values())
        self.items = [self.items[i] for i in order]
        self._contents = [self._contents[i] for i in order]
        self._offsets = [self._offsets[i] for i in order]

    def content(self, number: int) -> str:
        """Digest of the files of a result, by its number."""
        return self._contents[number]

    def picture(self, number: int) -> Picture | None:
        """Picture and heat map of a result, by its number."""
        self._out.seek(self._offsets[number])
        encoded = json.loads(self._out.readline())["picture"]
        if not encoded:
            return None
        image, heat = (base64.b64decode(part) if part else None for part in encoded)
        return (image or b""), heat

    def close(self, remove: bool) -> None:
        """Close the file, and remove it when the results lie elsewhere."""
        if not remove:
            os.fdatasync(self._out.fileno())
        self._out.close()
        if remove:
            self.file.unlink()

    def _load(self, key: dict[str, Any]) -> None:
        with self.file.open("rb") as lines:
            for line in lines:
                try:
                    entry = json.loads(line)
                except ValueError:  # cut short by a crash; what comes after it is no use either
                    break
                if not line.endswith(b"\n"):
                    break
                if "key" in entry:
                    self._check(key, entry["key"])
                else:
                    self._note(entry["item"], entry.get("content", ""))
                self._end += len(line)

    def _note(self, item: dict[str, Any], content: str) -> None:
        self._offsets.append(self._end)
        self._contents.append(content)
        self.items.append(item)

    def _check(self, key: dict[str, Any], found: dict[str, Any]) -> None:
        other = sorted(name for name in key if key[name] != found.get(name))
        if other:
            raise UserError(
                f"the unfinished work in {self.file.parent} was done with another {' and '.join(other)}; type the same "
                "command as then, or leave --resume out to begin anew."
            )

    def _write(self, entry: dict[str, Any]) -> None:
        line = json.dumps(entry).encode() + b"\n"
        self._out.seek(self._end)
        self._out.write(line)
        self._out.flush()
        self._sync()
        self._end += len(line)

    def _sync(self) -> None:
        now = time.monotonic()
        if now - self._synced >= SYNC_SECONDS:
            os.fdatasync(self._out.fileno())
            self._synced = now


def _sizes_and_times(paths: Sequence[Path]) -> list[tuple[int, int] | None]:
    """Size and time of change of files; None for what is not there."""
    found: list[tuple[int, int] | None] = []
    for path in paths:
        try:
            known = path.stat()
            found.append((known.st_size, known.st_mtime_ns))
        except OSError:
            found.append(None)
    return found
