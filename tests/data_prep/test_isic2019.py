"""ISIC 2019 -> SKIN8 on a made-up copy of the download."""

import json
from collections import Counter
from pathlib import Path

import pytest
from synthetic.downloads import SKIN, isic2019, rows, run

TABLE = "ISIC_2019_Training_GroundTruth.csv"


@pytest.fixture
def download(tmp_path: Path) -> Path:
    return isic2019(tmp_path / "isic2019")


def test_eight_classes_divided_by_lesion(download: Path, tmp_path: Path) -> None:
    status, output = run("isic2019", "-i", download, "-o", tmp_path / "out")
    assert status == 0, output
    found = rows(tmp_path / "out")
    assert len(found) == 128 and {row["label"] for row in found} == set(SKIN)
    assert all((download / row["path"]).is_file() for row in found)
    sides = {split: {row["group"] for row in found if row["split"] == split} - {""} for split in ("train", "test")}
    assert not sides["train"] & sides["test"] and len(sides["train"] | sides["test"]) == 56
    assert 0.1 < len([row for row in found if row["split"] == "test"]) / 128 < 0.25
    record = json.loads((tmp_path / "out" / "data_list.provenance.json").read_text())
    assert sorted(name for task in record["increments"] for name in task) == sorted(SKIN)


def test_classes_are_capped(download: Path, tmp_path: Path) -> None:
    status, output = run("isic2019", "-i", download, "-o", tmp_path, "--max-train", "5", "--max-test", "2")
    assert status == 0, output
    counts = Counter((row["label"], row["split"]) for row in rows(tmp_path))
    assert {counts[name, "train"] for name in SKIN} == {5} and max(counts[name, "test"] for name in SKIN) == 2


def test_the_folder_may_be_nested_as_some_unpack_it(download: Path, tmp_path: Path) -> None:
    images = download / "ISIC_2019_Training_Input"
    images.rename(download / "moved")
    images.mkdir()
    (download / "moved").rename(images / images.name)
    assert run("isic2019", "-i", download, "-o", tmp_path / "out")[0] == 0


def test_unknown_images_are_left_out(download: Path, tmp_path: Path) -> None:
    file = download / TABLE
    with file.open("a") as text:
        text.write("ISIC_9999999,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0\n")
    assert run("isic2019", "-i", download, "-o", tmp_path / "out")[0] == 0
    assert "ISIC_9999999" not in (tmp_path / "out" / "data_list.csv").read_text()


@pytest.mark.parametrize("name", [TABLE, "ISIC_2019_Training_Metadata.csv"])
def test_a_missing_table_is_named_with_its_source(download: Path, tmp_path: Path, name: str) -> None:
    (download / name).unlink()
    status, output = run("isic2019", "-i", download, "-o", tmp_path / "out")
    assert status == 1 and name in output and "challenge.isic-archive.com" in output


def test_missing_images_are_counted(download: Path, tmp_path: Path) -> None:
    for image in sorted((download / "ISIC_2019_Training_Input").iterdir())[:3]:
        image.unlink()
    status, output = run("isic2019", "-i", download, "-o", tmp_path / "out")
    assert status == 1 and "3 of 128 images" in output and "ISIC_0000000.jpg" in output


@pytest.mark.parametrize("values", ["1.0,1.0" + 7 * ",0.0", "0.0" + 8 * ",0.0", "maybe" + 8 * ",0.0"])
def test_a_row_without_exactly_one_class_is_refused(download: Path, tmp_path: Path, values: str) -> None:
    with (download / TABLE).open("a") as text:
        text.write(f"ISIC_9999999,{values}\n")
    status, output = run("isic2019", "-i", download, "-o", tmp_path / "out")
    assert status == 1 and "line 130" in output


def test_an_empty_folder_is_one_sentence(tmp_path: Path) -> None:
    status, output = run("isic2019", "-i", tmp_path, "-o", tmp_path / "out")
    assert status == 1 and output.startswith("error: ") and "Traceback" not in output
