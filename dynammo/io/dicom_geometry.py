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

__all__ = ["GEOMETRY_TAGS", "element_text", "frame_headers", "pixel_spacing", "place_slices"]

Floats = NDArray[np.float64]
IN_PLANE = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")  # the first is in the patient
GEOMETRY_TAGS = (
    *IN_PLANE, "SliceThickness", "SpacingBetweenSlices", "ImagePositionPatient", "ImageOrientationPatient",
    "InstanceNumber", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
PER_FRAME = (
    "PixelMeasuresSequence", "PlanePositionSequence", "PlaneOrientationSequence",
    "PixelValueTransformationSequence", "FrameVOILUTSequence",
)  # fmt: skip
SAME_PLACE = 1e-2  # mm between two slices that count as one
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


def pixel_spacing(header: Dataset) -> Floats:
    """Spacing in mm of slices, rows and columns (3,); NaN where the header does not say."""
    in_plane = next((found for name in IN_PLANE if (found := _numbers(header, name, 2)) is not None), [math.nan] * 2)
    between = [_numbers(header, name, 1) for name in ("SpacingBetweenSlices", "SliceThickness")]
    slices = next((abs(found[0]) for found in between if found is not None), math.nan)
    return np.array([length if length > 0 else math.nan for length in (slices, *in_plane)])


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
    axes = _numbers(headers[0], "ImageOrientationPatient", 6)
    spacing = pixel_spacing(headers[0]) if spacing is None else spacing
    positions = [_numbers(header, "ImagePositionPatient", 3) for header in headers]
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


def _turned(header: Dataset, axes: Sequence[float]) -> bool:
    own = _numbers(header, "ImageOrientationPatient", 6)
    return own is None or not np.allclose(own, axes, atol=1e-3)


def _items(header: Dataset, name: str) -> list[Dataset]:
    return list(header.get(name) or [])


def _flat(header: Dataset, groups: Sequence[Dataset]) -> Dataset:
    flat = Dataset()
    flat.update(header)
    for group in groups:
        for name in PER_FRAME:
            for item in _items(group, name)[:1]:
                flat.update(item)
    return flat


_tag = lru_cache(Tag)  # the keyword's number; pydicom looks it up each time


def _numbers(header: Dataset, name: str, count: int) -> list[float] | None:
    """`count` finite numbers of an element, or None: odd headers hold empty strings, too few or unreadable values."""
    try:
        numbers = [float(text) for text in element_text(header, name).split("\\")]
    except ValueError:
        return None
    return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else None
