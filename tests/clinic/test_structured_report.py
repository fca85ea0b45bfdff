import errno
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from synthetic.datasets import shared

from dynammo import __version__
from dynammo.clinic import structured_report
from dynammo.clinic.structured_report import Finding, class_codes, write_structured_report, write_study_reports
from dynammo.errors import UserError

hd = pytest.importorskip("highdicom", reason="structured reports are an extra: pip install 'dynammo[clinic]'")

DIGEST = "0123456789abcdef" * 4
RUN = {"model_sha256": DIGEST}
SKIN = {"MEL": 0.7, "NV": 0.25, "SCC": 0.05}
NOTICE = "Research software. Not a medical device."


def header_of(**values: object) -> Dataset:
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.4"  # photograph
    header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    header.StudyInstanceUID, header.SeriesInstanceUID, header.Modality = "1.2.3", "1.2.3.4", "XC"
    header.Rows = header.Columns = header.BitsAllocated = 8
    for name, value in values.items():
        setattr(header, name, value)
    return header


def read(file: Path) -> tuple[Dataset, Any, list[Any]]:
    """A report as pydicom reads it, as highdicom does, and its measurement groups."""
    report = hd.sr.Comprehensive3DSR.from_dataset(pydicom.dcmread(file))
    assert isinstance(hd.sr.srread(file), hd.sr.Comprehensive3DSR)
    return pydicom.dcmread(file), report, report.content.get_image_measurement_groups()


def texts(group: Any) -> list[str]:  # noqa: ANN401
    return [item.value for item in group[0].ContentSequence if item.name == codes.DCM.Comment]


def numbers(group: Any) -> dict[str, float]:  # noqa: ANN401
    assert {item.unit for item in group.get_measurements()} == {codes.UCUM.NoUnits}
    return {item.name.meaning: item.value for item in group.get_measurements()}


def test_a_report_comes_back_as_it_was_written(tmp_path: Path) -> None:
    image = header_of(PatientName="Müller^Jörg", PatientID="7", SpecificCharacterSet="ISO_IR 100", StudyDate="20240229")
    finding = Finding([image], "MEL", SKIN, 0.125, ["low confidence", "größer"])
    write_structured_report(tmp_path / "report.dcm", [finding], RUN)
    dataset, _, (group,) = read(tmp_path / "report.dcm")
    assert group.finding_type == codes.SCT.MalignantMelanoma or group.finding_type.value == "93655004"
    assert (group.finding_type.scheme_designator, group.finding_type.meaning) == ("SCT", "Malignant melanoma of skin")
    assert numbers(group) == {
        "Probability of the predicted class": 0.7, "Probability of MEL": 0.7, "Probability of NV": 0.25,
        "Probability of SCC": 0.05, "Unknown score": 0.125,
    }  # fmt: skip
    assert texts(group) == ["Predicted class: MEL", "Level: check", "low confidence", "größer", NOTICE]
    (source,) = group.source_images
    assert source.referenced_sop_instance_uid == image.SOPInstanceUID
    assert (dataset.PatientName, dataset.PatientID, dataset.StudyDate) == ("Müller^Jörg", "7", "20240229")
    assert (dataset.StudyInstanceUID, dataset.Modality) == ("1.2.3", "SR") and NOTICE in dataset.SeriesDescription
    assert (dataset.VerificationFlag, dataset.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")


def test_a_class_file_gives_name_code_and_mark(tmp_path: Path) -> None:
    about = {"a": {"name": "Naevus of skin", "code": "123456", "mark": "benign"}, "b": {"mark": "urgent"}}
    findings = [Finding([header_of()], name, {"a": 0.5, "b": 0.5}) for name in ("a", "b")]
    write_structured_report(tmp_path / "x.dcm", findings, {**RUN, "about_classes": about})
    _, _, (coded, private) = read(tmp_path / "x.dcm")
    kind = coded.finding_type
    assert (kind.value, kind.scheme_designator, kind.meaning) == ("123456", "SCT", "Naevus of skin")
    assert texts(coded) == ["Predicted class: a (Naevus of skin)", "Mark of this class: benign", "Level: fine", NOTICE]
    assert private.finding_type.scheme_designator == "99DYNAMMO"
    assert texts(private) == ["Predicted class: b", "Mark of this class: urgent", "Level: fine", NOTICE]


def test_the_algorithm_is_named(tmp_path: Path) -> None:
    write_structured_report(tmp_path / "x.dcm", [Finding([header_of()], "MEL", SKIN)], RUN)
    _, _, (group,) = read(tmp_path / "x.dcm")
    values = {item.name.meaning: item.value for item in group[0].ContentSequence if item.ValueType == "TEXT"}
    assert values["Algorithm Name"] == "DynaMMo" and values["Algorithm Version"] == __version__
    parameters = [item.value for item in group[0].ContentSequence if item.name == codes.DCM.AlgorithmParameters]
    assert parameters == [f"model sha256 {DIGEST}", NOTICE]
    assert "Unknown score" not in numbers(group)


def test_a_report_has_what_its_template_and_its_class_ask_for(tmp_path: Path) -> None:
    write_structured_report(tmp_path / "x.dcm", [Finding([header_of()], "MEL", SKIN)], RUN)
    dataset, report, _ = read(tmp_path / "x.dcm")
    for name in (  # types 1 and 2 of the Comprehensive 3D SR
        "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate", "StudyTime",
        "ReferringPhysicianName", "StudyID", "AccessionNumber", "Modality", "SeriesInstanceUID", "SeriesNumber",
        "ReferencedPerformedProcedureStepSequence", "Manufacturer", "ManufacturerModelName", "DeviceSerialNumber",
        "SoftwareVersions", "InstanceNumber", "CompletionFlag", "VerificationFlag", "ContentDate", "ContentTime",
        "PerformedProcedureCodeSequence", "CurrentRequestedProcedureEvidenceSequence", "ValueType",
        "ConceptNameCodeSequence", "ContinuityOfContent", "ContentTemplateSequence", "SOPClassUID", "SOPInstanceUID",
    ):  # fmt: skip
        assert name in dataset, name
    assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
    assert dataset.SOPClassUID.name == "Comprehensive 3D SR Storage"
    assert dataset.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    root = [item.name.meaning for item in report.content[0].ContentSequence]
    assert root[0] == "Language of Content Item and Descendants" and root[-1] == "Imaging Measurements"
    assert {"Observer Type", "Device Observer UID", "Procedure reported"} <= set(root)
    for item in _items(dataset):
        assert len(item.ConceptNameCodeSequence[0].CodeMeaning) <= 64
        assert len(item.ConceptNameCodeSequence[0].CodeValue) <= 16


def _items(dataset: Dataset) -> list[Dataset]:
    children = list(dataset.get("ContentSequence", []))
    return children + [item for child in children for item in _items(child)]


def test_items_of_one_study_are_groups_of_one_report(tmp_path: Path) -> None:
    series = [header_of(SeriesInstanceUID="1.2.3.5", InstanceNumber=i) for i in range(3)]
    findings = [Finding([header_of()], "NV", SKIN), Finding([*series, series[0]], "MEL", SKIN)]
    write_structured_report(tmp_path / "x.dcm", findings, RUN)
    dataset, _, (one, many) = read(tmp_path / "x.dcm")
    assert (len(one.source_images), len(many.source_images)) == (1, 3), "an image is referred to once"
    assert one.finding_type.scheme_designator == "99DYNAMMO" and one.finding_type.meaning == "NV"
    (study,) = dataset.CurrentRequestedProcedureEvidenceSequence
    assert study.StudyInstanceUID == "1.2.3"
    counts = {s.SeriesInstanceUID: len(s.ReferencedSOPSequence) for s in study.ReferencedSeriesSequence}
    assert counts == {"1.2.3.4": 1, "1.2.3.5": 3}


def test_findings_of_two_studies_or_none_are_refused(tmp_path: Path) -> None:
    two = [Finding([header_of()], "MEL", SKIN), Finding([header_of(StudyInstanceUID="1.9")], "MEL", SKIN)]
    for findings, words in ((two, "one study"), ([], "at least one")):
        with pytest.raises(UserError, match=words):
            write_structured_report(tmp_path / "x.dcm", findings, RUN)
    assert not list(tmp_path.iterdir())


def test_public_codes_are_used_only_where_they_mean_the_same() -> None:
    assert class_codes(["MEL", "NV", "AK"]) == {
        "MEL": ("93655004", "SCT", "Malignant melanoma of skin"), "AK": ("201101007", "SCT", "Actinic keratosis")
    }  # fmt: skip
    assert class_codes(["SCC", "adenocarcinoma"]) == {}, "of the lung"
    for name, code in (("AK", codes.SCT.ActinicKeratosis), ("SCC", codes.SCT.SquamousCellCarcinomaOfSkin)):
        assert class_codes([name])[name] == (code.value, code.scheme_designator, code.meaning), "DICOM's own list"


def test_long_and_odd_class_names_and_codes_of_the_model(tmp_path: Path) -> None:
    name = "Plattenepithelkarzinom\\der Haut, größer als zwei Zentimeter im Durchmesser"
    run = {**RUN, "codes": {"b": ("12345", "99CLINIC", "Finding b")}}
    findings = [Finding([header_of()], chosen, {name: 0.5, "b": 0.5}) for chosen in (name, "b")]
    write_structured_report(tmp_path / "x.dcm", findings, run)
    _, _, (long, coded) = read(tmp_path / "x.dcm")
    assert long.finding_type.meaning.startswith("Plattenepithelkarzinom/der Haut")
    assert texts(long)[0].endswith("Durchmesser"), "the comment holds the whole name"
    assert (coded.finding_type.value, coded.finding_type.scheme_designator) == ("12345", "99CLINIC")


def save(path: Path, header: Dataset) -> Path:
    header.PixelData = np.zeros((8, 8), np.uint8).tobytes()
    header.save_as(path, enforce_file_format=True)
    return path


def row(study: str, *files: Path, predicted: str = "MEL") -> tuple[str, list[Path], dict[str, Any]]:
    return study, list(files), {"predicted_class": predicted, "probabilities": SKIN, "unknown_score": 0.1, "flags": []}


def test_a_report_for_each_study_and_a_count_of_the_rest(tmp_path: Path) -> None:
    out = tmp_path / "reports"
    out.mkdir()
    a, b = (save(tmp_path / name, header_of(PatientName="Secret^Name")) for name in ("Secret 1", "Secret 2"))
    c = save(tmp_path / "c", header_of(StudyInstanceUID="1.9"))
    bad = save(tmp_path / "bad", header_of(StudyInstanceUID="1.8"))
    bad.write_bytes(bad.read_bytes().replace(b"\x08\x00\x16\x00UI", b"\x08\x00\x15\x00UI"))  # no SOP class
    rows = [row("1.2.3", a), row("", tmp_path / "x.png"), row("1.9", c), row("1.2.3", b), row("1.8", bad)]
    written = write_study_reports(out, [*rows, row("../1", c), row("..", c)], RUN)
    assert sorted(path.name for path in out.iterdir()) == ["1.2.3.dcm", "1.9.dcm"]
    assert written.files == [out / "1.2.3.dcm", out / "1.9.dcm"] and written.skipped == 3
    assert [study for study, _ in written.failed] == ["1.8"] and "header" in written.failed[0][1]
    assert len(read(out / "1.2.3.dcm")[2]) == 2
    assert b"Secret 1" not in (out / "1.2.3.dcm").read_bytes(), "no file name, which may be a name"


@pytest.mark.filterwarnings("error")
def test_no_warning_quotes_the_patient(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = save(tmp_path / "x", header_of(PatientName="SECRET"))
    assert write_study_reports(tmp_path, [row("1.2.3", file)], RUN).files
    assert "SECRET" not in "".join(capsys.readouterr())


def test_writing_again_gives_the_same_series(tmp_path: Path) -> None:
    finding = Finding([header_of()], "MEL", SKIN)
    series, instances = set(), set()
    for _ in range(2):
        write_structured_report(tmp_path / "x.dcm", [finding], RUN)
        dataset = pydicom.dcmread(tmp_path / "x.dcm")
        series.add(dataset.SeriesInstanceUID)
        instances.add(dataset.SOPInstanceUID)
    assert len(series) == 1 and len(instances) == 2


def test_a_full_disk_and_a_missing_extra_are_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = save(tmp_path / "x", header_of())

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(structured_report, "write_atomically", full)
    with pytest.raises(UserError, match="No space left"):
        write_study_reports(tmp_path, [row("1.2.3", file)], RUN)
    monkeypatch.setattr(structured_report, "hd", None)
    with pytest.raises(UserError, match=r"dynammo\[clinic\]"):
        write_study_reports(tmp_path, [row("1.2.3", file)], RUN)


def test_every_dicom_file_of_the_clinic_gets_a_report(tmp_path: Path) -> None:
    files = sorted(shared("data", "clinic").glob("*.dcm"))
    headers = [pydicom.dcmread(file, stop_before_pixels=True) for file in files]
    rows = [row(str(header.StudyInstanceUID), file) for header, file in zip(headers, files, strict=True)]
    written = write_study_reports(tmp_path, rows, RUN)
    assert (len(written.files), written.skipped, written.failed) == (8, 0, [])
    for file in written.files:
        dataset, _, groups = read(file)
        sources = [header for header in headers if header.StudyInstanceUID == dataset.StudyInstanceUID]
        assert len(groups) == len(sources) and dataset.PatientID == sources[0].PatientID


def test_copies_of_one_slice_are_one_series_with_one_report(tmp_path: Path) -> None:
    """The clinic holds one CT slice twice, differently compressed."""
    files = [shared("data", "clinic", f"ct_slice_{kind}.dcm") for kind in ("jpeg2000", "uncompressed")]
    study = str(pydicom.dcmread(files[0], stop_before_pixels=True).StudyInstanceUID)
    prediction = {"predicted_class": "a", "probabilities": {"a": 0.9, "b": 0.1}, "unknown_score": 0.2, "flags": []}
    written = write_study_reports(tmp_path, [(study, files, prediction)], {"model_sha256": "0" * 64})
    assert not written.failed and [file.stem for file in written.files] == [study]
