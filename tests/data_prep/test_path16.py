"""PATH16 on made-up copies of its seven sources."""

import gzip
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from synthetic.downloads import patchcamelyon, path16, rows, run

SETS = ("mhist", "breakhis", "oral", "patchcamelyon", "tcga_stad", "lung", "colon")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return path16(tmp_path_factory.mktemp("whole") / "path16")


@pytest.fixture
def download(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "path16")
    return tmp_path / "path16"


def test_seven_sets_become_sixteen_classes_in_seven_tasks(download: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    status, output = run("path16", "-i", download, "-o", out)
    assert status == 0, output
    found = rows(out)
    tasks = json.loads((out / "data_list.provenance.json").read_text())["increments"]
    assert [len(task) for task in tasks] == [2, 2, 2, 2, 4, 2, 2]
    assert {row["label"] for row in found} == {name for task in tasks for name in task}
    assert all((download / row["path"]).is_file() for row in found)
    sides = {split: {row["group"] for row in found if row["split"] == split} - {""} for split in ("train", "test")}
    assert not sides["train"] & sides["test"]


def test_patients_come_from_file_names(download: Path, tmp_path: Path) -> None:
    assert run("path16", "-i", download, "-o", tmp_path / "out", "--only", "breakhis", "--only", "tcga_stad")[0] == 0
    groups = {Path(row["path"]).name: row["group"] for row in rows(tmp_path / "out")}
    assert groups["SOB_B_A-14-1AB-40-003.png"] == "14-1"
    assert groups["TCGA-BR-4012-01Z-00-DX1_4.png"] == "TCGA-BR-4012"


def test_mhist_keeps_its_own_split(download: Path, tmp_path: Path) -> None:
    assert run("path16", "-i", download, "-o", tmp_path / "out", "--only", "mhist")[0] == 0
    assert Counter(row["split"] for row in rows(tmp_path / "out")) == {"train": 10, "test": 6}


def test_only_chosen_patches_are_unpacked_with_their_label(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    folder = patchcamelyon(tmp_path / "in" / "patchcamelyon")
    out = tmp_path / "out"
    arguments = ("--only", "patchcamelyon", "--max-train", "2", "--max-test", "1")
    status, output = run("path16", "-i", tmp_path / "in", "-o", out, *arguments)
    assert status == 0, output
    found = rows(out)
    assert len(found) == 6 == len(list((out / "images").rglob("*.png")))
    with h5py.File(folder / "camelyonpatch_level_2_split_train_x.h5") as file:
        for row in (row for row in found if row["split"] == "train"):
            index = int(Path(row["path"]).stem.split("_")[1])
            assert row["label"] == ("lymph_normal", "lymph_tumor")[index % 2]
            assert row["group"] == f"camelyon16_train_{index // 3:03d}"
            assert (np.asarray(Image.open(tmp_path / "in" / row["path"])) == file["x"][index]).all()


def test_every_incomplete_set_is_named_before_anything_is_written(download: Path, tmp_path: Path) -> None:
    (download / "mhist" / "annotations.csv").unlink()
    shutil.rmtree(download / "tcga_stad")
    shutil.rmtree(download / "lc25000" / "lung_colon_image_set" / "colon_image_sets" / "colon_n")
    (download / "patchcamelyon" / "camelyonpatch_level_2_split_test_y.h5").unlink()
    status, output = run("path16", "-i", download, "-o", tmp_path / "out")
    assert status == 1 and "4 of 7 sets are incomplete" in output
    for words in ("mhist lacks mhist/annotations.csv", "tcga_stad lacks tcga_stad", "colon_n", "split_test_y.h5"):
        assert words in output
    assert "bmirds.github.io/MHIST" in output and "--only" in output and not (tmp_path / "out").exists()
    assert run("path16", "-i", download, "-o", tmp_path / "out", "--only", "lung")[0] == 0


@pytest.mark.parametrize("name", SETS)
def test_an_empty_download_is_one_sentence_for_each_set(tmp_path: Path, name: str) -> None:
    status, output = run("path16", "-i", tmp_path, "-o", tmp_path / "out", "--only", name)
    assert status == 1 and f"{name} lacks" in output and "https://" in output


def test_augmented_copies_stay_together_or_the_danger_is_told(download: Path, tmp_path: Path) -> None:
    status, output = run("path16", "-i", download, "-o", tmp_path / "out", "--only", "lung")
    assert status == 0 and "20 times" not in output and all(row["group"] for row in rows(tmp_path / "out"))
    (download / "lc25000" / "lc25000_image_groups.csv").unlink()
    status, output = run("path16", "-i", download, "-o", tmp_path / "out", "--only", "lung")
    assert status == 0 and "20 times" in output and "LC25000-clean" in output


def test_images_without_a_source_group_are_refused(download: Path, tmp_path: Path) -> None:
    groups = download / "lc25000" / "lc25000_image_groups.csv"
    groups.write_text("\n".join(groups.read_text().splitlines()[:-2]) + "\n")
    status, output = run("path16", "-i", download, "-o", tmp_path / "out", "--only", "colon")
    assert status == 1 and "2 images have no row" in output


@pytest.mark.parametrize(
    ("name", "path", "words"),
    [
        ("breakhis", "breakhis/BreaKHis_v1/histology_slides/breast/benign/stray.png", "not named after a BreakHis"),
        ("tcga_stad", "tcga_stad/EBV/stray.png", "TCGA barcode"),
        ("tcga_stad", "tcga_stad/fifth/TCGA-BR-4187.png", "5 class folders"),
    ],
)
def test_images_out_of_place_are_named(download: Path, tmp_path: Path, name: str, path: str, words: str) -> None:
    (download / path).parent.mkdir(exist_ok=True)
    Image.new("RGB", (8, 8)).save(download / path)
    status, output = run("path16", "-i", download, "-o", tmp_path / "out", "--only", name)
    assert status == 1 and words in output


def test_files_of_patchcamelyon_must_belong_together(download: Path, tmp_path: Path) -> None:
    patchcamelyon(tmp_path / "other", train=9)
    name = "camelyonpatch_level_2_split_train_y.h5"
    shutil.copy(tmp_path / "other" / name, download / "patchcamelyon" / name)
    status, output = run("path16", "-i", download, "-o", tmp_path / "out", "--only", "patchcamelyon")
    assert status == 1 and "do not belong together" in output


def test_a_file_that_is_still_packed_is_told(download: Path, tmp_path: Path) -> None:
    file = download / "patchcamelyon" / "camelyonpatch_level_2_split_train_x.h5"
    file.write_bytes(gzip.compress(file.read_bytes()))
    status, output = run("path16", "-i", download, "-o", tmp_path / "out", "--only", "patchcamelyon")
    assert status == 1 and "gunzip" in output


def test_bad_annotations_are_one_sentence(download: Path, tmp_path: Path) -> None:
    (download / "mhist" / "annotations.csv").write_text("Image Name,Majority Vote Label,Partition\na.png,XYZ,train\n")
    status, output = run("path16", "-i", download, "-o", tmp_path / "out", "--only", "mhist")
    assert status == 1 and "HP or SSA" in output
