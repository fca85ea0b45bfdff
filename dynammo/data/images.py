"""What the user has (class folders or a data list) as checked, labelled items for each task."""

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import torch

from dynammo.data.class_folders import files_below, read_class_folders
from dynammo.data.data_list import ImageRecord, check_classes, read_data_list
from dynammo.data.exemplars import Item
from dynammo.data.leaks import refuse_contradictions, refuse_shared_files, refuse_shared_groups, some
from dynammo.data.splits import divided
from dynammo.data.tasks import Task, TaskSequence
from dynammo.errors import UserError
from dynammo.io.image_reader import frame_count, image_fault, image_format
from dynammo.io.slides import tissue_tiles
from dynammo.runtime.distributed import all_gather_object, shard
from dynammo.runtime.files import fingerprint
from dynammo.runtime.plain import expanded, say
from dynammo.runtime.progress import track

__all__ = ["ImageRecord", "ImageSet", "TaskImages", "images_in", "items_of", "readable"]


class ImageSet:
    """The images of a data set, checked before anything is trained.

    Args:
        dataset_dir: folder with `train/<class>/*` and `test/<class>/*`; with a data list, the folder that its
            paths start from.
        data_list: JSON (a list of objects) or CSV with the columns path, label, split (train or test) and
            optionally group (patient, lesion). Without a split the images are divided here, no group on both
            sides.
        test_fraction: share of the images that becomes the test split when the list has none.
        seed: seed of that division.
        skip_unreadable: leave unreadable images out and say so, instead of refusing.
        slices: every slice of a volume becomes an item of its own. Slides always become their tiles with tissue.
        allow_outside: paths of the data list may lead out of `dataset_dir`.

    Raises:
        UserError: missing or empty folder, malformed list, one that leads out of the folder, a class without training
            image, a test class that is not in train, a group or an image in both splits, an image of two classes,
            unreadable images.
    """

    def __init__(
        self,
        dataset_dir: str | Path,
        data_list: str | Path | None = None,
        test_fraction: float = 0.2,
        seed: int = 0,
        skip_unreadable: bool = False,
        slices: bool = False,
        allow_outside: bool = False,
    ) -> None:
        folder = expanded(dataset_dir)
        if not folder.is_dir():
            raise UserError(f"there is no folder {folder}; give --dataset_dir a folder with train/<class>/ images.")
        if data_list is None:
            records = read_class_folders(folder)
        else:
            records = read_data_list(expanded(data_list), folder, allow_outside)
        refuse_shared_groups(records)
        refuse_contradictions(records)
        records = divided(records, test_fraction, seed)
        check_classes(records)
        self.records = readable(records, skip_unreadable, slices)
        self.skipped = len(records) - len(self.records)
        check_classes(self.records)
        refuse_shared_files(self.records)

    @property
    def classes(self) -> list[str]:
        """Class names with training images, sorted."""
        return sorted({record.class_name for record in self.records if record.split == "train"})


class TaskImages:
    """The images of a data set, labelled by the place of their class in the task sequence."""

    def __init__(self, images: ImageSet, tasks: TaskSequence) -> None:
        self.tasks = tasks
        self._items: dict[str, list[Item]] = {"train": [], "test": []}
        self._groups = {str(record.path): record.group for record in images.records if record.group}
        for record in images.records:
            self._items[record.split] += items_of(record, tasks.label(record.class_name))

    def train(self, task: Task) -> list[Item]:
        """Training images of the new classes of `task`."""
        return [item for item in self._items["train"] if item["label"] in task.labels]

    def test(self) -> list[Item]:
        """Test images of all classes, of later tasks too."""
        return list(self._items["test"])

    def groups(self, items: Sequence[Item]) -> torch.Tensor:
        """Numbers (N,) that items share which are of one patient or lesion, where that is known, or of one file."""
        named = [(1, self._groups[path]) if (path := item["path"]) in self._groups else (0, path) for item in items]
        numbers = {name: number for number, name in enumerate(dict.fromkeys(named))}
        return torch.tensor([numbers[name] for name in named], dtype=torch.long)

    def digest(self) -> str:
        """SHA-256 of split, name, label and size of every image: changes when one comes or goes."""
        found = hashlib.sha256()
        for split, items in self._items.items():
            for item in items:
                image = [split, item["image"], item["label"], Path(item["path"]).stat().st_size]
                found.update(json.dumps(image).encode())
        return found.hexdigest()

    def contents(self) -> str:
        """SHA-256 of what the files of all images hold: changes when one is exchanged, whatever its size and time."""
        paths = sorted({Path(item["path"]) for items in self._items.values() for item in items})
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            digests = list(track(pool.map(fingerprint, paths), "comparing images", len(paths)))
        return hashlib.sha256("".join(digests).encode()).hexdigest()

    def test_digest(self) -> str:
        """SHA-256 of class, name and size of every test image, whatever the order of classes and wherever they lie."""
        items = self._items["test"]
        images = [
            [self.tasks.classes[item["label"]], Path(item["image"]).name, Path(item["path"]).stat().st_size]
            for item in items
        ]
        return hashlib.sha256(json.dumps(sorted(images)).encode()).hexdigest()


def items_of(record: ImageRecord, label: int | None = None) -> list[Item]:
    """One item for each view of an image; `path` says which belong together."""
    known = {} if label is None else {"label": label}
    return [{"image": view, **known, "path": str(record.path)} for view in record.views]


def images_in(folder: str | Path, skip_unreadable: bool = False, slices: bool = False) -> list[Item]:
    """Every image below `folder`, sorted, for inference; `slices` as in `ImageSet`.

    Raises:
        UserError: missing or empty folder, unreadable images unless they are to be skipped.
    """
    folder = expanded(folder)
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; give --dataset_dir a folder of images to classify.")
    records = [ImageRecord(path, "", "test") for path in files_below(folder)]
    if not records:
        raise UserError(f"the folder {folder} holds no image; give --dataset_dir a folder of images to classify.")
    return [item for record in readable(records, skip_unreadable, slices) for item in items_of(record)]


def readable(records: list[ImageRecord], skip_unreadable: bool, slices: bool) -> list[ImageRecord]:
    """The records with their views; every image is read to its last pixel before anything is trained.

    Of several processes each reads its part.
    """
    mine = [records[i] for i in shard(len(records))]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        checked = pool.map(lambda record: _inspect(record.path, slices), mine)
        found = all_gather_object(list(track(checked, "checking images", len(mine))))
    faults, views = zip(*[look for of_process in found for look in of_process], strict=True)
    bad = [f"{r.path}: {fault}" for r, fault in zip(records, faults, strict=True) if fault]
    if bad and not skip_unreadable:
        raise UserError(
            f"{len(bad)} of {len(records)} images cannot be read ({some(bad)}); mend or remove them, or type "
            "--skip_unreadable True to continue without them."
        )
    for line in bad:
        say(f"skipped, unreadable: {line}")
    return [replace(record, views=seen) for record, seen in zip(records, views, strict=True) if seen]


def _inspect(path: Path, slices: bool) -> tuple[str | None, tuple[str, ...]]:
    """What is wrong with an image, or None and its views."""
    if image_format(path) == "slide":
        try:
            tiles = tissue_tiles(path)
        except UserError as error:
            return str(error), ()
        return (None, tuple(tiles)) if tiles else ("a slide without tissue", ())
    fault = image_fault(path)
    if fault:
        return fault, ()
    frames = frame_count(path) if slices else 1
    return None, tuple(f"{path}#{frame}" for frame in range(frames)) if frames > 1 else (str(path),)
