"""A contact sheet: a few phantoms of every class on one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .files import window

GAP = 3
LABEL = 15
COLOURS = 256  # a palette keeps the picture small enough for a repository


def draw_sheet(path: Path, sets: Sequence[Mapping[str, Sequence[np.ndarray]]]) -> None:
    """Write a contact sheet as PNG.

    Args:
        path: Where to.
        sets: For every set its classes with their pictures: RGB of shape (height, width, 3), uint8,
            or grey of shape (height, width), uint16. Sets stand side by side, classes below each other.
    """
    blocks = [draw_block(classes) for classes in sets]
    width = sum(block.width + 4 * GAP for block in blocks)
    sheet = Image.new("RGB", (width, max(block.height for block in blocks)), "white")
    left = 2 * GAP
    for block in blocks:
        sheet.paste(block, (left, 0))
        left += block.width + 4 * GAP
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


def draw_block(classes: Mapping[str, Sequence[np.ndarray]]) -> Image.Image:
    """Draw one set: a line of pictures per class under its name."""
    rows = [[Image.fromarray(to_eye(picture)) for picture in pictures] for pictures in classes.values()]
    width, height = rows[0][0].size
    block = Image.new("RGB", (len(rows[0]) * (width + GAP), len(rows) * (height + LABEL + GAP)), "white")
    pen, font = ImageDraw.Draw(block), ImageFont.load_default(11)
    for down, (name, row) in enumerate(zip(classes, rows, strict=True)):
        top = down * (height + LABEL + GAP)
        pen.text((0, top + 1), name, fill="black", font=font)
        for across, picture in enumerate(row):
            block.paste(picture, (across * (width + GAP), top + LABEL))
    return block


def to_eye(picture: np.ndarray) -> np.ndarray:
    """Turn a radiograph of 16 bits into what its window shows, uint8; leave colour as it is."""
    if picture.dtype == np.uint8:
        return picture
    centre, width = window(picture)
    shown = (picture.astype(np.float64) - centre) / width + 0.5
    return np.asarray(np.clip(shown * 255, 0, 255), dtype=np.uint8)
