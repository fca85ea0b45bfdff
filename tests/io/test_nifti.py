from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from synthetic.datasets import ROOT
from synthetic.images import (
    RAMP,
    VOLUME,
    as_nifti,
    dicom,
    save,
    values,
)

from dynammo.errors import UserError
from dynammo.io.image_reader import frame_count, read_image
from dynammo.io.nifti import NiftiFile, is_nifti

CASES = ROOT.parent / "shared" / "cases"
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


def placed(voxels: np.ndarray, sform: np.ndarray | None, qform: np.ndarray | None, path: Path) -> Path:
    """A NIfTI whose header holds just these, whatever they are."""
    image = nib.Nifti1Image(voxels, np.eye(4))
    image.header.set_zooms((2.0, 3.0, 4.0)[: voxels.ndim])
    image.header.set_qform(qform, code=0 if qform is None else 1)
    image.header["sform_code"] = 0 if sform is None else 2
    if sform is not None:
        for row, name in enumerate(("srow_x", "srow_y", "srow_z")):
            image.header[name] = sform[row]
    header = image.header.copy()
    with path.open("wb") as file:
        header["vox_offset"], header["magic"] = 352, b"n+1"
        file.write(header.binaryblock + bytes(4) + np.asfortranarray(voxels).tobytes("F"))
    return path


DEGENERATE = [
    np.zeros((4, 4)), np.full((4, 4), np.nan), np.diag([2.0, 0, 4, 1]), np.ones((4, 4)), np.diag([np.inf, 3, 4, 1]),
]  # fmt: skip


@pytest.mark.parametrize("sform", DEGENERATE)
def test_without_a_usable_sform_the_qform_places_a_volume(tmp_path: Path, sform: np.ndarray) -> None:
    qform = np.diag([-2.0, 3, 4, 1])
    got = read_image(placed(VOLUME, sform, qform, tmp_path / "x.nii"))
    right = read_image(placed(VOLUME, qform, None, tmp_path / "y.nii"))
    assert np.array_equal(got.array, right.array) and got.array.shape == (1, 4, 5, 6)
    np.testing.assert_allclose(got.meta["affine"], right.meta["affine"])


@pytest.mark.parametrize("sform", DEGENERATE)
@pytest.mark.parametrize("shape", [(6, 5, 4), (6, 5), (6, 5, 1)])
def test_with_neither_frames_lie_along_the_last_axis(tmp_path: Path, sform: np.ndarray, shape: tuple[int, ...]) -> None:
    voxels = VOLUME.reshape(-1)[: np.prod(shape)].reshape(shape)
    path = placed(voxels, sform, None, tmp_path / "x.nii")
    image, frames = read_image(path), frame_count(path)
    assert frames == (shape[2] if len(shape) == 3 else 1)
    assert np.array_equal(image.array.reshape(frames, 5, 6), voxels.reshape(6, 5, -1).T)
    assert image.meta["spacing"].tolist() == [4, 3, 2][3 - (image.array.ndim - 1) :]
    assert np.array_equal(values(path, frames=frames - 1)[0], voxels.reshape(6, 5, -1)[..., -1].T)


def test_a_quaternion_that_is_none_is_no_damage(tmp_path: Path) -> None:
    path = placed(VOLUME, None, np.diag([-2.0, 3, 4, 1]), tmp_path / "x.nii")
    content = bytearray(path.read_bytes())
    content[256:268] = np.array([3, 3, 3], "<f4").tobytes()
    path.write_bytes(content)
    assert np.array_equal(values(path), VOLUME.T[None])


@pytest.mark.parametrize("size", [(6, 5, 1), (6, 5, 4)])
def test_colours_as_vectors_and_as_structures(tmp_path: Path, size: tuple[int, int, int]) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    affine = np.diag([-1.0, -1, 1, 1])
    vector = nib.Nifti1Image(colours[:, :, :, None], affine)
    vector.header.set_intent("vector")
    vector.to_filename(tmp_path / "vector.nii.gz")
    voxels = np.zeros(size, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    for place, name in enumerate("RGB"):
        voxels[name] = colours[..., place]
    nib.Nifti1Image(voxels, affine).to_filename(tmp_path / "structure.nii.gz")
    for name in ("vector", "structure"):
        image = read_image(tmp_path / f"{name}.nii.gz")
        assert image.meta["display"] and np.array_equal(image.array.reshape(3, size[2], 5, 6), colours.T)
        assert np.array_equal(values(f"{tmp_path}/{name}.nii.gz#0"), colours.T[:, 0])
    nib.Nifti1Image(colours[:, :, :, None].astype(np.float32), affine).to_filename(tmp_path / "field.nii")
    with pytest.raises(UserError, match="vectors of 3 float32 numbers, which is not read"):
        read_image(tmp_path / "field.nii")


def test_the_projection_ignores_nan(tmp_path: Path) -> None:
    voxels = VOLUME.astype(np.float32)
    voxels[1], voxels[3, 0, 0], voxels[:, 2, 1] = np.nan, np.nan, np.nan
    nib.save(as_nifti(voxels), tmp_path / "x.nii")
    rest = np.where(np.isnan(voxels), np.nanmin(voxels), voxels)
    assert np.array_equal(values(tmp_path / "x.nii", frames="maximum")[0], rest.max(0))


TESTS = Path(nib.__file__).parent / "tests" / "data"


@pytest.mark.skipif(not TESTS.is_dir(), reason="this nibabel comes without its test data")
@pytest.mark.parametrize("path", sorted(TESTS.glob("*.nii*")), ids=lambda path: path.name)
def test_nibabels_own_files_are_as_two_libraries_read_them(path: Path) -> None:
    """Its volumes equal nibabel's and SimpleITK's in their layout; what is no single volume is refused by name."""
    theirs = nib.load(path)
    if np.prod(theirs.shape[3:]) > 1 or ".dconn." in path.name:
        with pytest.raises(UserError, match=r"-D NIfTI of \d+ volumes; expected one"):
            read_image(path)
        return
    turned = theirs.as_reoriented(
        nib.orientations.ornt_transform(nib.io_orientation(theirs.affine), nib.orientations.axcodes2ornt("LPS"))
    )
    itk = sitk.DICOMOrient(sitk.ReadImage(str(path)), "LPS")
    ours, nibabels = values(path)[0], np.asarray(turned.dataobj, np.float32).reshape(turned.shape[:3]).T
    known = np.isfinite(nibabels)  # SimpleITK reads NaN as 0
    assert np.array_equal(ours[known], nibabels[known]) and (ours[~known] == ours.min()).all()
    np.testing.assert_allclose(ours[known], sitk.GetArrayFromImage(itk)[known], rtol=1e-5)
    np.testing.assert_allclose(read_image(path).meta["spacing"], itk.GetSpacing()[::-1], rtol=1e-5)


@pytest.mark.skipif(not CASES.is_dir(), reason="shared/cases is not here")
def test_cases_that_went_wrong() -> None:
    assert values(CASES / "volume_sform_zero.nii").shape == (1, 10, 48, 40)
    assert values(CASES / "colour_5d_vector.nii.gz").shape == (3, 40, 48)
    stored = np.asarray(nib.load(CASES / "nan_slices.nii").dataobj)
    known = np.where(np.isfinite(stored), stored, np.nanmin(stored))
    assert sorted(values(CASES / "nan_slices.nii", frames="maximum").ravel()) == sorted(known.max(2).ravel())


KINDS = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8", "rgb"]


@settings(deadline=None, max_examples=150)
@given(
    kind=st.sampled_from(KINDS), order=st.sampled_from("<>"), second=st.booleans(), packed=st.booleans(),
    scale=st.sampled_from([(None, None), (1.0, 0.0), (0.5, -3.0), (-2.0, 7.0)]), seed=st.integers(0, 99),
    shape=st.sampled_from([(6, 5, 4), (6, 5), (6, 5, 1), (1, 5, 4), (6, 5, 4, 1)]), codes=st.sampled_from(CODES[:6]),
)  # fmt: skip
def test_the_grid_of_what_nibabel_writes(
    kind: str, order: str, second: bool, packed: bool, scale: tuple[float | None, float | None], seed: int,
    shape: tuple[int, ...], codes: str, tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    random = np.random.default_rng(seed)
    if kind == "rgb":
        stored = np.zeros(shape, [(name, "u1") for name in "RGB"])
        for name in "RGB":
            stored[name] = random.integers(0, 256, shape)
    elif kind.startswith("f"):
        stored = (random.normal(size=shape) * 1000).astype(kind)
    else:
        stored = random.integers(np.iinfo(kind).min, np.iinfo(kind).max, shape, dtype=kind, endpoint=True)
    made = (nib.Nifti2Image if second else nib.Nifti1Image)(stored, as_nifti(VOLUME, codes).affine, dtype=stored.dtype)
    image = type(made)(stored, made.affine, made.header.as_byteswapped(order))
    if kind != "rgb":
        image.header.set_slope_inter(*scale)
    path = tmp_path_factory.getbasetemp() / ("x.nii.gz" if packed else "x.nii")
    image.to_filename(path)
    theirs = nib.load(path)
    spatial = np.asarray(theirs.dataobj).reshape((*shape, 1)[:3])
    turn = nib.orientations.io_orientation(theirs.affine)
    wanted = layout_codes(turn, spatial.shape)
    laid = nib.orientations.apply_orientation(spatial, nib.orientations.ornt_transform(turn, wanted))
    planes = [laid[name] for name in "RGB"] if kind == "rgb" else [laid]
    found = values(path)
    expected = np.stack(planes).astype(np.float32)
    np.testing.assert_allclose(found, expected if found.ndim == 4 else expected[:, 0], rtol=1e-6)


def layout_codes(turn: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Axial volumes and slices, coronal and sagittal slices, as docs/images.md lays them out."""
    thin = {"RAS"[int(turn[axis, 0])] for axis in range(3) if shape[axis] == 1}
    codes = {"A": "PIL", "R": "LIP"}.get(min(thin), "SPL") if len(thin) == 1 else "SPL"
    return nib.orientations.axcodes2ornt(tuple(codes))
