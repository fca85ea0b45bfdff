"""The record of what was rendered, phantoms.json, and what it says about rendering again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

NOTE = (
    "Phantoms are not medicine: a program drew them to try software on; "
    "they show no patient and teach nothing about disease."
)
ADVICE = "add --force to render it anew or choose another folder with -o"

Settings = dict[str, Any]
"""How one set was rendered: recipe, seed, size, train, test, classes; and whether to the end."""


class PhantomError(Exception):
    """Something a person can put right, said in one sentence."""


class Record:
    """What phantoms.json in a folder says.

    Attributes:
        out: The folder.
        sets: Settings of every set rendered into it.
    """

    def __init__(self, out: Path) -> None:
        """Read the record in ``out``, if there is one."""
        self.out = out
        self.sets: dict[str, Settings] = {}
        if not self.path.exists():
            return
        try:
            self.sets = dict(json.loads(self.path.read_text(encoding="utf-8"))["sets"])
        except (ValueError, KeyError, TypeError):
            raise PhantomError(
                f"{self.path} cannot be read as the record of an earlier rendering: "
                f"delete it together with the pictures beside it, or choose another folder with -o."
            ) from None

    @property
    def path(self) -> Path:
        """Where the record is kept."""
        return self.out / "phantoms.json"

    def holds(self, name: str, wanted: Settings, force: bool = False) -> bool:
        """Say whether a set can be left as it is: rendered to the end with these settings.

        Args:
            name: The set.
            wanted: The settings asked for.
            force: Whether it is to be rendered anew in any case.

        Returns:
            True if it can be left, False if it is to be rendered.

        Raises:
            PhantomError: If it holds something else in the set's place.
        """
        folder, held = self.out / name, self.sets.get(name)
        if held is None:
            if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
                raise PhantomError(
                    f"{folder} holds something that was not rendered here, but a new or empty folder is "
                    f"expected: move it away or choose another folder with -o."
                )
            return False
        if force or not held.get("complete"):
            return False
        if changed := differences(held, wanted):
            raise PhantomError(f"{folder} holds a rendering with {changed}: {ADVICE}.")
        expected: int = len(wanted["classes"]) * (wanted["train"] + wanted["test"])
        return sum(path.is_file() for path in folder.glob("*/*/*")) == expected

    def write(self, name: str, settings: Settings, complete: bool) -> None:
        """Enter a set and write the record."""
        self.sets[name] = {**settings, "complete": complete}
        text = json.dumps({"note": NOTE, "sets": self.sets}, indent=2)
        self.path.write_text(text + "\n", encoding="utf-8")


def differences(held: Settings, wanted: Settings) -> str:
    """Say in words which settings differ, such as 'seed 1 where 0 is asked for', or nothing."""
    return " and ".join(
        f"other {key}" if key == "classes" else f"{key} {held.get(key)} where {value} is asked for"
        for key, value in wanted.items()
        if held.get(key) != value
    )
