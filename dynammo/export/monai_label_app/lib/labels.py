"""Labels given in MONAI Label -> folders of classes that `dynammo learn` takes; each image is learnt once."""

import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lib.bundle_checks import file_sha256

__all__ = ["Labelled", "Plan", "class_name", "link_images", "plan", "read_labels"]

LONGEST = 100  # characters of the name of a class, which becomes that of a folder
MOST_BYTES = 2**16  # of a label file
ENDING = re.compile(r"(\.nii)?\.[a-z0-9]{1,4}$")
HARMFUL = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]')  # in names of folders, on one system or another


@dataclass(frozen=True)
class Labelled:
    """An image with its class.

    Attributes:
        image: its file.
        name: of its class.
        sha256: of the file, by which an image is known under any name.
    """

    image: Path
    name: str
    sha256: str


@dataclass(frozen=True)
class Plan:
    """What a training would learn.

    Attributes:
        train: images that were not learnt before.
        test: images that are tested with, of this time and of times before.
        relabelled: images learnt before under another class.
    """

    train: list[Labelled]
    test: list[Labelled]
    relabelled: int

    def counts(self) -> dict[str, dict[str, int]]:
        """How many images of each class would be learnt and tested with."""
        parts = {"images": self.train, "test_images": self.test}
        return {key: dict(sorted(Counter(entry.name for entry in part).items())) for key, part in parts.items()}


def class_name(file: Path) -> str:
    """The class that a label file names: `{"label": "NV"}`.

    Raises:
        ValueError: it names none, or one that cannot name a folder.
    """
    if file.stat().st_size > MOST_BYTES:
        raise ValueError("too large")
    found = json.loads(file.read_bytes())
    name = found.get("label") if isinstance(found, dict) else None
    if not isinstance(name, str) or not 0 < len(name.strip()) <= LONGEST:
        raise ValueError("no label")
    name = name.strip()
    if HARMFUL.search(name) or name[0] == "." or name[-1] == ".":
        raise ValueError("not the name of a folder")
    return name


def read_labels(pairs: Iterable[tuple[Path, Path]]) -> tuple[list[Labelled], int]:
    """Read labelled images.

    Args:
        pairs: file of the image, file of its label.

    Returns:
        One entry for each image of the same content, the last one if it came several times, and the number of label
        files that name no class.
    """
    found: dict[str, Labelled] = {}
    faults = 0
    for image, label in pairs:
        try:
            digest = file_sha256(image)
            found[digest] = Labelled(image, class_name(label), digest)
        except (OSError, ValueError):
            faults += 1
    return list(found.values()), faults


def plan(
    labelled: Iterable[Labelled],
    learnt: Mapping[str, str],
    share: float,
    known: Collection[str],
    fixed: Collection[str] = (),
) -> Plan:
    """Divide labelled images into those to learn and those to test with.

    Whether an image is for testing follows from its content alone, so that it stays so in every training; but a
    new class gives at least one image for learning.

    Args:
        labelled: images with their classes.
        learnt: class of every image that was learnt before, by sha256.
        share: of images for testing, 0 to less than 1.
        known: classes of the model.
        fixed: those of them that cannot be updated; their images are for testing alone.
    """
    entries = sorted(labelled, key=lambda entry: entry.sha256)
    fresh = [entry for entry in entries if entry.sha256 not in learnt]
    train = [entry for entry in fresh if int(entry.sha256[:8], 16) >= share * 2**32 and entry.name not in fixed]
    for name in {entry.name for entry in fresh} - {*known, *(entry.name for entry in train)}:
        train.append(next(entry for entry in reversed(fresh) if entry.name == name))
    test = [entry for entry in fresh if entry not in train]
    return Plan(train, test, sum(learnt.get(entry.sha256, entry.name) != entry.name for entry in entries))


def link_images(chosen: Plan, folder: Path) -> None:
    """Put images into `folder/train/<class>/` and `folder/test/<class>/`: links, or copies on another disk.

    They are named by their content, since names of images may be those of people.
    """
    for part, entries in (("train", chosen.train), ("test", chosen.test)):
        for entry in entries:
            ending = ENDING.search(entry.image.name.lower())
            place = folder / part / entry.name / f"{entry.sha256[:16]}{ending.group() if ending else ''}"
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(entry.image, place)
            except OSError:
                shutil.copyfile(entry.image, place)
