import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic.datasets import CLASSES, make_data, write_image

from dynammo.data.class_folders import class_folders
from dynammo.data.images import ImageSet, TaskImages, images_in
from dynammo.data.tasks import TaskSequence
from dynammo.errors import UserError

ROWS = [(f"{c}_{i}.png", c, f"p{c}{i // 2}") for c in ("red", "blue") for i in range(8)]


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    for i, (name, colour, _) in enumerate(ROWS):
        write_image(tmp_path / name, colour, i, size=8)
    return tmp_path


def write_csv(path: Path, columns: list[str], rows: list[tuple[str, ...]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def test_class_folders_become_labelled_items(tiny_data: Path) -> None:
    images = ImageSet(tiny_data)
    assert images.classes == sorted(CLASSES)
    data = TaskImages(images, TaskSequence(images.classes, 2, ["white", "red", "green", "blue"]))
    first = data.train(data.tasks[0])
    assert {item["label"] for item in first} == {0, 1}
    assert {Path(item["image"]).parent.name for item in first if item["label"] == 0} == {"white"}
    assert (len(first), len(data.test())) == (12, 12)


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_a_data_list_says_the_same_as_folders(flat: Path, kind: str) -> None:
    rows = [(name, label, "test" if i % 4 == 0 else "train") for i, (name, label, _) in enumerate(ROWS)]
    if kind == "csv":
        file = write_csv(flat / "list.csv", ["path", "label", "split"], rows)
    else:
        file = flat / "list.json"
        file.write_text(json.dumps([dict(zip(("path", "label", "split"), row, strict=True)) for row in rows]))
    images = ImageSet(flat, file)
    assert [r.split for r in images.records] == [row[2] for row in rows]
    assert images.classes == ["blue", "red"]


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 1000), fraction=st.sampled_from([0.2, 0.25, 0.5]))
def test_no_patient_is_on_both_sides(flat_rows: Path, seed: int, fraction: float) -> None:
    images = ImageSet(flat_rows, flat_rows / "groups.csv", test_fraction=fraction, seed=seed)
    groups = {s: {r.group for r in images.records if r.split == s} for s in ("train", "test")}
    assert groups["train"] and groups["test"] and not groups["train"] & groups["test"]
    assert {r.class_name for r in images.records if r.split == "test"} == {"red", "blue"}


@pytest.fixture(scope="module")
def flat_rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("groups")
    for i, (name, colour, _) in enumerate(ROWS):
        write_image(folder / name, colour, i, size=8)
    write_csv(folder / "groups.csv", ["path", "label", "group"], ROWS)
    return folder


def test_patients_on_both_sides_are_refused(flat: Path) -> None:
    rows = [(name, label, "test" if i % 2 else "train", group) for i, (name, label, group) in enumerate(ROWS)]
    with pytest.raises(UserError, match="both in train and in test"):
        ImageSet(flat, write_csv(flat / "list.csv", ["path", "label", "split", "group"], rows))


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no folder .*nowhere; give --dataset_dir"):
        ImageSet(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"no class folder in train/"):
        ImageSet(tmp_path)
    with pytest.raises(UserError, match="holds no image"):
        images_in(tmp_path)


def test_a_class_without_training_image(tmp_path: Path) -> None:
    data = make_data(tmp_path, 2, 1)
    for file in (data / "train" / "red").iterdir():
        file.unlink()
    with pytest.raises(UserError, match=r"class folder .*red holds no image"):
        ImageSet(data)
    (data / "train" / "red").rmdir()
    with pytest.raises(UserError, match=r"\['red'\] are in test but have no training image"):
        ImageSet(data)


def test_a_class_without_test_image(tmp_path: Path) -> None:
    data = make_data(tmp_path, 1, 1)
    for file in (data / "test" / "red").iterdir():
        file.unlink()
    (data / "test" / "red").rmdir()
    with pytest.raises(UserError, match=r"\['red'\] have no test image"):
        ImageSet(data)


def test_unreadable_images_stop_or_are_skipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_data(tmp_path, 2, 1)
    whole = (data / "train" / "red" / "red_0.png").read_bytes()
    (data / "train" / "red" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (data / "train" / "blue" / "notes.txt").write_text("not an image")
    with pytest.raises(UserError, match=r"2 of 14 images cannot be read .*--skip_unreadable True"):
        ImageSet(data)
    images = ImageSet(data, skip_unreadable=True)
    assert (len(images.records), images.skipped) == (12, 2)
    listed = capsys.readouterr().out
    assert "cut.png" in listed and "notes.txt" in listed


def test_skipping_the_last_image_of_a_class_is_refused(tmp_path: Path) -> None:
    data = make_data(tmp_path, 1, 1)
    (data / "train" / "red" / "red_0.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(UserError, match="no training image"):
        ImageSet(data, skip_unreadable=True)


def test_hidden_files_are_no_images(tmp_path: Path) -> None:
    data = make_data(tmp_path, 1, 1)
    (data / "train" / "red" / ".DS_Store").write_bytes(b"x")
    (data / "train" / "red" / "Thumbs.db").write_bytes(b"x")
    assert len(ImageSet(data).records) == 8


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("list.json", "{", "cannot be read"),
        ("list.json", "[]", "is empty"),
        ("list.json", '["a.png"]', "row 1 of .* has no path or no label"),
        ("list.csv", "path,label\na.png,\n", "row 1 of .* has no path or no label"),
        ("list.csv", "path,label,split\na.png,red,validation\n", "expected train or test"),
        ("list.csv", "path,label,split\na.png,red,train\nb.png,red,\n", "1 of 2 rows have no split"),
        ("list.csv", "path,label,group\na.png,red,p1\nb.png,red,p1\n", "one group alone"),
    ],
)
def test_malformed_lists_are_explained(tmp_path: Path, name: str, text: str, sentence: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=sentence):
        ImageSet(tmp_path, tmp_path / name)


def test_missing_list(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no data list"):
        ImageSet(tmp_path, tmp_path / "list.csv")


def test_images_of_a_folder_are_found_below_it(tiny_data: Path) -> None:
    found = images_in(tiny_data / "test")
    assert len(found) == 12
    assert found == sorted(found, key=lambda item: str(item["path"]))


def test_random_division_keeps_the_share(flat_rows: Path) -> None:
    images = ImageSet(flat_rows, flat_rows / "groups.csv", test_fraction=0.25)
    assert np.mean([r.split == "test" for r in images.records]) == 0.25


@pytest.mark.parametrize("path", ["../out.png", "red/../../out.png", "/etc/passwd", ".", "a\0.png", "a" * 2000])
def test_a_list_that_leads_out_of_the_folder_is_refused(path: str, flat: Path) -> None:
    (flat / "list.json").write_text(json.dumps([{"path": path, "label": "red"}]))
    with pytest.raises(UserError, match=r"leads out of .*--allow_outside True|no file can have"):
        ImageSet(flat, flat / "list.json")


def test_images_elsewhere_are_read_on_demand(flat: Path, tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    rows = [(str(flat / name), label, "test" if i % 4 == 0 else "train") for i, (name, label, _) in enumerate(ROWS)]
    file = write_csv(tmp_path / "lists" / "list.csv", ["path", "label", "split"], rows)
    with pytest.raises(UserError, match="leads out"):
        ImageSet(tmp_path / "lists", file)
    assert len(ImageSet(tmp_path / "lists", file, allow_outside=True).records) == len(ROWS)
    assert len(ImageSet(flat, file).records) == len(ROWS)  # whole paths into the folder do not lead out of it


def test_names_of_classes_that_no_record_could_hold_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    for number, name in enumerate(("a\x1b[31m", "a\nb", " ", "\x9b2J")):
        data = make_data(tmp_path / str(number), 1, 1)
        (data / "train" / "red").rename(data / "train" / name)
        with pytest.raises(UserError, match=r"gives the class name .*expected one line of 1 to 255 characters"):
            ImageSet(data)
    data = make_data(tmp_path / "latin", 1, 1)
    for split in ("train", "test"):
        (data / split / "red").rename(data / split / os.fsdecode(b"B\xe4r"))
    assert ImageSet(data).classes == ["B\ufffdr", "blue", "green", "white"]
    (data / "train" / "blue").rename(data / "train" / os.fsdecode(b"B\xe5r"))
    with pytest.raises(UserError, match="not UTF-8 and would be one class; rename them"):
        class_folders(data / "train")


def test_the_digest_changes_with_the_images(tmp_path: Path) -> None:
    def digest() -> str:
        images = ImageSet(data)
        return TaskImages(images, TaskSequence(images.classes, 2)).digest()

    data = make_data(tmp_path, 2, 1)
    before = digest()
    assert digest() == before
    write_image(data / "train" / "red" / "new.png", "red", 1)
    assert digest() != before
    (data / "train" / "red" / "new.png").unlink()
    assert digest() == before
    write_image(data / "test" / "red" / "red_0.png", "red", 1, size=16)
    assert digest() != before


def test_the_contents_change_with_an_image_whatever_its_name_size_and_time(tmp_path: Path) -> None:
    images = ImageSet(make_data(tmp_path, 2, 1))
    data = TaskImages(images, TaskSequence(images.classes, 2))
    before, known = data.contents(), data.digest()
    one, other = (tmp_path / "train" / name / f"{name}_0.png" for name in ("red", "blue"))
    state = one.stat()
    for content, same in ((one.read_bytes(), True), (other.read_bytes().ljust(state.st_size, b"x"), False)):
        one.write_bytes(content[: state.st_size])
        os.utime(one, ns=(state.st_atime_ns, state.st_mtime_ns))
        assert (data.contents() == before) is same and data.digest() == known


def test_test_images_are_the_same_in_any_order_and_place(tmp_path: Path) -> None:
    def digest(folder: Path, order: list[str]) -> str:
        return TaskImages(ImageSet(folder), TaskSequence(CLASSES, 2, order)).test_digest()

    first, second = (make_data(tmp_path / name, 2, 2) for name in ("first", "second"))
    expected = digest(first, sorted(CLASSES))
    assert digest(second, sorted(CLASSES, reverse=True)) == expected
    write_image(second / "train" / "red" / "new.png", "red", 1)
    assert digest(second, sorted(CLASSES)) == expected, "a training image"
    write_image(second / "test" / "red" / "red_0.png", "red", 1, size=16)
    assert digest(second, sorted(CLASSES)) != expected
