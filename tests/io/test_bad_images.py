"""Whatever lies in a folder of images: a sentence that names the file and the reason, in bounded time and memory."""

import gzip
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from fuzz.readers import fuzz
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import JPEGLosslessSV1
from synthetic.images import compressed, dicom, nifti, save, slices

from dynammo.errors import UserError
from dynammo.io.image_reader import MOST_VALUES, frame_count, image_fault, read_image

RAMP = np.arange(48 * 40, dtype=np.uint16).reshape(48, 40)
VOLUME = np.zeros((4, 5, 6), np.int16)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def truncated_dicom(path: Path) -> None:
    cut(save(dicom(RAMP), path))


def dicom_without_pixels(path: Path) -> None:
    image = dicom(RAMP)
    del image.PixelData
    save(image, path)


def unknown_syntax(path: Path) -> None:
    image = dicom(RAMP)
    image.PixelData = encapsulate([bytes(64)])
    image["PixelData"].is_undefined_length = True
    image.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"  # MPEG-2
    save(image, path)


def text(path: Path) -> None:
    path.write_text("I am a letter, not an image.\n" * 20)


def lying_header(path: Path) -> None:
    save(dicom(RAMP, Rows=60000, Columns=60000), path)


def jpeg_lossless(path: Path, old: bytes, new: bytes) -> None:
    """What stands in the header of the JPEG replaced by what makes GDCM end the process."""
    image = compressed(dicom(RAMP), JPEGLosslessSV1, path.parent)
    stream = get_frame(image.PixelData, 0, number_of_frames=1)
    assert old in stream
    image.PixelData = encapsulate([stream.replace(old, new, 1)])
    image["PixelData"].is_undefined_length = True
    save(image, path)


def jpeg_with_a_broken_marker(path: Path) -> None:
    jpeg_lossless(path, b"\xff\xc4", b"\xff\x01")


def jpeg_with_stray_bytes(path: Path) -> None:
    jpeg_lossless(path, b"\xff\xda", bytes(7) + b"\xff\xda")


def jpeg_of_another_time(path: Path) -> None:
    jpeg_lossless(path, b"\xff\xd8", b"\xff\xd8\xff\xe0\0\x10JFIF\0\7\2\0\0\1\0\1\0\0")


def jpeg_of_odd_colours(path: Path) -> None:
    jpeg_lossless(path, b"\xff\xd8", b"\xff\xd8\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\7")


def lying_jpeg_2000(path: Path) -> None:
    image = dicom(RAMP)
    image.compress("1.2.840.10008.1.2.4.90", generate_instance_uid=False)
    small = image.PixelData.index(struct.pack(">II", 40, 48))  # the size in the codestream
    image.PixelData = image.PixelData[:small] + struct.pack(">II", 60000, 60000) + image.PixelData[small + 8 :]
    save(image, path)


def deflated_bomb(path: Path) -> None:
    image = dicom(RAMP)
    image.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    content = save(image, path).read_bytes()
    start = 132 + 12 + struct.unpack("<I", content[140:144])[0]
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    zeros = bytes(2**24)
    path.write_bytes(content[:start] + b"".join(packer.compress(zeros) for _ in range(3)) + packer.flush())


def empty_nifti(path: Path) -> None:
    path.write_bytes(gzip.compress(nifti(VOLUME).to_bytes()[:348]))


def nifti_without_voxels(path: Path) -> None:
    path.write_bytes(nifti(np.zeros((0, 5, 6), np.int16)).to_bytes())


def nifti_4d(path: Path) -> None:
    path.write_bytes(nib.Nifti1Image(np.zeros((2, 3, 4, 30), np.int16), np.eye(4)).to_bytes())


def nifti_of_nan(path: Path) -> None:
    path.write_bytes(nifti(np.full((2, 3, 4), np.nan, np.float32)).to_bytes())


def complex_nifti(path: Path) -> None:
    path.write_bytes(nifti(np.zeros((2, 3, 4), np.complex64)).to_bytes())


def cut_nifti(path: Path) -> None:
    path.write_bytes(gzip.compress(nifti(np.random.default_rng(0).integers(0, 99, (40, 40, 4)).astype(np.int16)).to_bytes()))  # fmt: skip  # noqa: E501
    cut(path)


def wide_tiff(path: Path) -> None:
    """A TIFF of 60,000 x 60,000 pixels that says so in its header alone."""
    tags = [(256, 4, 1, 60000), (257, 4, 1, 60000), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8),
            (277, 3, 1, 1), (278, 4, 1, 60000), (279, 4, 1, 2**31)]  # fmt: skip
    rows = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    path.write_bytes(b"II*\0" + struct.pack("<IH", 8, len(tags)) + rows + bytes(4))


def png_bomb(path: Path) -> None:
    """50,000 x 50,000 black pixels in 2.5 GB of zeros, packed to 2 MB; here only the beginning."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 50000, 50000, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes(2**20), 9)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b""))


def cut_png(path: Path) -> None:
    Image.fromarray(RAMP).save(path, "PNG")
    cut(path)


def loop(path: Path) -> None:
    path.symlink_to(path)


BAD: list[tuple[Callable[[Path], object], str]] = [
    (truncated_dicom, "cut short"),
    (dicom_without_pixels, "holds no pixel data"),
    (unknown_syntax, "transfer syntax MPEG2"),
    (text, "neither DICOM nor NIfTI"),
    (lying_header, "its header speaks of 1 x 60000 x 60000 x 1 values"),
    (lying_jpeg_2000, "speaks of 40 x 48 pixels, its data of"),
    (deflated_bomb, "more than 32 MiB"),
    (empty_nifti, "ends early|damaged|less|Expected"),
    (nifti_without_voxels, "empty NIfTI"),
    (nifti_4d, "of 30 volumes; expected one: split it"),
    (jpeg_with_a_broken_marker, "JPEG data are damaged"),
    (jpeg_with_stray_bytes, "JPEG data are damaged"),
    (jpeg_of_another_time, "JPEG data are damaged"),
    (jpeg_of_odd_colours, "JPEG data are damaged"),
    (nifti_of_nan, "all its values are NaN"),
    (complex_nifti, "complex numbers"),
    (cut_nifti, "ends early|end-of-stream"),
    (wide_tiff, "pixels; tile it or make it smaller"),
    (png_bomb, "pixels; tile it or make it smaller"),
    (cut_png, "truncated|damaged"),
    (loop, "too many levels of symbolic links"),
    (Path.mkdir, "it is a folder"),
    (Path.touch, "it is empty"),
    (lambda path: None, "there is no such file"),
]


@pytest.mark.parametrize(("make", "reason"), BAD, ids=lambda value: getattr(value, "__name__", ""))
def test_every_fault_is_one_sentence(
    tmp_path: Path, make: Callable[[Path], object], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dynammo.io.dicom.MOST_INFLATED", 2**25)  # 1 GiB takes seconds
    path = tmp_path / "Bild (10) [é].dcm"
    make(path)
    with pytest.raises(UserError, match=reason) as raised:
        read_image(path)
    sentence = str(raised.value)
    assert sentence.startswith("Bild (10) [é].dcm cannot be read: ") and "\n" not in sentence
    assert "Doe" not in sentence and str(tmp_path) not in sentence
    fault = image_fault(path)
    assert fault and fault in sentence


def test_a_large_volume_is_read_frame_by_frame(tmp_path: Path) -> None:
    """2^29 voxels, of which the file holds but the first frames: asking for all is refused, one is read."""
    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape((1024, 1024, 512))
    header["vox_offset"], header["magic"] = 352, b"n+1"
    path = tmp_path / "large.nii"
    with path.open("wb") as file:
        file.write(header.binaryblock + bytes(4))
        file.truncate(352 + 2**30)
    assert frame_count(path) == 512 and MOST_VALUES < 2**29
    with pytest.raises(UserError, match="choose single frames"):
        read_image(path)
    assert read_image(f"{path}#300").array.shape == (1, 1024, 1024)


@pytest.mark.parametrize(("fragment", "reason"), [("6", "frame 6 is asked for, but it has 6"), ("last", "frames is 'last'"), ("-1", "frames is '-1'")])  # fmt: skip  # noqa: E501
def test_frames_that_are_not_there(tmp_path: Path, fragment: str, reason: str) -> None:
    path = tmp_path / "x.nii"
    path.write_bytes(nifti(VOLUME).to_bytes())
    with pytest.raises(UserError, match=reason):
        read_image(f"{path}#{fragment}")


def test_series_that_are_none(tmp_path: Path) -> None:
    first, second, other = slices(np.zeros((3, 4, 5), np.int16))
    paths = [save(image, tmp_path / name) for image, name in ((first, "a"), (second, "b"))]
    large = save(slices(np.zeros((1, 6, 5), np.int16))[0], tmp_path / "large")
    with pytest.raises(UserError, match=r"found sizes .* 1 x 4 x 5, 1 x 6 x 5"):
        read_image([*paths, large])
    other.SeriesInstanceUID = "1.2.3.9"
    with pytest.raises(UserError, match="2 series"):
        read_image([*paths, save(other, tmp_path / "other")])
    with pytest.raises(UserError, match="two lie at one place"):
        second.SOPInstanceUID = second.file_meta.MediaStorageSOPInstanceUID = "1.2.3.5"  # no copy: another slice
        read_image([*paths, save(second, tmp_path / "again")])
    Image.new("L", (5, 4)).save(tmp_path / "x.png")
    with pytest.raises(UserError, match=r"\['x.png'\] are not"):
        read_image([*paths, tmp_path / "x.png"])
    with pytest.raises(UserError, match="nothing cannot be read"):
        read_image([])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("whole")
    Image.fromarray(RAMP).save(folder / "x.png")
    return [save(dicom(RAMP), folder / "x.dcm").read_bytes(), (folder / "x.png").read_bytes()]


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_a_changed_byte_gives_an_image_or_a_sentence(
    whole: list[bytes], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(data.draw(st.sampled_from(whole)))
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "one_byte"
    path.write_bytes(content)
    try:
        assert np.isfinite(read_image(path, window="header").array).all()
    except UserError as error:
        assert str(error).startswith("one_byte cannot be read: ")


def test_damaged_files_of_every_format_neither_crash_nor_hang() -> None:
    found = fuzz(count=150, seconds=40, seed=7)
    assert found.total() == 150 and set(found) <= {"image", "sentence"}
    assert found["image"] > 10 and found["sentence"] > 10
