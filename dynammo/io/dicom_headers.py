"""Headers of many DICOM files: which are images, which belong to one series, in which order."""

import struct
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Any, BinaryIO

import pydicom
from pydicom.dataset import Dataset
from pydicom.filereader import _read_file_meta_info, read_dataset, read_preamble
from pydicom.tag import Tag
from pydicom.uid import UID, JPEG2000TransferSyntaxes, JPEGTransferSyntaxes

from dynammo.io.dicom_geometry import element_numbers, element_text, other_than_slices, place_slices, unplaced_order

__all__ = ["DicomHeader", "check_header", "inflated", "not_slices", "read_header", "slice_order"]

TAGS = [  # numbers: pydicom would look every name up again for every file
    Tag(name)
    for name in (
        "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "SeriesNumber",
        "InstanceNumber", "ImagePositionPatient", "ImageOrientationPatient", "ImageType",
    )
]  # fmt: skip
DEFLATED = b"1.2.840.10008.1.2.1.99"
HEAD = 1024  # bytes in which the transfer syntax stands
MOST_INFLATED = 2**24  # bytes in which a header is looked for
PIECE = 2**16
PIXELS = ((0x7FE0, 0x0008), (0x7FE0, 0x0009), (0x7FE0, 0x0010))  # float, double float, ordinary
LONGEST_UID = 64
YBR = ("YBR_FULL", "YBR_FULL_422")
BY_CODEC = ("YBR_ICT", "YBR_RCT")  # what JPEG 2000 makes of RGB, and takes back
RETIRED = ("YBR_PARTIAL_422", "YBR_PARTIAL_420")
GREY = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
NUMBERS = ("SamplesPerPixel", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
           "PlanarConfiguration", "NumberOfFrames")  # fmt: skip


@dataclass(frozen=True, slots=True)
class DicomHeader:
    """What sorting needs of a header, and nothing that names a patient.

    Attributes:
        kind: `image`; `no pixels`, where an image ought to be; `other`, a report, plan, curve, presentation state,
            segmentation or raw data, which is not for classifying; `nothing`, no DICOM at all.
        modality: such as CT; empty where the header does not say, as are the identifiers.
        study_uid: StudyInstanceUID.
        series_uid: SeriesInstanceUID.
        instance_uid: SOPInstanceUID.
        series_number: SeriesNumber.
        instance_number: InstanceNumber.
        position: corner of the image in mm (3 numbers), of orientation.
        orientation: directions of rows and columns (6 numbers).
        image_type: ImageType, its values with backslashes between them.
    """

    kind: str
    modality: str
    study_uid: str
    series_uid: str
    instance_uid: str
    series_number: int | None
    instance_number: int | None
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    image_type: str = ""


def read_header(path: Path) -> DicomHeader:
    """Read the header of a DICOM file up to its pixels.

    Raises:
        Exception: of many kinds, for damaged headers and files that cannot be opened.
    """
    with path.open("rb") as stream:
        deflated = _first_part(stream)
        header, rest = _deflated_header(deflated) if deflated else (_header(stream), stream)
        pixels = _stands_before_pixels(rest.read(4))
    return DicomHeader(
        _kind(header, pixels),
        sys.intern(_text(header, "Modality")),  # the same text for thousands of files
        sys.intern(_text(header, "StudyInstanceUID")),
        sys.intern(_text(header, "SeriesInstanceUID")),
        _text(header, "SOPInstanceUID"),
        _whole(header, "SeriesNumber"),
        _whole(header, "InstanceNumber"),
        element_numbers(header, "ImagePositionPatient", 3),
        element_numbers(header, "ImageOrientationPatient", 6),
        sys.intern(element_text(header, "ImageType")),
    )


def inflated(file: BinaryIO) -> Iterator[bytes]:
    """The data set of a deflated DICOM file in pieces of at most 4 MiB; no piece where it is not deflated.

    zlib holds a thousandfold: whoever reads on must say how much is too much.

    Args:
        file: at its start.

    Raises:
        zlib.error: damaged data.
    """
    if DEFLATED not in file.read(HEAD):
        return
    file.seek(0)
    read_preamble(file, force=True)
    _read_file_meta_info(file)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    while chunk := inflater.unconsumed_tail or file.read(PIECE):
        yield inflater.decompress(chunk, 2**22)


def slice_order(headers: Sequence[DicomHeader]) -> list[int]:
    """Order of the files of one series: along the normal of the slices, else by their number, else as they come."""
    geometries = [_geometry(header) for header in headers]
    placed, affine = place_slices(geometries)
    if affine is not None:
        return placed
    try:
        return unplaced_order(geometries)
    except ValueError:  # reading them will say it
        numbers = [header.instance_number for header in headers]
        return sorted(range(len(headers)), key=lambda i: (numbers[i] is None, numbers[i] or 0))


def not_slices(headers: Sequence[DicomHeader]) -> dict[int, str]:
    """Which files of one series are no slices of its volume, see `other_than_slices`."""
    return other_than_slices([_geometry(header) for header in headers])


def _header(stream: IO[bytes]) -> Dataset:
    header: Dataset = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=TAGS, force=True)
    return header


def _first_part(stream: BinaryIO) -> bytes:
    """What a header is read from in a deflated file, where pydicom would inflate the whole; nothing of others."""
    found = b""
    for piece in inflated(stream):
        found += piece
        if len(found) >= MOST_INFLATED:
            break
    stream.seek(0)
    return found


def _deflated_header(data_set: bytes) -> tuple[Dataset, IO[bytes]]:
    data = BytesIO(data_set)
    at_pixels = lambda tag, vr, length: (tag.group, tag.elem) in PIXELS  # noqa: E731
    return read_dataset(data, False, True, stop_when=at_pixels, specific_tags=TAGS), data


def _stands_before_pixels(tag: bytes) -> bool:
    """Whether the next element is pixel data, in either order of bytes."""
    return any(struct.unpack(f"{order}HH", tag) in PIXELS for order in "<>") if len(tag) == 4 else False


def _kind(header: Dataset, pixels: bool) -> str:
    sop_class = UID(
        _text(header, "SOPClassUID") or str(getattr(header, "file_meta", {}).get("MediaStorageSOPClassUID", ""))
    )
    if not sop_class and not pixels and "StudyInstanceUID" not in header:
        return "nothing"
    known = sop_class.name != sop_class  # pydicom names the classes of the standard
    if known and "Image" not in sop_class.name and sop_class.name != "Enhanced US Volume Storage":
        return "other"
    if pixels:
        return "image"
    return "no pixels" if known or not sop_class else "other"


def _geometry(header: DicomHeader) -> Dataset:
    """Just enough for `place_slices`; the distance of pixels does not change the order."""
    geometry = Dataset()
    geometry.PixelSpacing = [1, 1]
    geometry.SOPInstanceUID, geometry.ImageType = header.instance_uid, header.image_type
    geometry.InstanceNumber = header.instance_number
    if header.position:
        geometry.ImagePositionPatient = list(header.position)
    if header.orientation:
        geometry.ImageOrientationPatient = list(header.orientation)
    return geometry


def _text(header: Dataset, name: str) -> str:
    return element_text(header, name)[:LONGEST_UID]


def _whole(header: Dataset, name: str) -> int | None:
    found = element_numbers(header, name, 1)
    return int(found[0]) if found else None


def check_header(header: Dataset, syntax: UID) -> tuple[tuple[int, int, int], int]:
    """Complete the header with what the standard takes for granted, and refuse one that means nothing.

    Returns:
        Stored (frames, rows, columns), and channels.
    """
    found: dict[str, Any] = {name: _whole_number(header, name) for name in NUMBERS}
    before = dict(found)
    meaning = found["PhotometricInterpretation"] = header.get("PhotometricInterpretation")
    found["NumberOfFrames"] = found["NumberOfFrames"] or 1
    if found["SamplesPerPixel"] is None:
        found["SamplesPerPixel"] = 1 if meaning in GREY else 3
    needed = ["Rows", "Columns", "PhotometricInterpretation", "BitsAllocated"]
    needed += ["BitsStored", "PixelRepresentation"] if "PixelData" in header else []
    if found["SamplesPerPixel"] == 3:
        found["PlanarConfiguration"] = 0 if syntax.is_encapsulated else found["PlanarConfiguration"]
        needed.append("PlanarConfiguration")
    if missing := [name for name in needed if found[name] in (None, "")]:
        raise ValueError(f"its header lacks {', '.join(missing)}")
    used, allocated = found["BitsStored"], found["BitsAllocated"]
    if used is not None and not used - 1 <= (found["HighBit"] or 0) < allocated:
        found["HighBit"] = used - 1
    for name, value in before.items():
        if found[name] != value:  # setting an element takes pydicom long
            setattr(header, name, found[name])
    shape = found["NumberOfFrames"], found["Rows"], found["Columns"]
    if min(shape) < 1 or found["SamplesPerPixel"] not in (1, 3):
        raise ValueError(f"its header speaks of {shape} frames, rows and columns of {found['SamplesPerPixel']} samples")
    _check_meaning(header, syntax)
    return shape, 3 if found["SamplesPerPixel"] == 3 or meaning == "PALETTE COLOR" else 1


def _whole_number(header: Dataset, name: str) -> int | None:
    try:
        value = header.get(name)
        return None if value in (None, "") else int(value)
    except (TypeError, ValueError):
        raise ValueError(f"the {name} of its header is no number") from None


def _check_meaning(header: Dataset, syntax: UID) -> None:
    """Refuse colours that pydicom would give as they are stored, whatever they mean."""
    meaning, samples, bits = header.PhotometricInterpretation, header.SamplesPerPixel, header.get("BitsStored")
    known: tuple[str, ...] = GREY if samples == 1 else ("RGB", *YBR)
    if samples == 3 and syntax in (*JPEGTransferSyntaxes, *JPEG2000TransferSyntaxes):
        known += BY_CODEC + (RETIRED if syntax in JPEGTransferSyntaxes[:2] else ())
    if meaning not in known:
        raise ValueError(
            f"its header speaks of {samples} sample{'s' * (samples > 1)} a pixel and of {meaning}, "
            f"which is not read from {syntax.name}"
        )
    if samples == 3 and (header.get("PixelRepresentation") or (meaning in YBR and bits != 8)):
        sign = "signed " if header.get("PixelRepresentation") else ""
        raise ValueError(f"{sign}colours {meaning} of {bits} bits are not read")
