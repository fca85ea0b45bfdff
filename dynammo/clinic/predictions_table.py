"""`predictions.csv`: a row for each item, for a spreadsheet."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import pydicom

from dynammo.clinic.levels import level_of
from dynammo.io.studies import Study
from dynammo.runtime.plain import rounded
from dynammo.runtime.tables import csv_bytes

__all__ = ["predictions_csv"]

DIGITS = 6  # decimals
FACTS = ("path", "study_uid", "series_uid", "instance_uid", "files", "slices")


def predictions_csv(
    items: Sequence[Mapping[str, Any]], classes: Sequence[str], studies: Sequence[Study] | None = None
) -> bytes:
    """The table of a classification.

    Args:
        items: at least one, as `StudyClassifier` gives them.
        classes: of the model, in its order.
        studies: of the items, where the patient's number is wanted; None where it is not.
    """
    rows = [_row(item, classes) for item in items]
    if studies is not None:
        rows = [{**row, "patient_id": _patient(study)} for row, study in zip(rows, studies, strict=True)]
    return csv_bytes(list(rows[0]), rows)


def _row(item: Mapping[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    return {
        **{name: item[name] for name in FACTS},
        "predicted_class": item["class"] or "",
        "probability": rounded(item["probability"], DIGITS),
        "unknown": rounded(item["unknown"], DIGITS),
        "unknown_score": rounded(item["unknown"], DIGITS),  # its name in 0.1, beside the new one for one release
        "ood_score": rounded(item["ood_score"], DIGITS),
        "strangeness": rounded(item["ood_score"], DIGITS),  # its name in 0.1, beside the new one for one release
        "level": level_of(item["flags"]),
        "flags": "; ".join(item["flags"]),
        "reason": item["reason"],
        **{f"p_{name}": rounded(item["probabilities"].get(name), DIGITS) for name in classes},
    }


def _patient(study: Study) -> str:
    with contextlib.suppress(Exception):
        if study.format == "dicom":
            return str(pydicom.dcmread(study.files[0], stop_before_pixels=True, specific_tags=["PatientID"]).PatientID)
    return ""
