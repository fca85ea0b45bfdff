"""What the stored numbers of a DICOM image mean: bits, rescale, tables, windows, inversion, palettes, padding."""

import math
from dataclasses import dataclass
from struct import unpack
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import apply_windowing
from pydicom.pixels.processing import _expand_segmented_lut
from pydicom.uid import ExplicitVRBigEndian

from dynammo.io.dicom_geometry import element_text

__all__ = [
    "VALUE_TAGS",
    "colours",
    "grey_values",
    "is_display",
    "is_finite",
    "plain_numbers",
    "used_bits",
    "window_fault",
]

Floats = NDArray[np.float32]
Stored = NDArray[Any]
COLOURS = ("Red", "Green", "Blue")
VALUE_TAGS = (
    "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "VOILUTSequence", "WindowCenter", "WindowWidth",
    "VOILUTFunction", "PixelPaddingValue", "PixelPaddingRangeLimit",
    *(f"{colour}PaletteColorLookupTableDescriptor" for colour in COLOURS),
    *(f"{kind}{colour}PaletteColorLookupTableData" for colour in COLOURS for kind in ("", "Segmented")),
)  # fmt: skip
BRIGHTEST = 255.0
LARGEST_SCALE = 1e15  # of whole numbers that stay within float32 for sure
EIGHT_BITS = np.linspace(1.0, 254.0, 12)
NARROWEST = {"LINEAR": 1.0, "LINEAR_EXACT": math.ulp(0.0), "SIGMOID": math.ulp(0.0)}  # windows, by their function


@dataclass(frozen=True)
class _Table:
    """A lookup table: its `entries` stand for the stored values from `first` on; the ends go on beyond."""

    first: int
    entries: Stored
    largest: float  # what stands for full brightness

    def __call__(self, stored: Stored) -> Stored:
        wide = stored.astype(np.int64 if stored.dtype.itemsize > 2 else np.int32)
        return np.asarray(self.entries[np.clip(wide - self.first, 0, len(self.entries) - 1)])


def plain_numbers(header: Dataset, shape: tuple[int, int, int]) -> Stored | None:
    """Words of an uncompressed grey image in little-endian order, in a third of the time pydicom takes.

    Returns:
        (frames, rows, columns); None for all that is not quite ordinary, which is left to pydicom.
    """
    bits, sign = header.get("BitsAllocated"), header.get("PixelRepresentation")
    if header.get("SamplesPerPixel") != 1 or bits not in (8, 16) or sign not in (0, 1) or "PixelData" not in header:
        return None
    content = header.PixelData or b""
    if len(content) != math.prod(shape) * bits // 8:
        return None
    return np.frombuffer(content, f"<{'ui'[sign]}{bits // 8}").reshape(shape)


def used_bits(words: Stored, used: int, high: int) -> Stored:
    """Numbers of `used` bits, of which `high` is the uppermost, out of the words that hold them."""
    bits = 8 * words.dtype.itemsize
    if words.dtype.kind == "f" or used >= bits:
        return words
    low, top = (-(1 << used - 1), (1 << used - 1) - 1) if words.dtype.kind == "i" else (0, (1 << used) - 1)
    if high == used - 1 and low <= words.min() and words.max() <= top:
        return words
    return np.asarray(words << (bits - 1 - high) >> (bits - used))  # the other bits hold something else


def is_display(header: Dataset) -> bool:
    """Whether a grey image holds 8-bit values for the screen: neither rescaled nor meant to be windowed."""
    if header.get("BitsAllocated") != 8 or header.get("PixelRepresentation"):
        return False
    if any(_table(header, f"{kind}LUTSequence") for kind in ("Modality", "VOI")) or _rescale(header) != (1.0, 0.0):
        return False
    window = _window(header)
    if window is None:
        return True
    if header.get("BitsStored") != 8:
        return False
    return bool(np.abs(apply_windowing(EIGHT_BITS, window) - EIGHT_BITS).max() <= 2)  # a window that changes nothing


def is_finite(header: Dataset) -> bool:
    """Whether no grey value can be NaN or infinite: whole numbers, scaled moderately."""
    return "PixelData" in header and all(abs(number) < LARGEST_SCALE for number in _rescale(header))


def window_fault(header: Dataset) -> str:
    """Why the window of a header cannot be applied, for a person; empty where it can or there is none."""
    texts = [element_text(header, name) for name in ("WindowCenter", "WindowWidth", "VOILUTFunction")]
    if not all(texts[:2]) or _window(header) is not None:
        return ""
    return f"its window is ignored: center {texts[0]}, width {texts[1]}, function {texts[2] or 'LINEAR'}"


def grey_values(stored: Stored, header: Dataset, windowed: bool, words: Stored | None = None) -> tuple[Floats, bool]:
    """Values of one grey frame: measured ones, or 0 to 255 through the window of the header.

    MONOCHROME1 is inverted within the range that its bits can hold, so that bright is always dense; padding takes
    the smallest value that is none.

    Args:
        stored: (H, W) as decoded.
        header: what holds for this frame.
        windowed: apply the VOI LUT or window of the header, where there is one.
        words: (H, W) with the bits that `stored` leaves out, where padding may stand.

    Returns:
        float32 (H, W), and whether these are values for the screen.
    """
    measured = _measured(stored, header)
    shown = _through_window(measured, header) if windowed else None
    display = shown is not None or is_display(header)
    values = measured if shown is None else shown
    if header.PhotometricInterpretation == "MONOCHROME1":
        low, high = _range(stored, header) if shown is None else (0.0, BRIGHTEST)
        values = np.float32(low + high) - values
    return _without_padding(values, stored, header, stored if words is None else words), display


def colours(pixels: Stored, header: Dataset) -> Floats:
    """Colours of one frame as 0 to 255: (H, W) through the palette, or RGB (H, W, 3), to (3, H, W)."""
    if header.PhotometricInterpretation == "PALETTE COLOR":
        return _through_palette(pixels, header)
    planes = np.ascontiguousarray(np.moveaxis(pixels, -1, 0), np.float32)
    largest = 2.0**header.BitsStored - 1
    return planes if largest == BRIGHTEST else planes * np.float32(BRIGHTEST / largest)


def _measured(stored: Stored, header: Dataset) -> Floats:
    table = _table(header, "ModalityLUTSequence")
    if table is not None:
        return np.asarray(table(stored), np.float32)
    slope, intercept = _rescale(header)
    if slope != 1:
        stored = np.multiply(stored, np.float32(slope), dtype=np.float32)
    if intercept != 0:
        stored = np.add(stored, np.float32(intercept), dtype=np.float32)
    return np.asarray(stored, np.float32)


def _rescale(header: Dataset) -> tuple[float, float]:
    """Slope and intercept; odd files leave one or both empty."""
    found = {}
    for name, default in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0)):
        text = element_text(header, name) if name in header else ""
        try:
            found[name] = float(text) if text else default
        except ValueError:
            raise ValueError(f"its {name} is no number") from None
    return found["RescaleSlope"], found["RescaleIntercept"]


def _range(stored: Stored, header: Dataset) -> tuple[float, float]:
    """Smallest and largest value that the header's bits can mean."""
    if stored.dtype.kind == "f":
        return float(np.nanmin(stored)), float(np.nanmax(stored))
    bits, signed = int(header.BitsStored), bool(header.PixelRepresentation)
    ends = np.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if signed else [0, 2**bits - 1])
    low, high = _measured(ends.astype(np.int64), header)
    return float(low), float(high)


def _window(header: Dataset) -> Dataset | None:
    """The first window as pydicom applies it to values, to 0 .. 255; None where there is none that can be applied."""
    if "WindowWidth" not in header or "WindowCenter" not in header:
        return None
    function = element_text(header, "VOILUTFunction").upper() or "LINEAR"
    try:
        center, width = (float(element_text(header, f"Window{end}").split("\\")[0]) for end in ("Center", "Width"))
    except ValueError:
        return None
    if not (math.isfinite(center) and math.isfinite(width) and width >= NARROWEST.get(function, math.inf)):
        return None
    window = Dataset()
    window.WindowCenter, window.WindowWidth, window.VOILUTFunction = center, width, function
    window.PhotometricInterpretation, window.BitsStored, window.PixelRepresentation = "MONOCHROME2", 8, 0
    return window


def _through_window(measured: Floats, header: Dataset) -> Floats | None:
    """Values for the screen by the VOI LUT, else by the window; None without."""
    table = _table(header, "VOILUTSequence")
    if table is not None:  # looked up with whole numbers
        return np.asarray(table(np.rint(measured).astype(np.int64)) * (BRIGHTEST / table.largest), np.float32)
    window = _window(header)
    if window is None:
        return None
    with np.errstate(over="ignore"):  # a sigmoid window at its ends
        return np.asarray(apply_windowing(measured, window), np.float32)


def _through_palette(stored: Stored, header: Dataset) -> Floats:
    tables = []
    for colour in COLOURS:
        name = f"{colour}PaletteColorLookupTable"
        descriptor, data = _descriptor(header, f"{name}Descriptor"), header.get(f"{name}Data")
        if data is None and descriptor and (segments := header.get(f"Segmented{name}Data")):
            form = f"{_order(header)}{len(segments) // (2 - (descriptor[2] == 8))}{'HB'[descriptor[2] == 8]}"
            data = _expand_segmented_lut(unpack(form, segments), form)
        if not descriptor or not data:
            raise ValueError(f"its header lacks {name}Data or its descriptor")
        tables.append(_read_table(descriptor, data, header))
    largest = max(table.largest for table in tables)
    planes = np.stack([table(stored) for table in tables]).astype(np.float32)
    return planes if largest == BRIGHTEST else planes * np.float32(BRIGHTEST / largest)


def _table(header: Dataset, sequence: str) -> _Table | None:
    """The table of a LUT sequence; None where it is missing or empty."""
    item = next(iter(header.get(sequence) or []), Dataset())
    descriptor, data = _descriptor(item, "LUTDescriptor"), item.get("LUTData")
    return _read_table(descriptor, data, header) if descriptor and data not in (None, b"", []) else None


def _descriptor(item: Dataset, name: str) -> list[int]:
    """Number of entries, first stored value, bits of an entry; empty where the item lacks them."""
    found = item.get(name)
    numbers = np.frombuffer(found, "<u2").tolist() if isinstance(found, bytes) else list(found or [])
    if numbers and (len(numbers) != 3 or not 1 <= numbers[2] <= 16):
        raise ValueError(f"its {name} is {numbers}; expected entries, first value and bits from 1 to 16")
    return numbers


def _read_table(descriptor: list[int], data: bytes | int | list[int], header: Dataset) -> _Table:
    """Entries as the file packs them: words, or bytes whatever the element is declared as.

    pydicom takes words for granted, or casts what is looked up to the type of the entries, so that a table of more
    than 256 entries of 8 bits wraps.
    """
    count, first, bits = (descriptor[0] % 2**16) or 2**16, descriptor[1], descriptor[2]
    if first >= 2**15 and header.get("PixelRepresentation") == 1:
        first -= 2**16  # declared as unsigned
    if isinstance(data, bytes):
        data = np.frombuffer(data + bytes(len(data) % 2), f"{_order(header)}u2").tolist()
    words = np.atleast_1d(np.array(data)).astype("<u2")
    entries = (words if len(words) >= count or bits > 8 else words.view(np.uint8))[:count]
    if len(entries) < count:
        raise ValueError(f"a lookup table of it holds {len(words)} words, too few for {count} entries of {bits} bits")
    largest, top = 2.0**bits - 1, int(entries.max())
    if top > largest or (bits == 16 and top <= BRIGHTEST):  # other words than the descriptor says
        largest = BRIGHTEST if top <= BRIGHTEST else 2.0**16 - 1
    return _Table(first, entries, largest)


def _order(header: Dataset) -> str:
    meta = getattr(header, "file_meta", None)
    return ">" if meta is not None and meta.get("TransferSyntaxUID") == ExplicitVRBigEndian else "<"


def _without_padding(values: Floats, stored: Stored, header: Dataset, words: Stored) -> Floats:
    padding, limit = header.get("PixelPaddingValue"), header.get("PixelPaddingRangeLimit")
    if stored.dtype.kind == "f" or not isinstance(padding, int):
        return values
    ends = sorted(int(np.int64(end).astype(words.dtype)) for end in {padding, limit} if isinstance(end, int))
    signed = stored.dtype.kind == "i"
    low = -(1 << header.BitsStored - 1) if signed else 0
    if not low <= ends[0] <= ends[-1] < low + (1 << header.BitsStored):
        stored = words  # it uses bits beyond those of the values
    padded = stored == ends[0] if ends[0] == ends[-1] else (stored >= ends[0]) & (stored <= ends[-1])
    if padded.any() and not padded.all():
        values[padded] = values.min(where=~padded, initial=np.inf)
    return values
