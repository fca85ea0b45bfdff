"""What the stored numbers of a DICOM image mean: rescale, windows, inversion, palettes, padding."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut

__all__ = ["VALUE_TAGS", "colours", "grey_values", "is_display", "is_finite", "plain_numbers"]

Floats = NDArray[np.float32]
Stored = NDArray[Any]
VALUE_TAGS = (
    "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "VOILUTSequence", "WindowCenter", "WindowWidth",
    "VOILUTFunction", "PixelPaddingValue", "PixelPaddingRangeLimit", "PresentationLUTShape",
    "RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData", "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData", "SegmentedRedPaletteColorLookupTableData",
    "SegmentedGreenPaletteColorLookupTableData", "SegmentedBluePaletteColorLookupTableData",
)  # fmt: skip
BRIGHTEST = 255.0
LARGEST_SCALE = 1e15  # of whole numbers that stay within float32 for sure
EIGHT_BITS = np.linspace(1.0, 254.0, 12)
FAR = 2.0**31  # beyond every stored value: a window gives its darkest and brightest output there


def plain_numbers(header: Dataset, shape: tuple[int, int, int]) -> Stored | None:
    """Stored numbers of an uncompressed grey image in little-endian order, in a third of the time pydicom takes.

    Returns:
        (frames, rows, columns); None for all that is not quite ordinary, which is left to pydicom.
    """
    bits, used, sign = (header.get(name) for name in ("BitsAllocated", "BitsStored", "PixelRepresentation"))
    if header.get("SamplesPerPixel") != 1 or bits not in (8, 16) or sign not in (0, 1) or "PixelData" not in header:
        return None
    content = header.PixelData or b""
    if len(content) != math.prod(shape) * bits // 8 or not isinstance(used, int) or not 1 <= used <= bits:
        return None
    stored: Stored = np.frombuffer(content, f"<{'ui'[sign]}{bits // 8}").reshape(shape)
    low, high = (-(1 << used - 1), (1 << used - 1) - 1) if sign else (0, (1 << used) - 1)
    if used == bits or (low <= stored.min() and stored.max() <= high):
        return stored
    return np.asarray(stored << (bits - used) >> (bits - used))  # the unused bits hold something else


def is_display(header: Dataset) -> bool:
    """Whether a grey image holds 8-bit values for the screen: neither rescaled nor meant to be windowed."""
    if header.get("BitsAllocated") != 8 or header.get("PixelRepresentation"):
        return False
    if header.get("ModalityLUTSequence") or header.get("VOILUTSequence") or _rescale(header) != (1.0, 0.0):
        return False
    if not _has_window(header):
        return True
    if header.get("BitsStored") != 8:
        return False
    return bool(np.abs(apply_voi_lut(EIGHT_BITS, header) - EIGHT_BITS).max() <= 2)  # a window that changes nothing


def is_finite(header: Dataset) -> bool:
    """Whether no grey value can be NaN or infinite: whole numbers, scaled moderately."""
    return "PixelData" in header and all(abs(number) < LARGEST_SCALE for number in _rescale(header))


def grey_values(stored: Stored, header: Dataset, windowed: bool) -> tuple[Floats, bool]:
    """Values of one grey frame: measured ones, or 0 to 255 through the window of the header.

    MONOCHROME1 is inverted within the range that its bits can hold, so that bright is always dense; padding takes
    the smallest value that is none.

    Args:
        stored: (H, W) as decoded.
        header: what holds for this frame.
        windowed: apply the VOI LUT or window of the header, where there is one.

    Returns:
        float32 (H, W), and whether these are values for the screen.
    """
    measured = _measured(stored, header)
    display = is_display(header)
    shown = windowed and bool(_has_window(header) or header.get("VOILUTSequence"))
    if shown:
        measured, display = _through_window(measured, header), True
    if header.PhotometricInterpretation == "MONOCHROME1":
        low, high = (0.0, BRIGHTEST) if shown else _range(stored, header)
        measured = np.float32(low + high) - measured
    return _without_padding(measured, stored, header), display


def colours(pixels: Stored, header: Dataset) -> Floats:
    """Colours of one frame as 0 to 255: (H, W) through the palette, or RGB (H, W, 3), to (3, H, W)."""
    largest = 2.0**header.BitsStored - 1
    if header.PhotometricInterpretation == "PALETTE COLOR":
        stored = np.arange(2 ** (8 * pixels.dtype.itemsize), dtype=pixels.dtype)  # pydicom is quick with one of each
        pixels = apply_color_lut(stored[np.newaxis], header)[0][pixels]
        largest = 2.0 ** (8 * pixels.dtype.itemsize) - 1
    planes = np.ascontiguousarray(np.moveaxis(pixels, -1, 0), np.float32)
    return planes if largest == BRIGHTEST else planes * np.float32(BRIGHTEST / largest)


def _measured(stored: Stored, header: Dataset) -> Floats:
    if header.get("ModalityLUTSequence"):
        return np.asarray(apply_modality_lut(stored, header), np.float32)
    slope, intercept = _rescale(header)
    if slope != 1:
        stored = np.multiply(stored, np.float32(slope), dtype=np.float32)
    if intercept != 0:
        stored = np.add(stored, np.float32(intercept), dtype=np.float32)
    return np.asarray(stored, np.float32)


def _rescale(header: Dataset) -> tuple[float, float]:
    """Slope and intercept; odd files leave one or both empty."""
    slope, intercept = header.get("RescaleSlope"), header.get("RescaleIntercept")
    return 1.0 if slope in (None, "") else float(slope), 0.0 if intercept in (None, "") else float(intercept)


def _range(stored: Stored, header: Dataset) -> tuple[float, float]:
    """Smallest and largest value that the header's bits can mean."""
    if stored.dtype.kind == "f":
        return float(np.nanmin(stored)), float(np.nanmax(stored))
    bits, signed = int(header.BitsStored), bool(header.PixelRepresentation)
    ends = np.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if signed else [0, 2**bits - 1])
    low, high = _measured(ends.astype(np.int64), header)
    return float(low), float(high)


def _has_window(header: Dataset) -> bool:
    return all(header.get(name) not in (None, "", []) for name in ("WindowCenter", "WindowWidth"))


def _through_window(measured: Floats, header: Dataset) -> Floats:
    """The window as pydicom applies it, whose output range depends on the header, scaled to 0 .. 255."""
    window: Callable[[Stored], Stored] = lambda values: apply_voi_lut(values, header)  # noqa: E731
    if header.get("VOILUTSequence"):  # a table is looked up with whole numbers
        shown, ends = window(np.rint(measured).astype(np.int32)), window(np.array([-FAR, FAR - 1]).astype(np.int32))
    else:
        with np.errstate(over="ignore"):  # a sigmoid window at its ends
            shown, ends = window(measured), window(np.array([-FAR, FAR]))
    low, high = sorted(ends.astype(np.float64).tolist())
    return np.asarray((shown - low) * (BRIGHTEST / ((high - low) or 1.0)), np.float32)


def _without_padding(values: Floats, stored: Stored, header: Dataset) -> Floats:
    padding = header.get("PixelPaddingValue")
    if padding is None or stored.dtype.kind == "f" or not isinstance(padding, int):
        return values
    limit = header.get("PixelPaddingRangeLimit")
    ends = sorted(int(np.int64(end).astype(stored.dtype)) for end in (padding, padding if limit is None else limit))
    padded = stored == ends[0] if ends[0] == ends[1] else (stored >= ends[0]) & (stored <= ends[1])
    if padded.any() and not padded.all():
        values[padded] = values.min(where=~padded, initial=np.inf)
    return values
