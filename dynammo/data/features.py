"""Embeddings in place of images: one table of vectors that somebody's encoder has made, and its tasks."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from monai.transforms import Compose
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold

from dynammo.data.data_list import ImageRecord, check_classes, class_name
from dynammo.data.exemplars import Item
from dynammo.data.feature_files import ENCODER, EXPECTED, FeatureFile, open_features
from dynammo.data.images import TaskImages
from dynammo.data.leaks import refuse_shared_groups, some
from dynammo.data.splits import divided
from dynammo.data.tasks import TaskSequence
from dynammo.errors import UserError
from dynammo.runtime.plain import expanded

__all__ = ["AVERAGES", "FeatureSet", "FeatureTable", "Features", "TaskFeatures", "VectorReader", "read_features"]

BATCHED = ("label", "path", "row", "seed")  # of the items of a batch
AVERAGES = ("none", "vectors", "probabilities")
"""What becomes one of several vectors of a group, or of a slide: nothing, their mean, or the mean of what is said of
each."""


@dataclass(frozen=True)
class FeatureTable:
    """Vectors and what is known of each; texts are "" where nothing is.

    Attributes:
        ids: (N,) each once.
        vectors: (N, D) float32, finite.
        labels: class names.
        groups: patients, slides or lesions.
        splits: train or test.
        encoder: digest of what made the vectors, where `dynammo features` wrote them.
        studies: (N,) what is classified as one; the id where a vector stands for itself.
        average: one of `AVERAGES`.
        slides: the files of slides that were read, each with its time and size then.
    """

    ids: tuple[str, ...]
    vectors: NDArray[np.float32]
    labels: tuple[str, ...]
    groups: tuple[str, ...]
    splits: tuple[str, ...]
    encoder: str = ""
    studies: tuple[str, ...] = ()
    average: str = "none"
    slides: tuple[tuple[Path, int, int], ...] = ()

    def records(self) -> list[ImageRecord]:
        """The rows as records of a data set; the path is the number of the row, since ids are no paths."""
        rows = enumerate(zip(self.labels, self.splits, self.groups, strict=True))
        return [ImageRecord(Path(f"row {i}"), label, split, group) for i, (label, split, group) in rows]


def read_features(file: str | Path, labelled: bool = True, average: str | None = None) -> FeatureTable:
    """Read a file of embeddings; nothing in it is ever run, and texts are nothing but texts.

    Args:
        file: .npz, .csv or .parquet, a table of the HDF5 files of slides, or one such file.
        labelled: refuse rows without a label.
        average: one of `AVERAGES`: `vectors`, so that those of a group become their mean, whose id is the group, or
            `probabilities`; a slide is always what is averaged of a table of slides, whose id it has. None for
            `probabilities` of slides, `none` of vectors.

    Raises:
        UserError: no such file, none of these kinds, rows of unequal width, values that are not finite, an id that
            comes twice or is missing, a label that is missing, a split that is none; averaged, a group of two classes
            or splits.
    """
    path = expanded(file)
    if average not in (None, *AVERAGES):
        raise UserError(f"average is {str(average)[:20]!r}; expected {', '.join(AVERAGES)}.")
    if not path.is_file():
        raise UserError(f"there is no file {path}; {EXPECTED}.")
    asked = (_state(path), labelled, average)
    table = _read(*asked)
    if any(slide != _state(slide[0]) for slide in table.slides):
        _read.cache_clear()
        table = _read(*asked)
    return table


def _state(path: Path) -> tuple[Path, int, int]:
    state = path.stat()
    return path, state.st_mtime_ns, state.st_size


@lru_cache(maxsize=1)  # a plan looks at it before the training does
def _read(file: tuple[Path, int, int], labelled: bool, average: str | None) -> FeatureTable:
    path, opened = file[0], open_features(file[0])
    table = _described(path, opened, labelled)
    average = average or ("probabilities" if opened.slides else "none")
    slides = tuple(map(_state, opened.slides))
    vectors = opened.vectors(average == "vectors")
    if vectors.ndim != 2 or not vectors.shape[0] or not vectors.shape[1]:
        raise UserError(f"the features of {path} are {vectors.shape}; {EXPECTED}.")
    if opened.slides and average != "vectors":
        table = _spread(table, opened.counts, average)
    if len(table.ids) != len(vectors):
        raise UserError(f"{path} has {len(vectors)} vectors, but {len(table.ids)} values of id; expected one each.")
    with np.errstate(over="ignore"):  # beyond float32 becomes infinite, which is refused
        vectors = vectors.astype(np.float32, copy=False)
    bad = ~np.isfinite(vectors.sum(1, dtype=np.float64))
    _refuse([table.ids[i] for i in np.flatnonzero(bad)], path, "have a value that is missing, NaN or infinite")
    table = replace(table, vectors=vectors, average=average, slides=slides)
    if opened.slides or average == "none":
        return table
    return _averaged(table, path) if average == "vectors" else replace(table, studies=_studies(table, path))


def _described(path: Path, opened: FeatureFile, labelled: bool) -> FeatureTable:
    """The table without its vectors, of slides with one row for each."""
    texts = opened.texts
    ids = texts.get("id", ())
    if not ids or not all(ids):
        raise UserError(f"{path} has vectors without an id; {EXPECTED}.")
    for name, values in texts.items():
        if len(values) != len(ids) and name != ENCODER:
            raise UserError(f"{path} has {len(ids)} ids, but {len(values)} values of {name}; expected one each.")
    _refuse([name for name, count in Counter(ids).items() if count > 1], path, "come more than once")
    none = ("",) * len(ids)
    splits = tuple(split.lower() for split in texts.get("split", none))
    odd = sorted(set(splits) - {"", "train", "test"})
    if odd:
        raise UserError(f"{path} has the split {odd[0][:20]!r}; expected train or test, or none in all rows.")
    names = {text: class_name(text, path) if text else "" for text in set(texts.get("label", none))}
    labels = tuple(names[text] for text in texts.get("label", none))
    if labelled:
        _refuse([i for i, label in zip(ids, labels, strict=True) if not label], path, "have no label")
    groups, encoder = texts.get("group", none), "".join(texts.get(ENCODER, ()))
    return FeatureTable(ids, np.empty((0, 0), np.float32), labels, groups, splits, encoder, ids)


def _spread(table: FeatureTable, counts: Sequence[int], average: str) -> FeatureTable:
    """A row for each vector of a slide, all of which are in one group."""

    def repeated(values: Sequence[str]) -> tuple[str, ...]:
        return tuple(value for value, count in zip(values, counts, strict=True) for _ in range(count))

    ids = tuple(f"{name}#{i}" for name, count in zip(table.ids, counts, strict=True) for i in range(count))
    groups = [group or name for group, name in zip(table.groups, table.ids, strict=True)]
    return replace(
        table, ids=ids, labels=repeated(table.labels), groups=repeated(groups), splits=repeated(table.splits),
        studies=ids if average == "none" else repeated(table.ids),
    )  # fmt: skip


def _refuse(ids: Sequence[str], path: Path, why: str) -> None:
    if ids:
        raise UserError(f"{len(ids)} vectors of {path} {why} ({some(name[:40] for name in ids)}); mend the file.")


def _studies(table: FeatureTable, path: Path) -> tuple[str, ...]:
    """Of each row its group, else its id.

    Raises:
        UserError: one that is both, or a group of two classes or splits.
    """
    pairs = list(zip(table.ids, table.groups, strict=True))
    both = sorted({name for name, group in pairs if not group} & {*table.groups})
    if both:
        raise UserError(f"{both[0][:40]} of {path} is a group and the id of a vector without one; rename either.")
    studies = tuple(group or name for name, group in pairs)
    facts: dict[str, tuple[str, str]] = {}
    for name, fact in zip(studies, zip(table.labels, table.splits, strict=True), strict=True):
        if facts.setdefault(name, fact) != fact:
            raise UserError(f"the group {name[:40]} of {path} has two labels or splits; one is one.")
    return studies


def _averaged(table: FeatureTable, path: Path) -> FeatureTable:
    studies = _studies(table, path)
    first = {name: row for row, name in reversed([*enumerate(studies)])}
    number = {name: i for i, name in enumerate(dict.fromkeys(studies))}
    rows = np.array([number[name] for name in studies])
    sums = np.zeros((len(number), table.vectors.shape[1]))
    np.add.at(sums, rows, table.vectors)
    means = (sums / np.bincount(rows)[:, None]).astype(np.float32)
    labels, groups, splits = (
        tuple(column[first[name]] for name in number) for column in (table.labels, table.groups, table.splits)
    )
    ids = tuple(number)
    return replace(table, ids=ids, vectors=means, labels=labels, groups=groups, splits=splits, studies=ids)


class Features(Protocol):
    """Vectors, and the record of each in their order."""

    table: FeatureTable
    records: list[ImageRecord]


class FeatureSet:
    """The vectors of a data set, checked and divided before anything is learnt.

    Args:
        file: see `read_features`.
        average: see `read_features`.
        test_fraction: share that becomes the test split where the file has none, no group on both sides.
        seed: of that division.

    Attributes:
        width: numbers in a vector.
        average: what was found to be averaged.

    Raises:
        UserError: what `read_features` refuses, a group on both sides, a class in train or in test alone.
    """

    def __init__(self, file: str | Path, average: str | None = None, test_fraction: float = 0.2, seed: int = 0) -> None:
        self.table = read_features(file, average=average)
        self.average = self.table.average
        self.width = self.table.vectors.shape[1]
        records = self.table.records()
        refuse_shared_groups(records)
        self.records = _divided(records, test_fraction, seed)
        check_classes(self.records)
        self.skipped = 0

    @property
    def classes(self) -> list[str]:
        """Class names with vectors to learn from, sorted."""
        return sorted({record.class_name for record in self.records if record.split == "train"})


def _divided(records: list[ImageRecord], test_fraction: float, seed: int) -> list[ImageRecord]:
    """`divided`, without its search over groups where there are none: it takes a while for 100,000 rows."""
    counts = Counter(record.class_name for record in records)
    folds = max(2, round(1 / test_fraction))
    if any(record.split or record.group for record in records) or min(counts.values()) < folds:
        return divided(records, test_fraction, seed)
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    labels = [record.class_name for record in records]
    test = set(next(splitter.split(np.zeros(len(labels)), labels))[1].tolist())
    return [replace(record, split="test" if i in test else "train") for i, record in enumerate(records)]


class TaskFeatures(TaskImages):
    """The vectors of a data set, labelled by the place of their class in the task sequence."""

    def __init__(self, features: "Features", tasks: TaskSequence) -> None:
        self.tasks = tasks
        self.table = features.table
        self._items: dict[str, list[Item]] = {"train": [], "test": []}
        rows = [*zip(self.table.ids, self.table.studies, features.records, strict=True)]
        self._groups = {study: record.group for _, study, record in rows if record.group}
        for row, (name, study, record) in enumerate(rows):
            item = {"image": name, "label": tasks.label(record.class_name), "path": study, "row": row, "seed": 0}
            self._items[record.split].append(item)

    def digest(self) -> str:
        """SHA-256 of split, id and label of every vector: changes when one comes or goes."""
        rows = [[split, i["image"], i["label"]] for split, items in self._items.items() for i in items]
        return hashlib.sha256(json.dumps([self.table.vectors.shape, rows]).encode()).hexdigest()

    def contents(self) -> str:
        """SHA-256 of all vectors."""
        return hashlib.sha256(np.ascontiguousarray(self.table.vectors).data).hexdigest()

    def test_digest(self) -> str:
        """SHA-256 of class and id of every test vector, whatever the order of classes."""
        rows = sorted([self.tasks.classes[item["label"]], item["image"]] for item in self._items["test"])
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


class VectorReader(Compose):  # type: ignore[misc]  # MONAI is untyped; it takes a Compose as it is
    """What takes the place of reading and preparing an image: the vector of an item, as an image of one pixel.

    Args:
        features: the data set that the items are of.
    """

    def __init__(self, features: "Features") -> None:
        super().__init__()
        self.vectors = torch.from_numpy(features.table.vectors)

    def __call__(self, input_: Item, **_: Any) -> Item:  # noqa: ANN401
        """The item with its vector (D, 1, 1) as `image`."""
        return {**input_, "image": self.vectors[input_["row"]].view(-1, 1, 1)}

    def batches(self, items: Sequence[Item], size: int) -> Iterator[Item]:
        """What a loader makes of these items, batch by batch, without a look at each vector."""
        for start in range(0, len(items), size):
            columns: Item = {name: [item[name] for item in items[start : start + size]] for name in BATCHED}
            rows = torch.tensor(columns["row"])
            yield {**columns, "image": self.vectors[rows][:, :, None, None], "label": torch.tensor(columns["label"])}
