from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from synthetic.images import (
    COLOUR,
    RAMP,
    VOLUME,
    as_nifti,
    dicom,
    save,
    slices,
    values,
)

from dynammo.io.dicom_geometry import pixel_spacing, place_slices
from dynammo.io.image_reader import frame_count, read_image


def test_a_series_a_multi_frame_and_a_nifti_are_one_volume(tmp_path: Path) -> None:
    images = slices(VOLUME)
    paths = [save(image, tmp_path / f"{k}") for k, image in enumerate(images)]
    nib.save(as_nifti(VOLUME - 1024), tmp_path / "x.nii")
    series, same = read_image(paths[::-1]), read_image(tmp_path / "x.nii")
    assert np.array_equal(series.array, same.array)
    np.testing.assert_allclose(series.meta["spacing"], same.meta["spacing"])
    np.testing.assert_allclose(series.meta["affine"], same.meta["affine"], atol=1e-4)
    assert np.array_equal(values(paths, frames="middle"), same.array[:, 3])
    multi = save(_enhanced(images), tmp_path / "multi")
    assert np.array_equal(values(multi), same.array) and frame_count(multi) == 6
    assert np.array_equal(values(f"{multi}#1"), same.array[:, 1])


def _enhanced(images: list[pydicom.FileDataset]) -> pydicom.FileDataset:
    """The slices in one file, from the head down, with what belongs to each in functional groups."""
    order = images[::-1]
    multi = dicom(np.stack([image.pixel_array for image in order]), NumberOfFrames=len(order))
    groups = []
    for image in order:
        group, items = pydicom.Dataset(), {"PixelMeasuresSequence": ("PixelSpacing", "SliceThickness"),
                 "PlanePositionSequence": ("ImagePositionPatient",), "PlaneOrientationSequence":
                 ("ImageOrientationPatient",), "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept")}  # fmt: skip  # noqa: E501
        for name, elements in items.items():
            item = pydicom.Dataset()
            for element in elements:
                item[element] = image[element]
            setattr(group, name, [item])
        groups.append(group)
    multi.PerFrameFunctionalGroupsSequence = groups
    return multi


@pytest.mark.parametrize("flip", [False, True])
def test_a_single_slice_lies_as_in_its_volume(tmp_path: Path, flip: bool) -> None:
    image = slices(VOLUME)[2]
    if flip:  # stored with the front at the bottom
        image.PixelData = np.ascontiguousarray(VOLUME[2, ::-1]).tobytes()
        image.ImageOrientationPatient = [1, 0, 0, 0, -1, 0]
    assert np.array_equal(values(save(image, tmp_path / "x"))[0], VOLUME[2] - 1024.0)


def test_a_film_keeps_its_order(tmp_path: Path) -> None:
    film = np.stack([COLOUR, COLOUR[::-1], COLOUR // 2])
    path = save(dicom(film, NumberOfFrames=3), tmp_path / "cine")
    assert values(path).shape == (3, 3, 48, 40) and frame_count(path) == 3
    assert np.array_equal(values(f"{path}#1"), COLOUR[::-1].transpose(2, 0, 1))


def placed(height: float, axes: tuple[float, ...] = (1, 0, 0, 0, 1, 0)) -> pydicom.Dataset:
    return dicom(
        RAMP, ImagePositionPatient=[3, 4, height], ImageOrientationPatient=list(axes), PixelSpacing=[0.5, 0.25]
    )


def test_slices_are_ordered_along_their_normal_in_millimetres() -> None:
    order, affine = place_slices([placed(4), placed(0), placed(2)])
    assert order == [1, 2, 0] and affine is not None
    np.testing.assert_allclose(affine @ [2, 0, 0, 1], [-3, -4, 4, 1])  # to the right and to the front count up
    np.testing.assert_allclose(affine @ [0, 2, 4, 1], [-4, -5, 0, 1])
    np.testing.assert_array_equal(pixel_spacing(placed(0))[1:], [0.5, 0.25])


@pytest.mark.parametrize(
    "slices_of_a_film", [[placed(1), placed(1)], [placed(1), placed(2, (0, 1, 0, 0, 0, 1))], [dicom(RAMP), placed(1)]]
)
def test_slices_without_a_place_of_their_own_stay_as_they_come(slices_of_a_film: list[pydicom.Dataset]) -> None:
    assert place_slices(slices_of_a_film) == ([0, 1], None)
