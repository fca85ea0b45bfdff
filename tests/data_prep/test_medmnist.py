"""MedMNIST on made-up archives."""

import json
import zipfile
from collections import Counter
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from synthetic.downloads import medmnist, noise, rows, run

from data_prep.medmnist_sets import SETS


def test_pictures_are_unpacked_with_their_class(tmp_path: Path) -> None:
    status, output = run("medmnist", "-i", medmnist(tmp_path / "bloodmnist.npz"), "-o", tmp_path / "out", "--unchecked")
    assert status == 0, output
    found = rows(tmp_path / "out")
    assert Counter(row["split"] for row in found) == {"train": 24, "test": 16}
    for row in (row for row in found if row["split"] == "test"):
        index = int(Path(row["path"]).stem.split("_")[1])
        assert row["label"] == SETS["bloodmnist"].classes[index % 8]
        assert (np.asarray(Image.open(tmp_path / "out" / row["path"])) == noise(2, (16, 28, 28, 3))[index]).all()


def test_grey_pictures_and_larger_versions(tmp_path: Path) -> None:
    file = medmnist(tmp_path / "pneumoniamnist_64.npz", 2, (64, 64))
    assert run("medmnist", "-i", file, "-o", tmp_path / "out", "--unchecked")[0] == 0
    assert Image.open(next((tmp_path / "out").rglob("*.png"))).mode == "L"


def test_volumes_become_nifti(tmp_path: Path) -> None:
    file = medmnist(tmp_path / "organmnist3d.npz", 11, (6, 7, 8))
    assert run("medmnist", "-i", file, "-o", tmp_path / "out", "--unchecked")[0] == 0
    volumes = sorted((tmp_path / "out").rglob("test_*.nii.gz"))
    assert len(volumes) == 22
    assert (np.asanyarray(nibabel.load(volumes[3]).dataobj) == noise(2, (22, 6, 7, 8))[3]).all()


def test_validation_images_join_training_on_demand(tmp_path: Path) -> None:
    file = medmnist(tmp_path / "bloodmnist.npz")
    assert run("medmnist", "-i", file, "-o", tmp_path / "out", "--unchecked", "--with-val", "--max-test", "1")[0] == 0
    found = rows(tmp_path / "out")
    assert Counter(row["split"] for row in found) == {"train": 32, "test": 8}
    assert len(list((tmp_path / "out").rglob("*.png"))) == 40, "nothing is unpacked that is not listed"


def test_another_sum_than_the_published_one_is_refused(tmp_path: Path) -> None:
    status, output = run("medmnist", "-i", medmnist(tmp_path / "bloodmnist.npz"), "-o", tmp_path / "out")
    assert status == 1 and "7053d0359d879ad8a5505303e11de1dc" in output and "zenodo.org" in output


def test_several_labels_an_image_are_refused_with_the_reason(tmp_path: Path) -> None:
    status, output = run("medmnist", "-i", tmp_path / "chestmnist_224.npz", "-o", tmp_path)
    assert status == 1 and "several findings" in output


@pytest.mark.parametrize("name", ["mymnist.npz", "bloodmnist.zip"])
def test_unknown_names_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    status, output = run("medmnist", "-i", tmp_path / name, "-o", tmp_path)
    assert status == 1 and "bloodmnist" in output


def test_a_missing_file_is_told_with_its_source(tmp_path: Path) -> None:
    status, output = run("medmnist", "-i", tmp_path / "bloodmnist.npz", "-o", tmp_path)
    assert status == 1 and "zenodo.org" in output


def test_pickled_arrays_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "bloodmnist.npz"
    np.savez(file, train_images=np.array([{"a": 1}], dtype=object), train_labels=np.zeros((1, 1), np.uint8))
    status, output = run("medmnist", "-i", file, "-o", tmp_path / "out", "--unchecked")
    assert status == 1 and "is object" in output


def test_truncated_archives_and_missing_arrays_are_refused(tmp_path: Path) -> None:
    file = medmnist(tmp_path / "bloodmnist.npz")
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    assert "download it again" in run("medmnist", "-i", file, "-o", tmp_path / "out", "--unchecked")[1]
    np.savez(file, train_images=noise(0, (8, 28, 28, 3)))
    assert "train_labels" in run("medmnist", "-i", file, "-o", tmp_path / "out", "--unchecked")[1]


def test_an_array_shorter_than_it_says_is_refused(tmp_path: Path) -> None:
    file = medmnist(tmp_path / "bloodmnist.npz")
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts["test_images.npy"] = parts["test_images.npy"][:-100]
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    status, output = run("medmnist", "-i", file, "-o", tmp_path / "out", "--unchecked")
    assert status == 1 and "ends before" in output


def test_labels_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    file = medmnist(tmp_path / "pneumoniamnist.npz", classes=3, shape=(28, 28))
    status, output = run("medmnist", "-i", file, "-o", tmp_path / "out", "--unchecked")
    assert status == 1 and "one below 2 for each of 9 images" in output


def test_the_table_of_sets_is_whole() -> None:
    assert len(SETS) == 17 and sum(name.endswith("3d") for name in SETS) == 6
    for name, known in SETS.items():
        assert len(known.md5) == (2 if name.endswith("3d") else 4)
        assert all(len(md5) == 32 for md5 in known.md5.values()) and len(set(known.classes)) == len(known.classes)


def test_the_record_says_whether_the_sum_was_checked(tmp_path: Path) -> None:
    run("medmnist", "-i", medmnist(tmp_path / "bloodmnist.npz"), "-o", tmp_path / "out", "--unchecked")
    assert json.loads((tmp_path / "out" / "data_list.provenance.json").read_text())["md5"] == "not checked"
