"""Whole-slide images by OpenSlide (the extra `slides`): which files are slides, their tissue, tiles of them.

A tile is named by its slide and a fragment, `slide.svs#tile=x,y,span,size`: the square with its upper left corner at
x, y and `span` pixels a side, both counted in pixels of level 0, shown as `size` x `size` pixels. OpenSlide's levels
are only where the pixels are read from: the finest detail that `size` can show, shrunk with an antialiasing filter.
"""

import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from dynammo.errors import UserError
from dynammo.io.pictures import to_srgb

try:
    import openslide
except ImportError:  # an extra: every other image is read without it
    openslide = None

__all__ = ["is_slide", "read_tile", "slide_profile", "slide_thumbnail", "split_tile", "tissue_mask", "tissue_tiles"]

MARK = "#tile="
LARGEST_PICTURE = 4096  # pixels a side up to which a tiled TIFF of one level is a picture, not a slide
BLOCK = 2048  # pixels a side that are decoded at once; 16 MB
LARGEST_TILE = 4096  # pixels a side, before and after shrinking; 64 MB
# chroma of 255: glass alone or tissue alone has one mode, where Otsu would split noise
FAINTEST, MOST_VIVID = 10, 60


def is_slide(path: str | Path) -> bool:
    """Say whether OpenSlide reads the file as a whole slide, by its content.

    A tiled TIFF without a vendor's marks counts when it is a pyramid or larger than 4096 pixels a side: a small one is
    a picture. Without the extra `slides`, and for files that cannot be read, the answer is no.
    """
    if openslide is None or not os.path.isfile(path):
        return False
    try:
        vendor = openslide.OpenSlide.detect_format(path)
        if vendor != "generic-tiff":
            return vendor is not None
        with openslide.OpenSlide(path) as slide:
            return bool(slide.level_count > 1 or max(slide.dimensions) > LARGEST_PICTURE)
    except Exception:  # whatever is wrong, it is no slide that could be read; the reader of pictures says why
        return False


def tissue_tiles(
    path: str | Path, size: int = 224, mpp: float | None = None, level: int = 0, tissue: float = 0.5
) -> list[str]:
    """List the tiles of a slide that hold tissue, on a grid without overlap, row after row.

    Args:
        path: the slide.
        size: pixels a side of each tile as it will be read.
        mpp: micrometres for each of these pixels, such as 0.5 (20 x); it wins over `level`.
        level: level of the pyramid whose resolution the tiles have.
        tissue: smallest share of a tile that `tissue_mask` calls tissue, 0 (every tile) to 1.

    Returns:
        Paths with fragments, `slide.svs#tile=x,y,span,size`; the rim, where no whole tile fits, is left out.

    Raises:
        UserError: extra not installed, no such file, no slide, no such level, a slide that does not tell its
            resolution where `mpp` is given, impossible numbers.
    """
    slide = _open(path)
    if not 0 <= tissue <= 1:
        raise UserError(f"tissue is {tissue}; expected the smallest share of tissue in a tile, from 0 to 1.")
    if not 1 <= size <= LARGEST_TILE:
        raise UserError(f"size is {size}; expected 1 to {LARGEST_TILE} pixels a side of a tile.")
    span = max(1, round(size * _scale(slide, path, mpp, level)))
    mask = tissue_mask(slide_thumbnail(path))
    width, height = slide.dimensions
    corners = [(x, y) for y in range(0, height - span + 1, span) for x in range(0, width - span + 1, span)]
    kept = [corner for corner in corners if _share(mask, corner, span, (width, height)) >= tissue]
    return [f"{path}{MARK}{x},{y},{span},{size}" for x, y in kept]


def read_tile(path: str | Path, fragment: str | None = None, colour_profiles: bool = True) -> NDArray[np.float32]:
    """Read one tile of a slide.

    Args:
        path: the slide, or the slide with its fragment as `tissue_tiles` gives it.
        fragment: `tile=x,y,span,size`, with or without `#`, where `path` is the slide alone.
        colour_profiles: turn the colours to sRGB where the slide embeds their ICC profile.

    Returns:
        RGB of shape (3, size, size), 0..255; what the scanner left out is white.

    Raises:
        UserError: extra not installed, no such file, no slide, a broken one, a bad fragment, a tile that reaches out
            of the slide.
    """
    file, (x, y, span, size) = split_tile(path if fragment is None else f"{path}#{fragment.lstrip('#')}")
    slide = _open(file)
    width, height = slide.dimensions
    if x + span > width or y + span > height:
        raise UserError(
            f"the tile {x},{y},{span},{size} reaches out of {file}, which is {width} x {height} pixels; x + span may "
            f"be {width} at most and y + span {height}."
        )
    tile = _read(slide, file, (x, y), (span, span), (size, size))
    if colour_profiles:
        tile, _ = to_srgb(tile, slide_profile(file))
    return np.ascontiguousarray(np.asarray(tile, dtype=np.float32).transpose(2, 0, 1))


def slide_profile(path: str | Path) -> bytes | None:
    """The ICC profile that a slide embeds, if it does.

    Raises:
        UserError: see `read_tile`.
    """
    profile = getattr(_open(path), "color_profile", None)  # OpenSlide 4 reads it
    return None if profile is None else bytes(profile.tobytes())


def split_tile(path: str | Path) -> tuple[Path, tuple[int, int, int, int]]:
    """Take a path with fragment apart into the slide and x, y, span, size.

    Raises:
        UserError: no fragment, or not four whole numbers that name a tile.
    """
    file, mark, numbers = str(path).rpartition(MARK)
    matched = re.fullmatch(r"(\d{1,9}),(\d{1,9}),(\d{1,9}),(\d{1,9})", numbers, re.ASCII)
    if not mark or not matched:
        raise UserError(f"{path} names no tile; expected slide.svs{MARK}x,y,span,size with four whole numbers.")
    x, y, span, size = (int(number) for number in matched.groups())
    if span < 1 or not 1 <= size <= LARGEST_TILE:
        raise UserError(f"the tile {numbers} of {file} is impossible: span starts at 1, size is 1 to {LARGEST_TILE}.")
    return Path(file), (x, y, span, size)


def slide_thumbnail(path: str | Path, longest: int = 2048) -> Image.Image:
    """Draw the whole slide small, RGB over white, block by block, so that no level is ever held whole.

    Args:
        path: the slide.
        longest: pixels of the longer side; a smaller slide keeps its size.

    Raises:
        UserError: extra not installed, no such file, no slide, a broken one.
    """
    slide = _open(path)
    width, height = slide.dimensions
    shrink = max(1.0, max(width, height) / longest)
    picture = Image.new("RGB", (max(1, int(width / shrink)), max(1, int(height / shrink))), "white")
    level = slide.get_best_level_for_downsample(shrink)
    step = max(1, int(BLOCK * slide.level_downsamples[level] / shrink))
    for top in range(0, picture.height, step):
        for left in range(0, picture.width, step):
            size = min(step, picture.width - left), min(step, picture.height - top)
            corner, span = (int(left * shrink), int(top * shrink)), (int(size[0] * shrink), int(size[1] * shrink))
            picture.paste(_read(slide, path, corner, span, size), (left, top))
    return picture


def tissue_mask(thumbnail: Image.Image) -> NDArray[np.bool_]:
    """Say where stained tissue lies on a picture of a slide: what is more colourful than glass.

    Otsu's threshold on the chroma (largest minus smallest of R, G, B) after a median filter, kept between 10 and 60 of
    255. Chroma instead of HSV's saturation, which is high in the noise of black borders.

    Args:
        thumbnail: RGB over white.

    Returns:
        Shape (height, width).
    """
    pixels = np.asarray(thumbnail.convert("RGB"))
    chroma = Image.fromarray(pixels.max(axis=2) - pixels.min(axis=2)).filter(ImageFilter.MedianFilter(3))
    otsu = sitk.OtsuThresholdImageFilter()
    otsu.Execute(sitk.GetImageFromArray(np.asarray(chroma)))
    return np.asarray(np.asarray(chroma) > np.clip(otsu.GetThreshold(), FAINTEST, MOST_VIVID))


def _open(path: str | Path) -> Any:  # noqa: ANN401
    if openslide is None:
        raise UserError(f"{path} needs OpenSlide, which is not installed; type pip install 'dynammo[slides]'.")
    try:
        changed = os.stat(path).st_mtime_ns
    except OSError as error:
        raise UserError(
            f"there is no slide {path} ({error.strerror}); give the path of a whole-slide image."
        ) from error
    try:
        return _opened(str(path), changed, os.getpid())
    except openslide.OpenSlideError as error:  # the kind "unsupported" is one of them
        reason = str(error) or "of no format that OpenSlide knows"
        raise UserError(f"{path} cannot be opened as a slide: {reason}; give another copy of it.") from error


@lru_cache(maxsize=8)
def _opened(path: str, changed: int, process: int) -> Any:  # noqa: ANN401
    """One open slide for many tiles; a new one in every process, as forks share the place in a file."""
    return openslide.OpenSlide(path)


def _scale(slide: Any, path: str | Path, mpp: float | None, level: int) -> float:  # noqa: ANN401
    """Pixels of level 0 for one pixel of a tile."""
    if mpp is None:
        if not 0 <= level < slide.level_count:
            raise UserError(f"level is {level}, but {path} has the levels 0 to {slide.level_count - 1}.")
        return float(slide.level_downsamples[level])
    if not mpp > 0:
        raise UserError(f"mpp is {mpp}; expected micrometres for each pixel, such as 0.5.")
    try:
        across, down = (float(slide.properties[f"openslide.mpp-{axis}"]) for axis in "xy")
    except (KeyError, ValueError):
        raise UserError(f"{path} does not say how many micrometres its pixels have; give a level, not mpp.") from None
    return 2 * mpp / (across + down)


def _read(
    slide: Any,  # noqa: ANN401
    path: str | Path,
    corner: tuple[int, int],
    span: tuple[int, int],
    size: tuple[int, int],
) -> Image.Image:
    """Read `span` pixels of level 0 at `corner` as RGB of `size` pixels, over white."""
    level = slide.get_best_level_for_downsample(min(span[0] / size[0], span[1] / size[1]))
    shrink = slide.level_downsamples[level]
    region = max(1, round(span[0] / shrink)), max(1, round(span[1] / shrink))
    if max(region) > LARGEST_TILE:
        raise UserError(
            f"a tile of {span[0]} x {span[1]} pixels of {path} is more than {LARGEST_TILE} a side at its coarsest "
            "fitting level; ask for smaller tiles."
        )
    try:
        read = slide.read_region(corner, level, region)
    except openslide.OpenSlideError as error:
        _opened.cache_clear()  # OpenSlide refuses everything after an error
        raise UserError(f"{path} is damaged at {corner[0]},{corner[1]}: {error}; give another copy of it.") from error
    shown = Image.new("RGBA", region, "white")
    shown.alpha_composite(read)
    rgb = shown.convert("RGB")
    return rgb if region == size else rgb.resize(size, Image.Resampling.BICUBIC)


def _share(mask: NDArray[np.bool_], corner: tuple[int, int], span: int, slide: tuple[int, int]) -> float:
    """Share of tissue in the square of `span` level-0 pixels at `corner`."""
    x, y = (at * m / s for at, m, s in zip(corner, mask.shape[::-1], slide, strict=True))
    wide, high = (max(1, round(span * m / s)) for m, s in zip(mask.shape[::-1], slide, strict=True))
    return float(mask[int(y) : int(y) + high, int(x) : int(x) + wide].mean())
