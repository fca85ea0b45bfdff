"""What is odd in the field: marks of JPEG, undeclared pages, tables, windows, bits, directions, lacking elements."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image, ImageCms
from pydicom.data import DATA_ROOT
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from synthetic.images import COLOUR, RAMP, compressed, dicom, save, values

from dynammo.errors import UserError
from dynammo.io.dicom import DicomFile
from dynammo.io.dicom_frames import check_syntax, decode
from dynammo.io.dicom_headers import check_header
from dynammo.io.image_reader import read_image

SYNTAXES = [
    ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, RLELossless,
    JPEGLSLossless, JPEG2000Lossless,
]  # fmt: skip


def mark(jpeg: bytes, markers: bytes, names: bytes) -> bytes:
    """The stream with other marks before its tables and other names of its three components."""
    at, out = 2, [b"\xff\xd8", markers]
    while True:
        size = 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        segment, kind = bytearray(jpeg[at : at + size]), jpeg[at + 1]
        if kind == 0xC0:
            segment[10:19:3] = names
        if kind == 0xDA:
            segment[5:11:2] = names
            return b"".join([*out, bytes(segment), jpeg[at + size :]])
        out += [] if kind in (0xE0, 0xEE) else [bytes(segment)]
        at += size


JFIF = b"\xff\xe0\x00\x10JFIF\0\1\1\0\0\1\0\1\0\0"
ADOBE = {code: b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0" + bytes([code]) for code in (0, 1, 2)}


@pytest.mark.parametrize("meaning", ["RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "YBR_PARTIAL_420"])
@pytest.mark.parametrize(
    "marks", [JFIF, *ADOBE.values(), JFIF + ADOBE[1], b""], ids=["JFIF", "Adobe 0", "1", "2", "both", "none"]
)
@pytest.mark.parametrize("names", [b"\1\2\3", b"RGB", b"\0\1\2"])
def test_jpeg_with_marks_is_read_as_a_file(tmp_path: Path, meaning: str, marks: bytes, names: bytes) -> None:
    packed = BytesIO()
    Image.fromarray(COLOUR).save(packed, "JPEG", quality=95, subsampling=0)
    stream = mark(packed.getvalue(), marks, names)
    image = dicom(COLOUR, PhotometricInterpretation=meaning)
    image.PixelData = pydicom.encaps.encapsulate([stream])
    image["PixelData"].is_undefined_length = True
    image.file_meta.TransferSyntaxUID = pydicom.uid.JPEGBaseline8Bit
    as_file = Image.open(BytesIO(stream))
    if meaning == "RGB" and not marks and names != b"RGB":
        as_file.draft("YCbCr", as_file.size)  # nothing but the header says what it is
    np.testing.assert_array_equal(values(save(image, tmp_path / "x")), np.moveaxis(np.asarray(as_file), -1, 0))


@pytest.mark.parametrize("syntax", SYNTAXES[1:2] + SYNTAXES[3:], ids=lambda syntax: syntax.keyword)
@pytest.mark.parametrize("declared", [None, 1])
@pytest.mark.parametrize("kind", ["uint8", "uint16", "palette"])
def test_of_two_pages_that_are_not_declared_the_first(
    tmp_path: Path, syntax: pydicom.uid.UID, declared: int | None, kind: str
) -> None:
    first = (RAMP % 251).astype(np.uint16 if kind == "uint16" else np.uint8)
    image = dicom(np.stack([first, first[::-1]]), NumberOfFrames=2)
    if kind == "palette":
        paint(image, 8, np.arange(256, dtype=np.uint8).tobytes())
    if syntax.is_encapsulated:
        image.compress(syntax, generate_instance_uid=False)
        image.PixelData = pydicom.encaps.encapsulate(
            list(pydicom.encaps.generate_frames(image.PixelData, number_of_frames=2)), has_bot=False
        )
    image.file_meta.TransferSyntaxUID = syntax
    image.NumberOfFrames = declared
    if declared is None:
        del image.NumberOfFrames
    found = read_image(save(image, tmp_path / "x"))
    np.testing.assert_array_equal(found.array, np.broadcast_to(first, found.array.shape))
    assert "it holds 2 frames, its header speaks of 1" in found.meta["notes"]


def paint(image: pydicom.Dataset, bits: int, data: bytes, count: int = 256) -> None:
    image.PhotometricInterpretation = "PALETTE COLOR"
    for colour in ("Red", "Green", "Blue"):
        image.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [count, 0, bits])
        image.add_new(f"{colour}PaletteColorLookupTableData", "OW", data)


@pytest.mark.parametrize(
    ("bits", "entries", "form", "scale"),
    [(8, 255, "<u1", 255), (8, 255, "<u2", 255), (16, 255, "<u2", 255), (12, 4095, "<u2", 4095),
     (16, 65535, "<u2", 65535), (8, 65535, "<u2", 65535)],
)  # fmt: skip
def test_palettes_are_scaled_by_what_they_hold(tmp_path: Path, bits: int, entries: int, form: str, scale: int) -> None:
    table = np.linspace(0, entries, 256).astype(form)
    image = dicom(COLOUR[..., 0])
    paint(image, bits, table.tobytes())
    expected = table[COLOUR[..., 0]] * (255 / scale)
    np.testing.assert_allclose(values(save(image, tmp_path / "x"))[1], expected, atol=1e-3)


def test_a_palette_of_many_entries_of_eight_bits(tmp_path: Path) -> None:
    table = (np.arange(2048) // 8).astype(np.uint8)
    image = dicom(RAMP)
    paint(image, 8, table.tobytes(), 2048)
    np.testing.assert_array_equal(values(save(image, tmp_path / "x"))[0], RAMP // 8)


def lut(descriptor: list[int], kind: str, data: Any) -> pydicom.Dataset:  # noqa: ANN401
    item = pydicom.Dataset()
    item.add_new("LUTDescriptor", "US", descriptor)
    item.add_new("LUTData", kind, data)
    return item


@pytest.mark.parametrize("kind", ["OW", "US"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_modality_lut_of_bytes_or_words(tmp_path: Path, kind: str, packed: bool) -> None:
    table = np.arange(256)[::-1]
    data = table.astype(np.uint8 if packed else "<u2").tobytes()
    content = data if kind == "OW" else np.frombuffer(data, "<u2").tolist()
    stored = (RAMP % 256).astype(np.uint8)
    image = dicom(stored, ModalityLUTSequence=[lut([256, 0, 8], kind, content)])
    np.testing.assert_array_equal(values(save(image, tmp_path / "x"))[0], table[stored])
    larger = lut([256, 0, 8], "US", (table * 16).tolist())
    image.ModalityLUTSequence = [larger]
    np.testing.assert_array_equal(values(save(image, tmp_path / "y"))[0], table[stored] * 16)


@pytest.mark.parametrize(
    ("center", "width", "function"),
    [("128", "0", "LINEAR"), ("128", "0.5", "LINEAR"), ("128", "-9", "LINEAR"), ("128", "256", "CUBIC"),
     ("128,5", "256", "LINEAR"), ("nan", "256", "LINEAR"), ("128", "0", "SIGMOID"), ("128", "0", "LINEAR_EXACT")],
)  # fmt: skip
@pytest.mark.parametrize("window", [None, "header"])
def test_a_window_that_means_nothing_is_ignored_and_said(
    tmp_path: Path, center: str, width: str, function: str, window: str | None
) -> None:
    stored = (RAMP % 256).astype(np.uint8)
    image = dicom(stored, WindowCenter=1, WindowWidth=1, VOILUTFunction=function)
    for name, text in (("WindowCenter", center), ("WindowWidth", width)):
        raw = image.get_item(name)
        image[name] = pydicom.dataelem.RawDataElement(raw.tag, "DS", len(text), text.encode(), 0, False, True)
    found = read_image(save(image, tmp_path / "x"), window=window)
    np.testing.assert_array_equal(found.array[0], stored)
    assert found.meta["display"] and found.meta["notes"].startswith("its window is ignored: center ")


@pytest.mark.parametrize(("used", "high"), [(12, 15), (10, 13), (8, 15), (12, 12)])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless], ids=["plain", "RLE"])
def test_bits_below_the_high_bit(tmp_path: Path, used: int, high: int, signed: bool, syntax: pydicom.uid.UID) -> None:
    low = -(1 << used - 1) if signed else 0
    meant = RAMP.astype(np.int64) % (1 << used) + low
    noise = (RAMP.astype(np.int64) * 7) % (1 << high + 1 - used)
    words = ((meant << high + 1 - used | noise) & 0xFFFF).astype(np.uint16)
    image = dicom(words, PixelRepresentation=int(signed))
    if syntax.is_encapsulated:
        image.compress(syntax, generate_instance_uid=False)
    image.BitsStored, image.HighBit = used, high
    np.testing.assert_array_equal(values(save(image, tmp_path / "x"))[0], meant)


@pytest.mark.parametrize("padding", [63536, 65535, 4096])
def test_padding_beyond_the_bits(tmp_path: Path, padding: int) -> None:
    words = RAMP.copy() + 100
    words[:5] = padding
    image = dicom(words, BitsStored=12, HighBit=11)
    image.add_new("PixelPaddingValue", "US", padding)
    found = values(save(image, tmp_path / "x"))[0]
    np.testing.assert_array_equal(found[5:], words[5:])
    assert (found[:5] == words[5:].min()).all()


@pytest.mark.parametrize(
    "axes",
    [[0] * 6, [1, 0, 0, 1, 0, 0], [1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 1, 0]],
    ids=["zero", "parallel", "half", "half"],
)
def test_directions_that_are_none(tmp_path: Path, axes: list[int]) -> None:
    paths = []
    for k, height in enumerate([4.0, 0.0, 2.0]):
        image = dicom(RAMP + k, ImageOrientationPatient=axes, ImagePositionPatient=[0, 0, height], PixelSpacing=[1, 1])
        paths.append(save(image, tmp_path / str(k)))
    np.testing.assert_array_equal(values(paths[0])[0], RAMP)
    np.testing.assert_array_equal(values(paths)[0, :, 0, 0], [1, 2, 0])


@pytest.mark.parametrize("name", ["Rows", "BitsAllocated", "BitsStored", "PixelRepresentation", "PlanarConfiguration"])
@pytest.mark.parametrize("empty", [False, True])
def test_what_a_header_lacks_is_named(tmp_path: Path, name: str, empty: bool) -> None:
    image = dicom(COLOUR, **{name: None})
    if not empty:
        delattr(image, name)
    with pytest.raises(UserError, match=f"its header lacks {name}\\."):
        read_image(save(image, tmp_path / "x"))


@pytest.mark.parametrize("name", ["HighBit", "SamplesPerPixel", "NumberOfFrames"])
def test_what_the_standard_takes_for_granted(tmp_path: Path, name: str) -> None:
    image = dicom(COLOUR)
    image.NumberOfFrames = None
    delattr(image, name)
    np.testing.assert_array_equal(values(save(image, tmp_path / "x")), COLOUR.transpose(2, 0, 1))


@pytest.mark.parametrize("meaning", ["HSV", "YBR_ICT", "YBR_RCT", "YBR_PARTIAL_422", "MONOCHROME2", "CMYK"])
def test_colours_that_nobody_converts_are_refused_by_name(tmp_path: Path, meaning: str) -> None:
    with pytest.raises(UserError, match=f"of {meaning}, which is not read from"):
        read_image(save(dicom(COLOUR, PhotometricInterpretation=meaning), tmp_path / "x"))


@pytest.mark.parametrize(("units", "delta", "mm"), [(3, 0.05, 0.5), (4, 0.05, np.nan), (3, 0.0, np.nan)])
def test_the_scale_of_ultrasound(tmp_path: Path, units: int, delta: float, mm: float) -> None:
    region = pydicom.Dataset()
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = units
    region.PhysicalDeltaX = region.PhysicalDeltaY = delta
    image = dicom(COLOUR, SequenceOfUltrasoundRegions=[region])
    np.testing.assert_allclose(read_image(save(image, tmp_path / "x")).meta["spacing"], [mm, mm])
    for end, length in (("RegionLocationMaxX1", 40), ("RegionLocationMaxY1", 48)):
        for beyond in (0, 1):  # then the picture was made smaller, the regions were not
            region[end] = pydicom.DataElement(end, "UL", length + beyond)
            found = read_image(save(image, tmp_path / "x")).meta["spacing"]
            np.testing.assert_allclose(found, [np.nan if beyond else mm] * 2)
        region[end].value = 0


def test_a_frame_comes_with_the_words_that_hold_it(tmp_path: Path) -> None:
    image = dicom(RAMP | 0xF000, BitsStored=12, HighBit=11)
    syntax = check_syntax(image.file_meta.TransferSyntaxUID)
    shape, channels = check_header(image, syntax)
    notes: list[str] = []
    [(numbers, words)] = decode(image, shape, tmp_path, [0], notes)
    assert (shape, channels, notes) == ((1, 48, 40), 1, [])
    np.testing.assert_array_equal(numbers[:, :, 0], RAMP)
    np.testing.assert_array_equal(words[:, :, 0], RAMP | 0xF000)


def test_warnings_of_the_library_belong_to_the_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    image = dicom(RAMP)
    image.PixelData += bytes(64)
    assert "excess padding" in read_image(save(image, tmp_path / "x")).meta["notes"]
    assert read_image(save(dicom(RAMP), tmp_path / "y")).meta["notes"] == ""
    assert capfd.readouterr().err == ""


def test_colours_of_a_profile_become_srgb_unless_switched_off(tmp_path: Path) -> None:
    profile = Path(DATA_ROOT, "test_files", "crayons.icc").read_bytes()
    path = save(dicom(COLOUR, ICCProfile=profile), tmp_path / "x")
    transform = ImageCms.buildTransform(BytesIO(profile), ImageCms.createProfile("sRGB"), "RGB", "RGB")
    expected = np.asarray(ImageCms.applyTransform(Image.fromarray(COLOUR), transform))
    part = (slice(0, 1), slice(0, 48), slice(0, 40))
    for applied, colours in ((True, expected), (False, COLOUR)):
        file = DicomFile(path, colour_profiles=applied)
        np.testing.assert_array_equal(file.load(part, False)[0][:, 0], colours.transpose(2, 0, 1))
        assert bool(file.meta["colour_profile"]) is applied
    broken = save(dicom(COLOUR, ICCProfile=b"no profile"), tmp_path / "y")
    np.testing.assert_array_equal(values(broken), COLOUR.transpose(2, 0, 1))


def test_what_a_decoder_prints_belongs_to_the_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Lossless JPEG that ends early is filled up: libjpeg, inside of GDCM, prints so and gives an image."""
    image = compressed(dicom(RAMP), JPEGLosslessSV1, tmp_path)
    stream = next(pydicom.encaps.generate_frames(image.PixelData, number_of_frames=1)).rstrip(b"\0")
    image.PixelData = pydicom.encaps.encapsulate([stream[: len(stream) * 9 // 10] + b"\xff\xd9"])
    found = read_image(save(image, tmp_path / "x"))
    assert found.meta["notes"] == "its decoder says: Corrupt JPEG data: premature end of data segment"
    np.testing.assert_array_equal(found.array[0, :40], RAMP[:40])
    assert capfd.readouterr().err == ""


def test_damaged_jpeg_2000_does_not_end_the_process(tmp_path: Path) -> None:
    """GDCM would: what it throws at such a depth is no exception that Python sees."""
    image = dicom(RAMP)
    image.compress(JPEG2000Lossless, generate_instance_uid=False)
    stream = bytearray(next(pydicom.encaps.generate_frames(image.PixelData, number_of_frames=1)))
    assert stream[42] == 15  # 16 bits, unsigned
    stream[42] = 255
    image.PixelData = pydicom.encaps.encapsulate([bytes(stream)])
    with pytest.raises(UserError, match="no decoder reads its JPEG 2000"):
        read_image(save(image, tmp_path / "x"))
