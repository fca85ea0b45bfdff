"""Predictions as DICOM structured reports (TID 1500) of the patient's study, by highdicom (the extra `clinic`).

These reports are the only output with a patient's name, number and dates: a report without them belongs to no study.
They are copied from the images; file names hold the study's identifier alone.
"""

import hashlib
import re
import uuid
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import pydicom
from pydicom.datadict import keyword_for_tag, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from dynammo import NOTICE, __version__
from dynammo.clinic.levels import level_of
from dynammo.errors import UserError
from dynammo.runtime.files import write_atomically

try:
    import highdicom as hd
except ImportError:  # an extra: every other output is written without it
    hd = None

__all__ = [
    "DERMOSCOPY_CODES",
    "Finding",
    "ReportsWritten",
    "class_codes",
    "write_structured_report",
    "write_study_reports",
]

SCHEME = "99DYNAMMO"  # private coding schemes begin with 99
Code = tuple[str, str, str]  # value, scheme, meaning
# Classes of the ISIC archive; None where no code was certain. AK and SCC are in DICOM's own list of SNOMED CT concepts.
DERMOSCOPY_CODES: dict[str, Code | None] = {
    "AK": ("201101007", "SCT", "Actinic keratosis"),
    "BCC": ("254701007", "SCT", "Basal cell carcinoma of skin"),
    "BKL": None,
    "DF": None,
    "MEL": ("93655004", "SCT", "Malignant melanoma of skin"),
    "NV": None,
    "SCC": ("254651007", "SCT", "Squamous cell carcinoma of skin"),
    "VASC": None,
}
LONGEST_MEANING = 64  # characters of a code's meaning
SERIES_NUMBER = 9901  # beyond the numbers of scanners
# what every report has, empty where the image does not tell
PATIENT = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime",
)  # fmt: skip
# what a reference to an image cannot do without
NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
IMAGE = [
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "Rows",
    "Columns",
    "NumberOfFrames",
]


@dataclass(frozen=True)
class Finding:
    """What was predicted for one item of a study.

    Attributes:
        headers: its images, without pixels; all of one study.
        predicted_class: the class.
        probabilities: of every class, 0 to 1.
        unknown_score: how little the item resembles what was learnt, 0 to 1; None where there is none.
        flags: what needs a look, in words.
    """

    headers: Sequence[Dataset]
    predicted_class: str
    probabilities: Mapping[str, float]
    unknown_score: float | None = None
    flags: Sequence[str] = ()


@dataclass
class ReportsWritten:
    """What became of the items.

    Attributes:
        files: reports, one a study.
        skipped: items that are no DICOM image of a study, so that no report can belong to them.
        failed: study identifier and reason, where a report could not be made.
    """

    files: list[Path] = field(default_factory=list)
    skipped: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)


def write_study_reports(
    folder: Path, items: Sequence[tuple[str, Sequence[Path], Mapping[str, Any]]], run: Mapping[str, Any]
) -> ReportsWritten:
    """Write a report for each study among the items, named `<StudyInstanceUID>.dcm`.

    Args:
        folder: where the reports go; it exists.
        items: StudyInstanceUID (empty for what is no DICOM), files and prediction of each item: `predicted_class`,
            `probabilities`, `unknown_score`, `flags`, as in `Finding`.
        run: see `write_structured_report`.

    Raises:
        UserError: highdicom is not installed, or the folder cannot be written.
    """
    _need_highdicom()
    written, studies = ReportsWritten(), defaultdict(list)
    for study, files, prediction in items:
        if re.fullmatch(r"[0-9.]{1,64}", study) and study.strip("."):  # it names a file
            studies[study].append((files, prediction))
        else:
            written.skipped += 1
    for study, rows in studies.items():
        content = _content_of(rows, run)
        if isinstance(content, str):
            written.failed.append((study, content))
            continue
        written.files.append(folder / f"{study}.dcm")
        try:
            write_atomically(written.files[-1], partial(_write, content))
        except OSError as error:
            raise UserError(
                f"the reports cannot be written to {folder} ({error.strerror}); give a folder of yours with room."
            ) from error
    return written


def _content_of(rows: Sequence[tuple[Sequence[Path], Mapping[str, Any]]], run: Mapping[str, Any]) -> bytes | str:
    """The report of one study as a file holds it, or why there is none: one odd study stops no other."""
    findings: list[Finding] = []
    try:
        findings.extend(Finding(_headers(files), **prediction) for files, prediction in rows)
        return _report_bytes(findings, run)
    except Exception as error:  # whatever a header makes pydicom and highdicom raise
        return _reason(error, [header for finding in findings for header in finding.headers])


def _reason(error: Exception, headers: Sequence[Dataset]) -> str:
    """Why there is no report, without any value of a header: it may name the patient."""
    missing = [name for name in NEEDED if any(not header.get(name) for header in headers)]
    if missing:
        return f"its header lacks {', '.join(missing)}"
    lacking = re.search(r"has no attribute '([A-Za-z]+)'", str(error))
    if isinstance(error, AttributeError) and lacking and tag_for_keyword(lacking[1]):
        return f"its header lacks {lacking[1]}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    named = re.search(r"\(([0-9A-Fa-f]{4}), ?([0-9A-Fa-f]{4})\)", str(error))
    if named:
        keyword = keyword_for_tag(int(named[1] + named[2], 16))
        return f"the element {f'{keyword} ' if keyword else ''}{named[0]} of its header breaks the rules of DICOM"
    return f"its header does not allow a report ({type(error).__name__})"


def write_structured_report(file: Path, findings: Sequence[Finding], run: Mapping[str, Any]) -> None:
    """Write one TID 1500 report: a measurement group for each finding, with the images that it was made from.

    Codes are SNOMED CT where `class_codes` knows one, else private (99DYNAMMO) with the class as their meaning;
    probabilities are numbers without unit. The report is preliminary and unverified.

    Args:
        file: written atomically.
        findings: items of one study.
        run: `model_sha256`; `about_classes` (class -> name, code of SNOMED CT, mark) and `codes` (class -> value,
            scheme, meaning) win over `class_codes`, the last over all.

    Raises:
        UserError: highdicom is not installed, no findings, or findings of several studies.
        AttributeError, KeyError, TypeError, ValueError: a header that breaks the rules of DICOM.
    """
    _need_highdicom()
    write_atomically(file, partial(_write, _report_bytes(findings, run)))


def _report_bytes(findings: Sequence[Finding], run: Mapping[str, Any]) -> bytes:
    content = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # highdicom's and pydicom's quote the patient's name
        _report(findings, run).save_as(content, enforce_file_format=True)
    return content.getvalue()


def _write(content: bytes, file: IO[bytes]) -> None:
    file.write(content)


def class_codes(classes: Sequence[str]) -> dict[str, Code]:
    """Public codes of the classes of a model, by the abbreviations of the ISIC archive.

    Only where all classes are of that archive: SCC among classes of the lung is another disease.
    """
    if not set(classes) <= set(DERMOSCOPY_CODES):
        return {}
    return {name: code for name in classes if (code := DERMOSCOPY_CODES[name]) is not None}


def _codes(classes: Sequence[str], run: Mapping[str, Any]) -> dict[str, Code]:
    """Codes of the classes: those of their class file, and the public ones of `class_codes`."""
    about = run.get("about_classes", {}).items()
    own = {name: (each["code"], "SCT", each.get("name", name)) for name, each in about if "code" in each}
    return {**class_codes(classes), **own, **run.get("codes", {})}


def _report(findings: Sequence[Finding], run: Mapping[str, Any]) -> Any:  # noqa: ANN401
    evidence = _evidence(findings)
    if len({header.StudyInstanceUID for header in evidence}) != 1:
        raise UserError("a structured report belongs to one study; expected findings of images of one study.")
    return hd.sr.Comprehensive3DSR(
        evidence=evidence,
        content=_content(findings, run),
        series_number=SERIES_NUMBER,
        series_instance_uid=_lasting_uid("series", evidence[0].StudyInstanceUID, run["model_sha256"]),
        sop_instance_uid=generate_uid(prefix=None),
        instance_number=1,
        manufacturer="DynaMMo",
        is_complete=True,
        series_description=f"DynaMMo. {NOTICE}",
        software_versions=__version__,
        manufacturer_model_name="DynaMMo",
        device_serial_number=run["model_sha256"][:16],
        specific_character_set="ISO_IR 192",
    )


def _need_highdicom() -> None:
    if hd is None:
        raise UserError(
            "structured reports need highdicom, which is not installed; type pip install 'dynammo[clinic]'."
        )


def _headers(files: Sequence[Path]) -> list[Dataset]:
    """Headers of an item: the first whole, for patient and study, of the others what a reference needs."""
    return [
        pydicom.dcmread(file, stop_before_pixels=True, specific_tags=IMAGE if i else None, force=True)
        for i, file in enumerate(files)
    ]


def _evidence(findings: Sequence[Finding]) -> list[Dataset]:
    """All images, each once, with what a report must have."""
    images: dict[str, Dataset] = {}
    for finding in findings:
        for header in finding.headers:
            images.setdefault(header.SOPInstanceUID, header)  # a copy of the same image may have a shorter header
    if not images:
        raise UserError("a structured report needs findings; expected at least one with the header of an image.")
    evidence = list(images.values())
    first = Dataset()
    first.update(evidence[0])
    first.decode()  # into text, which the report holds as UTF-8
    for name in PATIENT:
        if name not in first:
            setattr(first, name, "")
    return [first, *evidence[1:]]


def _content(findings: Sequence[Finding], run: Mapping[str, Any]) -> Any:  # noqa: ANN401
    digest = run["model_sha256"]
    classes = list(findings[0].probabilities)
    names = {name: _concept(*code) for name, code in _codes(classes, run).items()}
    observer = hd.sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=_lasting_uid("device", digest), name="DynaMMo", manufacturer_name="DynaMMo", model_name=__version__
        ),
    )
    algorithm = hd.sr.AlgorithmIdentification(
        name="DynaMMo", version=__version__, parameters=[f"model sha256 {digest}", NOTICE]
    )
    return hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=observer),
        procedure_reported=codes.SCT.ImagingProcedure,
        imaging_measurements=[_group(finding, names, algorithm, run) for finding in findings],
        title=codes.DCM.ImagingMeasurementReport,
    )


def _group(finding: Finding, names: Mapping[str, Any], algorithm: Any, run: Mapping[str, Any]) -> Any:  # noqa: ANN401
    images = {header.SOPInstanceUID: header for header in finding.headers}
    group = hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=generate_uid(prefix=None), identifier="DynaMMo prediction"),
        finding_type=names.get(finding.predicted_class) or _private(finding.predicted_class),
        algorithm_id=algorithm,
        measurements=list(_measurements(finding)),
        source_images=[hd.sr.SourceImageForMeasurementGroup.from_source_image(image) for image in images.values()],
    )
    about = run.get("about_classes", {}).get(finding.predicted_class, {})
    named = f" ({about['name']})" if "name" in about else ""
    mark = [f"Mark of this class: {about['mark']}"] if "mark" in about else []
    level = f"Level: {level_of(finding.flags)}"
    for words in (f"Predicted class: {finding.predicted_class}{named}", *mark, level, *finding.flags, NOTICE):
        group[0].ContentSequence.append(
            hd.sr.TextContentItem(codes.DCM.Comment, words, hd.sr.RelationshipTypeValues.CONTAINS)
        )
    return group


def _measurements(finding: Finding) -> Any:  # noqa: ANN401
    values = {"Probability of the predicted class": finding.probabilities[finding.predicted_class]}
    values |= {f"Probability of {name}": value for name, value in finding.probabilities.items()}
    if finding.unknown_score is not None:
        values["Unknown score"] = finding.unknown_score
    for name, value in values.items():
        yield hd.sr.Measurement(_private(name), round(float(value), 6), codes.UCUM.NoUnits)


def _private(meaning: str) -> Any:  # noqa: ANN401
    """A code of our own: the same text has the same code in every report."""
    return _concept(hashlib.sha256(meaning.encode()).hexdigest()[:16], SCHEME, meaning)


def _concept(value: str, scheme: str, meaning: str) -> Any:  # noqa: ANN401
    """A code; backslashes separate values in DICOM, and meanings are short."""
    clean = re.sub(r"[\\\x00-\x1f\x7f]", "/", meaning)
    short = clean if len(clean) <= LONGEST_MEANING else clean[: LONGEST_MEANING - 1] + "…"
    return hd.sr.CodedConcept(value, scheme, short)


def _lasting_uid(*parts: str) -> str:
    """The same identifier for the same parts."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, '/'.join(parts)).int}"
