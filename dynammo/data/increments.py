"""The images that a finished model meets next: folders of new and of known classes, and available test images."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dynammo.data.class_folders import class_folders
from dynammo.data.images import ImageRecord, ImageSet, images_in, readable
from dynammo.data.leaks import refuse_contradictions, refuse_shared_files
from dynammo.data.reviews import read_reviews
from dynammo.errors import UserError
from dynammo.runtime.plain import expanded, say

__all__ = ["IncrementImages", "Source", "class_images"]

Source = Mapping[str, Any]
"""Where test images of earlier classes lie: `dataset_dir` and `data_list` (or None) as a training was given them."""


class IncrementImages:
    """Images for one more task of a model; takes the place of an `ImageSet`.

    Test images of a class come from the first of these that has some: the folder itself, `test_dir`, the data that the
    model was trained on before.

    Args:
        folder: class folders, or `train/` and `test/` with class folders; with `reviews` what was classified; None for
            no new image.
        known: classes of the model in label order.
        test_dir: more test images: class folders, or `test/` with class folders.
        earlier: data of earlier trainings of the model, used as far as it is still there.
        skip_unreadable: leave unreadable images out and say so, instead of refusing.
        slices: every slice of a volume becomes an item of its own.
        reviews: the `review.csv` of a report, whose corrected images are learnt instead of class folders.
        model: SHA-256 of the model, which the reviews have to be of.

    Attributes:
        records: training and test images.
        new_classes: names of the folders that the model does not know, sorted.
        updated: names of the folders of known classes, in label order.
        sources: where test images of these classes may be found next time.

    Raises:
        UserError: missing or empty folders, unreadable images, images that the model has learnt already, or the same
            image in train and in test.
    """

    def __init__(
        self,
        folder: str | Path | None,
        known: Sequence[str],
        test_dir: str | Path | None = None,
        earlier: Sequence[Source] = (),
        skip_unreadable: bool = False,
        slices: bool = False,
        reviews: str | Path | None = None,
        model: str = "",
    ) -> None:
        self._skip, self._slices = skip_unreadable, slices
        if reviews is not None:
            reviewed = read_reviews(expanded(reviews), expanded(str(folder)), model)
            train, folder = readable(reviewed, skip_unreadable, slices), None
        else:
            train = self._training(folder, earlier)
        names = {record.class_name for record in train}
        self.new_classes = sorted(names - set(known))
        self.updated = [name for name in known if name in names]
        self.records = train + self._tests(folder, test_dir, earlier, [*known, *self.new_classes])
        refuse_contradictions(self.records)
        refuse_shared_files(self.records)
        places = [expanded(place).resolve() for place in (folder, test_dir) if place is not None]
        self.sources = [*map(dict, earlier), *({"dataset_dir": str(place), "data_list": None} for place in places)]

    def images(self, split: str = "train") -> dict[str, int]:
        """Number of images of every class that has some."""
        names = [record.class_name for record in self.records if record.split == split]
        return {name: names.count(name) for name in sorted(set(names))}

    def _training(self, folder: str | Path | None, earlier: Sequence[Source]) -> list[ImageRecord]:
        if folder is None:
            return []
        root = expanded(folder)
        if not root.is_dir():
            raise UserError(f"there is no folder {root}; give --input a folder with a folder of images for each class.")
        if root.resolve() in [expanded(source["dataset_dir"]).resolve() for source in earlier]:
            raise UserError(f"{root} is what the model was trained on; give --input a folder with new images alone.")
        return class_images(root / "train" if (root / "train").is_dir() else root, "train", self._skip, self._slices)

    def _tests(
        self, folder: str | Path | None, test_dir: str | Path | None, earlier: Sequence[Source], classes: Sequence[str]
    ) -> list[ImageRecord]:
        found: list[ImageRecord] = []
        places = [expanded(folder) / "test"] if folder is not None else []
        for place in [*places, *([_test_folder(expanded(test_dir))] if test_dir is not None else [])]:
            if place.is_dir():
                given = class_images(place, "test", self._skip, self._slices)
                if strangers := sorted({record.class_name for record in given} - {*classes}):
                    say(f"test images of {', '.join(strangers)} are left out: the model has no such class")
                found += _missing(given, found, classes)
        for source in earlier:
            if {*classes} - {record.class_name for record in found}:
                found += _missing(_if_usable(source, self._slices), found, classes)
        return found


def _missing(records: list[ImageRecord], found: list[ImageRecord], classes: Sequence[str]) -> list[ImageRecord]:
    """Those of the records whose class is wanted and not found yet."""
    wanted = {*classes} - {record.class_name for record in found}
    return [record for record in records if record.class_name in wanted]


def _if_usable(source: Source, slices: bool) -> list[ImageRecord]:
    """Test images of an earlier training; what has become of them must not keep a model from learning."""
    try:
        return _earlier_tests(source, slices)
    except UserError as error:
        say(f"test images of an earlier training are passed by: {error}")
        return []


def _earlier_tests(source: Source, slices: bool) -> list[ImageRecord]:
    """Test images of an earlier training that are still there and readable."""
    root, data_list = expanded(source["dataset_dir"]), source["data_list"]
    if data_list is None:
        return class_images(root / "test", "test", True, slices) if (root / "test").is_dir() else []
    if not root.is_dir() or not expanded(data_list).is_file():
        return []
    records = ImageSet(root, data_list, skip_unreadable=True, slices=slices).records
    return [record for record in records if record.split == "test"]


def class_images(root: Path, split: str, skip_unreadable: bool, slices: bool) -> list[ImageRecord]:
    """The images below the class folders of `root`, each read to its last pixel.

    Args:
        root: folder with a folder of images for each class.
        split: of all of them, train or test.
        skip_unreadable: leave unreadable images out and say so, instead of refusing.
        slices: every slice of a volume becomes a view of its own.

    Raises:
        UserError: no class folder, an empty one, unreadable images.
    """
    folders = class_folders(root)
    if not folders:
        raise UserError(f"{root} has no class folder; expected a folder of images for each class, named after it.")
    records: list[ImageRecord] = []
    for name, folder in folders.items():
        if not any(path.is_file() for path in folder.rglob("*")):
            raise UserError(f"the class folder {folder} holds no image; put images there or remove the folder.")
        views: dict[Path, list[str]] = {}
        for item in images_in(folder, skip_unreadable, slices):
            views.setdefault(Path(item["path"]), []).append(item["image"])
        records += [ImageRecord(path, name, split, "", tuple(seen)) for path, seen in views.items()]
    return records


def _test_folder(root: Path) -> Path:
    if not root.is_dir():
        raise UserError(f"there is no folder {root}; give --test-data a folder with a folder of images for each class.")
    return root / "test" if (root / "test").is_dir() else root
