"""DICOM images and series: header, place and values, frame by frame where only one is wanted."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.filereader import read_partial
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    EnhancedXAImageStorage,
    EnhancedXRFImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    XRayAngiographicImageStorage,
    XRayRadiofluoroscopicImageStorage,
)

from dynammo.io.dicom_frames import check_syntax, decode, library_notes
from dynammo.io.dicom_geometry import (
    GEOMETRY_TAGS,
    element_text,
    frame_headers,
    other_than_slices,
    pixel_spacing,
    place_slices,
    unplaced_order,
)
from dynammo.io.dicom_headers import check_header, inflated
from dynammo.io.dicom_values import (
    VALUE_TAGS,
    colours,
    grey_values,
    is_finite,
    plain_numbers,
    used_bits,
    window_fault,
)
from dynammo.io.pictures import to_srgb
from dynammo.runtime.claims import DEFLATED, check_claim

__all__ = ["DicomFile", "DicomSeries", "is_dicom_slide"]

Floats = NDArray[np.float32]
Words = NDArray[Any]
Part = tuple[slice, slice, slice]
SLIDE = re.compile(rb"1\.2\.840\.10008\.5\.1\.4\.1\.1\.77\.1\.6(?![.0-9])")  # VL Whole Slide Microscopy Image Storage
MOST_INFLATED = 2**30  # bytes; zlib can hold a thousandfold
DEFER = 2**20  # bytes of pixel data from which they stay on disk until the header is checked
FRAME_HEAD = 64  # bits, of a compressed frame
PLAIN = (ImplicitVRLittleEndian, ExplicitVRLittleEndian)
AS_STORED = (  # classes whose modality LUT is not for showing them (PS3.3, C.11.1)
    XRayAngiographicImageStorage, XRayRadiofluoroscopicImageStorage, EnhancedXAImageStorage, EnhancedXRFImageStorage,
)  # fmt: skip
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
TAGS = (  # what reading needs and nothing that names a patient
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "SamplesPerPixel",
    "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns", "BitsAllocated",
    "BitsStored", "HighBit", "PixelRepresentation", "ExtendedOffsetTable", "ExtendedOffsetTableLengths", "ICCProfile",
    "OpticalPathSequence", *VALUE_TAGS, *GEOMETRY_TAGS, *PIXELS,
)  # fmt: skip
TAG_NUMBERS = [Tag(name) for name in TAGS]
FACTS = {
    "modality": "Modality", "study_uid": "StudyInstanceUID", "series_uid": "SeriesInstanceUID",
    "instance_uid": "SOPInstanceUID",
}  # fmt: skip


class DicomFile:
    """One DICOM file, a `Source` of `dynammo.io.image_reader`: an image, a volume or a film.

    Args:
        path: the file.
        defer: bytes of pixel data from which they are read only when asked for.
        colour_profiles: turn colours to sRGB where the file embeds their ICC profile.

    Raises:
        ValueError: no pixels, an impossible header, a transfer syntax that no decoder is there for.
    """

    format = "dicom"

    def __init__(self, path: Path, defer: int = DEFER, colour_profiles: bool = True) -> None:
        self._path, self._profiles, self.header = path, colour_profiles, _read_header(path, defer)
        self.syntax = check_syntax(UID(self.header.file_meta.TransferSyntaxUID))
        self.shape, self.channels = check_header(self.header, self.syntax)
        _check_claim(self.header, self.shape, self.syntax, path.stat().st_size)
        self._notes: list[str] = []
        if self.header.get("ModalityLUTSequence") and self.header.get("SOPClassUID") in AS_STORED:
            del self.header.ModalityLUTSequence
            self._notes.append("its modality LUT is not applied, as is the rule for XA and XRF")
        self._frames = frame_headers(self.header, self.shape[0])
        spacing = pixel_spacing(self._frames[0])
        self._order, self.affine = place_slices(self._frames, spacing)
        self.spacing = _stack_spacing(spacing, self.affine)
        self.is_reoriented = self.affine is not None
        self.meta = {key: element_text(self.header, name) for key, name in FACTS.items()}
        self.meta |= {"notes": "", "colour_profile": ""}

    @property
    def finite(self) -> bool:
        """Whether no value can be NaN or infinite."""
        return all(map(is_finite, self._frames))

    def close(self) -> None:
        """Nothing stays open."""

    def load(self, part: Part, header_window: bool) -> tuple[Floats, bool]:
        """Decode a part of the stored (frames, rows, columns), counted in their order along the normal."""
        wanted = self._order[part[0]]
        library_notes(self._notes)
        try:
            images = [self._values(*pixels, self._frames[k], header_window) for k, pixels in self._decoded(wanted)]
        finally:
            library_notes(None)
        if self.channels == 1:
            self._notes += filter(None, [window_fault(self._frames[wanted[0]])])
        self.meta["notes"] = "; ".join(dict.fromkeys(self._notes))
        array = images[0][0][:, np.newaxis] if len(images) == 1 else np.stack([image for image, _ in images], axis=1)
        return array[:, :, part[1], part[2]], all(display for _, display in images)

    def _decoded(self, wanted: Sequence[int]) -> Iterator[tuple[int, tuple[Words, Words]]]:
        """Numbers of the frames, with their numbers and words as `decode` gives them, (rows, columns, samples)."""
        if self.syntax in PLAIN and (plain := plain_numbers(self.header, self.shape)) is not None:
            used, high = self.header.BitsStored, self.header.HighBit
            return ((k, (used_bits(plain[k], used, high)[:, :, None], plain[k][:, :, None])) for k in wanted)
        return zip(wanted, decode(self.header, self.shape, self._path, wanted, self._notes), strict=True)

    def _values(self, pixels: Words, words: Words, header: Dataset, header_window: bool) -> tuple[Floats, bool]:
        if self.channels == 3:
            plain = pixels.dtype == np.uint8 and pixels.shape[2] == 3
            if self._profiles and plain and (profile := _profile(self.header)):
                picture, self.meta["colour_profile"] = to_srgb(Image.fromarray(np.ascontiguousarray(pixels)), profile)
                pixels = np.asarray(picture)
            return colours(pixels if pixels.shape[2] == 3 else pixels[:, :, 0], header), True
        values, display = grey_values(pixels[:, :, 0], header, header_window, words[:, :, 0])
        return values[np.newaxis], display


class DicomSeries:
    """Several single-frame files of one series, stacked along their normal, as a `Source` like `DicomFile`.

    Localizers, files of another direction and copies are left out, which `meta` says under `notes`.

    Raises:
        ValueError: files of several series, sizes or kinds, multi-frame files, two slices at one place.
    """

    format = "dicom"

    def __init__(self, paths: Sequence[Path], colour_profiles: bool = True) -> None:
        files = [DicomFile(path, defer=0, colour_profiles=colour_profiles) for path in paths]
        others = other_than_slices([file.header for file in files])
        notes = [f"{paths[k].name} is left out: {kind}" for k, kind in others.items()]
        files = [file for k, file in enumerate(files) if k not in others]
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
            order = unplaced_order(headers)
        self._files = [files[k] for k in order]
        self.shape = (len(files), *first.shape[1:])
        self.channels, self.is_reoriented = first.channels, self.affine is not None
        self.spacing = _stack_spacing(pixel_spacing(first.header), self.affine)
        self._notes = notes
        self.meta = first.meta | {"instance_uid": self._files[0].meta["instance_uid"], "notes": "; ".join(notes)}

    @property
    def finite(self) -> bool:
        """Whether no value can be NaN or infinite."""
        return all(file.finite for file in self._files)

    def close(self) -> None:
        """Nothing stays open."""

    def load(self, part: Part, header_window: bool) -> tuple[Floats, bool]:
        """Decode a part of the stack, see `DicomFile.load`; files outside it are not decoded."""
        whole = (slice(0, 1), part[1], part[2])
        read = self._files[part[0]]
        images = [file.load(whole, header_window) for file in read]
        self.meta |= {
            "notes": "; ".join(dict.fromkeys([*self._notes, *(f.meta["notes"] for f in read if f.meta["notes"])])),
            "colour_profile": read[0].meta["colour_profile"],
        }
        return np.concatenate([image for image, _ in images], axis=1), all(display for _, display in images)


def is_dicom_slide(head: bytes) -> bool:
    """Whether the first KiB of a DICOM file says that it is a whole-slide image."""
    return SLIDE.search(head) is not None


def _read_header(path: Path, defer: int) -> Dataset:
    with path.open("rb") as file:
        _check_inflation(file)
        file.seek(0)
        header = read_partial(file, defer_size=defer, force=True, specific_tags=TAG_NUMBERS)
    if not header.file_meta.get("TransferSyntaxUID"):  # of before 1993, or cut off: pydicom saw by the first element
        implicit, little = header.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        header.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
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


def _check_claim(header: Dataset, shape: tuple[int, int, int], syntax: UID, size: int) -> None:
    if syntax.is_encapsulated:  # how far pixels compress nobody can say, but every frame has a head of its own
        check_claim(shape[:1], FRAME_HEAD, size)
        return
    samples = int(header.get("SamplesPerPixel") or 1)
    halved = 2 / 3 if "422" in str(header.PhotometricInterpretation) else 1  # colours of every other pixel
    bits = int(header.get("BitsAllocated") or 1) * halved
    check_claim((*shape, samples), bits, size, DEFLATED if syntax.is_deflated else 1)


def _profile(header: Dataset) -> bytes:
    """The ICC profile of the file, or of its first optical path."""
    paths = [header, *(header.get("OpticalPathSequence") or [])[:1]]
    return next((bytes(found) for path in paths if (found := path.get("ICCProfile"))), b"")


def _stack_spacing(spacing: NDArray[np.float64], affine: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Spacing of slices as they lie, which the header's own may miss."""
    if affine is not None and not np.isnan(spacing[0]):
        spacing[0] = np.linalg.norm(affine[:3, 0])
    return spacing
