"""Embeddings in place of images: one table of vectors that somebody's encoder has made, and its tasks."""

import hashlib
import json
import zipfile
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
from dynammo.data.images import TaskImages
from dynammo.data.leaks import refuse_shared_groups, some
from dynammo.data.splits import divided
from dynammo.data.tasks import TaskSequence
from dynammo.errors import UserError
from dynammo.runtime.plain import as_text, expanded

__all__ = ["FeatureSet", "FeatureTable", "Features", "TaskFeatures", "VectorReader", "is_feature_file", "read_features"]

ENDINGS = (".npz", ".csv", ".parquet")
HEADS = ("id", "label", "group", "split")
ARRAYS = {"ids": "id", "labels": "label", "groups": "group", "splits": "split"}  # of an .npz file
BATCHED = ("label", "path", "row", "seed")  # of the items of a batch
ENCODER = "encoder"  # array beside them: what made the vectors
EXPECTED = (
    "expected an .npz file with the arrays features (N, D), ids, labels and perhaps groups and splits, or a .csv or "
    ".parquet file with the columns id, label, perhaps group and split, and numbers"
)


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
    """

    ids: tuple[str, ...]
    vectors: NDArray[np.float32]
    labels: tuple[str, ...]
    groups: tuple[str, ...]
    splits: tuple[str, ...]
    encoder: str = ""

    def records(self) -> list[ImageRecord]:
        """The rows as records of a data set; the path is the number of the row, since ids are no paths."""
        rows = enumerate(zip(self.labels, self.splits, self.groups, strict=True))
        return [ImageRecord(Path(f"row {i}"), label, split, group) for i, (label, split, group) in rows]


def is_feature_file(path: Path) -> bool:
    """Whether the name of a file says that it may hold embeddings."""
    return path.suffix.lower() in ENDINGS


def read_features(file: str | Path, labelled: bool = True, average: bool = False) -> FeatureTable:
    """Read a file of embeddings; nothing in it is ever run, and texts are nothing but texts.

    Args:
        file: .npz, .csv or .parquet.
        labelled: refuse rows without a label.
        average: the vectors of a group become their mean, whose id is the group.

    Raises:
        UserError: no such file, none of these kinds, rows of unequal width, values that are not finite, an id that
            comes twice or is missing, a label that is missing, a split that is none; averaged, a group of two classes
            or splits.
    """
    path = expanded(file)
    if not path.is_file():
        raise UserError(f"there is no file {path}; {EXPECTED}.")
    state = path.stat()
    table = _read(path, state.st_mtime_ns, state.st_size)
    if average:
        table = _averaged(table, path)
    if labelled:
        _refuse([i for i, label in zip(table.ids, table.labels, strict=True) if not label], path, "have no label")
    return table


@lru_cache(maxsize=1)  # a plan looks at it before the training does
def _read(path: Path, changed: int, size: int) -> FeatureTable:
    columns, vectors = _columns(path)
    if vectors.ndim != 2 or not vectors.shape[0] or not vectors.shape[1]:
        raise UserError(f"the features of {path} are {vectors.shape}; {EXPECTED}.")
    for name, values in columns.items():
        if len(values) != len(vectors) and name != ENCODER:
            raise UserError(
                f"{path} has {len(vectors)} vectors, but {len(values)} values of {name}; expected one each."
            )
    ids = columns.get("id", ())
    if not ids or not all(ids):
        raise UserError(f"{path} has vectors without an id; {EXPECTED}.")
    _refuse([name for name, count in Counter(ids).items() if count > 1], path, "come more than once")
    with np.errstate(over="ignore"):  # beyond float32 becomes infinite, which is refused
        vectors = vectors.astype(np.float32, copy=False)
    bad = ~np.isfinite(vectors.sum(1, dtype=np.float64))
    _refuse([ids[i] for i in np.flatnonzero(bad)], path, "have a value that is missing, NaN or infinite")
    none = ("",) * len(ids)
    splits = tuple(split.lower() for split in columns.get("split", none))
    odd = sorted(set(splits) - {"", "train", "test"})
    if odd:
        raise UserError(f"{path} has the split {odd[0][:20]!r}; expected train or test, or none in all rows.")
    names = {text: class_name(text, path) if text else "" for text in set(columns.get("label", none))}
    labels = tuple(names[text] for text in columns.get("label", none))
    encoder = "".join(columns.get(ENCODER, ()))
    return FeatureTable(ids, vectors, labels, columns.get("group", none), splits, encoder)


def _refuse(ids: Sequence[str], path: Path, why: str) -> None:
    if ids:
        raise UserError(f"{len(ids)} vectors of {path} {why} ({some(name[:40] for name in ids)}); mend the file.")


def _columns(path: Path) -> tuple[dict[str, tuple[str, ...]], NDArray[Any]]:
    """The texts of a file by head, and its vectors."""
    if not is_feature_file(path):
        raise UserError(f"{path} is none of {', '.join(ENDINGS)}; {EXPECTED}.")
    try:
        return _arrays(path) if path.suffix.lower() == ".npz" else _frame(path)
    except UserError:
        raise
    except (OSError, ValueError, KeyError, EOFError, MemoryError, ImportError, zipfile.BadZipFile) as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise UserError(f"{path} cannot be read ({said}); {EXPECTED}.") from error


def _arrays(path: Path) -> tuple[dict[str, tuple[str, ...]], NDArray[Any]]:
    with np.load(path, allow_pickle=False) as arrays:
        if not hasattr(arrays, "files") or "features" not in arrays.files:
            raise UserError(f"{path} has no array features; {EXPECTED}.")
        vectors = arrays["features"]
        if vectors.dtype.kind not in "fiu":
            raise UserError(f"the features of {path} are {vectors.dtype}; expected numbers.")
        texts = {ARRAYS[name]: arrays[name] for name in arrays.files if name in ARRAYS}
        made = [_text(arrays[ENCODER].item())] if ENCODER in arrays.files and not arrays[ENCODER].ndim else []
    for name, values in texts.items():
        if values.ndim != 1 or values.dtype.kind not in "USiuf":
            raise UserError(
                f"the {name}s of {path} are {values.dtype} {values.shape}; expected a text for each vector."
            )
    return {name: tuple(map(_text, values.tolist())) for name, values in texts.items()} | {
        ENCODER: tuple(made)
    }, vectors


def _frame(path: Path) -> tuple[dict[str, tuple[str, ...]], NDArray[Any]]:
    import pandas as pd

    if path.suffix.lower() == ".parquet":
        frame = pd.read_parquet(path)
    else:
        with path.open(encoding="utf-8-sig") as stream:
            first = stream.readline()
        heads = {name: str for name in first.replace('"', "").replace(";", ",").split(",") if _head(name) in HEADS}
        separator = ";" if first.count(";") > first.count(",") else ","
        frame = pd.read_csv(
            path, sep=separator, encoding="utf-8-sig", dtype={k.strip(): v for k, v in heads.items()},
            keep_default_na=False, index_col=False, skipinitialspace=True,
        )  # fmt: skip
    frame.columns = [_head(name) if _head(name) in HEADS else str(name) for name in frame.columns]
    if not frame.columns.is_unique:
        raise UserError(f"{path} has two columns of one name; {EXPECTED}.")
    texts = {name: tuple(map(_text, frame[name].tolist())) for name in HEADS if name in frame.columns}
    rest = frame.drop(columns=list(texts))
    if list(rest.columns) == ["features"]:  # a list in each row
        widths = {len(row) for row in rest["features"]}
        if len(widths) > 1:
            raise UserError(f"the vectors of {path} have from {min(widths)} to {max(widths)} values; expected as many.")
        return texts, np.stack(rest["features"].tolist()) if len(rest) else np.empty((0, 0))
    numbers = rest.apply(pd.to_numeric, errors="coerce")
    words = [name for name in rest.columns if len(rest) and numbers[name].isna().all()]
    if words:
        raise UserError(f"the column {words[0][:40]!r} of {path} holds no numbers; leave it out.")
    return texts, numbers.to_numpy()


def _head(name: object) -> str:
    return str(name).strip().lower()


def _text(value: object) -> str:
    """A value as text; nothing and NaN are "", and 12.0 is 12."""
    if value is None or value != value:
        return ""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return as_text(str(value).strip())


def _averaged(table: FeatureTable, path: Path) -> FeatureTable:
    names = [group or name for name, group in zip(table.ids, table.groups, strict=True)]
    alone = {name for name, group in zip(table.ids, table.groups, strict=True) if not group}
    both = sorted(alone & set(table.groups))
    if both:
        raise UserError(f"{both[0][:40]} of {path} is a group and the id of a vector without one; rename either.")
    number: dict[str, int] = {}
    rows = np.array([number.setdefault(name, len(number)) for name in names])
    facts: list[tuple[str, str, str]] = [("", "", "")] * len(number)
    for row, fact in zip(rows, zip(table.labels, table.groups, table.splits, strict=True), strict=True):
        if facts[row] not in (("", "", ""), fact):
            raise UserError(f"the group {names[list(rows).index(row)]} of {path} has two labels or splits; one is one.")
        facts[row] = fact
    sums = np.zeros((len(number), table.vectors.shape[1]))
    np.add.at(sums, rows, table.vectors)
    means = (sums / np.bincount(rows)[:, None]).astype(np.float32)
    labels, groups, splits = zip(*facts, strict=True)
    return FeatureTable(tuple(number), means, labels, groups, splits, table.encoder)


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

    Raises:
        UserError: what `read_features` refuses, a group on both sides, a class in train or in test alone.
    """

    def __init__(self, file: str | Path, average: bool = False, test_fraction: float = 0.2, seed: int = 0) -> None:
        self.table = read_features(file, average=average)
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
        self._groups = {str(row): record.group for row, record in enumerate(features.records) if record.group}
        for row, (name, record) in enumerate(zip(self.table.ids, features.records, strict=True)):
            item = {"image": name, "label": tasks.label(record.class_name), "path": str(row), "row": row, "seed": 0}
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
