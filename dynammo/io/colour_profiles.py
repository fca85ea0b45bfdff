"""Colours as their ICC profile means them, turned to sRGB by LittleCMS through Pillow."""

from functools import lru_cache
from io import BytesIO
from typing import Any

from PIL import Image, ImageCms

__all__ = ["profile_name", "to_srgb"]

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
