"""Every image that a clinic has, read alike: which format it is, how many frames, its values, what is wrong with it.

Nothing here needs MONAI; `dynammo.io.monai_reader` puts it into MONAI's `LoadImaged`. Axes and values: docs/images.md.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from dynammo.errors import UserError
from dynammo.io.dicom import DicomFile, DicomSeries
from dynammo.io.formats import format_or_fault, reason_of, split_fragment
from dynammo.io.itk_volumes import ItkFile
from dynammo.io.nifti import NiftiFile
from dynammo.io.orientation import AS_STORED, frame_axis, layout, reorient, reoriented_affine, stored_part
from dynammo.io.pictures import PictureFile, profile_name
from dynammo.io.slides import read_tile, slide_profile
from dynammo.io.tiff import TiffFile
from dynammo.runtime.claims import READING

__all__ = [
    "MOST_VALUES", "Frames", "Image", "Paths", "Window", "check_choices", "frame_count", "image_fault", "image_format",
    "read_frames", "read_image", "split_fragment",
]  # fmt: skip

Floats = NDArray[np.float32]
Frames = str | int
Window = str | Sequence[float] | None
Paths = str | Path | Sequence[str | Path]
MOST_VALUES = 2**28  # read at once: 1 GiB as float32, 1024 slices of 512 x 512
BRIGHTEST = 255.0
TEXTS = dict.fromkeys(("modality", "study_uid", "series_uid", "instance_uid", "colour_profile", "notes"), "")
FACTS: dict[str, Any] = TEXTS | {"original_channel_dim": 0, "reduced": 1}
WITHOUT_PROFILES: dict[str, Any] = {"nifti": NiftiFile, "nrrd": ItkFile, "metaimage": ItkFile}  # by format


@dataclass(frozen=True)
class Image:
    """What was read.

    Attributes:
        array: float32, image (C, H, W) or volume (C, D, H, W), C 1 or 3, finite.
        meta: `format`, `modality`, `frames` (in the file), `display` (whether the values are 0 to 255 for the
            screen, or measured), `spacing` (mm along the spatial axes, NaN where unknown), `affine` (4, 4) from
            indices of the spatial axes (of an image: row, column, 0) to RAS mm, `original_channel_dim` 0,
            `spatial_shape` (of the file), `reduced` (how many of its rows and columns are one), `study_uid`,
            `series_uid`, `instance_uid`, `colour_profile` (the name of the ICC profile that colours were turned from
            to sRGB, or empty), `notes` (what was odd). Never the name, number or dates of a patient.
    """

    array: Floats
    meta: dict[str, Any]


class Source(Protocol):
    """An opened file: what its header says, and a way to load a part of it.

    Attributes:
        format: its name, as in `Image.meta`.
        shape: stored lengths of the three axes, of pictures (frames, rows, columns); an image has one of 1.
        channels: 1 grey, 3 colour.
        affine: stored indices -> RAS mm; None where the place in the patient is unknown.
        spacing: mm along the stored axes (3,), NaN where unknown.
        is_reoriented: whether `affine` says how to lay it out; else it is shown as stored.
        finite: whether no value can be NaN or infinite.
        meta: what else goes into `Image.meta`; some of it is known once a part is loaded.
    """

    @property
    def format(self) -> str: ...
    @property
    def shape(self) -> tuple[int, int, int]: ...
    @property
    def channels(self) -> int: ...
    @property
    def affine(self) -> NDArray[np.float64] | None: ...
    @property
    def spacing(self) -> NDArray[np.float64]: ...
    @property
    def is_reoriented(self) -> bool: ...
    @property
    def finite(self) -> bool: ...
    @property
    def meta(self) -> dict[str, Any]: ...

    def close(self) -> None: ...
    def load(self, part: tuple[slice, slice, slice], header_window: bool) -> tuple[Floats, bool]:
        """Decode a part: float32 (C, ...), and whether all are values for the screen."""


def read_image(
    path: Paths,
    frames: Frames = "all",
    window: Window = None,
    pictures_as_rgb: bool = False,
    colour_profiles: bool = True,
    smallest: int | None = None,
) -> Image:
    """Read an image or volume.

    Args:
        path: a file, of any name; behind `#` the frames of this file (`scan.nii.gz#12`, `cine.dcm#middle`) or the
            tile of a slide (`slide.svs#tile=x,y,span,size`). Several files are the slices of one DICOM series.
        frames: `all`, `middle`, `maximum` (projection along the frames) or the number of one, from 0. Frames of a
            volume that knows its place are axial, counted from the feet; those of others as stored.
        window: how measured values become 0 to 255 for the screen: None leaves them (Hounsfield units, counts),
            `header` uses the VOI LUT or window of a DICOM image that has one, `(low, high)` clips. Values for the
            screen already (8-bit pictures) are left.
        pictures_as_rgb: give grey values for the screen as three equal channels, so that 3 channels always mean 0 to
            255 and 1 channel measured values.
        colour_profiles: turn the colours of pictures and slides to sRGB where they embed an ICC profile.
        smallest: pixels a side that are enough: a JPEG file is decoded at the smallest of 1/2, 1/4 and 1/8 of its
            scale that leaves so many and divides its sides. None for all of its pixels.

    Raises:
        UserError: no such file, no image, a damaged one, a format that is not read, more than 2^28 values at once, no
            such frame, an impossible argument.
    """
    check_choices(frames, window, smallest)
    paths = [path] if isinstance(path, str | Path) else list(path)
    try:
        return _read([str(p) for p in paths], frames, window, pictures_as_rgb, colour_profiles, smallest)
    except Exception as error:  # decoders raise many kinds; to the user each is one unreadable image
        if isinstance(error, UserError):
            raise
        name = split_fragment(paths[0])[0].name if paths else "nothing"
        raise UserError(f"{name} cannot be read: {reason_of(error)}.") from error


def read_frames(path: Paths, choose: Callable[[int, int], Iterable[int]]) -> Iterator[tuple[int, int, Image]]:
    """Read chosen frames of an image, volume or series one after the other; its headers are read once.

    Args:
        path: see `read_image`, without a fragment; no slide.
        choose: how many frames and stored channels there are -> the numbers of the frames wanted, from 0.

    Yields:
        Number of the frame, how many there are, and the frame (C, H, W): 3 channels are colours or grey for the screen.
    """
    paths = [str(path)] if isinstance(path, str | Path) else [str(p) for p in path]
    alone = Path(paths[0])
    with closing(_series(paths, True) if len(paths) > 1 else _open(alone, _format(alone))) as source:
        count = _depth(source, _orientation(source))
        for number in choose(count, source.channels):
            with READING.job():
                frame = _from_source(source, number, None, True)
            yield number, count, frame


def image_fault(path: str | Path) -> str | None:
    """Why the image at `path` cannot be read to its last pixel, without its name; None when it can."""
    try:
        _read([str(path)], profiles=False)
    except Exception as error:
        return reason_of(error)
    return None


def image_format(path: str | Path) -> str | None:
    """Tell the format by content, see `formats.format_or_fault`; None for what is no image or not there."""
    try:
        return format_or_fault(split_fragment(path)[0])[0]
    except OSError:
        return None


def frame_count(path: str | Path) -> int:
    """Count the frames of an image from its header: 1 for 2-D images and slides.

    Raises:
        UserError: see `read_image`.
    """
    file = split_fragment(path)[0]
    try:
        kind = _format(file)
        if kind == "slide":
            return 1
        with closing(_open(file, kind)) as source:
            return _depth(source, _orientation(source))
    except Exception as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{file.name} cannot be read: {reason_of(error)}.") from error


def check_choices(frames: Frames, window: Window, smallest: int | None = None) -> None:
    """Refuse impossible arguments of `read_image`.

    Raises:
        UserError: frames, window or size that mean nothing.
    """
    if smallest is not None and not (type(smallest) is int and smallest >= 1):
        raise UserError(f"smallest is {smallest!r}; expected nothing, or pixels a side from 1.")
    if frames not in ("all", "middle", "maximum") and not (type(frames) is int and frames >= 0):
        raise UserError(f"frames is {frames!r}; expected all, middle, maximum or the number of a frame, from 0.")
    if window in (None, "header"):
        return
    if isinstance(window, str) or len(window or ()) != 2 or not window[0] < window[1]:
        raise UserError(f"window is {window!r}; expected nothing, header or [low, high] with low below high.")


@READING.job()
def _read(
    paths: Sequence[str],
    frames: Frames = "all",
    window: Window = None,
    pictures_as_rgb: bool = False,
    profiles: bool = True,
    smallest: int | None = None,
) -> Image:
    if len(paths) != 1:
        return _from_source(_series(paths, profiles), frames, window, pictures_as_rgb)
    file, fragment = split_fragment(paths[0])
    kind = _format(file)
    if kind == "slide":
        return _tile(file, fragment, profiles)
    with closing(_open(file, kind, profiles, smallest)) as source:
        return _from_source(source, _frames(fragment) if fragment else frames, window, pictures_as_rgb)


def _series(paths: Sequence[str], profiles: bool) -> Source:
    files = [Path(path) for path in paths]
    others = [file.name for file in files if _format(file) != "dicom"]
    if not files or others:
        raise ValueError(f"several files are one volume only as slices of a DICOM series, but {others[:3]} are not")
    return DicomSeries(files, profiles)


def _format(file: Path) -> str:
    kind, fault = format_or_fault(file)
    if kind is None:
        raise ValueError(fault)
    return kind


def _open(file: Path, kind: str, profiles: bool = True, smallest: int | None = None) -> Source:
    if kind in WITHOUT_PROFILES:
        return cast(Source, WITHOUT_PROFILES[kind](file))
    if kind == "dicom":
        return DicomFile(file, colour_profiles=profiles)
    return TiffFile(file, profiles) if kind == "tiff" else PictureFile(file, profiles, smallest)


def _tile(file: Path, fragment: str, profiles: bool) -> Image:
    if not fragment.startswith("tile="):
        raise ValueError(f"it is a whole slide; name a tile of it, {file.name}#tile=x,y,span,size")
    tile, name = read_tile(file, fragment, profiles), profile_name(slide_profile(file)) if profiles else ""
    facts = {"format": "slide", "frames": 1, "display": True, "colour_profile": name}
    place = {"spacing": np.full(2, np.nan), "affine": np.eye(4), "spatial_shape": np.array(tile.shape[1:])}
    return Image(tile, FACTS | facts | place)


def _frames(fragment: str) -> Frames:
    if fragment.isascii() and fragment.isdigit():
        return int(fragment)
    check_choices(fragment, None)
    return fragment


def _orientation(source: Source) -> NDArray[np.float64]:
    if source.is_reoriented and source.affine is not None:
        return layout(source.affine, source.shape)
    return AS_STORED


def _depth(source: Source, orientation: NDArray[np.float64]) -> int:
    return source.shape[frame_axis(orientation)]


def _from_source(source: Source, frames: Frames, window: Window, pictures_as_rgb: bool) -> Image:
    orientation = _orientation(source)
    count = _depth(source, orientation)
    frame = _chosen(frames, count)
    part = stored_part(orientation, source.shape, frame)
    _check_size(source, part)
    stored, display = source.load(part, window == "header")
    if not (display or source.finite):
        stored = _finite(stored)  # before the projection, so that it ignores NaN
    array = reorient(stored, orientation)
    if count == 1 or frame is not None:
        array = array[:, 0]
    elif frames == "maximum":
        array = array.max(1)
    array = np.ascontiguousarray(array)
    if not display and window not in (None, "header"):
        array, display = _clipped(array, window), True  # type: ignore[arg-type]
    if pictures_as_rgb and display and len(array) == 1:
        array = np.repeat(array, 3, axis=0)
    return Image(array, _meta(source, array.ndim - 1, orientation, frame, display))


def _chosen(frames: Frames, count: int) -> int | None:
    """Number of the one frame that is wanted; None asks for all."""
    if frames == "middle":
        return count // 2
    if isinstance(frames, str):
        return 0 if count == 1 else None
    if frames >= count:
        raise ValueError(f"frame {frames} is asked for, but it has {count}, counted from 0")
    return frames


def _check_size(source: Source, part: tuple[slice, slice, slice]) -> None:
    sizes = [s.stop - s.start for s in part]
    values = source.channels * math.prod(sizes)
    if values > MOST_VALUES:
        raise ValueError(
            f"{' x '.join(map(str, sizes))} pixels of {source.channels} channels are more than the {MOST_VALUES} "
            "values that are read at once; choose single frames (#middle, #12), tile it or make it smaller"
        )
    READING.claim(values)


def _finite(array: Floats) -> Floats:
    """NaN and minus infinity become the smallest finite value, infinity the largest."""
    with np.errstate(over="ignore", invalid="ignore"):
        if math.isfinite(np.dot(array.ravel(), array.ravel())):  # cheaper than a mask: NaN and infinity spread
            return array
    finite = np.isfinite(array)
    if not finite.any():
        raise ValueError("all its values are NaN or infinite")
    low, high = float(array[finite].min()), float(array[finite].max())
    return np.nan_to_num(array, nan=low, neginf=low, posinf=high)


def _clipped(array: Floats, window: Sequence[float]) -> Floats:
    low, high = window
    return ((np.clip(array, low, high) - low) / (high - low) * BRIGHTEST).astype(np.float32)


def _meta(
    source: Source, dimensions: int, orientation: NDArray[np.float64], frame: int | None, display: bool
) -> dict[str, Any]:
    stored = np.argsort(orientation[:, 0])  # axes of frames, rows, columns
    facts = FACTS | source.meta | {"format": source.format, "frames": _depth(source, orientation), "display": display}
    spacing, shape = source.spacing[stored], np.array(source.shape)[stored]
    if source.affine is None:
        steps = (1, facts["reduced"], facts["reduced"])
        affine = np.diag([*np.where(np.isnan(spacing), steps, spacing), 1.0])
    else:
        affine = reoriented_affine(source.affine, orientation, source.shape, frame)
    if dimensions == 2:
        spacing, affine, shape = spacing[1:], affine[:, [1, 2, 0, 3]], shape[1:]
    return facts | {"spacing": spacing, "affine": affine, "spatial_shape": shape}
