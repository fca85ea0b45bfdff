"""Division by group, thinning out, leak check and the files of every data set command."""

import hashlib
import json
from collections import Counter
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from synthetic.downloads import class_folders, dicom_image, noise, picture, rows, run

from data_prep.csv_table import read_table
from data_prep.data_list import Choice, choose
from data_prep.leak_check import pixel_hash
from dynammo.data.images import ImageRecord, ImageSet
from dynammo.errors import UserError

groups = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9)), min_size=1, max_size=60)


def listed(pairs: list[tuple[str, int]]) -> list[ImageRecord]:
    # two groups of either class, so that there is something to divide
    known = [*pairs, *((name, 100 + i) for name in "ab" for i in range(2))]
    return [ImageRecord(Path(f"{i}.png"), name, "", f"patient {group}") for i, (name, group) in enumerate(known)]


@settings(max_examples=60, deadline=None)
@given(groups, st.integers(0, 3), st.floats(0.1, 0.5), st.integers(0, 5))
def test_no_group_is_ever_on_both_sides(pairs: list[tuple[str, int]], seed: int, fraction: float, limit: int) -> None:
    chosen = choose(listed(pairs), Choice(seed, fraction, max_train=limit))
    sides = {split: {r.group for r in chosen if r.split == split} for split in ("train", "test")}
    assert not sides["train"] & sides["test"]
    counts = Counter((r.class_name, r.split) for r in chosen)
    assert all(not limit or counts[name, "train"] <= limit for name in "ab")


@settings(max_examples=30, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(0, 3))
def test_the_choice_depends_on_the_seed_and_not_on_the_order_of_files(random: object, seed: int) -> None:
    records = listed([("a", i) for i in range(9)] + [("b", i) for i in range(20, 29)])
    shuffled = list(records)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    choice = Choice(seed, 0.3, max_train=4)
    assert choose(shuffled, choice) == choose(records, choice)


def test_another_seed_chooses_other_images() -> None:
    records = listed([("a", i) for i in range(30)])
    assert choose(records, Choice(0)) != choose(records, Choice(1))


def test_a_split_that_is_given_stays(tmp_path: Path) -> None:
    records = [ImageRecord(Path(f"{i}.png"), "ab"[i % 2], "test" if i < 4 else "train") for i in range(10)]
    assert {r.path: r.split for r in choose(records, Choice())} == {r.path: r.split for r in records}


def test_the_bundle_reads_what_was_written(tmp_path: Path) -> None:
    data = class_folders(tmp_path / "my pictures (ä)")
    status, output = run("image_folder", "-i", data, "-o", tmp_path / "out", "--group-pattern", "(P[0-9]+)_")
    assert status == 0, output
    images = ImageSet(data, tmp_path / "out" / "data_list.csv")
    assert len(images.records) == 24 and images.classes == ["benign", "malignant"]
    assert "--dataset_dir" in output and "data_list.csv" in output


def test_the_record_tells_where_the_list_comes_from(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("image_folder", "-i", class_folders(tmp_path / "in"), "-o", out, "--seed", "3")[0] == 0
    record = json.loads((out / "data_list.provenance.json").read_text())
    assert record["choice"]["seed"] == 3
    assert record["sha256 of data_list.csv"] == hashlib.sha256((out / "data_list.csv").read_bytes()).hexdigest()
    counts = Counter((row["label"], row["split"]) for row in rows(out))
    assert {(name, split): n for name, row in record["images"].items() for split, n in row.items()} == counts
    assert any("no groups" in note for note in record["notes"])
    assert sorted(path.name for path in out.iterdir()) == ["data_list.csv", "data_list.provenance.json"]


def leaky(folder: Path) -> Path:
    """Train and test folders; one training image is a test image again, as TIFF under another name."""
    for split, start in (("train", 0), ("test", 50)):
        for k, kind in enumerate(("a", "b")):
            for i in range(3):
                picture(folder / split / kind / f"{i}.png", start + 10 * k + i)
    Image.open(folder / "test" / "a" / "1.png").save(folder / "train" / "a" / "copy.tif")
    return folder


def test_the_same_pixels_on_both_sides_are_refused_by_name(tmp_path: Path) -> None:
    status, output = run("image_folder", "-i", leaky(tmp_path / "in"), "-o", tmp_path / "out")
    assert status == 1 and not (tmp_path / "out").exists()
    assert "copy.tif" in output and "1.png" in output and "--duplicates drop" in output


@pytest.mark.parametrize(("rule", "count"), [("drop", 12), ("keep", 13)])
def test_the_same_pixels_are_dropped_or_kept_on_demand(tmp_path: Path, rule: str, count: int) -> None:
    out = tmp_path / "out"
    assert run("image_folder", "-i", leaky(tmp_path / "in"), "-o", out, "--duplicates", rule)[0] == 0
    assert len(rows(out)) == count and ("copy.tif" in (out / "data_list.csv").read_text()) == (rule == "keep")
    record = json.loads((out / "data_list.provenance.json").read_text())
    assert record["training images with the pixels of a test image"] == {"found": 1, "rule": rule}


def test_a_group_on_both_sides_is_refused_with_its_files(tmp_path: Path) -> None:
    for i, (split, kind) in enumerate((s, k) for s in ("train", "test") for k in ("a", "b")):
        picture(tmp_path / "in" / split / kind / f"P{i % 2}_{i}.png", i)
    status, output = run("image_folder", "-i", tmp_path / "in", "-o", tmp_path / "out", "--group-pattern", "(P[0-9])_")
    assert status == 1 and "2 groups" in output and "P0_0.png" in output and "P0_2.png" in output


def test_unreadable_images_are_named(tmp_path: Path) -> None:
    data = class_folders(tmp_path / "in")
    whole = (data / "benign" / "P000_0.png").read_bytes()
    (data / "benign" / "P000_0.png").write_bytes(whole[: len(whole) // 2])
    status, output = run("image_folder", "-i", data, "-o", tmp_path / "out")
    assert status == 1 and "1 of 24 images cannot be read" in output and "P000_0.png" in output


def test_pixels_are_compared_across_formats(tmp_path: Path) -> None:
    grey = noise(1, (8, 8))
    for name, image in (("a.png", Image.fromarray(grey)), ("b.tif", Image.fromarray(grey).convert("RGB"))):
        image.save(tmp_path / name)
    assert pixel_hash(tmp_path / "a.png") == pixel_hash(tmp_path / "b.tif")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "sixteen.png")
    assert pixel_hash(tmp_path / "sixteen.png") != pixel_hash(tmp_path / "a.png")


def test_volumes_and_dicom_are_compared_by_their_voxels(tmp_path: Path) -> None:
    for name, seed in (("a.nii", 1), ("b.nii.gz", 1), ("c.nii.gz", 2)):
        nibabel.save(nibabel.Nifti1Image(noise(seed, (4, 4, 4)), np.eye(4)), tmp_path / name)
    assert pixel_hash(tmp_path / "a.nii") == pixel_hash(tmp_path / "b.nii.gz") != pixel_hash(tmp_path / "c.nii.gz")
    dicom_image(tmp_path / "d.dcm", "one", "1.2.3", "1.2.3.1", seed=5)
    dicom_image(tmp_path / "e.dcm", "two", "1.2.4", "1.2.4.1", seed=5)
    dicom_image(tmp_path / "f.dcm", "two", "1.2.4", "1.2.4.2", seed=6)
    assert pixel_hash(tmp_path / "d.dcm") == pixel_hash(tmp_path / "e.dcm") != pixel_hash(tmp_path / "f.dcm")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "no column file"),
        (b"file\n", "no column group"),
        (b"file,group\n", "no row"),
        (b"file,group\na\n", "line 2"),
        (b"file,group\na,b,c\n", "line 2"),
        (b"file,group\n\xff\xfe,b\n", "UTF-8"),
        (b'file,group\n"a,b\n', "cannot be read as a table"),
    ],
)
def test_a_bad_table_is_one_sentence(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "table.csv").write_bytes(content)
    with pytest.raises(UserError, match=expected):
        read_table(tmp_path / "table.csv", ["file", "group"])
