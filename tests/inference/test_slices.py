"""Slices and values that a page carries: exact in value, small in size, none where there is nothing to look through."""

import base64
import io
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from synthetic.images import COLOUR, dicom, save, slices

from dynammo.inference.slices import make_viewers, viewer_of
from dynammo.io.image_reader import read_image
from dynammo.io.studies import Study

VOLUME = np.random.default_rng(0).integers(-1000, 2000, (40, 20, 24)).astype(np.int16)


def unpacked(viewer: dict[str, Any]) -> np.ndarray:
    """Values as the script of the page computes them."""
    high, low = np.frombuffer(zlib.decompress(base64.b64decode(viewer["values"])), np.uint8).reshape(2, -1)
    shape = len(viewer["numbers"]), viewer["height"], viewer["width"]
    change = (high.astype(np.uint16) << 8 | low).reshape(shape)
    words = np.cumsum(change, axis=2, dtype=np.uint16)  # wraps around
    return viewer["low"] + viewer["step"] * words


def study(*files: Path, kind: str = "nifti") -> Study:
    return Study(files, files[0].name, kind)


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    file = tmp_path / "volume.nii.gz"
    nib.Nifti1Image(VOLUME.transpose(2, 1, 0), np.diag([-1, -1, 1, 1])).to_filename(file)  # left, posterior, up
    return file


def test_values_are_exact_and_slices_spread_with_the_middle_among_them(volume: Path) -> None:
    viewer = viewer_of(study(volume))
    assert viewer is not None and viewer["count"] == 40
    numbers = viewer["numbers"]
    assert len(numbers) == 32 and numbers[0] == 1 and numbers[-1] == 40 and numbers == sorted(set(numbers))
    assert numbers[viewer["start"]] == 21 and viewer["home"] == viewer["start"]  # the slice that `middle` is
    whole = read_image(volume).array[0]
    np.testing.assert_array_equal(unpacked(viewer), whole[[n - 1 for n in numbers]])
    centre, width = viewer["window"]
    np.testing.assert_allclose((centre - width / 2, centre + width / 2), np.percentile(whole[20], (1, 99.5)))


def test_picture_and_map_are_of_no_slice_where_the_model_sees_the_whole(volume: Path) -> None:
    viewer = viewer_of(study(volume), flat=False)
    assert viewer is not None and viewer["home"] is None


def test_narrow_values_get_fine_steps(tmp_path: Path) -> None:
    fine = np.linspace(0, 1, 20 * 24 * 3, dtype=np.float32).reshape(24, 20, 3)
    nib.Nifti1Image(fine, np.eye(4)).to_filename(tmp_path / "fine.nii")
    viewer = viewer_of(study(tmp_path / "fine.nii"))
    assert viewer is not None
    np.testing.assert_allclose(unpacked(viewer), read_image(tmp_path / "fine.nii").array[0], atol=1 / 65535)
    nib.Nifti1Image(fine * 0 + 7, np.eye(4)).to_filename(tmp_path / "even.nii")
    even = viewer_of(study(tmp_path / "even.nii"))
    assert even is not None and (unpacked(even) == 7).all()


def test_corners_are_painted_over_in_every_slice(volume: Path) -> None:
    viewer = viewer_of(study(volume), mask_corners=True)
    assert viewer is not None
    values = unpacked(viewer)
    for rows in (slice(0, 3), slice(-3, None)):
        for columns in (slice(0, 8), slice(-8, None)):
            assert (values[:, rows, columns] == values.min()).all()
    assert (values[:, 8:12, 8:12] != values.min()).any()


def test_a_series_lies_in_its_order_and_a_colour_picture_has_nothing_to_scroll(tmp_path: Path) -> None:
    images = slices(VOLUME[:5] - VOLUME.min())
    files = [save(image, tmp_path / f"{i}.dcm") for i, image in enumerate(images)]
    viewer = viewer_of(study(*files, kind="dicom"))
    assert viewer is not None and viewer["home"] is None  # files are classified one by one
    np.testing.assert_allclose(unpacked(viewer), read_image(files).array[0])
    lone = viewer_of(study(files[0], kind="dicom"))
    assert lone is not None and lone["numbers"] == [1] and lone["home"] == 0
    assert viewer_of(study(save(dicom(COLOUR), tmp_path / "colour.dcm"), kind="dicom")) is None


def test_a_film_in_colour_is_pictures(tmp_path: Path) -> None:
    film = np.stack([COLOUR, 255 - COLOUR])
    viewer = viewer_of(study(save(dicom(film, NumberOfFrames=2), tmp_path / "film.dcm"), kind="dicom"))
    assert viewer is not None and "values" not in viewer
    shown = [np.asarray(Image.open(io.BytesIO(base64.b64decode(jpeg)))) for jpeg in viewer["jpegs"]]
    assert len(shown) == 2 and abs(shown[0].astype(int) - COLOUR).mean() < 20


def test_what_cannot_be_read_has_none(tmp_path: Path) -> None:
    (tmp_path / "broken.nii").write_bytes(b"nothing")
    assert viewer_of(study(tmp_path / "broken.nii")) is None
    assert viewer_of(study(tmp_path / "gone.nii")) is None


Make = Callable[..., Any]


@pytest.fixture
def make(volume: Path) -> Make:
    names = ["fine", "flagged", "picture", "exchanged", "unread"]
    studies = [Study((volume,), name, "png" if name == "picture" else "nifti") for name in names]
    items = [
        {"path": name, "class": None if name == "unread" else "red", "flags": ["unknown"] * (name == "flagged")}
        for name in names
    ]

    def make(megabytes: float) -> Any:  # noqa: ANN401
        classifier: Any = SimpleNamespace(
            recipe={"spatial_dims": 2, "volumes": "middle"}, workers=2, mask_corners=False
        )
        return make_viewers(studies, items, classifier, lambda name: name == "exchanged", megabytes)

    return make


def test_flagged_items_come_first_until_the_page_is_full(make: Make, volume: Path) -> None:
    assert set(make(25).shown) == {"fine", "flagged"} and make(25).left_out == []
    one = len(viewer_of(study(volume))["values"]) / 1e6  # type: ignore[index]
    found = make(1.5 * one)
    assert set(found.shown) == {"flagged"} and found.left_out == ["fine", "exchanged"]
    assert not make(0).shown and make(0).left_out == ["flagged", "fine", "exchanged"]
