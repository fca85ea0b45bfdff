"""The vectors that a finished model meets next: of new and of known classes, and available test vectors."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dynammo.data.data_list import ImageRecord
from dynammo.data.features import FeatureSet, FeatureTable, read_features
from dynammo.data.leaks import refuse_shared_groups, some
from dynammo.errors import UserError
from dynammo.runtime.plain import expanded, say

__all__ = ["IncrementFeatures", "fitting"]


class IncrementFeatures:
    """Vectors for one more task of a model; takes the place of a `FeatureSet`, as `IncrementImages` of an `ImageSet`.

    Test vectors of a class come from the first of these that has some: the file itself, `test_file`, the files that
    the model was trained on before.

    Args:
        file: what is learnt; rows of split test are tested. None for nothing new.
        known: classes of the model in label order.
        record: `run.json` of the model, which says what vectors it has learnt.
        test_file: more test vectors; where it has splits the rows of split test.
        earlier: data of earlier trainings of the model, used as far as it is still there.

    Attributes:
        table: all these vectors.
        records: training and test rows, in the order of the table.
        width: numbers in a vector.
        average: of the model, see `read_features`.
        new_classes: names that the model does not know, sorted.
        updated: names of known classes with vectors to learn, in label order.
        sources: where test vectors of these classes may be found next time.

    Raises:
        UserError: what `read_features` refuses, other vectors than the model has learnt, vectors that it has learnt
            already, a group or a vector on both sides, a class without a vector to learn from.
    """

    def __init__(
        self,
        file: str | Path | None,
        known: Sequence[str],
        record: Mapping[str, Any],
        test_file: str | Path | None = None,
        earlier: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self._record = record
        self.average = str(record["config"].get("average", "none"))
        self.width = int(record["network"]["in_channels"])
        self._tables: list[FeatureTable] = []
        self.records: list[ImageRecord] = []
        self.skipped = 0
        given = self._read(file) if file is not None else None
        if given is not None:
            self._learn(expanded(str(file)), given, earlier)
        names = {record.class_name for record in self.records}
        self.new_classes = sorted(names - {*known})
        self.updated = [name for name in known if name in names]
        self._test(given, test_file, earlier, [*known, *self.new_classes])
        self.table = _together(self._tables, self.width)
        _refuse_shared_vectors(self.table)
        places = [(file, "split"), (test_file, "tests")]
        self.sources = [*map(dict, earlier), *(_source(place, rows) for place, rows in places if place is not None)]

    def images(self, split: str = "train") -> dict[str, int]:
        """Number of vectors of every class that has some."""
        names = [record.class_name for record in self.records if record.split == split]
        return {name: names.count(name) for name in sorted(set(names))}

    def _read(self, file: str | Path) -> FeatureTable:
        table = read_features(file, average=self.average)
        return fitting(table, self._record, str(file))

    def _learn(self, file: Path, given: FeatureTable, earlier: Sequence[Mapping[str, Any]]) -> None:
        if file.resolve() in [expanded(source["features"]).resolve() for source in earlier]:
            raise UserError(f"{file} is what the model was trained on; give --features a file of new vectors alone.")
        refuse_shared_groups(given.records())
        rows = [row for row, split in enumerate(given.splits) if split != "test"]
        if strangers := {*given.labels} - {given.labels[row] for row in rows}:
            raise UserError(f"the classes {sorted(strangers)} of {file} are in test alone; add rows of split train.")
        self._take(given, rows, "train")

    def _test(
        self,
        given: FeatureTable | None,
        test_file: str | Path | None,
        earlier: Sequence[Mapping[str, Any]],
        classes: Sequence[str],
    ) -> None:
        if given is not None:
            self._take(given, _tests(given.splits), "test")
        if test_file is not None:
            more = self._read(test_file)
            rows = _tests(more.splits, whole=True)
            if strangers := sorted({more.labels[row] for row in rows} - {*classes}):
                say(f"test vectors of {', '.join(strangers)} are left out: the model has no such class")
            self._take(more, self._missing(more, rows, classes), "test")
        for source in earlier:
            if self._missing_classes(classes):
                self._earlier_tests(source, classes)

    def _earlier_tests(self, source: Mapping[str, Any], classes: Sequence[str]) -> None:
        """Test vectors of an earlier training; what has become of them must not keep a model from learning."""
        if not expanded(source["features"]).is_file():
            return
        try:
            table = self._read(source["features"])
            if "rows" in source:  # learnt by an increment, which divides nothing
                rows = _tests(table.splits, source["rows"] == "tests")
            else:
                data = FeatureSet(source["features"], self.average, seed=source.get("seed", 0))
                rows = _tests([record.split for record in data.records])
        except UserError as error:
            say(f"test vectors of an earlier training are passed by: {error}")
            return
        self._take(table, self._missing(table, rows, classes), "test")

    def _missing_classes(self, classes: Sequence[str]) -> set[str]:
        return {*classes} - {record.class_name for record in self.records if record.split == "test"}

    def _missing(self, table: FeatureTable, rows: Sequence[int], classes: Sequence[str]) -> list[int]:
        """Those of the rows whose class is wanted and not found yet."""
        wanted = self._missing_classes(classes)
        return [row for row in rows if table.labels[row] in wanted]

    def _take(self, table: FeatureTable, rows: Sequence[int], split: str) -> None:
        columns = (table.ids, table.labels, table.groups)
        ids, labels, groups = (tuple(column[row] for row in rows) for column in columns)
        pairs = zip(ids, labels, groups, strict=True)
        self.records += [ImageRecord(Path(name), label, split, group) for name, label, group in pairs]
        studies = tuple(f"{len(self._tables)}: {table.studies[row]}" for row in rows)  # names may come in every file
        vectors = table.vectors[list(rows)]
        self._tables.append(FeatureTable(ids, vectors, labels, groups, (split,) * len(ids), studies=studies))


def fitting(table: FeatureTable, record: Mapping[str, Any], name: str) -> FeatureTable:
    """The table, if a model may take its vectors.

    Args:
        table: of `read_features`.
        record: `run.json` of the model.
        name: of the file, for the message.

    Raises:
        UserError: vectors of another width, or known to be of another encoder.
    """
    width, encoder = record["network"]["in_channels"], record["config"].get("encoder")
    if table.vectors.shape[1] != width:
        raise UserError(
            f"the vectors of {name} have {table.vectors.shape[1]} features, but the model has learnt {width}; give "
            "vectors of the same encoder."
        )
    if table.encoder and encoder and table.encoder != encoder:
        raise UserError(
            f"dynammo features made the vectors of {name} with another encoder, or other settings, than those that "
            "the model has learnt; make them anew with the same."
        )
    return table


def _source(file: str | Path, rows: str) -> dict[str, Any]:
    place = expanded(str(file)).resolve()
    return {"dataset_dir": str(place.parent), "data_list": None, "features": str(place), "rows": rows}


def _tests(splits: Sequence[str], whole: bool = False) -> list[int]:
    """Numbers of the rows of split test; of a file without splits all, if it is wholly for testing."""
    return [row for row, split in enumerate(splits) if split == "test" or (whole and not any(splits))]


def _refuse_shared_vectors(table: FeatureTable) -> None:
    sides: dict[str, dict[bytes, str]] = {"train": {}, "test": {}}
    for name, split, vector in zip(table.ids, table.splits, table.vectors, strict=True):
        sides[split][vector.tobytes()] = name
    shared = sorted(sides["train"][vector] for vector in sides["train"].keys() & sides["test"].keys())
    if shared:
        raise UserError(
            f"{len(shared)} vectors are both to be learnt and to be tested ({some(shared)}), so test results would be "
            "too good; take them out of either."
        )


def _together(tables: Sequence[FeatureTable], width: int) -> FeatureTable:
    columns = [
        tuple(text for table in tables for text in getattr(table, name))
        for name in ("ids", "labels", "groups", "splits", "studies")
    ]
    vectors = np.concatenate([np.empty((0, width), np.float32), *(table.vectors for table in tables)])
    ids, labels, groups, splits, studies = columns
    return FeatureTable(ids, vectors, labels, groups, splits, studies=studies)
