"""What would make test results too good is refused, and before images are looked for where the list tells it."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image
from synthetic.datasets import make_data

from dynammo.data.data_list import ImageRecord
from dynammo.data.images import ImageSet
from dynammo.data.leaks import refuse_contradictions, refuse_shared_files, some
from dynammo.errors import UserError


def test_patient_0_on_both_sides_is_refused_before_images_are_looked_for(tmp_path: Path) -> None:
    rows = [
        {"path": f"{split}/{label}/{i}.png", "label": label, "split": split, "group": i and f"{split}{label}"}
        for split in ("train", "test") for label in ("a", "b") for i in range(2)
    ]  # fmt: skip
    (tmp_path / "list.json").write_text(json.dumps(rows))
    with pytest.raises(UserError, match=r"1 groups .*both in train and in test \(0\)"):
        ImageSet(tmp_path, tmp_path / "list.json")


@pytest.mark.parametrize(
    ("second", "sentence"),
    [
        ("a.png,blue,train", "the class 'red' and 'blue'"),
        ("x/../a.png,red,test", "the split 'train' and 'test'"),
        ("link.png,blue,train", "the class 'red' and 'blue'"),
    ],
)
def test_one_file_is_one_image_of_one_class(tmp_path: Path, second: str, sentence: str) -> None:
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    (tmp_path / "list.csv").write_text(f"path,label,split\na.png,red,train\n{second}\n")
    with pytest.raises(UserError, match=sentence):
        ImageSet(tmp_path, tmp_path / "list.csv")


def test_an_image_that_is_named_again_the_same_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refuse_contradictions([ImageRecord(tmp_path / "a.png", "red", "train")] * 3)
    assert "2 images are named again" in capsys.readouterr().out


def test_copies_on_both_sides_are_refused(tmp_path: Path) -> None:
    data = make_data(tmp_path, 2, 1)
    shutil.copy(data / "train" / "red" / "red_0.png", data / "test" / "red" / "other.png")
    with pytest.raises(UserError, match=r"1 images are both in train and in test under other names \(.*other\.png"):
        ImageSet(data)


def test_copies_within_a_split_and_blank_pictures_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_data(tmp_path, 2, 1)
    shutil.copy(data / "train" / "red" / "red_0.png", data / "train" / "blue" / "other.png")
    for split in ("train", "test"):
        Image.new("RGB", (8, 8)).save(data / split / "red" / "blank.png")
    assert len(ImageSet(data).records) == 15
    assert "2 images have copies under other names, 1 of them in other classes" in capsys.readouterr().out


def test_files_of_one_size_are_no_copies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, content in (("a", b"1"), ("b", b"2")):
        (tmp_path / name).write_bytes(content)
    refuse_shared_files([ImageRecord(tmp_path / "a", "red", "train"), ImageRecord(tmp_path / "b", "red", "test")])
    assert capsys.readouterr().out == ""


def test_of_many_names_the_first_are_shown() -> None:
    assert some(map(str, range(7))) == "0; 1; 2; 3; 4 and 2 more"
