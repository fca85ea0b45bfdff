"""The one reader: every format alike, every fault a sentence."""

import base64
import itertools
import struct
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.uid import (
    HTJ2K,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGLSNearLossless,
)
from synthetic.images import HTJ2K_RAMP, LOSSLESS, compressed, dicom, nifti, save, slices

from dynammo.errors import UserError
from dynammo.io.image_reader import Paths, frame_count, image_fault, image_format, read_image, split_fragment
from dynammo.io.pictures import may_be_slide

RAMP = np.arange(48 * 40, dtype=np.uint16).reshape(48, 40)
COLOUR = np.stack([RAMP % 251, RAMP % 241, RAMP // 10], axis=2).astype(np.uint8)
VOLUME = np.random.default_rng(0).integers(0, 3000, (6, 5, 4)).astype(np.int16)  # (D, H, W) as read
CODES = [a + b + c for a in "RLAPSI" for b in "RLAPSI" for c in "RLAPSI" if len({"RLAPSI".index(x) // 2 for x in a + b + c}) == 3]  # fmt: skip  # noqa: E501
pictures = arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12), st.just(3)))


def values(path: Paths, **options: Any) -> np.ndarray:  # noqa: ANN401
    array = read_image(path, **options).array
    assert array.dtype == np.float32 and array.flags.c_contiguous
    return array


def as_nifti(volume: np.ndarray, codes: str = "LPS") -> nib.Nifti1Image:
    """The volume (D, H, W) as NIfTI, stored along `codes`."""
    return nifti(np.ascontiguousarray(volume.transpose(2, 1, 0)), codes)


# formats by content


def test_formats_are_told_by_content(tmp_path: Path) -> None:
    save(dicom(RAMP), tmp_path / "a.png")
    Image.fromarray(COLOUR).save(tmp_path / "b", "PNG")
    Image.fromarray(COLOUR).save(tmp_path / "c.dcm", "JPEG")
    Image.fromarray(COLOUR).save(tmp_path / "d.nii", "TIFF")
    (tmp_path / "e.jpg").write_bytes(as_nifti(VOLUME).to_bytes())
    (tmp_path / "f.dcm").write_text("I am a text")
    found = [image_format(path) for path in sorted(tmp_path.iterdir())]
    assert found == ["dicom", "png", "jpeg", "tiff", "nifti", None]
    assert image_format(tmp_path / "nowhere") is None and image_format(tmp_path) is None
    for name in "abcde":
        assert image_fault(next(tmp_path.glob(f"{name}*"))) is None


def test_names_may_hold_anything(tmp_path: Path) -> None:
    for name in ("Bild (10) [é] 图.png", "a#1.png", "with space.png"):
        Image.fromarray(COLOUR).save(tmp_path / name)
        assert values(tmp_path / name).shape == (3, 48, 40)
    assert split_fragment(tmp_path / "a#1.png") == (tmp_path / "a#1.png", "")
    assert split_fragment(tmp_path / "a#1.png#middle") == (tmp_path / "a#1.png", "middle")


def test_openslide_is_asked_only_for_tiffs_with_tags_of_slides(tmp_path: Path) -> None:
    """The first directory of tags, in both orders of bytes, in TIFF and BigTIFF; a damaged one is a picture."""
    for order, big, tag in itertools.product("<>", (False, True), (256, 322, 65420)):
        mark, number, pointer, entry = (43, "Q", "HHQ", "HHQQ") if big else (42, "H", "I", "HHII")
        head = (b"II" if order == "<" else b"MM") + struct.pack(order + "H", mark)
        head += struct.pack(order + pointer, *((8, 0, 16) if big else (8,)))
        tags = struct.pack(order + number, 2) + struct.pack(order + entry, 254, 4, 1, 0)
        (tmp_path / "a").write_bytes(head + tags + struct.pack(order + entry, tag, 4, 1, 0))
        assert may_be_slide(tmp_path / "a") is (tag != 256), (order, big, tag)
        for end in range(4, len(head) + 1):
            (tmp_path / "b").write_bytes(head[:end])
            assert not may_be_slide(tmp_path / "b")


# pictures


@settings(deadline=None, max_examples=30)
@given(picture=pictures)
def test_a_photograph_is_the_same_through_png_and_dicom(
    picture: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("photo")
    Image.fromarray(picture).save(folder / "photo.png")
    png, secondary = values(folder / "photo.png"), values(save(dicom(picture), folder / "photo.dcm"))
    assert np.array_equal(png, secondary) and np.array_equal(png, picture.transpose(2, 0, 1))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_measured_and_eight_are_for_the_screen(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(RAMP * 30).save(tmp_path / f"deep.{suffix}")
    Image.fromarray(COLOUR[..., 0]).save(tmp_path / f"grey.{suffix}")
    assert np.array_equal(values(tmp_path / f"deep.{suffix}", pictures_as_rgb=True), (RAMP * 30)[None])
    grey = values(tmp_path / f"grey.{suffix}", pictures_as_rgb=True)
    assert grey.shape == (3, 48, 40) and np.array_equal(grey[0], grey[2])
    assert values(tmp_path / f"grey.{suffix}").shape == (1, 48, 40)
    shown = values(tmp_path / f"deep.{suffix}", window=(300, 30000), pictures_as_rgb=True)
    assert shown.shape == (3, 48, 40) and (shown.min(), shown.max()) == (0, 255)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png", "tif"])
def test_pictures_stand_upright(tmp_path: Path, orientation: int, kind: str) -> None:
    """Stored as the camera lay, tagged so that every viewer shows the same."""
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Image.Transpose that puts it into the stored place
    upright = Image.fromarray(np.pad(np.full((8, 16, 3), 250, np.uint8), ((0, 24), (0, 32), (0, 0))))
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / f"x.{kind}", exif=exif)
    image = values(tmp_path / f"x.{kind}")
    assert image.shape == (3, 32, 48)
    assert np.abs(image - np.asarray(upright).transpose(2, 0, 1)).mean() < 2


@pytest.mark.parametrize(
    ("mode", "channels"), [("1", 1), ("L", 1), ("LA", 1), ("P", 3), ("RGBA", 3), ("CMYK", 3), ("YCbCr", 3)]
)
def test_modes_of_pictures(tmp_path: Path, mode: str, channels: int) -> None:
    picture = Image.fromarray(COLOUR).convert(mode)
    picture.save(tmp_path / "x.tif")
    assert values(tmp_path / "x.tif").shape == (channels, 48, 40)


def test_what_is_transparent_lies_on_black(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (200, 100, 50, 0)).save(tmp_path / "clear.png")
    Image.new("LA", (4, 4), (200, 255)).save(tmp_path / "opaque.png")
    assert values(tmp_path / "clear.png").max() == 0 and values(tmp_path / "opaque.png").min() == 200


def test_pages_of_a_tiff_are_frames(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.full((4, 5), k, np.uint8)) for k in (10, 30, 20)]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    assert frame_count(tmp_path / "stack.tif") == 3 and values(tmp_path / "stack.tif").shape == (1, 3, 4, 5)
    assert values(f"{tmp_path}/stack.tif#1").max() == 30 == values(tmp_path / "stack.tif", frames="maximum").max()
    pages[0].save(tmp_path / "previews.tif", save_all=True, append_images=[pages[1].resize((2, 2))])
    assert frame_count(tmp_path / "previews.tif") == 1 and values(tmp_path / "previews.tif").max() == 10


# DICOM values


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda uid: uid.keyword)
@pytest.mark.parametrize("kind", ["uint8", "uint16", "colour"])
def test_every_lossless_transfer_syntax(tmp_path: Path, syntax: pydicom.uid.UID, kind: str) -> None:
    pixels = {"uint8": COLOUR[..., 0], "uint16": RAMP, "colour": COLOUR}[kind]
    path = save(compressed(dicom(pixels.copy()), syntax, tmp_path), tmp_path / "x")
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == syntax
    assert np.array_equal(values(path), pixels.transpose(2, 0, 1) if kind == "colour" else pixels[None])


@pytest.mark.parametrize("pixels", [COLOUR, COLOUR[..., 2]], ids=["colour", "grey"])
def test_lossy_syntaxes_are_near(tmp_path: Path, pixels: np.ndarray) -> None:
    smooth = np.sort(pixels, axis=0)
    expected = smooth.transpose(2, 0, 1) if smooth.ndim == 3 else smooth[None]
    path = save(compressed(dicom(smooth), JPEGBaseline8Bit, tmp_path), tmp_path / "jpeg")
    assert np.abs(values(path) - expected).mean() < 6
    near = dicom(smooth)
    near.compress(JPEGLSNearLossless, jls_error=2, generate_instance_uid=False)
    assert np.abs(values(save(near, tmp_path / "jls")) - expected).max() <= 2


@pytest.mark.parametrize("syntax", [HTJ2KLossless, HTJ2K], ids=lambda uid: uid.keyword)
def test_high_throughput_jpeg_2000(tmp_path: Path, syntax: pydicom.uid.UID) -> None:
    image = dicom(RAMP)
    image.PixelData = encapsulate([base64.b64decode(HTJ2K_RAMP)])
    image["PixelData"].is_undefined_length = True
    image.file_meta.TransferSyntaxUID = syntax
    assert np.array_equal(values(save(image, tmp_path / "x")), RAMP[None])


def test_lossy_jpeg_of_twelve_bits() -> None:
    image = values(Path(str(get_testdata_file("JPGExtended.dcm"))))
    assert image.shape == (1, 1024, 256)
    assert (image[0, 420, 140], image[0, 230, 120]) == (244, 95)  # as pydicom's own tests have them


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_uncompressed_syntaxes(tmp_path: Path, syntax: pydicom.uid.UID) -> None:
    image = dicom(RAMP if syntax != ExplicitVRBigEndian else RAMP.byteswap())
    image.file_meta.TransferSyntaxUID = syntax
    pydicom.dcmwrite(tmp_path / "x", image, implicit_vr=syntax.is_implicit_VR, little_endian=syntax.is_little_endian)
    assert np.array_equal(values(tmp_path / "x"), RAMP[None])


@settings(deadline=None, max_examples=25)
@given(
    slope=st.sampled_from([1.0, 0.5, 2.0]), intercept=st.integers(-1024, 1000), bits=st.integers(8, 16),
    inverted=st.booleans(), signed=st.booleans(),
)  # fmt: skip
def test_rescale_and_inversion(
    slope: float, intercept: int, bits: int, inverted: bool, signed: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    low = -(2 ** (bits - 1)) if signed else 0
    stored = (RAMP.astype(np.int64) % 2**bits + low).astype(np.int16 if signed else np.uint16)
    header = {"BitsStored": bits, "HighBit": bits - 1, "RescaleSlope": slope, "RescaleIntercept": intercept}
    meaning = "MONOCHROME1" if inverted else "MONOCHROME2"
    path = save(dicom(stored, PhotometricInterpretation=meaning, **header), tmp_path_factory.mktemp("x") / "x")
    expected = stored.astype(np.float64)
    if inverted:
        expected = 2 * low + 2**bits - 1 - expected
    np.testing.assert_allclose(values(path)[0], expected * slope + intercept)


@given(
    pixels=st.sampled_from([np.uint8, np.int8, np.uint16, np.int16]).flatmap(
        lambda kind: arrays(kind, st.tuples(st.integers(1, 3), st.integers(1, 9), st.just(4)))
    ),
    unused=st.integers(0, 7),
)
def test_unused_bits_may_hold_anything(
    tmp_path_factory: pytest.TempPathFactory, pixels: np.ndarray, unused: int
) -> None:
    bits = 8 * pixels.dtype.itemsize - unused
    image = dicom(pixels, NumberOfFrames=len(pixels), BitsStored=bits, HighBit=bits - 1)
    path = tmp_path_factory.mktemp("unused") / "film"
    save(image, path)
    expected = pydicom.dcmread(path).pixel_array.reshape(pixels.shape)
    np.testing.assert_array_equal(values(path, frames=0)[0], expected[0])
    np.testing.assert_array_equal(values(path)[0], expected[0] if len(pixels) == 1 else expected)


def test_padding_does_not_spoil_the_range(tmp_path: Path) -> None:
    stored = RAMP.astype(np.int16)
    stored[:5] = -2000
    header = {"RescaleSlope": 1, "RescaleIntercept": -1024}
    image = dicom(stored, PixelPaddingValue=-2000, **header)
    assert values(save(image, tmp_path / "x")).min() == stored[5:].min() - 1024
    image = dicom(stored, PixelPaddingValue=-2000, PixelPaddingRangeLimit=300, **header)
    assert values(save(image, tmp_path / "y")).min() == 301 - 1024
    image = dicom(stored, PixelPaddingValue=-2000, PhotometricInterpretation="MONOCHROME1", **header)
    assert values(save(image, tmp_path / "z"))[0, 0, 0] == values(tmp_path / "z").min()


def test_windows(tmp_path: Path) -> None:
    plain = save(dicom(RAMP, WindowCenter=1000, WindowWidth=1001, RescaleSlope=1, RescaleIntercept=0), tmp_path / "x")
    image = read_image(plain, window="header", pictures_as_rgb=True)
    assert image.array.shape == (3, 48, 40) and image.meta["display"]
    np.testing.assert_allclose(image.array[0], np.clip((RAMP - 499.5) / 1000, 0, 1) * 255, atol=0.01)
    np.testing.assert_allclose(values(plain, window=(500, 1500))[0], np.clip((RAMP - 500.0) / 1000, 0, 1) * 255, atol=0.01)  # fmt: skip  # noqa: E501
    inverted = dicom(RAMP, WindowCenter=1000, WindowWidth=1001, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_allclose(values(save(inverted, tmp_path / "y"), window="header"), 255 - image.array[:1], atol=0.01)  # fmt: skip  # noqa: E501
    assert values(save(dicom(RAMP), tmp_path / "z"), window="header").max() == RAMP.max()  # it has none


def test_a_voi_table(tmp_path: Path) -> None:
    table = pydicom.Dataset()
    table.LUTDescriptor, table.LUTData = [4, 10, 8], [0, 50, 100, 255]
    image = dicom(RAMP, VOILUTSequence=[table])
    image.VOILUTSequence[0].add_new("LUTDescriptor", "US", [4, 10, 8])
    image.VOILUTSequence[0].add_new("LUTData", "US", [0, 50, 100, 255])
    shown = values(save(image, tmp_path / "x"), window="header")[0].ravel()
    np.testing.assert_allclose(shown[[0, 10, 11, 12, 13, 500]], [0, 0, 50, 100, 255, 255], atol=1e-3)


@pytest.mark.parametrize("bits", [8, 16])
def test_palettes_become_rgb(tmp_path: Path, bits: int) -> None:
    image = dicom(COLOUR[..., 0], PhotometricInterpretation="PALETTE COLOR")
    tables = np.random.default_rng(1).integers(0, 256, (3, 256)) * (257 if bits == 16 else 1)
    for name, table in zip(("Red", "Green", "Blue"), tables, strict=True):
        setattr(image, f"{name}PaletteColorLookupTableDescriptor", [256, 0, bits])
        setattr(image, f"{name}PaletteColorLookupTableData", table.astype(f"<u{bits // 8}").tobytes())
    expected = tables[:, COLOUR[..., 0]] / (257 if bits == 16 else 1)
    np.testing.assert_allclose(values(save(image, tmp_path / "x")), expected, atol=1e-3)


def test_ybr_becomes_rgb(tmp_path: Path) -> None:
    ybr = np.asarray(Image.fromarray(COLOUR).convert("YCbCr"))
    path = save(dicom(ybr, PhotometricInterpretation="YBR_FULL"), tmp_path / "x")
    assert np.abs(values(path) - COLOUR.transpose(2, 0, 1)).max() <= 3


def test_overlays_and_empty_elements_are_ignored(tmp_path: Path) -> None:
    image = dicom((RAMP % 4096) | 0xF000, BitsStored=12, HighBit=11)  # an overlay in the bits that are not used
    image.add_new(0x00281052, "DS", "")
    image.add_new(0x00281050, "DS", "")
    image.add_new(0x00091010, "UN", b"private")
    assert np.array_equal(values(save(image, tmp_path / "x"), window="header"), RAMP[None])


# volumes


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


def test_nan_voxels_become_the_smallest_value(tmp_path: Path) -> None:
    voxels = VOLUME.astype(np.float32)
    voxels[0, 0, :3] = np.nan, np.inf, -np.inf
    nib.save(as_nifti(voxels), tmp_path / "x.nii")
    rest = voxels[np.isfinite(voxels)]
    assert values(tmp_path / "x.nii")[0, 0, 0, :3].tolist() == [rest.min(), rest.max(), rest.min()]


# facts


@pytest.mark.parametrize(("slope", "intercept"), [("1e36", "0"), ("1", "nan"), ("1", "inf"), ("-1e36", "1e38")])
def test_impossible_scales_give_finite_values_or_a_sentence(tmp_path: Path, slope: str, intercept: str) -> None:
    files = [save(dicom(RAMP, RescaleSlope=slope, RescaleIntercept=intercept), tmp_path / "a")]
    volume = nifti(RAMP.reshape(12, 16, 10).astype(np.int16))
    volume.header["scl_slope"], volume.header["scl_inter"] = float(slope), float(intercept)
    files.append(tmp_path / "b")
    files[1].write_bytes(volume.to_bytes())
    for file in files:
        assert image_fault(file) or np.isfinite(values(file)).all()


def test_nothing_tells_who_the_patient_is(tmp_path: Path) -> None:
    path = save(dicom(RAMP, PixelSpacing=[0.5, 0.25]), tmp_path / "x")
    meta = read_image(path).meta
    assert "Doe" not in str(meta) and "SECRET" not in str(meta) and "1950" not in str(meta)
    assert meta["spacing"].tolist() == [0.5, 0.25] and meta["modality"] == "OT" and meta["study_uid"] == "1.2.3"
    assert np.isnan(read_image(save(dicom(RAMP, PixelSpacing=[0, 0]), tmp_path / "y")).meta["spacing"]).all()


def test_in_monai(tmp_path: Path) -> None:
    from monai.data import DataLoader, Dataset
    from monai.transforms import Compose, LoadImaged, RandFlipd

    from dynammo.io.monai_reader import ClinicalReader

    Image.fromarray(COLOUR).save(tmp_path / "a#b.png")
    path = save(dicom(np.stack([COLOUR] * 3), NumberOfFrames=3), tmp_path / "b")
    reader = ClinicalReader(pictures_as_rgb=True)
    assert reader.verify_suffix([str(path), f"{path}#1"]) and not reader.verify_suffix(tmp_path / "none")
    load = Compose([LoadImaged("image", reader=reader, ensure_channel_first=True), RandFlipd("image", 1.0, 0)])
    loader = DataLoader(Dataset([{"image": str(tmp_path / "a#b.png")}, {"image": f"{path}#2"}], load), batch_size=2)
    batch = next(iter(loader))["image"]
    assert batch.shape == (2, 3, 48, 40) and np.array_equal(batch[0].flip(1), COLOUR.transpose(2, 0, 1))  # fmt: skip
    (tmp_path / "t.dcm").write_text("text")
    with pytest.raises(RuntimeError) as raised:
        load({"image": str(tmp_path / "t.dcm")})
    error: BaseException | None = raised.value
    while error is not None and not isinstance(error, UserError):
        error = error.__cause__ or error.__context__
    assert "t.dcm cannot be read" in str(error)
    with pytest.raises(UserError, match="frames is 'first'"):
        ClinicalReader(frames="first")
    with pytest.raises(UserError, match="window is"):
        ClinicalReader(window=(5, 1))
