"""Images divided into training and test images, by patient where patients are known."""

import json
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
from sklearn.model_selection import StratifiedGroupKFold

from dynammo.data.data_list import ImageRecord
from dynammo.data.leaks import copies
from dynammo.errors import UserError
from dynammo.runtime.progress import track

__all__ = ["as_data_list", "divided", "with_patients"]

ATTEMPTS = 20  # to divide images, each from another random start


def divided(records: list[ImageRecord], test_fraction: float, seed: int) -> list[ImageRecord]:
    """Give every record a split, each group on one side and each class on both; left as they are when all have one.

    Args:
        records: images; the split of all or of none is "".
        test_fraction: share of the images of each class in test, 0 to 0.5.
        seed: of the division.

    Raises:
        UserError: only some have a split, or a class comes from one group alone.
    """
    without = [record for record in records if not record.split]
    if not without:
        return records
    if len(without) < len(records):
        raise UserError(f"{len(without)} of {len(records)} rows have no split; give all rows one, or none.")
    folds = max(2, round(1 / test_fraction))
    groups = [record.group or str(record.path) for record in records]
    labels = [record.class_name for record in records]
    groups_of = Counter(label for label, _ in set(zip(labels, groups, strict=True)))
    rarest, count = min(groups_of.items(), key=lambda pair: pair[1])
    if count < 2:
        raise UserError(
            f"the class {rarest} comes from one group alone, so it cannot be both in train and in test; give rows a "
            "split, or add images of another group."
        )
    chosen = _test_fold(labels, groups, min(folds, count), seed)
    return [replace(r, split="test" if i in chosen else "train") for i, r in enumerate(records)]


def _test_fold(labels: Sequence[str], groups: Sequence[str], folds: int, seed: int) -> set[int]:
    """The first fold with every class on both sides: scikit-learn balances folds of groups, and promises no class.

    Raises:
        UserError: there is none.
    """
    for attempt in range(ATTEMPTS):
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed + attempt)
        for train, test in splitter.split(np.zeros(len(labels)), labels, groups):
            if {labels[i] for i in train} == {labels[i] for i in test}:
                return set(test.tolist())
    raise UserError(
        "the images could not be divided with every class in train and in test and no group on both sides; give rows "
        "a split, or add images of other groups."
    )


def with_patients(records: Sequence[ImageRecord]) -> list[ImageRecord]:
    """Records whose group says which images must stay together: one group, one patient, copies of one file.

    Patients are known where files are DICOM. Groups become numbers, so that no name of a patient is written anywhere.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        patients = list(track(pool.map(lambda r: _patient(r.path), records), "reading headers", len(records)))
    joined: dict[str, str] = {}  # of each name of a group, another name of the same group, or the name itself

    def first(name: str) -> str:
        while joined.setdefault(name, name) != name:
            name = joined[name]
        return name

    names: dict[Path, str] = {}
    for record, patient in zip(records, patients, strict=True):
        group = record.group and f"group {record.group}"
        names[record.path] = group or patient or f"file {record.path}"
        if group and patient:
            joined[first(patient)] = first(group)
    for same in copies(list(names)):
        for path in same[1:]:
            joined[first(names[path])] = first(names[same[0]])
    numbers: dict[str, int] = {}
    return [
        replace(record, group=str(numbers.setdefault(first(names[record.path]), len(numbers) + 1)))
        for record in records
    ]


def as_data_list(records: Sequence[ImageRecord], folder: Path) -> bytes:
    """A data list of records, their paths from `folder` on; JSON, which holds every name as it is."""
    paths = (Path(os.path.relpath(record.path, folder)).as_posix() for record in records)
    rows = [
        {"path": path, "label": record.class_name, "split": record.split, "group": record.group}
        for path, record in zip(paths, records, strict=True)
    ]
    return json.dumps(rows, indent=0).encode()


def _patient(path: Path) -> str:
    """What tells a patient from others in this process; nothing where that is not known."""
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["PatientID", "IssuerOfPatientID"])
    except Exception:  # no DICOM, or none that is sound: whoever reads its pixels says so
        return ""
    patient = str(header.get("PatientID", "") or "").strip()
    return f"patient {header.get('IssuerOfPatientID', '')} {patient}" if patient else ""
