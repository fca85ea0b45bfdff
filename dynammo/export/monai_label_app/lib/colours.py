"""DICOM colours that pydicom 2, which MONAI Label needs, leaves as stored: YBR and palettes become an RGB picture."""

import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from PIL import Image
from pydicom.pixel_data_handlers.util import apply_color_lut, convert_color_space

__all__ = ["readable"]

# pydicom's warnings quote values of the header, which may name a patient
warnings.filterwarnings("ignore", category=UserWarning, module=r"pydicom\b")
logging.getLogger("pydicom").setLevel(logging.CRITICAL)

PREAMBLE, MAGIC = 128, b"DICM"
HEADER = ["PhotometricInterpretation", "SamplesPerPixel"]


@contextmanager
def readable(path: Path) -> Iterator[Path]:
    """Give a file with the same image that MONAI's readers read right: `path` itself but for such colours."""
    if _photometric(path) not in ("PALETTE COLOR", "YBR_FULL", "YBR_FULL_422"):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder, "image.png")
        Image.fromarray(_as_rgb(pydicom.dcmread(path))).save(picture)
        yield picture


def _photometric(path: Path) -> str:
    """What the stored numbers of a DICOM image mean; empty for other files."""
    with path.open("rb") as file:
        file.seek(PREAMBLE)
        if file.read(len(MAGIC)) != MAGIC:
            return ""
    return str(pydicom.dcmread(path, stop_before_pixels=True, specific_tags=HEADER).get(HEADER[0], ""))


def _as_rgb(image: Any) -> "np.ndarray[Any, np.dtype[np.uint8]]":  # noqa: ANN401
    """The middle frame as (H, W, 3)."""
    pixels = image.pixel_array
    stored = image.PhotometricInterpretation  # decoders that convert colours by themselves have changed it
    frames = pixels.reshape(-1, image.Rows, image.Columns, image.SamplesPerPixel)
    frame = frames[len(frames) // 2]
    if stored == "PALETTE COLOR":
        coloured = apply_color_lut(frame[..., 0], image)
        return np.asarray(np.rint(coloured / 257) if coloured.dtype == np.uint16 else coloured, np.uint8)
    return np.asarray(convert_color_space(frame, stored, "RGB"), np.uint8)
