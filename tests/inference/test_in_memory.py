"""Images that a program holds become the files that they would be."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydicom.dataset import Dataset
from synthetic.images import COLOUR, RAMP, dicom, other_profile

from dynammo.errors import UserError
from dynammo.inference.in_memory import studies_of
from dynammo.io.image_reader import read_image


def read(image: Any, folder: Path) -> tuple[np.ndarray, bool]:  # noqa: ANN401
    """Values that the classifier will see, and whether they are for the screen."""
    (study,), single = studies_of(image, folder)
    assert single and not study.reason
    found = read_image(study.files[0], pictures_as_rgb=False)
    return found.array, found.meta["display"]


@pytest.mark.parametrize(
    ("image", "expected", "display"),
    [
        (COLOUR, COLOUR.transpose(2, 0, 1), True),
        (COLOUR / 255, COLOUR.transpose(2, 0, 1), True),
        ((COLOUR / 255).astype(np.float32), COLOUR.transpose(2, 0, 1), True),
        ((COLOUR[::-1] / 255), COLOUR[::-1].transpose(2, 0, 1), True),
        (COLOUR[..., 0], COLOUR[None, ..., 0], True),
        (RAMP, RAMP[None], False),
        (RAMP.astype(np.int16) - 1000, RAMP[None].astype(float) - 1000, False),
        (RAMP / 7 - 100, (RAMP[None] / 7 - 100).astype(np.float32), False),
        (torch.from_numpy(COLOUR), COLOUR.transpose(2, 0, 1), True),
        (Image.fromarray(COLOUR), COLOUR.transpose(2, 0, 1), True),
        (Image.fromarray(COLOUR[..., 0]), COLOUR[None, ..., 0], True),
        (Image.fromarray(RAMP), RAMP[None], False),
        (Image.fromarray((RAMP / 1919).astype(np.float32)), (RAMP[None] / 1919).astype(np.float32), False),
    ],
)
def test_values_stay_what_they_are(image: Any, expected: np.ndarray, display: bool, tmp_path: Path) -> None:  # noqa: ANN401
    array, shown = read(image, tmp_path)
    np.testing.assert_array_equal(array, expected)
    assert shown == display


@pytest.mark.parametrize("save", [{"exif": True}, {"icc": True}, {"mode": "P"}, {"mode": "LA"}, {"mode": "RGBA"}])
def test_a_picture_of_pil_is_its_file(save: dict[str, Any], tmp_path: Path) -> None:
    picture = Image.fromarray(COLOUR).convert(save.get("mode", "RGB"))
    options: dict[str, Any] = {}
    if "exif" in save:
        exif = Image.Exif()
        exif[0x0112] = 6  # the camera lay on its side
        options["exif"] = exif
    if "icc" in save:
        options["icc_profile"] = other_profile()
    picture.save(tmp_path / "file.png", **options)
    (tmp_path / "held").mkdir()
    array, shown = read(Image.open(tmp_path / "file.png"), tmp_path / "held")
    expected = read_image(tmp_path / "file.png")
    np.testing.assert_array_equal(array, expected.array)
    assert shown and expected.meta["display"] and bool(expected.meta["colour_profile"]) == ("icc" in save)


def test_a_data_set_of_pydicom_is_its_file_and_stays_as_it_is(tmp_path: Path) -> None:
    dataset = dicom(RAMP, WindowCenter=500, WindowWidth=400)
    before = dataset.to_json()
    (study,), single = studies_of(dataset, tmp_path)
    assert single and study.format == "dicom" and study.series_uid == "1.2.3.4" and study.name == "image"
    np.testing.assert_array_equal(read_image(study.files[0]).array[0], RAMP)
    assert dataset.to_json() == before
    with pytest.raises(UserError, match=r"cannot be written as a file \(\w+\); give one that pydicom.dcmread has read"):
        studies_of(Dataset(), tmp_path)


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (None, "image is of type NoneType; expected a path, an array"),
        ({"a": 1}, "image is of type dict"),
        (RAMP > 3, r"an array \(48, 40\) of bool"),
        (np.zeros((0, 4), np.uint8), r"an array \(0, 4\) of uint8"),
        (np.zeros((2, 3, 4, 5), np.uint8), r"an array \(2, 3, 4, 5\)"),
        (COLOUR.transpose(2, 0, 1), r"an array \(3, 48, 40\).*array.transpose\(1, 2, 0\)"),
        (COLOUR.astype(np.float32), "colours of float32 from 0 to 250; expected uint8 from 0 to 255, or floats"),
        (COLOUR.astype(np.int64), "colours of int64"),
        (np.full((4, 4, 3), np.nan), "colours of float64 from nan to nan"),
        (RAMP / 1919, "grey floats from 0 to 1, which may be a picture or measured values"),
        (torch.zeros(4, 4, requires_grad=True), "image is no array"),
    ],
)
def test_what_is_no_image_or_unclear_is_refused(image: Any, sentence: str, tmp_path: Path) -> None:  # noqa: ANN401
    with pytest.raises(UserError, match=sentence):
        studies_of(image, tmp_path)


def test_lists_have_one_study_for_each_entry(tmp_path: Path) -> None:
    held = tmp_path / "held"
    held.mkdir()
    series = tmp_path / "series"
    series.mkdir()
    for number in range(3):
        slice_ = dicom(RAMP, InstanceNumber=number, SOPInstanceUID=f"1.2.3.4.{number + 1}")
        slice_.save_as(series / f"{number}.dcm", enforce_file_format=True)
    Image.fromarray(COLOUR).save(tmp_path / "a.png")
    studies, single = studies_of([COLOUR, tmp_path / "a.png", str(series), dicom(RAMP)], held)
    assert not single and [len(study.files) for study in studies] == [1, 1, 3, 1]
    assert [study.name for study in studies] == ["image 1", "a.png", "OT series 1.2.3.4", "image 4"]
    Image.fromarray(COLOUR).save(series / "b.png")
    with pytest.raises(UserError, match=r"series comes to 2 studies, one entry of a list to one"):
        studies_of((series,), tmp_path / "again")


@pytest.mark.parametrize("make", [lambda folder: folder, lambda folder: folder / "list.txt"])
def test_folders_and_lists_of_paths_come_to_lists(make: Callable[[Path], Path], tmp_path: Path) -> None:
    Image.fromarray(COLOUR).save(tmp_path / "a.png")
    (tmp_path / "list.txt").write_text("a.png\n")
    studies, single = studies_of(make(tmp_path), tmp_path / "held")
    assert [study.name for study in studies] == ["a.png"] and not single
    assert studies_of(str(tmp_path / "a.png"), tmp_path / "held")[1]
