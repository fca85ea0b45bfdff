"""Where the pixels of a DICOM image lie: spacing, order of slices, affine."""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import Tag

__all__ = [
    "GEOMETRY_TAGS",
    "element_numbers",
    "element_text",
    "frame_headers",
    "other_than_slices",
    "pixel_spacing",
    "place_slices",
    "unplaced_order",
]

Floats = NDArray[np.float64]
IN_PLANE = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")  # the first is in the patient
GEOMETRY_TAGS = (
    *IN_PLANE, "SliceThickness", "SpacingBetweenSlices", "ImagePositionPatient", "ImageOrientationPatient",
    "InstanceNumber", "ImageType", "SOPInstanceUID", "SequenceOfUltrasoundRegions",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
PER_FRAME = (
    "PixelMeasuresSequence", "PlanePositionSequence", "PlaneOrientationSequence",
    "PixelValueTransformationSequence", "FrameVOILUTSequence",
)  # fmt: skip
SAME_PLACE = 1e-2  # mm between two slices that count as one
ALIKE, TURN = 1e-3, 2e-2  # of directions that count as one, and from which a slice is none of the others
SKEWED = 0.1  # by which directions may miss the right angle and the length 1
CENTIMETRES = 3  # unit of an ultrasound region; its other kinds are times, speeds and the like
TO_RAS = np.array([[-1.0], [-1.0], [1.0]])  # DICOM counts to the left and to the back
TEXT = {"CS", "DS", "IS", "UI", None}  # kinds of elements that are plain ASCII; None: the file leaves the kind out


def frame_headers(header: Dataset, frames: int) -> list[Dataset]:
    """What holds for each frame: the header's own values, overlaid by those of its functional groups."""
    shared = _items(header, "SharedFunctionalGroupsSequence")[:1]
    own = _items(header, "PerFrameFunctionalGroupsSequence")
    if not shared and not own:
        return [header] * frames
    return [_flat(header, [*shared, *own[k : k + 1]]) for k in range(frames)]


def element_text(header: Dataset, name: str) -> str:
    """An element as text, several values with backslashes between them; empty where the header lacks it.

    Only for elements that hold text by the standard: it is taken as stored, as pydicom's conversion takes ten times
    as long.
    """
    tag = _tag(name)
    element = header.get_item(tag)
    if element is None:
        return ""
    if isinstance(element, RawDataElement):
        if element.VR in TEXT and isinstance(element.value, bytes):
            return element.value.decode("ascii", "replace").strip(" \0")
        element = header[tag]
    values = element.value if isinstance(element.value, MultiValue | list) else [element.value]
    return "\\".join("" if value is None else str(value) for value in values)


def element_numbers(header: Dataset, name: str, count: int) -> tuple[float, ...] | None:
    """`count` finite numbers of an element, or None: odd headers hold empty strings, too few or unreadable values."""
    try:
        numbers = tuple(float(text) for text in element_text(header, name).split("\\"))
    except ValueError:
        return None
    return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else None


def pixel_spacing(header: Dataset) -> Floats:
    """Spacing in mm of slices, rows and columns (3,); NaN where the header does not say."""
    found = (element_numbers(header, name, 2) for name in IN_PLANE)
    in_plane = next((lengths for lengths in found if lengths is not None), None) or _region_spacing(header)
    between = [element_numbers(header, name, 1) for name in ("SpacingBetweenSlices", "SliceThickness")]
    slices = next((abs(found[0]) for found in between if found is not None), math.nan)
    return np.array([length if length > 0 else math.nan for length in (slices, *in_plane)])


def _region_spacing(header: Dataset) -> list[float]:
    """Of an ultrasound image that is all of one scale: each region is a picture in centimetres, of equal deltas.

    Regions that end beyond the image are those of another size that it once had.
    """
    regions = _items(header, "SequenceOfUltrasoundRegions")
    for end, length in (("RegionLocationMaxX1", "Columns"), ("RegionLocationMaxY1", "Rows")):
        if any((region.get(end) or 0) > (header.get(length) or 0) for region in regions):
            return [math.nan] * 2
    scales = {
        tuple(region.get(f"PhysicalDelta{axis}") for axis in "YX")
        if all(region.get(f"PhysicalUnits{axis}Direction") == CENTIMETRES for axis in "YX")
        else None
        for region in regions
    }
    scale = scales.pop() if len(scales) == 1 else None
    return [math.nan] * 2 if scale is None or None in scale else [10 * abs(float(length)) for length in scale]


def other_than_slices(headers: Sequence[Dataset]) -> dict[int, str]:
    """Number and kind of the files of a series that are no slices of its volume.

    These are copies (of one SOPInstanceUID), localizers (by ImageType, unless all are) and what does not lie in the
    direction that most share.
    """
    uids = [element_text(header, "SOPInstanceUID") or k for k, header in enumerate(headers)]
    found = {k: "a copy of a slice" for k, uid in enumerate(uids) if uids.index(uid) < k}
    scouts = {k for k, header in enumerate(headers) if "LOCALIZER" in element_text(header, "ImageType").upper()}
    if len(scouts | found.keys()) < len(headers):
        found = dict.fromkeys(scouts, "a localizer") | found
    axes = {k: own for k, header in enumerate(headers) if k not in found and (own := _axes(header)) is not None}
    if axes:
        turned = np.abs(np.array(list(axes.values())) - np.median(list(axes.values()), axis=0)).max(1) > TURN
        if 2 * turned.sum() < len(axes):
            found |= {k: "of another direction" for k, is_turned in zip(axes, turned, strict=True) if is_turned}
    return found


def unplaced_order(headers: Sequence[Dataset]) -> list[int]:
    """Order of the files of a series without a known place: by position, as far as they have one, then by number.

    Raises:
        ValueError: slices that say where they lie, yet do not stand beside each other.
    """
    axes = [_axes(header) for header in headers]
    positions = [element_numbers(header, "ImagePositionPatient", 3) for header in headers]
    numbers = [(element_numbers(header, "InstanceNumber", 1) or (math.inf,))[0] for header in headers]
    heights, apart = np.zeros(len(headers)), False
    if None not in positions:
        places, first = np.array(positions), axes[0]
        heights = places[:, np.ptp(places, axis=0).argmax()] if first is None else places @ _normal(first)
        alike = first is not None and not any(_turned(header, first) for header in headers)
        apart = alike and np.diff(np.sort(heights)).min(initial=math.inf) >= SAME_PLACE
    if not apart and any(axes) and any(positions):
        raise ValueError(
            f"{len(headers)} slices do not stand beside each other: two lie at one place, or they are turned or lack "
            "a place; give the slices of one phase, one volume at a time"
        )
    return sorted(range(len(headers)), key=lambda k: (heights[k], numbers[k]))


def place_slices(headers: Sequence[Dataset], spacing: Floats | None = None) -> tuple[list[int], Floats | None]:
    """Order of parallel slices along their normal, and the affine of their stack.

    Args:
        headers: one for each slice.
        spacing: `pixel_spacing` of the first, where it is known already.

    Returns:
        Stored number of each slice in that order, and the affine (slice, row, column) -> RAS mm. The stored order
        and None where the header leaves the place open, or where two slices lie at one place, as those of a film do.
    """
    unplaced = list(range(len(headers))), None
    axes = _axes(headers[0])
    spacing = pixel_spacing(headers[0]) if spacing is None else spacing
    positions = [element_numbers(header, "ImagePositionPatient", 3) for header in headers]
    if axes is None or np.isnan(spacing[1:]).any() or any(position is None for position in positions):
        return unplaced
    if any(_turned(header, axes) for header in headers[1:]):
        return unplaced
    along_row, along_column = np.array(axes[:3]), np.array(axes[3:])
    normal = _normal(axes)
    places = np.array(positions)
    heights = places @ normal
    order = np.argsort(heights, kind="stable")
    if len(headers) > 1 and np.diff(heights[order]).min() < SAME_PLACE:
        return unplaced
    first, last = places[order[0]], places[order[-1]]
    thickness = 1.0 if math.isnan(spacing[0]) else spacing[0]
    step = (last - first) / (len(headers) - 1) if len(headers) > 1 else normal * thickness
    affine = np.eye(4)
    affine[:3] = TO_RAS * np.array([step, along_column * spacing[1], along_row * spacing[2], first]).T
    return order.tolist(), affine


def _normal(axes: Sequence[float]) -> Floats:
    """Cross product of the directions of rows and columns; numpy's own takes longer than the rest of the header."""
    (a, b, c), (d, e, f) = axes[:3], axes[3:]
    return np.array([b * f - c * e, c * d - a * f, a * e - b * d])


def _axes(header: Dataset) -> tuple[float, ...] | None:
    """Directions of rows and columns; None where they are missing, zero, parallel or no directions at all."""
    axes = element_numbers(header, "ImageOrientationPatient", 6)
    if axes is None:
        return None
    along_row, along_column = axes[:3], axes[3:]
    skew = abs(sum(a * b for a, b in zip(along_row, along_column, strict=True)))
    return axes if max(skew, *(abs(math.hypot(*one) - 1) for one in (along_row, along_column))) < SKEWED else None


def _turned(header: Dataset, axes: Sequence[float]) -> bool:
    own = _axes(header)
    return own is None or not np.allclose(own, axes, atol=ALIKE)


def _items(header: Dataset, name: str) -> list[Dataset]:
    return list(header.get(name) or [])


def _flat(header: Dataset, groups: Sequence[Dataset]) -> Dataset:
    flat = Dataset()
    flat.update(header)
    flat.file_meta = getattr(header, "file_meta", None)  # the order of bytes in tables
    for group in groups:
        for name in PER_FRAME:
            for item in _items(group, name)[:1]:
                flat.update(item)
    return flat


_tag = lru_cache(Tag)  # the keyword's number; pydicom looks it up each time
