"""What the application leaves: one JSON file, and a DICOM structured report for each study."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bundle_checks import Bundle
from classification_operator import Classified
from monai.deploy.core import Operator, OperatorSpec
from study_loader import DAMAGED

from dynammo import NOTICE
from dynammo.clinic.levels import level_of
from dynammo.clinic.structured_report import write_study_reports
from dynammo.runtime.files import prepare_output_dir, write_json

__all__ = ["ResultWriter"]

LOW_CONFIDENCE = 0.5  # as `dynammo classify` flags by default


class ResultWriter(Operator):  # type: ignore[misc]  # the SDK is untyped
    """Named input `pred`, a list of `Classified`; writes `predictions.json` and `<StudyInstanceUID>.dcm`.

    The SDK's DICOMTextSRWriterOperator is not used: its text names no image, one report holds one series, and its
    character set is Latin-1 whatever the patient's name is. These reports are TID 1500 with references to the images.
    The JSON has identifiers of studies and series, and nothing else of the patient.

    Args:
        folder: where the files go.
        bundle: what was used.
        left_out: files that were not loaded, by reason.
    """

    def __init__(self, *args: Any, folder: Path, bundle: Bundle, left_out: Mapping[str, int], **kwargs: Any) -> None:  # noqa: ANN401
        self.folder, self.bundle, self.left_out = folder, bundle, left_out
        self.failed = 0
        self.summary: str | None = None
        super().__init__(*args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Name the port."""
        spec.input("pred")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:  # noqa: ANN401
        """Write all results."""
        results: list[Classified] = op_input.receive("pred")
        folder = prepare_output_dir(self.folder)
        items = [(result, self._prediction(result)) for result in results]
        reports = write_study_reports(
            folder,
            [(r.series.study_uid, r.series.files, found) for r, found in items if found],
            {"model_sha256": self.bundle.sha256, "about_classes": self.bundle.about_classes},
        )
        series = [_row(result, found) for result, found in items]
        faults = [{"study_uid": study, "reason": reason} for study, reason in reports.failed]
        write_json(folder / "predictions.json", self._document(series) | {"reports_not_written": faults})
        damaged = sum(self.left_out.get(kind, 0) for kind in DAMAGED)
        self.failed = sum(not found for _, found in items) + len(faults) + damaged
        self.summary = (
            f"{len(series) - sum(not found for _, found in items)} of {len(series)} series classified, "
            f"{len(reports.files)} structured reports; files left out: {sum(self.left_out.values())}"
        )

    def _document(self, series: list[dict[str, Any]]) -> dict[str, Any]:
        bundle = self.bundle
        return {
            "notice": NOTICE,
            "model": {"name": bundle.name, "version": bundle.version, "sha256": bundle.sha256},
            "classes": list(bundle.classes),
            "series": series,
            "files_left_out": dict(self.left_out),
        }

    def _prediction(self, result: Classified) -> dict[str, Any]:
        """What a finding of a structured report holds; empty for a series that cannot be read."""
        if result.fault:
            return {}
        best = max(result.probabilities, key=result.probabilities.__getitem__)
        return {
            "predicted_class": best,
            "probabilities": result.probabilities,
            "unknown_score": result.unknown,
            "flags": self._flags(result.probabilities[best], result.unknown or 0.0),
        }

    def _flags(self, probability: float, unknown: float) -> list[str]:
        limit = self.bundle.unknown_threshold
        strange = limit is not None and unknown > limit
        return ["unknown"] * strange + ["low confidence"] * (probability < LOW_CONFIDENCE)


def _row(result: Classified, found: Mapping[str, Any]) -> dict[str, Any]:
    series = result.series
    return {
        "study_uid": series.study_uid,
        "series_uid": series.series_uid,
        "modality": series.modality,
        "files": len(series.files),
        "images": result.images,
        "class": found.get("predicted_class"),
        "probabilities": result.probabilities,
        "unknown": result.unknown,
        "flags": found.get("flags", ["unreadable"]),
        "level": level_of(found.get("flags", ["unreadable"])),
        "reason": result.fault,
    }
