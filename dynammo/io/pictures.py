"""PNG, JPEG, WebP, BMP, GIF and JPEG 2000, read by Pillow: upright, 8 bits for the screen or more bits as measured."""

import struct
import warnings
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

__all__ = ["MOST_PIXELS", "PictureFile", "check_pixels", "profile_name", "screen_planes", "to_srgb"]

warnings.filterwarnings("ignore", module="PIL")  # about EXIF and large pictures, printed for every file

Floats = NDArray[np.float32]
Part = tuple[slice, slice, slice]
FORMATS = {"PNG": "png", "JPEG": "jpeg", "MPO": "jpeg", "WEBP": "webp", "BMP": "bmp", "DIB": "bmp", "GIF": "gif",
           "JPEG2000": "jpeg2000"}  # fmt: skip
PLUGINS = [name for name in FORMATS if name not in ("MPO", "DIB")]  # no other is tried; MPO: a JPEG and its preview
GREY, DEEP = {"1", "L", "LA", "La"}, {"F", "I"}  # modes; I;16 and the like are deep too
ORIENTATION, TURNED = 0x0112, range(5, 9)  # EXIF: the camera lay on its side
MOST_PIXELS = 178_956_970  # where Pillow refuses, too
MOST_BYTES = 8 * MOST_PIXELS  # of four channels of 16 bits
SIZ = b"\xff\x4f\xff\x51"  # a JPEG 2000 codestream begins with the size and depth of its image


class PictureFile:
    """One picture, a `Source` of `dynammo.io.image_reader`; of an animation the first frame.

    It stands upright; how fine its pixels are is not known, for its resolution is that of the paper.

    Args:
        path: the file.
        colour_profiles: turn colours to sRGB where the picture embeds their ICC profile.
        smallest: see `dynammo.io.image_reader.read_image`.

    Raises:
        ValueError: the picture is of no such format, or larger than is read.
    """

    affine = None
    is_reoriented = False

    def __init__(self, path: Path, colour_profiles: bool = True, smallest: int | None = None) -> None:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES} bytes, more than any picture that is read")
        content = path.read_bytes()  # once, whoever decodes it
        try:
            self._image = Image.open(BytesIO(content), formats=PLUGINS)
        except Image.DecompressionBombError:
            check_pixels(MOST_PIXELS + 1)
        image, self._profiles = self._image, colour_profiles
        self.format = FORMATS[str(image.format)]
        self._deep = content if _is_deep_grey(content, image) else b""
        self.channels = 1 if self._deep or image.mode in GREY or _is_deep(image.mode) else 3
        width, height = image.size[::-1] if _lies(image) else image.size
        self.shape = (1, height, width)
        self.finite = image.mode != "F"
        self.spacing = np.full(3, np.nan)
        self.meta: dict[str, Any] = {"reduced": _reduce(image, smallest)}

    def close(self) -> None:
        """Nothing stays open."""

    def load(self, part: Part, header_window: bool) -> tuple[Floats, bool]:
        """Decode the picture, a reduced one to fewer pixels than `shape`; 8 bits are for the screen."""
        if self._deep:
            pixels = _decoded(self._deep)
            image = Image.fromarray(pixels[..., 0] if pixels.ndim == 3 else pixels)
            image.info = self._image.info
        else:
            self._image.load()
            image = self._image
        ImageOps.exif_transpose(image, in_place=True)
        if self._deep or _is_deep(image.mode):
            return np.asarray(image, np.float32)[np.newaxis, np.newaxis], False
        profile = image.info.get("icc_profile") if self._profiles else None
        planes, self.meta["colour_profile"] = screen_planes(image, profile)
        return planes[:, np.newaxis], True


def check_pixels(count: int) -> None:
    """Refuse a picture that is too large.

    Raises:
        ValueError: more than 178,956,970 pixels.
    """
    if count > MOST_PIXELS:
        raise ValueError(f"it has more than {MOST_PIXELS} pixels; tile it or make it smaller")


def screen_planes(image: Image.Image, profile: bytes | None) -> tuple[Floats, str]:
    """Values for the screen.

    Args:
        image: 8 bits, of any colours; what is transparent will lie on black.
        profile: of its colours, or None.

    Returns:
        float32 (1 or 3, H, W), 0 to 255, and the name of the profile that was turned to sRGB, or nothing.
    """
    image, name = to_srgb(image, profile)
    plain = _plain(image)
    planes = np.empty((len(plain.mode), plain.height, plain.width), np.float32)
    for plane, band in zip(planes, plain.mode, strict=True):  # R, G and B, or L: half the time of turning the array
        plane[:] = np.frombuffer(plain.tobytes("raw", band), np.uint8).reshape(plane.shape)
    return planes, name


def _plain(image: Image.Image) -> Image.Image:
    """The picture as L or RGB."""
    if image.mode in ("LA", "La", "RGBA", "RGBa", "PA") or "transparency" in image.info:
        layers = image.convert("RGBA")
        flat = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), layers)
        return flat.convert("L" if image.mode in GREY else "RGB")
    return image if image.mode in ("L", "RGB") else image.convert("L" if image.mode == "1" else "RGB")


def _is_deep_grey(content: bytes, image: Image.Image) -> bool:
    """Whether a file is grey of more bits, or signed, that Pillow would cut or shift."""
    if image.format == "PNG":
        return content[24:26] == b"\x10\x04"  # 16 bits; grey and alpha
    if image.format != "JPEG2000":
        return False
    start = content.find(SIZ) + 8  # behind two markers, a length and the capabilities
    right, low, left, top, components, depth = struct.unpack_from(">IIII16xHB", content, start)
    if (right - left, low - top) != image.size:
        raise ValueError(f"its header speaks of {image.size} pixels, its data of {(right - left, low - top)}")
    if components > 2 and depth & 0x80:
        raise ValueError("a signed JPEG 2000 in colours is not read; save it as PNG")
    return components <= 2 and depth > 7 and image.mode != "P"


def _decoded(content: bytes) -> NDArray[np.float32]:
    decode = imagecodecs.png_decode if content[1:4] == b"PNG" else imagecodecs.jpeg2k_decode
    return np.asarray(decode(content), np.float32)


def _reduce(image: Image.Image, smallest: int | None) -> int:
    """Have a JPEG decoded at 1/2, 1/4 or 1/8 of its scale, the smallest that leaves `smallest` pixels a side.

    The scale has to divide both sides, as it does of most cameras' pictures: else a part of a pixel is added at the
    rim, and all others move.
    """
    sides = image.size
    scales = (s for s in (8, 4, 2) if smallest and not (sides[0] % s or sides[1] % s) and min(sides) // s >= smallest)
    scale = next(scales, 1)
    if scale > 1:
        image.draft(None, (sides[0] // scale, sides[1] // scale))  # of other formats it does nothing
    return sides[0] // image.width


def _is_deep(mode: str) -> bool:
    return mode in DEEP or mode.startswith("I;")


def _lies(image: Image.Image) -> bool:
    """Whether EXIF turns the picture by a quarter."""
    return "exif" in image.info and image.getexif().get(ORIENTATION) in TURNED


SPACES = {"RGB": ("RGB", "RGBA"), "CMYK": ("CMYK",)}  # of profiles, and the modes of pictures that they fit


def to_srgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, str]:
    """Turn a colour picture to sRGB.

    Args:
        image: RGB, RGBA, CMYK or of a palette; grey ones are left as they are.
        profile: what the file embeds, or None.

    Returns:
        The picture, and the profile's name; empty where nothing had to be turned: no profile, that of sRGB itself, one
        for other colours than the picture has, or a broken one.
    """
    if not profile:
        return image, ""
    clear = image.mode == "PA" or "transparency" in image.info
    if image.mode in ("P", "PA") or (image.mode == "RGB" and clear):
        image = image.convert("RGBA" if clear else "RGB")
    name, transform = _transform(profile, image.mode)
    return (image if transform is None else ImageCms.applyTransform(image, transform) or image), name


def profile_name(profile: bytes | None) -> str:
    """What a profile of RGB colours is called; empty for none, for sRGB itself and a broken profile."""
    return _transform(profile, "RGB")[0] if profile else ""


@lru_cache(maxsize=8)  # a folder's pictures share the profile of their camera
def _transform(profile: bytes, mode: str) -> tuple[str, Any]:
    try:
        own = ImageCms.ImageCmsProfile(BytesIO(profile))
        name = (own.profile.profile_description or "an unnamed profile").strip("\0 ")
        if mode not in SPACES.get(own.profile.xcolor_space.strip(), ()) or "srgb" in name.lower():
            return "", None
        kept = "RGBA" if mode == "RGBA" else "RGB"
        return name, ImageCms.buildTransform(own, ImageCms.createProfile("sRGB"), mode, kept)
    except (OSError, ImageCms.PyCMSError):  # viewers show such a picture as if it had no profile
        return "", None
