"""Slices of an item and its measured values, small enough to lie in a page: what a viewer in the browser shows."""

import base64
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynammo.inference.classifier import StudyClassifier
from dynammo.inference.visualisation import LONGEST, corners, jpeg, reduced, shown_range
from dynammo.io.image_reader import read_frames
from dynammo.io.studies import Study

__all__ = ["MEGABYTES", "Viewers", "is_viewer", "make_viewers", "viewer_of"]

MEGABYTES = 25.0  # of all viewers of a page
MOST_SLICES = 32
MANY, LONGEST_OF_MANY = 8, 192  # from so many slices each has fewer pixels
LEVELS = 2**16 - 1  # of measured values
FEW = 1000  # steps of 1 are enough from so many on, as of Hounsfield units
AIR, NEAR, SOME = 1000, 100, 0.01  # minus Hounsfield units; a share of the values
MOST_BYTES = 2**29  # of a single file: one that is compressed may be read from its start for each slice
PLACES = {"numbers": list, "count": int, "start": int, "home": int | None}
PICTURES = {"jpegs": list}
VALUES = {
    "width": int, "height": int, "low": int | float, "high": int | float, "step": int | float, "inner": list,
    "hounsfield": bool, "window": list, "values": str,
}  # fmt: skip
FORMATS = ("dicom", "nifti", "nrrd", "metaimage")  # others are pictures for the screen already


@dataclass(frozen=True)
class Viewers:
    """Viewers of a page.

    Attributes:
        shown: what `viewer_of` gave, by the name of the study.
        left_out: names of those that were not looked at, since the others fill the page.
        megabytes: how much may lie in the page.
    """

    shown: dict[str, dict[str, Any]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    megabytes: float = MEGABYTES


def make_viewers(
    studies: Sequence[Study],
    items: Sequence[Mapping[str, Any]],
    classifier: StudyClassifier,
    exchanged: Callable[[str], bool],
    megabytes: float = MEGABYTES,
) -> Viewers:
    """Viewers of what was classified, of flagged items first, until the page is full.

    Args:
        studies: where the files are.
        items: results of the studies, which have their names as `path`.
        classifier: what classified them: its threads, its corners, what it sees of a volume.
        exchanged: whether the files of a name are no longer the same.
        megabytes: of all; 0 for none.
    """
    flags = {item["path"]: item["flags"] for item in items if item["class"] is not None}
    wanted = [study for study in studies if study.format in FORMATS and study.name in flags]
    wanted.sort(key=lambda study: not flags[study.name])
    flat = classifier.recipe["spatial_dims"] == 2 and classifier.recipe["volumes"] != "maximum"
    workers = classifier.workers
    found = Viewers(megabytes=megabytes)
    room = megabytes * 1e6
    if not room:
        return Viewers(left_out=[study.name for study in wanted], megabytes=megabytes)
    with ThreadPoolExecutor(max(1, workers)) as pool:
        for at, viewer in enumerate(_ahead(pool, wanted, classifier.mask_corners, flat, workers)):
            size = _size(viewer)
            if size > room:
                found.left_out.extend(study.name for study in wanted[at:])
                break
            room -= size
            if viewer is not None and not exchanged(wanted[at].name):
                found.shown[wanted[at].name] = viewer
    return found


def _ahead(
    pool: ThreadPoolExecutor, studies: Sequence[Study], mask_corners: bool, flat: bool, workers: int
) -> Iterator[dict[str, Any] | None]:
    """Viewers in order, a few of them read ahead."""
    ahead: deque[Future[dict[str, Any] | None]] = deque()
    for study in studies:
        ahead.append(pool.submit(viewer_of, study, mask_corners, flat))
        if len(ahead) > workers:
            yield ahead.popleft().result()
    while ahead:
        yield ahead.popleft().result()


def viewer_of(study: Study, mask_corners: bool = False, flat: bool = True) -> dict[str, Any] | None:
    """What the viewer of an item shows; None where there is but one picture for the screen, or it cannot be read.

    Args:
        study: the item.
        mask_corners: paint over the corners of every slice.
        flat: whether the model sees single slices, so that picture and heat map are of one.

    Returns:
        `numbers` (of the slices, from 1), `count` (of all slices), `start` (place of the middle one in `numbers`),
        `home` (place of the slice that picture and heat map are of, or None), and either `jpegs`, or `width`,
        `height`, `low`, `step`, `high`, `inner` (1st and 99th percentile), `hounsfield` (whether the values look like
        those of CT), `window` (centre and width at first) and `values`: base64 of deflated 16-bit words, the high bytes
        before the low ones, each the difference to its left neighbour; value = low + step x word.
    """
    if any(file.stat().st_size > MOST_BYTES for file in study.files if file.exists()):
        return None
    planes: list[Any] = []
    numbers: list[int] = []
    count, measured = 1, False
    try:
        for number, count, image in read_frames(study.files, _chosen):
            measured = not image.meta["display"]
            planes.append(reduced(image.array, LONGEST_OF_MANY if count > MANY else LONGEST))
            numbers.append(number)
    except Exception:  # its picture and its prediction are there all the same
        return None
    if not planes or (count == 1 and not measured) or len({(plane.size, plane.mode) for plane in planes}) > 1:
        return None
    start = numbers.index(count // 2)
    of_one = count == 1 or (flat and len(study.files) == 1)
    viewer = {"numbers": [n + 1 for n in numbers], "count": count, "start": start, "home": start if of_one else None}
    if not measured:
        return viewer | {"jpegs": [base64.b64encode(jpeg(plane, mask_corners)).decode() for plane in planes]}
    return viewer | _packed(np.stack([np.asarray(plane, np.float32) for plane in planes]), start, mask_corners)


def is_viewer(found: object) -> bool:
    """Whether something that came back from a browser has the parts, and no others, that `viewer_of` gives."""
    if not isinstance(found, Mapping):
        return False
    parts = PLACES | (PICTURES if "jpegs" in found else VALUES)
    return found.keys() == parts.keys() and all(isinstance(found[name], kind) for name, kind in parts.items())


def _chosen(count: int, channels: int) -> list[int]:
    """At most so many slices, evenly, the middle one among them; none of a single picture in colour."""
    if (count, channels) == (1, 3):
        return []
    if count <= MOST_SLICES:
        return list(range(count))
    even = np.linspace(0, count - 1, MOST_SLICES).round().astype(int)
    even[np.abs(even - count // 2).argmin()] = count // 2
    return [int(number) for number in even]


def _packed(values: NDArray[np.float32], start: int, mask_corners: bool) -> dict[str, Any]:
    """Measured values (D, H, W) for the page."""
    _, height, width = values.shape
    black, white = shown_range(values[start])
    inner, hounsfield = np.percentile(values, (1, 99)).tolist(), _like_hounsfield(values)
    low, high = float(values.min()), float(values.max())
    if mask_corners:
        for left, top, right, bottom in corners(width, height):
            values[:, top:bottom, left:right] = low
    whole = FEW <= high - low < LEVELS and max(abs(low), abs(high)) < 2**24
    low = float(np.floor(low)) if whole else low
    step = 1.0 if whole else max((high - low) / LEVELS, 1e-12)
    words = np.clip(np.rint((values.astype(np.float64) - low) / step), 0, LEVELS).astype(np.uint16)
    change = np.diff(words, axis=2, prepend=np.zeros_like(words[:, :, :1]))  # wraps around
    bytes_ = (change >> 8).astype(np.uint8).tobytes() + (change & 255).astype(np.uint8).tobytes()
    return {
        "width": width,
        "height": height,
        "low": low,
        "high": high,
        "step": step,
        "inner": inner,
        "hounsfield": hounsfield,
        "window": [(black + white) / 2, max(white - black, step)],
        "values": base64.b64encode(_deflated(bytes_)).decode(),
    }


def _like_hounsfield(values: NDArray[np.float32]) -> bool:
    """Whether there is air around -1000 and water or tissue around 0: NIfTI does not say what its values measure."""
    return bool((abs(values + AIR) < NEAR).mean() > SOME and (abs(values) < NEAR).mean() > SOME)


def _deflated(data: bytes) -> bytes:
    """As small as at the highest level, which takes fifteen times as long for a CT."""
    deflate = zlib.compressobj(6, strategy=zlib.Z_FILTERED)
    return deflate.compress(data) + deflate.flush()


def _size(viewer: dict[str, Any] | None) -> int:
    if viewer is None:
        return 0
    return len(viewer.get("values", "")) + sum(map(len, viewer.get("jpegs", ())))
