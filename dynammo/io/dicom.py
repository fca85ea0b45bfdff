"""DICOM images and series: decoded by pydicom and its plugins, frame by frame where only one is wanted."""

import logging
import math
import re
import warnings
from collections.abc import Sequence
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import gdcm  # type: ignore[import-untyped]
import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Jpeg2KImagePlugin
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames, get_frame
from pydicom.filereader import read_partial
from pydicom.pixels import get_decoder
from pydicom.tag import Tag
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from dynammo.io.dicom_geometry import GEOMETRY_TAGS, element_text, frame_headers, pixel_spacing, place_slices
from dynammo.io.dicom_headers import inflated
from dynammo.io.dicom_values import VALUE_TAGS, colours, grey_values, is_finite, plain_numbers
from dynammo.runtime.claims import DEFLATED, check_claim

__all__ = ["DicomFile", "DicomSeries", "is_dicom_slide"]

# pydicom's warnings quote values of the header, which may name a patient; odd values are met where they are used
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
warnings.filterwarnings("ignore", category=UserWarning, module=r"pydicom\b")
logging.getLogger("pydicom").setLevel(logging.CRITICAL)

Floats = NDArray[np.float32]
Part = tuple[slice, slice, slice]
SLIDE = re.compile(rb"1\.2\.840\.10008\.5\.1\.4\.1\.1\.77\.1\.6(?![.0-9])")  # VL Whole Slide Microscopy Image Storage
MOST_INFLATED = 2**30  # bytes; zlib can hold a thousandfold
DEFER = 2**20  # bytes of pixel data from which they stay on disk until the header is checked
FRAME_HEAD = 64  # bits, of a compressed frame
PLAIN = (ImplicitVRLittleEndian, ExplicitVRLittleEndian)
START_OF_SCAN, WITHOUT_LENGTH = b"\xda", b"\x01\xd0\xd1\xd2\xd3\xd4\xd5\xd6\xd7\xd8\xd9"  # markers of JPEG
JPEG_2000 = (JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K)
PLUGINS = {  # one decoder for each, so that values do not depend on what else is installed
    RLELossless: "pylibjpeg",
    JPEGBaseline8Bit: "pillow", JPEGExtended12Bit: "gdcm",  # more than 8 bits: see _deep_jpeg
    JPEGLossless: "gdcm", JPEGLosslessSV1: "gdcm", JPEGLSLossless: "pyjpegls", JPEGLSNearLossless: "pyjpegls",
    **dict.fromkeys(JPEG_2000, "pylibjpeg"),
}  # fmt: skip
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
TAGS = (  # what reading needs and nothing that names a patient
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "SamplesPerPixel",
    "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns", "BitsAllocated",
    "BitsStored", "HighBit", "PixelRepresentation", "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
    *VALUE_TAGS, *GEOMETRY_TAGS, *PIXELS,
)  # fmt: skip
TAG_NUMBERS = [Tag(name) for name in TAGS]
FACTS = {
    "modality": "Modality", "study_uid": "StudyInstanceUID", "series_uid": "SeriesInstanceUID",
    "instance_uid": "SOPInstanceUID",
}  # fmt: skip


class DicomFile:
    """One DICOM file: an image, a volume or a film.

    Args:
        path: the file.
        defer: bytes of pixel data from which they are read only when asked for.

    Attributes:
        shape: stored (frames, rows, columns).
        channels: 1 grey, 3 colour.
        affine: (frame, row, column) -> RAS mm of frames that lie beside each other; None where unknown.
        spacing: mm along the stored axes, NaN where unknown.
        is_reoriented: whether `affine` says how to lay the image or volume out; else it is shown as stored.
        meta: modality and unique identifiers.

    Raises:
        ValueError: no pixels, an impossible header, a transfer syntax that no decoder is there for.
    """

    format = "dicom"

    def __init__(self, path: Path, defer: int = DEFER) -> None:
        self._path, self.header = path, _read_header(path, defer)
        self.syntax = _check_syntax(UID(self.header.file_meta.TransferSyntaxUID))
        self.shape, self.channels = _shape(self.header)
        _check_claim(self.header, self.shape, self.syntax, path.stat().st_size)
        self._frames = frame_headers(self.header, self.shape[0])
        spacing = pixel_spacing(self._frames[0])
        self._order, self.affine = place_slices(self._frames, spacing)
        self.spacing = _stack_spacing(spacing, self.affine)
        self.is_reoriented = self.affine is not None
        self.meta = {key: element_text(self.header, name) for key, name in FACTS.items()}

    @property
    def finite(self) -> bool:
        """Whether no value can be NaN or infinite."""
        return all(map(is_finite, self._frames))

    def close(self) -> None:
        """Nothing stays open."""

    def load(self, part: Part, header_window: bool) -> tuple[Floats, bool]:
        """Decode a part of the stored (frames, rows, columns), counted in their order along the normal.

        Returns:
            float32 (C, frames, rows, columns), and whether all are values for the screen.
        """
        wanted = self._order[part[0]]
        if len(wanted) == 1:
            index = wanted[0] if self.shape[0] > 1 else None
            frames = [self._decode(index).reshape(self.shape[1], self.shape[2], -1)]
        else:
            decoded = self._decode(None)
            frames = [decoded[k].reshape(self.shape[1], self.shape[2], -1) for k in wanted]
        images = [self._values(f, self._frames[k], header_window) for f, k in zip(frames, wanted, strict=True)]
        array = images[0][0][:, np.newaxis] if len(images) == 1 else np.stack([image for image, _ in images], axis=1)
        return array[:, :, part[1], part[2]], all(display for _, display in images)

    def _values(self, pixels: NDArray[np.generic], header: Dataset, header_window: bool) -> tuple[Floats, bool]:
        if self.channels == 3:
            return colours(pixels if pixels.shape[2] == 3 else pixels[:, :, 0], header), True
        values, display = grey_values(pixels[:, :, 0], header, header_window)
        return values[np.newaxis], display

    def _decode(self, index: int | None) -> NDArray[np.generic]:
        if PLUGINS.get(self.syntax) == "gdcm":
            for stream in generate_frames(self.header.PixelData, number_of_frames=self.shape[0]):
                _check_markers(stream)
        if self.syntax == JPEGExtended12Bit and self.header.BitsStored > 8:
            stack = _deep_jpeg(self._path, self.shape)
            return stack if index is None and self.shape[0] > 1 else stack[index or 0]
        if self.syntax in PLAIN and (plain := plain_numbers(self.header, self.shape)) is not None:
            return plain if index is None and self.shape[0] > 1 else plain[index or 0]
        if self.syntax in JPEG_2000:
            _check_codestream(self.header, self.shape, index or 0)
        try:
            plugin = PLUGINS.get(self.syntax, "")
            return np.asarray(get_decoder(self.syntax).as_array(self.header, index=index, decoding_plugin=plugin)[0])
        except BaseException as error:
            if type(error).__name__ == "PanicException":  # of a Rust decoder: no Exception, as Python sees it
                raise ValueError("its compressed pixel data are damaged") from None
            raise


class DicomSeries:
    """Several single-frame files of one series, stacked along their normal; attributes as those of `DicomFile`.

    Raises:
        ValueError: files of several series, sizes or kinds, multi-frame files, two slices at one place.
    """

    format = "dicom"

    def __init__(self, paths: Sequence[Path]) -> None:
        files = [DicomFile(path, defer=0) for path in paths]
        first = files[0]
        kinds = {(f.shape, f.channels, f.meta["series_uid"]) for f in files}
        if len(kinds) > 1 or first.shape[0] != 1:
            sizes = sorted({" x ".join(map(str, f.shape)) for f in files})
            raise ValueError(
                f"{len(files)} files do not make one volume: expected single frames of one size and one series, "
                f"found sizes (frames, rows, columns) {', '.join(sizes)} in "
                f"{len({f.meta['series_uid'] for f in files})} series"
            )
        headers = [file.header for file in files]
        order, self.affine = place_slices(headers)
        if self.affine is None:
            order = _by_number(headers)
        self._files = [files[k] for k in order]
        self.shape = (len(files), *first.shape[1:])
        self.channels, self.is_reoriented = first.channels, self.affine is not None
        self.spacing = _stack_spacing(pixel_spacing(first.header), self.affine)
        self.meta = first.meta | {"instance_uid": self._files[0].meta["instance_uid"]}

    @property
    def finite(self) -> bool:
        """Whether no value can be NaN or infinite."""
        return all(file.finite for file in self._files)

    def close(self) -> None:
        """Nothing stays open."""

    def load(self, part: Part, header_window: bool) -> tuple[Floats, bool]:
        """Decode a part of the stack, see `DicomFile.load`; files outside it are not decoded."""
        whole = (slice(0, 1), part[1], part[2])
        images = [file.load(whole, header_window) for file in self._files[part[0]]]
        return np.concatenate([image for image, _ in images], axis=1), all(display for _, display in images)


def is_dicom_slide(head: bytes) -> bool:
    """Whether the first KiB of a DICOM file says that it is a whole-slide image."""
    return SLIDE.search(head) is not None


def _read_header(path: Path, defer: int) -> Dataset:
    with path.open("rb") as file:
        _check_inflation(file)
        file.seek(0)
        header = read_partial(file, defer_size=defer, force=True, specific_tags=TAG_NUMBERS)
    if not header.file_meta.get("TransferSyntaxUID"):  # files from before 1993 have no file meta information
        header.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2")
    if not any(name in header for name in PIXELS):
        raise ValueError("it holds no pixel data; it may be a report, a plan or a directory file, or cut short")
    return header


def _check_inflation(file: BinaryIO) -> None:
    """Refuse a deflated file that would fill the memory: pydicom inflates the whole of it at once."""
    size = 0
    for piece in inflated(file):
        size += len(piece)
        if size > MOST_INFLATED:
            raise ValueError(f"its deflated data set holds more than {MOST_INFLATED // 2**20} MiB")


@lru_cache
def _check_syntax(syntax: UID) -> UID:
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise ValueError(f"no decoder is there for the transfer syntax {syntax.name}; export it in another") from None
    plugin = PLUGINS.get(syntax)
    if syntax.is_encapsulated and not (plugin in decoder.available_plugins if plugin else decoder.is_available):
        raise ValueError(f"the decoder of the transfer syntax {syntax.name} is not installed ({plugin})")
    return syntax


def _shape(header: Dataset) -> tuple[tuple[int, int, int], int]:
    """Stored (frames, rows, columns) and channels."""
    needed = {name: header.get(name) for name in ("Rows", "Columns", "PhotometricInterpretation")}
    missing = [name for name, value in needed.items() if value in (None, "")]
    if missing:
        raise ValueError(f"its header lacks {', '.join(missing)}")
    rows, columns, meaning = needed.values()
    shape = int(header.get("NumberOfFrames") or 1), int(rows), int(columns)
    samples = int(header.get("SamplesPerPixel") or 1)
    if min(shape) < 1 or samples not in (1, 3):
        raise ValueError(f"its header speaks of {shape} frames, rows and columns of {samples} samples")
    if samples == 1 and meaning not in ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"):
        raise ValueError(f"its header speaks of 1 sample a pixel and of {meaning}")
    return shape, 3 if samples == 3 or meaning == "PALETTE COLOR" else 1


def _check_claim(header: Dataset, shape: tuple[int, int, int], syntax: UID, size: int) -> None:
    if syntax.is_encapsulated:  # how far pixels compress nobody can say, but every frame has a head of its own
        check_claim(shape[:1], FRAME_HEAD, size)
        return
    samples = int(header.get("SamplesPerPixel") or 1)
    halved = 2 / 3 if "422" in str(header.PhotometricInterpretation) else 1  # colours of every other pixel
    bits = int(header.get("BitsAllocated") or 1) * halved
    check_claim((*shape, samples), bits, size, DEFLATED if syntax.is_deflated else 1)


def _deep_jpeg(path: Path, shape: tuple[int, int, int]) -> NDArray[np.generic]:
    """Lossy JPEG of 12 bits, which pydicom leaves out of what it asks GDCM for; stored values, not rescaled."""
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    if not reader.Read():
        raise ValueError("its 12-bit JPEG data are damaged")
    content = reader.GetImage().GetBuffer().encode("utf-8", "surrogateescape")  # how SWIG hands bytes over
    if len(content) != 2 * math.prod(shape):
        raise ValueError(f"its 12-bit JPEG data do not make {shape} frames, rows and columns")
    return np.frombuffer(content, np.uint16).reshape(shape)


def _check_markers(stream: bytes) -> None:
    """Refuse a JPEG whose header makes GDCM warn, for then it ends the process."""
    at = 2
    while stream[at : at + 1] == b"\xff" and stream[at + 1 : at + 2] != START_OF_SCAN:
        marker, body = stream[at + 1 : at + 2], stream[at + 4 : at + 16]
        if marker in WITHOUT_LENGTH:
            break
        if marker == b"\xee" and body.startswith(b"Adobe") and body[11:] not in (b"\0", b"\1", b"\2"):
            break
        if marker == b"\xe0" and body.startswith(b"JFIF\0") and body[5:6] != b"\1":
            break
        at += 1 if marker == b"\xff" else 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
    if stream[at : at + 2] != b"\xff" + START_OF_SCAN:
        raise ValueError("its JPEG data are damaged")


def _check_codestream(header: Dataset, shape: tuple[int, int, int], index: int) -> None:
    """Refuse a JPEG 2000 image of another size than the header's: the decoder would fill the memory for it."""
    stream = get_frame(header.PixelData, index, number_of_frames=shape[0])
    with Jpeg2KImagePlugin.Jpeg2KImageFile(BytesIO(stream)) as image:  # reads the header alone
        if image.size != (shape[2], shape[1]):
            raise ValueError(f"its header speaks of {shape[2]} x {shape[1]} pixels, its data of {image.size}")


def _stack_spacing(spacing: NDArray[np.float64], affine: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Spacing of slices as they lie, which the header's own may miss."""
    if affine is not None and not np.isnan(spacing[0]):
        spacing[0] = np.linalg.norm(affine[:3, 0])
    return spacing


def _by_number(headers: Sequence[Dataset]) -> list[int]:
    """Order by InstanceNumber where all are told apart by it, else as given."""
    if any("ImagePositionPatient" in header for header in headers):
        raise ValueError(
            f"{len(headers)} slices do not stand beside each other: two lie at one place, or they are turned or lack "
            "a place; give the slices of one phase, one volume at a time"
        )
    numbers: list[Any] = [header.get("InstanceNumber") for header in headers]
    if None in numbers or len(set(numbers)) < len(numbers):
        return list(range(len(headers)))
    return sorted(range(len(headers)), key=lambda k: int(numbers[k]))
