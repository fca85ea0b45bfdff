"""Results on disk as they come, so that long work can be interrupted and its pictures need no memory."""

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dynammo.errors import UserError

__all__ = ["Journal"]

Picture = tuple[bytes, bytes | None]


class Journal:
    """One line for each result; a line that a crash cut short is left out.

    Args:
        file: where it is kept; one that is there is taken up when `resume`, else begun anew.
        key: what must be the same for results to belong together, such as the model's sha256.
        resume: go on with the file.

    Raises:
        UserError: the file to go on with belongs to other work.
        OSError: it cannot be written.
    """

    def __init__(self, file: Path, key: Mapping[str, Any], resume: bool) -> None:
        self.file = file
        self.items: list[dict[str, Any]] = []
        self._offsets: list[int] = []
        self._end = 0
        if resume and file.is_file():
            self._take_up(dict(key))
        self._out = file.open("r+b" if self._end else "w+b")
        self._out.seek(self._end)
        self._out.truncate()
        if not self._end:
            self._write({"key": dict(key)})

    def add(self, item: dict[str, Any], picture: Picture | None) -> None:
        """Write a result; it is on disk when this returns."""
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
        self._out.close()
        if remove:
            self.file.unlink()

    def _take_up(self, key: dict[str, Any]) -> None:
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
        os.fdatasync(self._out.fileno())
        self._end += len(line)
