"""No image gets the result of another: work that is resumed, files that are exchanged, two at one folder."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from conftest import Trained
from synthetic.images import dicom

from dynammo.clinic import classify as module
from dynammo.errors import UserError
from dynammo.runtime.locking import lock_folder

COUNT = 10


class Killed(BaseException):
    """What a killed process looks like from inside."""


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    """Radiographs of as many patients, one file each, all of the same size and time."""
    for i in range(COUNT):
        values = np.random.default_rng(i).integers(100 * i, 100 * i + 900, (24, 24)).astype(np.uint16)
        image = dicom(
            values, PatientID=f"P{i}", Modality="CR", StudyInstanceUID=f"1.2.{i}", SeriesInstanceUID=f"1.2.{i}.1",
            SOPInstanceUID=f"1.2.{i}.1.1", InstanceNumber=1,
        )  # fmt: skip
        (tmp_path / "studies").mkdir(exist_ok=True)
        file = tmp_path / "studies" / f"{i}.dcm"
        image.save_as(file, enforce_file_format=True)
        os.utime(file, (10**9, 10**9))
    return tmp_path / "studies"


def exchange(first: Path, second: Path) -> None:
    """Give each file the content of the other, under its name and with the same size and time."""
    contents = first.read_bytes(), second.read_bytes()
    for file, content in zip((second, first), contents, strict=True):
        file.write_bytes(content)
        os.utime(file, (10**9, 10**9))


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Classify, and die when so many results are kept."""

    def classify(source: Path, out: Path, settings: module.ClassifySettings, after: int) -> None:
        add, added = module.Journal.add, []

        def add_some(journal: Any, *result: Any) -> None:  # noqa: ANN401
            if len(added) == after:
                raise Killed
            added.append(result)
            add(journal, *result)

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(module.Journal, "add", add_some)
            module.classify(source, out, settings)

    return classify


def settings_of(model: Path, **changes: Any) -> module.ClassifySettings:  # noqa: ANN401
    return module.ClassifySettings(model=model, batch_size="4", **changes)


def items(out: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((out / "predictions.json").read_text())["items"]
    return found


@pytest.mark.parametrize("after", [1, 5, 7])
def test_resumed_work_gives_the_same_to_the_last_digit(
    after: int, studies: Path, trained: Trained, tmp_path: Path, stopped: Callable[..., None]
) -> None:
    settings = settings_of(trained("dynammo"))
    module.classify(studies, tmp_path / "whole", settings)
    stopped(studies, tmp_path / "parts", settings, after)
    module.classify(studies, tmp_path / "parts", settings_of(trained("dynammo"), resume=True))
    assert (tmp_path / "parts" / "predictions.csv").read_bytes() == (tmp_path / "whole/predictions.csv").read_bytes()
    assert items(tmp_path / "parts") == items(tmp_path / "whole")


def test_files_that_were_exchanged_are_classified_anew(
    studies: Path, trained: Trained, tmp_path: Path, stopped: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    reports = "highdicom" in sys.modules or bool(pytest.importorskip("highdicom", reason="an extra: dynammo[clinic]"))
    stopped(studies, tmp_path / "out", settings_of(trained("dynammo")), 6)
    exchange(studies / "0.dcm", studies / "4.dcm")
    (studies / "5.dcm").unlink()
    module.classify(studies, tmp_path / "out", settings_of(trained("dynammo"), resume=True, dicom_sr=reports))
    said = capsys.readouterr().out
    assert "2 of them hold other images than before" in said and "3 of them were classified before; 6 are left" in said
    module.classify(studies, tmp_path / "whole", settings_of(trained("dynammo"), dicom_sr=reports))
    assert items(tmp_path / "out") == items(tmp_path / "whole")
    assert json.loads((tmp_path / "out" / "classification.json").read_text())["counts"]["items"] == COUNT - 1
    found = {item["study_uid"]: item for item in items(tmp_path / "out")}
    for file in sorted((tmp_path / "out" / "structured_reports").iterdir()):
        report = pydicom.dcmread(file)
        item = found[str(report.StudyInstanceUID)]
        assert report.PatientID == f"P{report.StudyInstanceUID.split('.')[-1]}"
        same = pydicom.dcmread(tmp_path / "whole" / "structured_reports" / file.name)
        assert f"{item['class']}" in str(report.ContentSequence) and report.PatientID == same.PatientID


def test_a_file_exchanged_meanwhile_has_no_result(
    studies: Path, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = module.Journal.add

    def add_late(journal: Any, item: dict[str, Any], *others: Any) -> None:  # noqa: ANN401
        add(journal, item, *others)
        if item["path"] == "3.dcm":
            (studies / "1.dcm").write_bytes((studies / "2.dcm").read_bytes())  # was classified
            (studies / "9.dcm").write_bytes((studies / "2.dcm").read_bytes())  # its header was read
            (studies / "0.dcm").unlink()  # moved away when it was done

    monkeypatch.setattr(module.Journal, "add", add_late)
    assert module.classify(studies, tmp_path / "out", settings_of(trained("dynammo"))) == module.SOME_UNREADABLE
    lost = {item["path"]: item for item in items(tmp_path / "out") if item["class"] is None}
    assert lost.keys() == {"1.dcm", "9.dcm"}
    assert all(item["reason"] == module.EXCHANGED and item["probabilities"] == {} for item in lost.values())


def test_two_do_not_classify_into_one_folder(studies: Path, trained: Trained, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    lock = lock_folder(out, "classification", "--output")
    with pytest.raises(UserError, match=r"another classification writes to .* wait for its end, or give another --out"):
        module.classify(studies, out, settings_of(trained("dynammo")))
    assert {file.name for file in out.iterdir()} == {".lock"}
    lock.release()
    for _ in range(2):  # a finished one leaves the folder free, and so does one that was refused
        assert module.classify(studies, out, settings_of(trained("dynammo"))) == module.ALL_READ
        with pytest.raises(UserError, match="nowhere"):
            module.classify(tmp_path / "nowhere", out, settings_of(trained("dynammo")))
