"""`dynammo classify` as a clinician types it."""

import errno
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from conftest import Trained
from PIL import Image
from synthetic.classify import run, table
from synthetic.datasets import CLASSES, shared, write_image
from synthetic.images import dicom

from dynammo.cli import main
from dynammo.clinic import classify as module
from dynammo.clinic.levels import LEVELS, level_of
from dynammo.errors import UserError
from dynammo.runs.find import find_models
from dynammo.runs.record import locate_model


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    """Eight images of known classes, one of another kind, one unreadable, a text, a DICOM series of three slices."""
    folder = tmp_path / "studies"
    for i in range(8):
        write_image(folder / "a [1]" / f"bild {i} ä.png", CLASSES[i % 4], i)
    stripes = np.tile(np.repeat([0, 255], 2), 8)[None, :, None] * np.ones((32, 1, 3))
    Image.fromarray(stripes.astype(np.uint8)).save(folder / "stripes.png")
    (folder / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut short")
    (folder / "notes.txt").write_text("not an image")
    for i in range(3):
        slice_ = dicom(
            np.random.default_rng(i).integers(400, 900, (24, 24)).astype(np.uint16), PatientName="Doe^Jane",
            PatientID="SECRET-7", PatientBirthDate="19700101", Modality="CT", StudyInstanceUID="1.2.3",
            SeriesInstanceUID="1.2.3.4", InstanceNumber=i + 1, SOPInstanceUID=f"1.2.3.4.{i}",
        )  # fmt: skip
        (folder / "ct").mkdir(exist_ok=True)
        slice_.save_as(folder / "ct" / f"{i}.dcm", enforce_file_format=True)
    return folder


def test_a_mixed_folder_becomes_table_page_and_record(studies: Path, trained: Trained, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(studies, out, trained("dynammo")) == 3  # one is unreadable
    rows, record = table(out), json.loads((out / "classification.json").read_text())
    found = json.loads((out / "predictions.json").read_text())
    assert len(rows) == 11 and record["counts"] == {
        "items": 11, "unreadable": 1, "ignored_files": 1, "flagged": sum(bool(row["flags"]) for row in rows.values()),
        "levels": {level: sum(row["level"] == level for row in rows.values()) for level in LEVELS},
    }  # fmt: skip
    bad = rows["cut.jpg"]
    assert all(row["level"] == level_of(row["flags"].split("; ") if row["flags"] else []) for row in rows.values())
    assert {item["path"]: item["level"] for item in found["items"]} == {
        path: row["level"] for path, row in rows.items()
    }
    assert bad["level"] == "do not use"
    assert bad["flags"] == "unreadable" and bad["reason"] and bad["predicted_class"] == ""
    assert "looks different" in rows["stripes.png"]["flags"]
    series = next(row for row in rows.values() if row["series_uid"] == "1.2.3.4")
    assert (series["files"], series["slices"], series["study_uid"]) == ("3", "3", "1.2.3")
    for row in rows.values():
        if row["flags"] != "unreadable":
            shares = [float(row[f"p_{name}"]) for name in CLASSES]
            assert sum(shares) == pytest.approx(1, abs=1e-4) and max(shares) == float(row["probability"])
    assert {item["path"] for item in found["items"]} == set(rows)
    assert record["model"]["sha256"] and record["versions"]["monai"] and record["seconds"] > 0
    for name in ("predictions.json", "classification.json", "report.html"):
        assert "Research software. Not a medical device." in (out / name).read_text()
    assert (out / "run.json").read_text() == (out / "classification.json").read_text()  # its name until 0.1
    assert locate_model(out) is None and find_models([tmp_path]) == []
    assert not (out / "unfinished.jsonl").exists() and not list(out.glob(".unpacked*"))


def test_a_class_file_is_in_record_and_report_or_refused(studies: Path, trained: Trained, tmp_path: Path) -> None:
    file, image = tmp_path / "classes.csv", studies / "stripes.png"
    file.write_text("class,name,mark\nred,Rubor,urgent\n")
    assert run(image, tmp_path / "out", trained("dynammo"), "--class-file", str(file)) == 0
    record = json.loads((tmp_path / "out" / "classification.json").read_text())
    assert record["model"]["about_classes"] == {"red": {"name": "Rubor", "mark": "urgent"}}
    assert "Rubor" in (tmp_path / "out" / "report.html").read_text()
    file.write_text("class,name\npink,Rosa\n")
    with pytest.raises(UserError, match="the class 'pink', which the model does not have"):
        module.classify(image, tmp_path / "no", module.ClassifySettings(model=trained("dynammo"), class_file=file))


def test_a_language_is_typed(
    studies: Path, trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = studies / "stripes.png"
    run(image, tmp_path / "de", trained("dynammo"), "--language", "de")
    assert '<html lang="de">' in (tmp_path / "de" / "report.html").read_text()
    run(image, tmp_path / "tlh", trained("dynammo"), "--language", "tlh")
    assert "do not speak 'tlh'" in capsys.readouterr().out
    assert '<html lang="en">' in (tmp_path / "tlh" / "report.html").read_text()


def test_a_classification_beside_a_model_leaves_its_record_alone(trained: Trained, tmp_path: Path) -> None:
    for name in ("run.json", "model.pt"):
        shutil.copy(trained("dynammo") / name, tmp_path)
    image = tmp_path / "image.png"
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(image)
    before = (tmp_path / "run.json").read_bytes()
    assert run(image, tmp_path, tmp_path) == 0
    assert (tmp_path / "run.json").read_bytes() == before and (tmp_path / "classification.json").is_file()


def test_nothing_tells_who_the_patient_is_unless_asked(studies: Path, trained: Trained, tmp_path: Path) -> None:
    run(studies, tmp_path / "out", trained("dynammo"))
    for file in (tmp_path / "out").iterdir():
        for secret in (b"SECRET-7", b"Doe", b"Jane", b"19700101"):
            assert secret not in file.read_bytes(), file.name
    run(studies, tmp_path / "asked", trained("dynammo"), "--with-patient-id")
    assert {row["patient_id"] for row in table(tmp_path / "asked").values()} == {"", "SECRET-7"}
    assert b"SECRET-7" not in (tmp_path / "asked" / "report.html").read_bytes()


def test_the_same_as_the_bundle_says(studies: Path, trained: Trained, tmp_path: Path, in_root: Path) -> None:
    from synthetic.datasets import run_bundle

    run_bundle(
        "inference", "bundle/configs/inference.yaml", dataset_dir=str(studies / "a [1]"), model_dir=str(trained("acl")),
        output_dir=str(tmp_path / "bundle"),
    )  # fmt: skip
    assert run(studies / "a [1]", tmp_path / "out", trained("acl"), "--batch-size", "3") == 0
    ours, bundle = table(tmp_path / "out"), table(tmp_path / "bundle")
    assert set(ours) == set(bundle)
    for path, row in bundle.items():
        for name in CLASSES:
            assert float(ours[path][f"p_{name}"]) == pytest.approx(float(row[f"p_{name}"]), abs=1e-4)


def test_a_zip_and_structured_reports_and_sorting(studies: Path, trained: Trained, tmp_path: Path) -> None:
    pytest.importorskip("highdicom", reason="structured reports are an extra: pip install 'dynammo[clinic]'")
    packed = tmp_path / "studies.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for file in studies.rglob("*"):
            archive.write(file, file.relative_to(studies))
    out, sorted_into = tmp_path / "out", tmp_path / "sorted"
    assert run(packed, out, trained("dynammo"), "--dicom-sr", "--sort-into", str(sorted_into)) == 3
    report = pydicom.dcmread(out / "structured_reports" / "1.2.3.dcm")
    assert report.Modality == "SR" and report.PatientID == "SECRET-7"
    assert sum(file.is_file() for file in sorted_into.rglob("*")) == 12  # 9 pictures and 3 slices
    assert {path.name for path in sorted_into.iterdir()} <= {*CLASSES, "not recognised"}
    assert next(sorted_into.rglob("stripes.png")).parent.name == "not recognised"


class Killed(BaseException):
    """What a killed process looks like from inside."""


def test_interrupted_work_goes_on(
    studies: Path, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run(studies, whole, trained("dynammo"))
    add, added = module.Journal.add, []

    def add_four(journal: Any, *result: Any) -> None:  # noqa: ANN401
        if len(added) == 4:
            raise Killed
        added.append(result)
        add(journal, *result)

    monkeypatch.setattr(module.Journal, "add", add_four)
    with pytest.raises(Killed):
        main(["classify", "-i", str(studies), "-o", str(parts), "--model", str(trained("dynammo"))])
    assert (parts / "unfinished.jsonl").is_file() and not (parts / "predictions.csv").exists()
    monkeypatch.setattr(module.Journal, "add", add)
    assert run(studies, parts, trained("dynammo"), "--resume") == 3
    assert "4 of them were classified before; 7 are left" in capsys.readouterr().out
    for name, row in table(whole).items():
        for column, value in row.items():
            other = table(parts)[name][column]
            assert other == value or float(other) == pytest.approx(float(value), abs=1e-5)


def test_a_full_disk_ends_in_a_sentence_and_keeps_what_is_done(
    studies: Path, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:  # noqa: ANN401
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "write_report", full)
    settings = module.ClassifySettings(model=trained("dynammo"))
    with pytest.raises(UserError, match=r"No space left on device.*with --resume"):
        module.classify(studies, tmp_path / "out", settings)
    assert (tmp_path / "out" / "unfinished.jsonl").is_file()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--batch-size", "many"], "--batch-size is many; expected auto or a number"),
        (["--device", "gpu"], "the device gpu cannot be used"),
        (["--model", "nowhere"], "nowhere"),
    ],
)
def test_mistakes_end_in_a_sentence(
    studies: Path, trained: Trained, tmp_path: Path, options: list[str], sentence: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert run(studies, tmp_path / "out", trained("dynammo"), *options) == 1
    assert sentence in capsys.readouterr().err


def test_an_empty_folder_and_one_that_cannot_be_written(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / "empty", tmp_path / "out", trained("dynammo")) == 1
    assert "there is no image in" in capsys.readouterr().err
    (tmp_path / "file").write_text("in the way")
    assert run(tmp_path, tmp_path / "file", trained("dynammo")) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_the_files_of_the_clinic(trained: Trained, tmp_path: Path) -> None:
    assert run(shared("data", "clinic"), tmp_path / "out", trained("analytic"), "--mask-corners") == 0
    rows = table(tmp_path / "out")
    assert len(rows) == 16 and {row["files"] for row in rows.values()} == {"1"}
    assert sum("copies" in row["reason"] or "copy" in row["reason"] for row in rows.values()) == 1  # of one CT slice
    assert all(row["predicted_class"] in CLASSES for row in rows.values())
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count('id="slices-') == 9  # CT, MR, radiographs: measured values
