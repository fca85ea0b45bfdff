"""NRRD and MetaImage through SimpleITK, against the same volume as NIfTI."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from synthetic.images import VOLUME, values

from dynammo.errors import UserError
from dynammo.io.image_reader import frame_count, read_image
from dynammo.io.itk_volumes import ItkFile

TURNED = [np.eye(3), np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]]), np.diag([-1, -1, 1])]


def volume(voxels: np.ndarray, directions: np.ndarray, is_colour: bool = False) -> sitk.Image:
    image = sitk.GetImageFromArray(voxels, isVector=is_colour)
    image.SetSpacing((1.5, 2.0, 4.0))
    image.SetOrigin((-30.0, -20.0, 5.0))
    image.SetDirection([float(number) for number in directions.ravel()])
    return image


@pytest.mark.parametrize("suffix", ["nrrd", "mha"])
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float64])
@pytest.mark.parametrize("packed", [False, True])
def test_volumes_are_as_the_same_nifti(tmp_path: Path, suffix: str, kind: type, packed: bool) -> None:
    for directions in TURNED:
        image = volume((VOLUME % 200).astype(kind), directions)
        for ending in (suffix, "nii"):
            sitk.WriteImage(image, str(tmp_path / f"x.{ending}"), useCompression=packed)
        got, right = read_image(tmp_path / f"x.{suffix}"), read_image(tmp_path / "x.nii")
        assert np.array_equal(got.array, right.array)
        np.testing.assert_allclose(got.meta["affine"], right.meta["affine"], atol=1e-4)
        np.testing.assert_allclose(got.meta["spacing"], right.meta["spacing"], atol=1e-6)
        count = frame_count(tmp_path / f"x.{suffix}")
        assert np.array_equal(values(f"{tmp_path}/x.{suffix}#{count - 1}"), right.array[:, -1])


@pytest.mark.parametrize("suffix", ["nrrd", "mha"])
def test_colours_and_pictures(tmp_path: Path, suffix: str) -> None:
    colours = np.stack([VOLUME % 250, VOLUME % 99, VOLUME % 7], 3).astype(np.uint8)
    path = tmp_path / f"x.{suffix}"
    sitk.WriteImage(volume(colours, np.eye(3), is_colour=True), str(path))
    image = read_image(path)
    assert image.meta["display"] and np.array_equal(image.array, colours.transpose(3, 0, 1, 2))
    sitk.WriteImage(sitk.GetImageFromArray(VOLUME[0]), str(path))
    assert np.array_equal(values(path), VOLUME[:1])
    file = ItkFile(path)
    assert (file.shape, file.channels, file.affine, file.finite) == ((1, 5, 4), 1, None, True)
    file.close()
    sitk.WriteImage(volume(colours.astype(np.float32), np.eye(3), is_colour=True), str(path))
    with pytest.raises(UserError, match="vector of 32-bit float of 3 channels is not read"):
        read_image(path)


@pytest.mark.parametrize("suffix", ["nhdr", "mhd"])
def test_a_header_names_no_other_file(tmp_path: Path, suffix: str) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(VOLUME), str(tmp_path / f"x.{suffix}"))
    with pytest.raises(UserError, match="its voxels lie in another file"):
        read_image(tmp_path / f"x.{suffix}")
    (tmp_path / "y.mha").write_bytes(
        b"ObjectType = Image\nNDims = 2\nDimSize = 2 2\nElementType = MET_UCHAR ElementDataFile = /etc/passwd\n"
        b"ElementDataFile = LOCAL\n1234"
    )
    with pytest.raises(UserError, match="its voxels lie in another file"):
        read_image(tmp_path / "y.mha")
