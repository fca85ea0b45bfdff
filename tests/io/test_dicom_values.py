from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from synthetic.images import (
    COLOUR,
    RAMP,
    dicom,
    nifti,
    save,
    values,
)

from dynammo.io.dicom_values import grey_values, is_display, is_finite, plain_numbers
from dynammo.io.image_reader import image_fault, read_image


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


@pytest.mark.parametrize(("slope", "intercept"), [("1e36", "0"), ("1", "nan"), ("1", "inf"), ("-1e36", "1e38")])
def test_impossible_scales_give_finite_values_or_a_sentence(tmp_path: Path, slope: str, intercept: str) -> None:
    files = [save(dicom(RAMP, RescaleSlope=slope, RescaleIntercept=intercept), tmp_path / "a")]
    volume = nifti(RAMP.reshape(12, 16, 10).astype(np.int16))
    volume.header["scl_slope"], volume.header["scl_inter"] = float(slope), float(intercept)
    files.append(tmp_path / "b")
    files[1].write_bytes(volume.to_bytes())
    for file in files:
        assert image_fault(file) or np.isfinite(values(file)).all()


@pytest.mark.parametrize(
    ("elements", "screen"),
    [
        ({}, True), ({"RescaleSlope": 2, "RescaleIntercept": 0}, False),
        ({"WindowCenter": 128, "WindowWidth": 256}, True), ({"WindowCenter": 40, "WindowWidth": 80}, False),
    ],
)  # fmt: skip
def test_eight_bits_that_nothing_changes_are_for_the_screen(elements: dict[str, int], screen: bool) -> None:
    assert is_display(dicom(RAMP.astype(np.uint8), **elements)) is screen
    assert not is_display(dicom(RAMP, **elements))
    assert is_finite(dicom(RAMP, **elements))


def test_plain_numbers_are_those_of_pydicom() -> None:
    for stored in (RAMP, RAMP.astype(np.int16) - 900, RAMP.astype(np.uint8)):
        image = dicom(stored)
        found = plain_numbers(image, (1, 48, 40))
        assert found is not None
        np.testing.assert_array_equal(found[0], image.pixel_array)
    assert plain_numbers(dicom(COLOUR), (1, 48, 40)) is None
    assert plain_numbers(dicom(RAMP), (1, 48, 41)) is None


def test_a_window_gives_grey_and_none_gives_what_was_measured() -> None:
    header = dicom(RAMP, RescaleSlope=1, RescaleIntercept=-1000, WindowCenter=0, WindowWidth=200)
    measured, screen = grey_values(RAMP, header, False)
    np.testing.assert_array_equal(measured, RAMP - 1000.0)
    assert not screen
    shown, screen = grey_values(RAMP, header, True)
    assert screen and shown.min() == 0 and shown.max() == 255
