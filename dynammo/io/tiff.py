"""TIFF of every depth, read by tifffile: 8 bits and colours for the screen, everything deeper as measured."""

import logging
import math
import struct
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from dynammo.io.pictures import check_pixels, screen_planes

__all__ = ["TiffFile", "may_be_slide"]

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # it reports every odd tag

Floats = NDArray[np.float32]
Part = tuple[slice, slice, slice]
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, INKS, YCBCR = 0, 1, 2, 3, 5, 6  # photometric interpretations
COLOURS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, INKS: 4, YCBCR: 3}  # samples without alpha
MODES = {WHITE_IS_ZERO: ("L", "LA"), BLACK_IS_ZERO: ("L", "LA"), RGB: ("RGB", "RGBA"), PALETTE: ("RGB", "RGBA"),
         INKS: ("CMYK",), YCBCR: ("YCbCr",)}  # fmt: skip  # of Pillow, without and with alpha
UNSIGNED, SIGNED, FLOAT, UNKNOWN = 1, 2, 3, 4  # sample formats; writers of the last mean the first
KINDS = {UNSIGNED: "", SIGNED: "signed ", FLOAT: "float ", UNKNOWN: ""}
PREMULTIPLIED, ALPHA = 1, 2  # extra samples
LZW, JPEG = 5, 7  # compressions; YCbCr of the latter comes as RGB
CENTIMETRE, TURNED = 3, range(5, 9)  # values of tags: the unit of resolution, a picture that lies on its side
PAPER = {28, 38, 59, 79, 118, 236, 472}  # pixels a centimetre of 72 to 1200 dpi, which say nothing of the object
UNITS = {"mm": 1.0, "cm": 10.0, "nm": 1e-6, "um": 1e-3, "µm": 1e-3, "μm": 1e-3, "\\u00b5m": 1e-3, "micron": 1e-3,
         "microns": 1e-3, "micrometer": 1e-3, "millimeter": 1.0}  # fmt: skip
PHOTOMETRIC, ORIENTATION, TILE_WIDTH, SUBSAMPLING = 262, 274, 322, 530  # tags
INK_SET, PROFILE, NDPI = 332, 34675, 65420  # the last is Hamamatsu's, whose slides are not tiled
MOST_TAGS = 4096  # that are looked at; a TIFF has some twenty


class TiffFile:
    """A TIFF, a `Source` of `dynammo.io.image_reader`: its largest pages are frames, smaller ones copies of them.

    Frames stand upright. The spacing is known where ImageJ or a resolution in centimetres tells it.

    Args:
        path: the file.
        colour_profiles: turn colours to sRGB where the file embeds their ICC profile.

    Raises:
        ValueError: colours or values whose meaning cannot be known, more pixels than are read at once, a file that
            ends early.
    """

    format = "tiff"
    affine = None
    is_reoriented = False

    def __init__(self, path: Path, colour_profiles: bool = True) -> None:
        self._path, self._profiles = path, colour_profiles
        self._file = tifffile.TiffFile(path)
        try:
            self._pages = _largest(self._file)
            page = self._page = self._pages[0]
            self._stack = _virtual_stack(self._file, page) if len(self._pages) == 1 else None
        except Exception:
            self._file.close()
            raise
        self._orientation = page.tags.valueof(ORIENTATION, 1)
        size = page.imagelength, page.imagewidth
        count = len(self._stack) if self._stack is not None else len(self._pages) * page.imagedepth
        lies = self._orientation in TURNED
        self.shape = (count, *(size[::-1] if lies else size))
        self.channels = 1 if page.photometric <= BLACK_IS_ZERO else 3
        self.finite = page.sampleformat != FLOAT
        spacing = _spacing(self._file, page)
        self.spacing = spacing[[0, 2, 1]] if lies else spacing
        self.meta: dict[str, str] = {}

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def load(self, part: Part, header_window: bool) -> tuple[Floats, bool]:
        """Decode a part of the frames; 8 bits and colours are for the screen."""
        frames = [self._planes(number) for number in range(*part[0].indices(self.shape[0]))]
        return frames[0][:, np.newaxis] if len(frames) == 1 else np.stack(frames, axis=1), _is_screen(self._page)

    def _planes(self, number: int) -> Floats:
        """Upright float32 (C, H, W) of a frame."""
        page = self._page
        profile = page.tags.valueof(PROFILE) if self._profiles else None
        if self._stack is None and not self._file.is_bigtiff and _is_plain_lzw(page):
            with Image.open(self._path) as image:
                image.seek(self._pages[number].index)
                planes, self.meta["colour_profile"] = screen_planes(image, profile)
            return planes
        if self._stack is not None:
            stored = self._stack[number]
        else:
            at, layer = divmod(number, page.imagedepth)
            stored = _laid(self._pages[at].asarray(maxworkers=1), page)[layer]
        if _is_screen(page):
            planes, self.meta["colour_profile"] = screen_planes(_screen_image(page, stored), profile)
        else:
            planes = _measured(page, stored[..., 0])[np.newaxis]
        turned = planes.swapaxes(1, 2) if self._orientation in TURNED else planes
        rows, columns = (-1 if self._orientation in which else 1 for which in ((3, 4, 7, 8), (2, 3, 6, 7)))
        return turned[:, ::rows, ::columns]


def may_be_slide(path: Path) -> bool:
    """Whether a TIFF is stored as slides are, so that OpenSlide, which is slow to say no, has to be asked."""
    with path.open("rb") as file:
        head = file.read(16)
        order = "<" if head.startswith(b"II") else ">"
        big = b"+" in head[2:4]
        start, number, size = (head[8:], f"{order}Q", 20) if big else (head[4:8], f"{order}H", 12)
        try:
            file.seek(struct.unpack(f"{order}{'Q' if big else 'I'}", start)[0])
            count = struct.unpack(number, file.read(struct.calcsize(number)))[0]
        except (struct.error, OverflowError, OSError, ValueError):  # cut short; the reader of pictures says so
            return False
        entries = file.read(size * min(count, MOST_TAGS))
    tags = {tag for (tag,) in struct.iter_unpack(f"{order}H{size - 2}x", entries[: len(entries) // size * size])}
    return not tags.isdisjoint((TILE_WIDTH, NDPI))


def _largest(file: tifffile.TiffFile) -> list[Any]:
    """The pages that are as large and of the same kind as the first of the largest."""
    pages: list[Any] = list(file.pages)
    if not pages:
        raise ValueError("it holds no picture")
    first = max(pages, key=lambda page: page.imagelength * page.imagewidth)
    _check(first)
    check_pixels(first.imagelength * first.imagewidth)
    alike = [page for page in pages if _kind(page) == _kind(first)]
    for page in alike:
        _check_complete(page, file.filehandle.size)
    return alike


def _kind(page: Any) -> tuple[object, ...]:  # noqa: ANN401
    return (
        page.imagelength, page.imagewidth, page.imagedepth, page.samplesperpixel, page.bitspersample,
        page.sampleformat, page.photometric, page.extrasamples,
    )  # fmt: skip


def _check(page: Any) -> None:  # noqa: ANN401
    """Refuse what cannot be known: colours of no agreed range, samples that are neither colour nor alpha."""
    colours = COLOURS.get(page.photometric)
    grey, plain = page.photometric <= BLACK_IS_ZERO, page.sampleformat in (UNSIGNED, UNKNOWN)
    known = (
        colours is not None
        and PHOTOMETRIC in page.tags
        and page.dtype is not None
        and isinstance(page.bitspersample, int)
        and colours <= page.samplesperpixel
        and (page.samplesperpixel <= colours + 1 or page.photometric == RGB)
        and (not grey or page.samplesperpixel == 1 or set(page.extrasamples) & {PREMULTIPLIED, ALPHA})
        and (plain or (grey and page.sampleformat in (SIGNED, FLOAT)))
        and (page.photometric != PALETTE or page.colormap is not None)
        and page.tags.valueof(INK_SET, 1) == 1
    )
    if page.photometric == YCBCR and page.compression != JPEG:
        known = known and page.bitspersample == 8 and page.tags.valueof(SUBSAMPLING, (2, 2)) == (1, 1)
    if page.bitspersample == 24 and page.sampleformat != FLOAT:
        known = known and _unpacks_24_bits()
    if not known:
        bits, kind = page.bitspersample, KINDS.get(page.sampleformat, "complex ")
        raise ValueError(
            f"{'an' if bits == 8 else 'a'} {bits}-bit {kind}TIFF with {page.samplesperpixel} channels "
            f"({getattr(page.photometric, 'name', page.photometric)}) is not read; save it as 8-bit RGB or as grey"
        )


def _unpacks_24_bits() -> bool:
    """Whether this imagecodecs does it right: until 2025 it shifted the bytes, without a word."""
    return int(imagecodecs.packints_decode(b"\1\2\3", np.uint32, 24)[0]) == 0x010203


def _check_complete(page: Any, size: int) -> None:  # noqa: ANN401
    """Every strip and tile lies in the file: tifffile fills what does not with zeros."""
    starts, lengths = page.dataoffsets, page.databytecounts
    if not starts or len(starts) != len(lengths) or not min(starts) or not min(lengths):
        raise ValueError("some of its strips or tiles are missing")
    if max(start + length for start, length in zip(starts, lengths, strict=True)) > size:
        raise ValueError("it ends early")
    if len(starts) < math.prod(page.chunked):
        raise ValueError(f"it has {len(starts)} strips or tiles; expected {math.prod(page.chunked)}")


def _virtual_stack(file: tifffile.TiffFile, page: Any) -> NDArray[Any] | None:  # noqa: ANN401
    """All frames (N, H, W, samples) of programs that describe only the first one: ImageJ, MetaMorph, tifffile."""
    if not (file.is_imagej or page.is_shaped or page.is_stk) or page.imagedepth > 1:
        return None
    series = next(one for one in file.series if one.keyframe.offset == page.offset)  # a thumbnail is another one
    claimed = int((file.imagej_metadata or {}).get("images", 1))
    if series.size == page.size:
        if claimed > 1:
            raise ValueError(f"it speaks of {claimed} frames, but holds one")
        return None
    stack = series.asarray(out="memmap" if series.dataoffset is not None else None)
    return _laid(stack, page)


def _laid(stored: NDArray[Any], page: Any) -> NDArray[Any]:  # noqa: ANN401
    """Stored samples, whose planes may lie apart, as (frames, H, W, samples)."""
    apart, _, height, width, together = page.shaped
    planes = stored.reshape(-1, apart, page.imagedepth, height, width, together)
    return np.moveaxis(planes, 1, -2).reshape(-1, height, width, apart * together)


def _is_screen(page: Any) -> bool:  # noqa: ANN401
    return page.photometric > BLACK_IS_ZERO or (page.bitspersample <= 8 and page.sampleformat in (UNSIGNED, UNKNOWN))


def _is_plain_lzw(page: Any) -> bool:  # noqa: ANN401
    """Whether it is what most programs write: Pillow decodes it in half of imagecodecs' time."""
    return (
        page.compression == LZW
        and page.bitspersample == 8
        and page.sampleformat == UNSIGNED
        and (page.photometric, page.samplesperpixel) in ((BLACK_IS_ZERO, 1), (RGB, 3))
        and (page.planarconfig, page.imagedepth, page.tags.valueof(ORIENTATION, 1)) == (1, 1, 1)
    )


def _measured(page: Any, grey: NDArray[Any]) -> Floats:  # noqa: ANN401
    """Grey as stored, whatever is transparent; where white is zero, mirrored within the range of its type."""
    with np.errstate(over="ignore", invalid="ignore"):  # beyond float32: infinite, as `finite` says
        if page.photometric == WHITE_IS_ZERO:
            ends = {FLOAT: 0, SIGNED: -1}.get(page.sampleformat, (1 << page.bitspersample) - 1)  # lowest + highest
            grey = grey.dtype.type(ends) - grey
        return np.asarray(grey, np.float32)


def _screen_image(page: Any, stored: NDArray[Any]) -> Image.Image:  # noqa: ANN401
    """Samples (H, W, n) as a picture of 8 bits, alpha behind the colours; without alpha where it is in them already."""
    kind, colours = page.photometric, COLOURS[page.photometric]
    modes = MODES[RGB if kind == YCBCR and page.compression == JPEG else kind]
    extra = page.extrasamples[0] if page.extrasamples else ALPHA
    alpha = stored.shape[-1] > colours and extra == ALPHA and len(modes) == 2
    pixels = _eight_bits(page.bitspersample, stored[..., : colours + alpha])
    if kind == PALETTE:
        table = page.colormap.T if page.colormap.max() < 256 else page.colormap.T >> 8  # some store 8 bits in 16
        pixels = np.concatenate([table[stored[..., 0]].astype(np.uint8), pixels[..., 1:]], axis=-1)
    if kind == WHITE_IS_ZERO:
        pixels = np.concatenate([255 - pixels[..., :1], pixels[..., 1:]], axis=-1)
    return Image.frombytes(modes[alpha], pixels.shape[1::-1], pixels.tobytes())


def _eight_bits(bits: int, samples: NDArray[Any]) -> NDArray[np.uint8]:
    """The upper 8 bits of deeper samples; fewer bits spread over 0 to 255."""
    if bits == 8:
        return samples.view(np.uint8)
    if bits > 8:
        return (samples >> (bits - 8)).astype(np.uint8)
    return (samples.astype(np.uint16) * 255 // ((1 << bits) - 1)).astype(np.uint8)


def _spacing(file: tifffile.TiffFile, page: Any) -> NDArray[np.float64]:  # noqa: ANN401
    """Spacing in mm (3,) where it is sure: units of ImageJ, or centimetres that are no resolution of a printer."""
    spacing = np.full(3, np.nan)
    x, y = (page.tags.valueof(tag) for tag in ("XResolution", "YResolution"))
    if not (isinstance(x, tuple) and isinstance(y, tuple) and len(x) == len(y) == 2 and all((*x, *y))):
        return spacing
    across, down = x[0] / x[1], y[0] / y[1]  # pixels a unit
    imagej = file.imagej_metadata or {} if file.is_imagej else {}
    unit = UNITS.get(str(imagej.get("unit", "")).lower())
    if unit is not None:
        spacing[:] = float(imagej.get("spacing", np.nan)) * unit, unit / down, unit / across
    elif page.tags.valueof("ResolutionUnit") == CENTIMETRE and not {round(across), round(down)} & PAPER:
        spacing[1:] = 10 / down, 10 / across
    return np.where(np.isfinite(spacing) & (spacing > 0), spacing, np.nan)
