"""One odd study never stops the others, whatever it raises; nothing of a patient stands where nobody asked for it."""

import json
import os
import shutil
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from conftest import Trained
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import JPEGLosslessSV1, RLELossless
from synthetic.classify import run, table
from synthetic.datasets import write_image
from synthetic.images import RAMP, compressed, dicom, save

from dynammo.clinic import sort_files
from dynammo.inference import classifier


class Odd(Exception):
    """What no library is known to raise."""


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    for i, colour in enumerate(("red", "green", "blue", "white", "red")):
        write_image(folder / f"{i}.png", colour, i)
    return folder


def fails_at(function: Any, number: int, error: type[BaseException]) -> Any:  # noqa: ANN401
    """A function that raises when it is called for the so manyeth time, from 1."""
    calls = []

    def call(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401
        calls.append(None)
        if len(calls) == number:
            raise error
        return function(*arguments, **named)

    return call


@pytest.mark.parametrize("error", [Odd, MemoryError, NotImplementedError])
def test_pictures_and_heat_maps(
    error: type[BaseException], images: Path, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(images, tmp_path / "whole", trained())
    monkeypatch.setattr(classifier, "picture_jpeg", fails_at(classifier.picture_jpeg, 2, error))
    heat = classifier.heat_png
    monkeypatch.setattr(classifier, "heat_png", fails_at(fails_at(heat, 1, error), 2, error))
    assert run(images, tmp_path / "out", trained(), "--workers", "1") == 0
    reasons = {row["path"]: row["reason"] for row in table(tmp_path / "out").values() if row["reason"]}
    assert sorted(reason.split(" (")[0] for reason in reasons.values()) == [
        "no heat map of it can be made", "no picture of it can be made",
    ]  # fmt: skip
    for path, row in table(tmp_path / "whole").items():
        assert row["predicted_class"] == table(tmp_path / "out")[path]["predicted_class"]


def test_a_memory_that_does_not_suffice_is_a_row(
    images: Path, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = classifier.Compose.__call__
    monkeypatch.setattr(classifier.Compose, "__call__", fails_at(real, 3, MemoryError))
    assert run(images, tmp_path / "out", trained(), "--workers", "1") == 3
    rows = table(tmp_path / "out").values()
    assert [row["reason"] for row in rows if row["flags"] == "unreadable"] == ["the memory does not suffice for it"]


def test_a_batch_that_fails_is_done_one_by_one(
    images: Path, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = classifier.make_engine

    def make(*arguments: Any) -> Any:  # noqa: ANN401
        engine = made(*arguments)
        return fails_at(fails_at(engine, 1, Odd), 3, Odd)

    monkeypatch.setattr(classifier, "make_engine", make)
    assert run(images, tmp_path / "out", trained()) == 3
    rows = table(tmp_path / "out").values()
    assert [row["reason"] for row in rows if row["flags"] == "unreadable"] == ["the network failed at it (Odd)"]


def test_sorting(images: Path, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sort_files, "sort_into", fails_at(sort_files.sort_into, 2, Odd))
    assert run(images, tmp_path / "out", trained(), "--sort-into", str(tmp_path / "sorted")) == 0
    record = json.loads((tmp_path / "out" / "classification.json").read_text())
    assert record["sorted"] == {"studies": 4, "failed": [{"study": "1.png", "reason": "it cannot be copied (Odd)"}]}
    assert len(list((tmp_path / "sorted").rglob("*.png"))) == 4


def test_a_stray_element_costs_one_report(trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("highdicom", reason="structured reports are an extra: pip install 'dynammo[clinic]'")
    for i in range(4):
        image = dicom(np.full((24, 24), 50 + i, np.uint16), StudyInstanceUID=f"1.2.{i}", SeriesInstanceUID=f"1.2.{i}.1")
        if i == 3:
            del image.SOPInstanceUID
        save(image, tmp_path / f"{i}.dcm")
    plain = (tmp_path / "2.dcm").read_bytes()
    (tmp_path / "images").mkdir()
    at = plain.index(b"\xe0\x7f\x10\x00")  # before the pixels
    (tmp_path / "2.dcm").write_bytes(plain[:at] + b"\xfe\xff\x00\xe0\x00\x00\x00\x00" + plain[at:])
    for i in range(4):
        shutil.move(tmp_path / f"{i}.dcm", tmp_path / "images")
    assert run(tmp_path / "images", tmp_path / "out", trained(), "--dicom-sr") == 0
    assert len(table(tmp_path / "out")) == 4
    assert len(list((tmp_path / "out" / "structured_reports").iterdir())) == 2
    said = capsys.readouterr().out
    assert "no structured report of 1.2.2: the element Item (FFFE,E000) of its header" in said
    assert "no structured report of 1.2.3: its header lacks SOPInstanceUID" in said
    record = json.loads((tmp_path / "out" / "classification.json").read_text())
    assert [entry["study"] for entry in record["structured_reports"]["failed"]] == ["1.2.2", "1.2.3"]


def test_no_folder_of_a_path_and_nothing_for_others_to_read(
    images: Path, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "Doe^Jane 4711"
    shutil.copytree(images, secret / "scans")
    options = ["-i", str(secret / "scans"), "-o", str(secret / "out"), "--sort-into", str(secret / "sorted")]
    monkeypatch.setattr("sys.argv", ["dynammo", "classify", *options])
    before = os.umask(0o077)
    try:
        run(secret / "scans", secret / "out", trained(), "--sort-into", str(secret / "sorted"))
    finally:
        os.umask(before)
    written = [*(secret / "out").rglob("*"), *(secret / "sorted").rglob("*")]
    assert len([path for path in written if path.is_file() and path.name != ".lock"]) == 10
    for path in written:
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path
        assert path.is_dir() or b"4711" not in path.read_bytes(), path
    command = json.loads((secret / "out" / "classification.json").read_text())["command"]
    assert command == "dynammo classify -i scans -o out --sort-into sorted"


def test_names_of_all_kinds(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_image(Path("2024/a#1.png"), "red", 1)
    write_image(Path("2024/@x/%y.png"), "red", 2)
    write_image(Path("2024", os.fsdecode(b"B\xe4r.png")), "red", 3)
    Path("2024/\x1b[31mred.png").touch()
    shutil.copytree(trained(), "%run")
    assert run(Path("2024"), Path("@run"), Path("%run"), "--sort-into", "sorted#1") == 3
    assert set(table(Path("@run"))) == {"a#1.png", "'@x/%y.png", "B\ufffdr.png", "\x1b[31mred.png"}
    assert "B\\ufffdr.png" in Path("@run/report.html").read_text()
    assert len([path for path in Path("sorted#1").rglob("*") if path.is_file()]) == 3
    Path("list.txt").write_bytes(b"2024/B\xe4r.png\n2024/a#1.png\n")
    assert run(Path("list.txt"), Path(os.fsdecode(b"\xffout")), Path("%run")) == 0


def test_terminals_are_not_commanded(trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("\x1b]0;owned\x07", "\u202egnp", os.fsdecode(b"\xff"), "\x9b31m"):
        (tmp_path / name).mkdir()
        assert run(tmp_path / name, tmp_path / "out", trained()) == 1
        said = "".join(capsys.readouterr())
        assert "there is no image in" in said and not set(said) & set("\x1b\x07\u202e\x9b\udcff")


def test_what_libraries_print_is_said_of_the_file(
    trained: Trained, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Files at which libjpeg in GDCM, the Rust decoder of RLE and MetaIO in ITK print to the terminal."""
    folder = tmp_path / "images"
    folder.mkdir()
    filled = compressed(dicom(RAMP, SeriesInstanceUID="1.2.1"), JPEGLosslessSV1, tmp_path)
    stream = next(generate_frames(filled.PixelData, number_of_frames=1)).rstrip(b"\0")
    filled.PixelData = encapsulate([stream[: len(stream) * 9 // 10] + b"\xff\xd9"])
    save(filled, folder / "filled.dcm")
    panic = compressed(dicom(RAMP, SeriesInstanceUID="1.2.2"), RLELossless, tmp_path)
    packed = bytearray(next(generate_frames(panic.PixelData, number_of_frames=1)))
    packed[64:124] = b"\x81\0" * 30  # 30 times 128 bytes, twice as many as there are pixels
    panic.PixelData = encapsulate([bytes(packed)])
    save(panic, folder / "panic.dcm")
    sitk.WriteImage(sitk.GetImageFromArray(RAMP), str(folder / "short.mha"))
    (folder / "short.mha").write_bytes((folder / "short.mha").read_bytes()[:-99])
    assert run(folder, tmp_path / "out", trained(), "--workers", "3") == 3
    rows = table(tmp_path / "out")
    assert "its decoder says: Corrupt JPEG data" in rows["filled.dcm"]["reason"]
    assert "voxels are damaged" in rows["short.mha"]["reason"] and "unreadable" in rows["panic.dcm"]["flags"]
    assert capfd.readouterr().err == ""
