"""The reader beside pydicom: every file of its test data, small made-up cases, and what is odd in the field."""

import os
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.data import DATA_ROOT
from pydicom.pixels import apply_modality_lut
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)
from synthetic.datasets import ROOT
from synthetic.images import dicom, values

from dynammo.errors import UserError
from dynammo.io.image_reader import read_image

CASES = Path(os.environ.get("DYNAMMO_CASES", ROOT.parent / "shared" / "cases"))
# damaged on purpose; pydicom refuses them, too
REFUSED = {"JPEG2000-embedded-sequence-delimiter.dcm", "MR_truncated.dcm", "badVR.dcm"}
DEEP = {"JPEG-lossy.dcm", "JPGExtended.dcm"}  # lossy 12 bits: pydicom's plug-ins here leave them out
NEAR = 3.0  # of 255 between two decoders of a lossy JPEG, at its edges
FILES = sorted(p for p in Path(DATA_ROOT, "test_files").rglob("*") if p.is_file())
SYNTAXES = [
    ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, RLELossless,
    JPEGLSLossless, JPEG2000Lossless,
]  # fmt: skip


def reference(path: Path) -> np.ndarray | None:
    """(C, ...) as pydicom decodes and rescales it; None where it finds no image."""
    header = pydicom.dcmread(path, force=True)
    if not any(name in header for name in ("PixelData", "FloatPixelData")) or "Rows" not in header:
        return None
    pixels, meaning = header.pixel_array, header.PhotometricInterpretation
    if meaning == "PALETTE COLOR":
        coloured = pydicom.pixels.apply_color_lut(pixels, header)
        return np.moveaxis(coloured * (255.0 / np.iinfo(coloured.dtype).max), -1, 0)
    if header.SamplesPerPixel == 3:
        return np.moveaxis(pixels * (255.0 / (2.0**header.BitsStored - 1)), -1, 0)
    measured = np.asarray(apply_modality_lut(pixels, header), np.float64)
    if meaning == "MONOCHROME1":
        ends = apply_modality_lut(np.array([0, 2**header.BitsStored - 1]), header)
        measured = ends.sum() - measured
    padded = pixels == header.get("PixelPaddingValue", np.nan)
    measured[padded] = measured.min(where=~padded, initial=np.inf)
    return measured[np.newaxis]


def alike(found: np.ndarray, expected: np.ndarray, near: float) -> bool:
    """Whether they are equal, as stored or turned the way a person is looked at."""
    turned = [np.rot90(image, k, (-2, -1)) for image in (expected, expected[..., ::-1]) for k in range(4)]
    return any(one.shape == found.shape and np.allclose(found, one, rtol=1e-6, atol=near) for one in turned)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_file_of_pydicom_is_read_alike_or_refused_by_name(path: Path) -> None:
    try:
        expected = reference(path)
    except Exception:
        expected = None
    try:
        found = read_image(path)
    except UserError as error:
        assert "damaged (" not in str(error)
        assert expected is None or path.name in REFUSED, error
        return
    if path.name in DEEP:
        assert expected is None
        return
    assert expected is not None
    lossy = b"1.2.840.10008.1.2.4.50" in path.read_bytes()[:1024]
    assert alike(found.array, expected, NEAR if lossy else 1e-3)


def case(name: str) -> Path:
    if not (CASES / name).exists():
        pytest.skip(f"{name} is not in {CASES}; name its folder in DYNAMMO_CASES")
    return CASES / name


def test_a_jpeg_has_the_colours_of_the_same_jpeg_as_a_file() -> None:
    np.testing.assert_array_equal(values(case("adobe_ycc.dcm")), values(case("adobe_ycc.jpg")))


@pytest.mark.parametrize(
    ("name", "at", "expected"),
    [("bits12_high15.dcm", (40, 60), [2653]), ("palette_16_values_to_255.dcm", (8, 8), [255, 127, 0])],
)
def test_pixels_of_cases(name: str, at: tuple[int, int], expected: list[int]) -> None:
    np.testing.assert_allclose(values(case(name))[:, at[0], at[1]], expected, atol=0.5)


@pytest.mark.parametrize(
    "name",
    ["modality_lut_8bit_packed_ow.dcm", "modality_lut_empty_item.dcm", "voi_lut_empty_item.dcm", "ww0_8.dcm",
     "xa_modality_lut.dcm", "orientation_zeros.dcm", "two_pages_undeclared.dcm", "deflated_with_group_length.dcm"],
)  # fmt: skip
@pytest.mark.parametrize("window", [None, "header"])
def test_cases_that_are_as_stored(name: str, window: str | None) -> None:
    header = pydicom.dcmread(case(name))
    stored = np.frombuffer(header.PixelData, f"<{'ui'[header.PixelRepresentation]}{header.BitsAllocated // 8}")
    expected = stored[: header.Rows * header.Columns].reshape(1, header.Rows, header.Columns).astype(np.float32)
    if name.startswith("modality_lut_8bit"):
        expected = np.frombuffer(header.ModalityLUTSequence[0].LUTData, np.uint8)[expected.astype(int)]
    np.testing.assert_array_equal(values(case(name), window=window), expected)


def test_jpeg_ls_with_a_zero_byte_before_its_end() -> None:
    np.testing.assert_array_equal(np.unique(values(case("jpegls_zero_before_end.dcm"))), np.arange(0, 4096, 4))


def test_a_localizer_is_no_slice() -> None:
    image = read_image(sorted(case("ct_with_localizer").iterdir()))
    assert image.array.shape == (1, 4, 64, 64) and image.meta["notes"] == "loc.dcm is left out: a localizer"


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    syntax=st.sampled_from(SYNTAXES), bits=st.sampled_from([8, 16]), unused=st.integers(0, 4), signed=st.booleans(),
    meaning=st.sampled_from(["MONOCHROME1", "MONOCHROME2", "RGB", "YBR_FULL"]), planar=st.booleans(),
    frames=st.integers(1, 3), padded=st.booleans(), window=st.sampled_from([None, (40, 80), (0, 0)]),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_the_grid_of_what_pydicom_writes(
    tmp_path: Path, syntax: pydicom.uid.UID, bits: int, unused: int, signed: bool, meaning: str, planar: bool,
    frames: int, padded: bool, window: tuple[int, int] | None, seed: int,
) -> None:  # fmt: skip
    grey, used = meaning.startswith("MONO"), bits - unused
    signed = signed and grey
    low = -(1 << used - 1) if signed else 0
    shape = (frames, 6, 8) if grey else (frames, 6, 8, 3)
    stored = np.random.default_rng(seed).integers(low, low + (1 << used), shape)
    pixels = stored.astype(f"{'ui'[signed]}{bits // 8}")
    image = dicom(pixels, NumberOfFrames=frames, PhotometricInterpretation=meaning, BitsStored=used, HighBit=used - 1)
    if syntax.is_encapsulated:
        try:
            image.compress(syntax, generate_instance_uid=False)
        except (RuntimeError, ValueError):  # no such encoder
            return
    else:
        planes = np.moveaxis(pixels, -1, 1) if planar and not grey else pixels
        image.PlanarConfiguration = int(planar)
        order = ">" if syntax == ExplicitVRBigEndian else "<"
        image.PixelData = planes.astype(planes.dtype.newbyteorder(order)).tobytes()
        image.file_meta.TransferSyntaxUID = syntax
    if padded and grey:
        image.add_new("PixelPaddingValue", "SS" if signed else "US", int(pixels.flat[0]))
    if window is not None:
        image.WindowCenter, image.WindowWidth = window
    path = tmp_path / "x"
    pydicom.dcmwrite(path, image, implicit_vr=syntax.is_implicit_VR, little_endian=syntax.is_little_endian)
    try:
        found = values(path)
    except UserError as error:
        assert meaning == "YBR_FULL" and used != 8 and "are not read" in str(error)
        return
    decoded = pydicom.dcmread(path).pixel_array.reshape(shape)
    if grey:
        expected = decoded.astype(np.float64)
        first = decoded == pixels.flat[0] if padded else np.zeros(shape, bool)
        if meaning == "MONOCHROME1":
            expected = 2 * low + (1 << used) - 1 - expected
        for frame, blank in zip(expected, first, strict=True):
            frame[blank] = frame[~blank].min() if (~blank).any() else frame[blank]
        expected = expected[np.newaxis]
    else:
        expected = np.moveaxis(decoded * (255.0 / ((1 << used) - 1)), -1, 0)
    np.testing.assert_allclose(found, expected[:, 0] if frames == 1 else expected, rtol=1e-5, atol=1e-3)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    syntax=st.sampled_from([ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless, JPEG2000Lossless,
                            JPEGLSLossless]),
    bits=st.sampled_from([8, 12, 16]), meaning=st.sampled_from(["MONOCHROME1", "MONOCHROME2", "RGB"]),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_the_grid_of_what_highdicom_writes(
    tmp_path: Path, syntax: pydicom.uid.UID, bits: int, meaning: str, seed: int
) -> None:
    highdicom = pytest.importorskip("highdicom", reason="an extra: dynammo[clinic]")
    colour = meaning == "RGB"
    bits = 8 if colour else bits
    shape = (36, 40, 3) if colour else (36, 40)
    stored = np.random.default_rng(seed).integers(0, 1 << bits, shape).astype(np.uint8 if bits == 8 else np.uint16)
    image = highdicom.sc.SCImage(
        pixel_array=stored, bits_allocated=8 if bits == 8 else 16,
        coordinate_system="PATIENT", study_instance_uid="1.2.3", series_instance_uid="1.2.3.4", series_number=1,
        sop_instance_uid="1.2.3.4.5", instance_number=1, manufacturer="none", patient_orientation=("L", "P"),
        transfer_syntax_uid=syntax,
        photometric_interpretation="YBR_RCT" if colour and syntax == JPEG2000Lossless else meaning,
    )  # fmt: skip
    image.save_as(tmp_path / "x")
    right = np.moveaxis(stored, -1, 0) if colour else stored[None]
    if meaning == "MONOCHROME1":
        right = 2 ** int(image.BitsStored) - 1 - right.astype(np.int64)
    np.testing.assert_array_equal(values(tmp_path / "x"), right)


@pytest.mark.parametrize("kind", ["f4", "f8"])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("frames", [1, 3])
def test_floats_of_any_order(tmp_path: Path, kind: str, order: str, frames: int) -> None:
    stored = np.random.default_rng(0).normal(size=(frames, 6, 8)) * 1000
    image = dicom(np.zeros((frames, 6, 8), np.uint16), NumberOfFrames=frames, BitsAllocated=8 * int(kind[1]))
    for name in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
        delattr(image, name)
    image["FloatPixelData" if kind == "f4" else "DoubleFloatPixelData"] = pydicom.DataElement(
        "FloatPixelData" if kind == "f4" else "DoubleFloatPixelData", "OF" if kind == "f4" else "OD",
        stored.astype(order + kind).tobytes(),
    )  # fmt: skip
    syntax = ExplicitVRBigEndian if order == ">" else ExplicitVRLittleEndian
    image.file_meta.TransferSyntaxUID = syntax
    pydicom.dcmwrite(tmp_path / "x", image, implicit_vr=False, little_endian=order == "<")
    right = stored.astype(np.float32)[None]
    np.testing.assert_array_equal(values(tmp_path / "x"), right if frames > 1 else right[:, 0])
