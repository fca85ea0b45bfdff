from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from synthetic.images import (
    RAMP,
    VOLUME,
    as_nifti,
    dicom,
    save,
    values,
)

from dynammo.io.image_reader import frame_count, read_image
from dynammo.io.nifti import NiftiFile, is_nifti

CODES = [a + b + c for a in "RLAPSI" for b in "RLAPSI" for c in "RLAPSI" if len({"RLAPSI".index(x) // 2 for x in a + b + c}) == 3]  # fmt: skip  # noqa: E501


@pytest.mark.parametrize("codes", CODES)
def test_all_48_ways_to_store_a_nifti_are_one(tmp_path: Path, codes: str) -> None:
    nib.save(as_nifti(VOLUME, codes), tmp_path / "x.nii")
    image = read_image(tmp_path / "x.nii")
    assert np.array_equal(image.array, VOLUME[None])
    np.testing.assert_allclose(image.meta["spacing"], (4, 2, 1.5))
    np.testing.assert_allclose(image.meta["affine"] @ [5, 0, 0, 1], [30, 20, 20, 1], atol=1e-4)  # (D, H, W) -> RAS
    assert np.array_equal(values(f"{tmp_path}/x.nii#2"), VOLUME[None, 2])


@settings(deadline=None, max_examples=20)
@given(
    volume=arrays(np.int16, st.tuples(*[st.integers(1, 4)] * 3)), codes=st.sampled_from(CODES),
    order=st.sampled_from("<>"), packed=st.booleans(),
)  # fmt: skip
def test_niftis_of_any_endianness_and_packing(
    volume: np.ndarray, codes: str, order: str, packed: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("nii")
    image = as_nifti(volume, codes)
    header = image.header.as_byteswapped(order)
    name = "x.nii.gz" if packed else "x.nii"
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine, header), folder / name)
    nib.save(as_nifti(volume), folder / "plain.nii")
    assert np.array_equal(values(folder / name), values(folder / "plain.nii"))
    count = frame_count(folder / name)
    whole = values(folder / name).reshape(1, count, *values(folder / name).shape[-2:])
    assert np.array_equal(values(folder / name, frames=count - 1), whole[:, -1])
    assert np.array_equal(values(folder / name, frames="middle"), whole[:, count // 2])
    assert np.array_equal(values(folder / name, frames="maximum"), whole.max(1))


def test_nan_voxels_become_the_smallest_value(tmp_path: Path) -> None:
    voxels = VOLUME.astype(np.float32)
    voxels[0, 0, :3] = np.nan, np.inf, -np.inf
    nib.save(as_nifti(voxels), tmp_path / "x.nii")
    rest = voxels[np.isfinite(voxels)]
    assert values(tmp_path / "x.nii")[0, 0, 0, :3].tolist() == [rest.min(), rest.max(), rest.min()]


def test_a_part_is_that_of_the_stored_volume(tmp_path: Path) -> None:
    path = tmp_path / "x.nii.gz"
    as_nifti(VOLUME).to_filename(path)
    assert is_nifti(path)
    file = NiftiFile(path)
    assert (file.shape, file.channels, file.finite) == ((4, 5, 6), 1, True)
    assert file.affine is not None
    np.testing.assert_array_equal(file.spacing, np.linalg.norm(file.affine[:3, :3], axis=0))
    array, _ = file.load((slice(0, 4), slice(1, 3), slice(2, 3)), False)
    np.testing.assert_array_equal(array[0], VOLUME.T[:, 1:3, 2:3])
    file.close()


def test_other_formats_are_no_nifti(tmp_path: Path) -> None:
    assert not is_nifti(save(dicom(RAMP), tmp_path / "a.nii"))
    (tmp_path / "b.nii").write_bytes(b"")
    assert not is_nifti(tmp_path / "b.nii")
