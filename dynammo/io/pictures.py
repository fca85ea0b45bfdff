"""PNG, JPEG and TIFF, read by Pillow: upright, 8 bits for the screen or more bits as measured."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

__all__ = ["PictureFile", "may_be_slide"]

Floats = NDArray[np.float32]
Part = tuple[slice, slice, slice]
FORMATS = {"PNG": "png", "JPEG": "jpeg", "MPO": "jpeg", "TIFF": "tiff"}  # MPO: JPEG with a preview behind it
PLUGINS = [p.format for p in (PngImageFile, JpegImageFile, TiffImageFile)]  # no other format is tried
GREY, DEEP = {"1", "L", "LA", "La"}, {"F", "I"}  # modes; I;16 and the like are deep too
ORIENTATION, TURNED = 0x0112, range(5, 9)  # EXIF: the camera lay on its side
GREY_ALPHA = {"LA", "La"}
TILE_WIDTH, NDPI = 322, 65420  # tags of TIFF: tiled, and the format of Hamamatsu, which is not
MOST_TAGS = 4096  # that are looked at; a TIFF has some twenty


class PictureFile:
    """One picture; a TIFF whose pages have one size is a stack of them.

    Attributes:
        shape: (pages, height, width), upright.
        channels: 1 grey, 3 colour.
        affine: None.
        spacing: NaN (3,): resolution in a picture is that of the paper.
        is_reoriented: False.
        finite: whether no value can be NaN or infinite.
        meta: nothing that only pictures would know.

    Raises:
        ValueError: the picture is no PNG, JPEG or TIFF, or larger than Pillow takes.
    """

    affine = None
    is_reoriented = False

    def __init__(self, path: Path) -> None:
        try:
            self._image = Image.open(path, formats=PLUGINS)
        except Image.DecompressionBombError:
            raise ValueError(
                f"it has more than {2 * (Image.MAX_IMAGE_PIXELS or 0)} pixels; tile it or make it smaller"
            ) from None
        image = self._image
        self.format = FORMATS[str(image.format)]
        self.channels = 1 if image.mode in GREY or _is_deep(image.mode) else 3
        width, height = image.size[::-1] if _lies(image, self.format) else image.size
        self.shape = (_pages(image) if self.format == "tiff" else 1, height, width)
        self.finite = image.mode != "F"
        self.spacing = np.full(3, np.nan)
        self.meta: dict[str, str] = {}

    def close(self) -> None:
        """Close the file."""
        self._image.close()

    def load(self, part: Part, header_window: bool) -> tuple[Floats, bool]:
        """Decode a part of the pages.

        Returns:
            float32 (C, pages, H, W), and whether all are values for the screen: 8 bits.
        """
        if self.shape[0] == 1:
            planes, display = _planes(self._image)
            return planes[:, np.newaxis], display
        pages = []
        for page in range(*part[0].indices(self.shape[0])):
            self._image.seek(page)
            pages.append(_planes(self._image.copy()))
        return np.stack([planes for planes, _ in pages], axis=1), all(display for _, display in pages)


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


def _planes(image: Image.Image) -> tuple[Floats, bool]:
    """Upright pixels (C, H, W) and whether they are 8-bit ones; what is transparent lies on black."""
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    if _is_deep(image.mode):
        return np.asarray(image, np.float32)[np.newaxis], False
    plain = _plain(image)
    planes = np.empty((len(plain.mode), plain.height, plain.width), np.float32)
    for plane, band in zip(planes, plain.mode, strict=True):  # R, G and B, or L: half the time of turning the array
        plane[:] = np.frombuffer(plain.tobytes("raw", band), np.uint8).reshape(plane.shape)
    return planes, True


def _plain(image: Image.Image) -> Image.Image:
    """The picture as L or RGB."""
    if image.mode in ("L", "RGB"):
        return image if "transparency" not in image.info else _on_black(image)
    if image.mode in GREY_ALPHA or image.mode in ("RGBA", "RGBa", "PA") or "transparency" in image.info:
        return _on_black(image)
    return image.convert("L" if image.mode == "1" else "RGB")


def _on_black(image: Image.Image) -> Image.Image:
    layers = image.convert("RGBA")
    flat = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), layers)
    return flat.convert("L" if image.mode in GREY else "RGB")


def _is_deep(mode: str) -> bool:
    return mode in DEEP or mode.startswith("I;")


def _lies(image: Image.Image, kind: str) -> bool:
    """Whether EXIF turns the picture by a quarter; Pillow has done so for the size of a TIFF."""
    return kind != "tiff" and "exif" in image.info and image.getexif().get(ORIENTATION) in TURNED


def _pages(image: Any) -> int:  # noqa: ANN401
    """Pages of one size; where they differ, the first is the picture and the others are smaller copies of it."""
    size, mode, pages = image.size, image.mode, image.n_frames
    alike = True
    for page in range(1, pages):
        image.seek(page)
        alike = alike and image.size == size and image.mode == mode
    image.seek(0)
    return pages if alike else 1
