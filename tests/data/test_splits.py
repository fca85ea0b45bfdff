import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from synthetic.datasets import write_image

from dynammo.data.data_list import ImageRecord, read_data_list
from dynammo.data.splits import as_data_list, divided, with_patients
from dynammo.errors import UserError


def dicom(path: Path, patient: str, value: int) -> ImageRecord:
    dataset = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    dataset.PatientID = patient
    dataset.PixelData = np.full((128, 128), value, np.int16).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path)
    return ImageRecord(path, path.parent.name, "")


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9)), min_size=12), st.integers(0, 99))
def test_no_group_is_on_both_sides(rows: list[tuple[str, int]], seed: int) -> None:
    records = [ImageRecord(Path(str(i)), name, "", f"{name}{group}") for i, (name, group) in enumerate(rows)]
    if any(len({group for other, group in rows if other == name}) < 2 for name, _ in rows):
        with pytest.raises(UserError, match="one group alone"):
            divided(records, 0.2, seed)
        return
    parts = divided(records, 0.2, seed)
    sides = {split: {r.group for r in parts if r.split == split} for split in ("train", "test")}
    assert not sides["train"] & sides["test"] and [r.path for r in parts] == [r.path for r in records]
    assert {r.class_name for r in parts if r.split == "test"} == {r.class_name for r in parts if r.split == "train"}


def test_images_of_a_patient_and_copies_of_a_file_stay_together(tmp_path: Path) -> None:
    records = [dicom(tmp_path / "a" / f"{i}.dcm", f"Doe^Jane {i // 2}", i) for i in range(4)]
    write_image(tmp_path / "a" / "x.png", "red", 0)
    shutil.copy(tmp_path / "a" / "x.png", tmp_path / "a" / "y.png")
    write_image(tmp_path / "a" / "z.png", "red", 1)
    records += [ImageRecord(tmp_path / "a" / f"{name}.png", "a", "") for name in "xyz"]
    assert [record.group for record in with_patients(records)] == ["1", "1", "2", "2", "3", "3", "4"]
    listed = [ImageRecord(r.path, "a", "", "p" if i in (0, 6) else "") for i, r in enumerate(records)]
    assert [record.group for record in with_patients(listed)] == ["1", "1", "2", "2", "3", "3", "1"]


def test_a_split_that_is_written_is_read_again(tmp_path: Path) -> None:
    records = [ImageRecord(tmp_path / name, "=cmd", split, "1") for name, split in (('-a"', "train"), ("b, c", "test"))]
    for record in records:
        record.path.touch()
    (tmp_path / "split.json").write_bytes(as_data_list(records, tmp_path))
    read = read_data_list(tmp_path / "split.json", tmp_path)
    assert read == records
