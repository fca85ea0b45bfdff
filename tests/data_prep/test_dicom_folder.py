"""A folder of DICOM studies."""

import json
from pathlib import Path

import pydicom
import pytest
from synthetic.downloads import dicom_image, dicom_studies, rows, run, table

KEYS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "file")


@pytest.fixture
def download(tmp_path: Path) -> Path:
    return dicom_studies(tmp_path / "pacs")


def prepare(download: Path, out: Path, *more: str | Path) -> tuple[int, str]:
    return run("dicom_folder", "-i", download / "studies", "--labels", download / "labels.csv", "-o", out, *more)


def test_studies_are_divided_by_patient(download: Path, tmp_path: Path) -> None:
    status, output = prepare(download, tmp_path / "out")
    assert status == 0, output
    found = rows(tmp_path / "out")
    patient = {row["path"]: pydicom.dcmread(download / "studies" / row["path"]).PatientID for row in found}
    assert len(found) == 12 and len({(patient[row["path"]], row["group"]) for row in found}) == 6
    sides = {split: {row["group"] for row in found if row["split"] == split} for split in ("train", "test")}
    assert not sides["train"] & sides["test"]


def test_no_patient_is_named_anywhere(download: Path, tmp_path: Path) -> None:
    _, output = prepare(download, tmp_path / "out")
    written = "".join(path.read_text() for path in (tmp_path / "out").iterdir()) + output
    assert "SECRET" not in written and "Doe" not in written


@pytest.mark.parametrize("key", KEYS)
def test_labels_by_every_key_give_the_same_list(download: Path, tmp_path: Path, key: str) -> None:
    prepare(download, tmp_path / "study")
    lines = []
    for row in rows(tmp_path / "study"):
        header = pydicom.dcmread(download / "studies" / row["path"])
        lines.append(f"{row['path'] if key == 'file' else header[key].value},{row['label']}")
    table(download / "labels.csv", f"{key},label", lines)
    assert prepare(download, tmp_path / "out")[0] == 0
    plain = [(row["path"], row["label"], row["split"]) for row in rows(tmp_path / "study")]
    assert [(row["path"], row["label"], row["split"]) for row in rows(tmp_path / "out")] == plain


def test_groups_differ_between_runs_unless_a_secret_is_given(download: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("a long enough secret")
    for name, more in (("a", ()), ("b", ()), ("c", ("--salt-file", secret)), ("d", ("--salt-file", secret))):
        assert prepare(download, tmp_path / name, *more)[0] == 0
    groups = {name: [row["group"] for row in rows(tmp_path / name)] for name in "abcd"}
    assert groups["a"] != groups["b"] and groups["c"] == groups["d"]
    assert len({tuple(row["split"] for row in rows(tmp_path / name)) for name in "abcd"}) == 1
    assert "long enough" not in (tmp_path / "c" / "data_list.provenance.json").read_text()


def test_what_does_not_match_is_counted(download: Path, tmp_path: Path) -> None:
    with (download / "labels.csv").open("a") as text:
        text.write("9.9.9,normal\n8.8.8,normal\n")
    dicom_image(download / "studies" / "new" / "image.dcm", "", "7.7.7", "7.7.7.1", seed=99)
    (download / "studies" / "report.txt").write_text("no image")
    status, output = prepare(download, tmp_path / "out")
    assert status == 0
    assert "2 labels without an image" in output and "1 images without a label" in output
    assert "1 studies with no labelled image" in output and "1 files are not readable DICOM" in output
    notes = json.loads((tmp_path / "out" / "data_list.provenance.json").read_text())["notes"]
    assert len(notes) == 4


def test_images_without_a_patient_are_grouped_by_study(download: Path, tmp_path: Path) -> None:
    for name, instance in (("a", "7.7.7.1"), ("b", "7.7.7.2")):
        dicom_image(download / "studies" / "new" / f"{name}.dcm", "", "7.7.7", instance, seed=len(instance) + ord(name))
    with (download / "labels.csv").open("a") as text:
        text.write("7.7.7,normal\n")
    status, output = prepare(download, tmp_path / "out")
    assert status == 0 and "2 labelled images without a PatientID" in output
    assert len({row["group"] for row in rows(tmp_path / "out") if row["path"].startswith("new/")}) == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("label\nnormal\n", "none of the columns"),
        ("StudyInstanceUID\n1.2\n", "no column label"),
        ("StudyInstanceUID,label\n1.2,\n", "line 2"),
        ("StudyInstanceUID,label\n1.2,a\n1.2,b\n", "second label"),
        ("StudyInstanceUID,label\n5.5,a\n", "none of the 1 labels"),
    ],
)
def test_bad_labels_are_one_sentence(download: Path, tmp_path: Path, content: str, words: str) -> None:
    (download / "labels.csv").write_text(content)
    status, output = prepare(download, tmp_path / "out")
    assert status == 1 and words in output


def test_a_folder_without_dicom_and_a_weak_secret_are_refused(download: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "text.dcm").write_text("this is text")
    status, output = run("dicom_folder", "-i", empty, "--labels", download / "labels.csv", "-o", tmp_path / "out")
    assert status == 1 and "no DICOM image among its 1 files" in output
    (tmp_path / "weak").write_text("1234")
    assert "at least 16" in prepare(download, tmp_path / "out", "--salt-file", tmp_path / "weak")[1]


def test_one_image_of_two_patients_is_refused(download: Path, tmp_path: Path) -> None:
    prepare(download, tmp_path / "first")
    sides = {row["split"]: row["path"] for row in rows(tmp_path / "first")}
    train, test = (pydicom.dcmread(download / "studies" / sides[split]) for split in ("train", "test"))
    train.PixelData = test.PixelData
    train.save_as(download / "studies" / sides["train"])
    status, output = prepare(download, tmp_path / "out")
    assert status == 1 and "same pixels" in output and Path(sides["train"]).parent.name in output
