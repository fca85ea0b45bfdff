"""Small pictures of what was classified, for the eye: JPEG of the image, PNG of its heat map."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["heat_png", "picture_jpeg"]

LONGEST = 256  # pixels of the longer side
QUALITY = 82
CORNER = (0.36, 0.16)  # of width and height: where scanners and viewers write names and dates


def picture_jpeg(values: NDArray[Any], mask_corners: bool = False) -> bytes:
    """Make a JPEG of at most 256 pixels a side.

    Args:
        values: image (C, H, W) or volume (C, D, H, W), of which the middle is shown; 3 channels hold 0 to 255 for the
            screen, 1 channel measured values, shown between their 1st and 99.5th percentile.
        mask_corners: paint over the corners, where text may be burnt in.
    """
    plane = values[:, values.shape[1] // 2] if values.ndim == 4 else values
    step = max(1, min(plane.shape[1:]) // (2 * LONGEST))  # enough for a good reduction, and much faster
    plane = np.asarray(plane[:, ::step, ::step], np.float32)
    image = _stretched(_small(Image.fromarray(plane[0]))) if len(plane) == 1 else _small(_colours(plane))
    if mask_corners:
        _mask(image)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def heat_png(heat: NDArray[Any]) -> bytes:
    """Make an 8-bit grey PNG of a heat map (H, W), 0 to 1."""
    file = io.BytesIO()
    Image.fromarray((np.clip(heat, 0, 1) * 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def _colours(plane: NDArray[np.float32]) -> Image.Image:
    pixels = np.empty((*plane.shape[1:], len(plane)), np.uint8)
    for i, channel in enumerate(plane):  # much faster than turning the whole array
        pixels[..., i] = np.clip(channel, 0, 255)
    return Image.fromarray(pixels)


def _small(image: Image.Image) -> Image.Image:
    image.thumbnail((LONGEST, LONGEST), Image.Resampling.BILINEAR, reducing_gap=1.0)
    return image


def _stretched(image: Image.Image) -> Image.Image:
    """Measured values as grey, after they are made small: percentiles of fewer values are found faster."""
    values = np.asarray(image)
    low, high = np.percentile(values, (1, 99.5))
    grey = (values - low) * (255 / max(float(high - low), 1e-6))
    return Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8))


def _mask(image: Image.Image) -> None:
    width, height = max(1, round(CORNER[0] * image.width)), max(1, round(CORNER[1] * image.height))
    for left in (0, image.width - width):
        for top in (0, image.height - height):
            image.paste(0, (left, top, left + width, top + height))
