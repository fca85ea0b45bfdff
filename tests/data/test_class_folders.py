from pathlib import Path

import pytest
from synthetic.datasets import CLASSES

from dynammo.data.class_folders import class_folders, files_below, read_class_folders, read_undivided
from dynammo.errors import UserError


def test_folders_are_classes_and_clutter_is_none(tiny_data: Path, tmp_path: Path) -> None:
    assert [folder.name for folder in class_folders(tiny_data / "train")] == sorted(CLASSES)
    for name in ("__MACOSX/blue", ".hidden"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / ".DS_Store").touch()
    assert class_folders(tmp_path) == [] and files_below(tmp_path) == []


def test_the_split_is_that_of_the_folders_or_none(tiny_data: Path) -> None:
    records = read_class_folders(tiny_data)
    assert len(records) == 36 and {record.split for record in records} == {"train", "test"}
    assert {record.split for record in read_undivided(tiny_data / "train")} == {""}


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train" / "red").mkdir(parents=True)
    with pytest.raises(UserError, match="no class folder in test/"):
        read_class_folders(tmp_path)
    with pytest.raises(UserError, match="holds no image"):
        read_undivided(tmp_path / "train")
