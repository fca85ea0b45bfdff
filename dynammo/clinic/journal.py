"""Results on disk as they come, so that long work can be interrupted and its pictures need no memory."""

import base64
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dynammo.errors import UserError

__all__ = ["Journal"]

Picture = tuple[bytes, bytes | None]
SYNC_SECONDS = 1.0  # a flush to disk for every result would take longer than many a network


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

    def add(self, item: dict[str, Any], picture: Picture | None) -> None:
        """Hand a result to the system, which has it on disk within a second of the next."""
        self._offsets.append(self._end)
        self.items.append(item)
        encoded = [base64.b64encode(part).decode() if part else None for part in picture or ()]
        self._write({"item": item, "picture": encoded})

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
                    self._offsets.append(self._end)
                    self.items.append(entry["item"])
                self._end += len(line)

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
