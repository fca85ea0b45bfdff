"""One way to lay out every volume: frames from feet to head, rows to the back, columns to the patient's left."""

from collections.abc import Sequence
from functools import lru_cache

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "AS_STORED",
    "frame_axis",
    "is_placed",
    "layout",
    "reorient",
    "reoriented_affine",
    "stored_part",
    "voxel_sizes",
]

Floats = NDArray[np.float64]
AXIAL, CORONAL, SAGITTAL = ("S", "P", "L"), ("P", "I", "L"), ("L", "I", "P")  # (frames, rows, columns) run towards
AS_STORED = np.array([[0, 1], [1, 1], [2, 1]], np.float64)  # the orientation that changes nothing
DEGENERATE = 1e-3  # sine of the angle under which axes count as parallel


def is_placed(affine: Floats) -> bool:
    """Whether a 4 x 4 affine gives three finite, non-zero, independent axes."""
    lengths = voxel_sizes(affine)
    if not np.isfinite(affine).all() or not (lengths > 0).all():
        return False
    return bool(abs(np.linalg.det(affine[:3, :3] / lengths)) > DEGENERATE)


def layout(affine: Floats, shape: Sequence[int]) -> Floats:
    """How the stored axes have to be reoriented, as a nibabel orientation (3, 2): target axis and direction of each.

    A volume with one axis of length 1 is an image and is shown as radiologists see it: axial as above, coronal and
    sagittal with the head on top, sagittal with the face to the left.

    Args:
        affine: stored voxel indices to mm, x to the right, y to the front, z to the head (RAS).
        shape: the three stored lengths.
    """
    return _layout(affine[:3, :3].tobytes(), tuple(length == 1 for length in shape))


@lru_cache(maxsize=16)  # the slices of a series all ask the same
def _layout(axes: bytes, flat: tuple[bool, ...]) -> Floats:
    affine = np.eye(4)
    affine[:3, :3] = np.frombuffer(axes).reshape(3, 3)
    stored = nib.orientations.io_orientation(affine)
    thin = {"RAS"[int(stored[axis, 0])] for axis in range(3) if flat[axis]}
    target = {"A": CORONAL, "R": SAGITTAL}.get(min(thin), AXIAL) if len(thin) == 1 else AXIAL
    orientation: Floats = nib.orientations.ornt_transform(stored, nib.orientations.axcodes2ornt(target))
    orientation.flags.writeable = False
    return orientation


def stored_part(orientation: Floats, shape: Sequence[int], frame: int | None) -> tuple[slice, slice, slice]:
    """Which part of the stored array holds one frame of the laid out volume; None asks for all of it."""
    part = [slice(0, length) for length in shape]
    if frame is not None:
        axis = frame_axis(orientation)
        place = frame if orientation[axis, 1] > 0 else shape[axis] - 1 - frame
        part[axis] = slice(place, place + 1)
    return part[0], part[1], part[2]


def frame_axis(orientation: Floats) -> int:
    """The stored axis along which the frames of the laid out volume lie."""
    targets: list[float] = orientation[:, 0].tolist()
    return targets.index(0)


def reorient(array: NDArray[np.float32], orientation: Floats) -> NDArray[np.float32]:
    """Turn the last three axes of (C, ...): a view, as nibabel's own function takes no channels in front."""
    axes = sorted(
        (target, stored, int(direction)) for stored, (target, direction) in enumerate(orientation.tolist(), start=1)
    )
    steps = [slice(None, None, direction) for _, _, direction in axes]
    laid: NDArray[np.float32] = array.transpose(0, *(axis for _, axis, _ in axes))[:, steps[0], steps[1], steps[2]]
    return laid


def reoriented_affine(affine: Floats, orientation: Floats, shape: Sequence[int], frame: int | None) -> Floats:
    """Affine of the laid out volume, or of one frame of it: indices (frame, row, column) to RAS mm."""
    reoriented: Floats = affine @ _inverse(orientation.tobytes(), tuple(shape))
    reoriented[:3, 3] += reoriented[:3, 0] * (frame or 0)
    return reoriented


@lru_cache(maxsize=16)
def _inverse(orientation: bytes, shape: tuple[int, ...]) -> Floats:
    """Affine from laid out to stored indices."""
    affine: Floats = nib.orientations.inv_ornt_aff(np.frombuffer(orientation).reshape(3, 2), shape)
    affine.flags.writeable = False
    return affine


def voxel_sizes(affine: Floats) -> Floats:
    """Length in mm of one step along each stored axis (3,)."""
    sizes: Floats = np.linalg.norm(affine[:3, :3], axis=0)
    return sizes
