"""NIfTI volumes: read by nibabel whatever the file is called, compressed or not."""

import gzip
import logging
import math
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, cast

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from dynammo.io.claims import DEFLATED, check_claim
from dynammo.io.orientation import is_placed, voxel_sizes

__all__ = ["NiftiFile", "is_nifti"]

logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)  # it reports every header that it mends

Floats = NDArray[np.float32]
Part = tuple[slice, slice, slice]
GZIP = b"\x1f\x8b"
KINDS = {348: nib.Nifti1Image, 540: nib.Nifti2Image}  # by the length of the header, its first number
MAGIC = (b"n+1\0", b"ni1\0", b"n+2\0", b"ni2\0")
COLOURS = ("R", "G", "B")
LARGEST_SCALE = 1e15  # of whole numbers that stay within float32 for sure
MOST_KEPT = 2**26  # voxels of a compressed volume that is kept for its next frame: 256 MiB


class NiftiFile:
    """One NIfTI file.

    Args:
        path: the file.

    Attributes:
        shape: stored (i, j, k); an image has k = 1.
        channels: 1, or 3 for RGB voxels.
        affine: (i, j, k) -> RAS mm; None where the header gives no usable one.
        spacing: mm along the stored axes, NaN where unknown.
        is_reoriented: whether the volume is laid out by `affine`.
        finite: whether no value can be NaN or infinite: whole numbers, scaled moderately.
        meta: nothing that only NIfTI would know.

    Raises:
        ValueError: empty, 4-D, complex, or a header without its image.
    """

    format = "nifti"

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, _file(path)
        self._image = _image(self._file)
        self.affine: NDArray[np.float64] | None = np.asarray(self._image.affine, np.float64)
        self.shape = _shape(tuple(int(n) for n in self._image.shape))
        self.channels = _channels(self._image.get_data_dtype())
        bits = 8 * self._image.get_data_dtype().itemsize
        check_claim(self.shape, bits, path.stat().st_size, DEFLATED if _is_compressed(path) else 1)
        self.spacing = np.full(3, np.nan)
        if is_placed(self.affine):
            self.spacing = voxel_sizes(self.affine)
        else:
            self.affine = None
        self.is_reoriented = self.affine is not None
        proxy = self._image.dataobj
        self.finite = proxy.dtype.kind in "iu" and all(abs(s) < LARGEST_SCALE for s in (proxy.slope, proxy.inter))
        self.meta: dict[str, str] = {}

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def load(self, part: Part, header_window: bool) -> tuple[Floats, bool]:
        """Read a part of the stored (i, j, k).

        Returns:
            float32 (C, i, j, k), and whether all are values for the screen: RGB voxels.
        """
        whole = [slice(0, length) for length in self.shape]
        if list(part) != whole and math.prod(self.shape) <= MOST_KEPT and _is_compressed(self._path):
            status = self._path.stat()
            voxels = _kept(self._path, status.st_mtime_ns, status.st_size)[:, part[0], part[1], part[2]]
        else:
            voxels = _voxels(self._image, None if list(part) == whole else part)
        return voxels, self.channels == 3


def is_nifti(path: Path) -> bool:
    """Whether the content is NIfTI, compressed or not."""
    try:
        with _file(path) as file:
            head = file.read(348)
    except (OSError, EOFError):
        return False
    return head[344:348] in MAGIC[:2] or head[4:8] in MAGIC[2:]


def _is_compressed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == GZIP


def _file(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path, "rb") if _is_compressed(path) else path.open("rb"))


def _image(file: IO[bytes]) -> Any:  # noqa: ANN401
    head = file.read(348)
    file.seek(0)
    length = next((n for order in ("little", "big") if (n := int.from_bytes(head[:4], order)) in KINDS), 348)
    if head[344:348] == MAGIC[1] or head[4:8] == MAGIC[3]:
        raise ValueError("it is the header of a NIfTI pair; convert both to one .nii file")
    return KINDS[length].from_stream(file)


def _shape(stored: tuple[int, ...]) -> tuple[int, int, int]:
    if len(stored) < 2 or min(stored) < 1:
        raise ValueError(f"it is an empty NIfTI of shape {stored}")
    volumes = math.prod(stored[3:])
    if volumes > 1:
        raise ValueError(
            f"it is a {len(stored)}-D NIfTI of {volumes} volumes; expected one: split it into a file for each "
            "(nibabel: `nib.four_to_three(image)`) and choose"
        )
    i, j, k = (*stored, 1)[:3]
    return i, j, k


def _channels(kind: np.dtype[Any]) -> int:
    if kind.names is not None:
        if kind.names[:3] != COLOURS:
            raise ValueError(f"its voxels hold {', '.join(kind.names)}; expected numbers or RGB")
        return 3
    if kind.kind == "c":
        raise ValueError("its voxels are complex numbers; expected magnitude or phase")
    return 1


@lru_cache(maxsize=2)
def _kept(path: Path, changed: int, size: int) -> Floats:
    """All voxels of a compressed volume: each frame would have to decompress all before it."""
    with _file(path) as file:
        voxels = _voxels(_image(file), None)
    voxels.flags.writeable = False
    return voxels


def _voxels(image: Any, part: Part | None) -> Floats:  # noqa: ANN401
    """Scaled voxels (C, i, j, k) of a part; None stands for all."""
    dimensions, kind = len(image.shape), image.get_data_dtype()
    with np.errstate(over="ignore", invalid="ignore"):
        if part is None and dimensions <= 3:
            voxels = np.asarray(image.dataobj, None if kind.names else np.float32)  # scaled as float32 from the start
        else:
            chosen = tuple(part or [slice(None)] * 3)[:dimensions] + (0,) * (dimensions - 3)  # one volume alone
            voxels = np.asarray(image.dataobj[chosen])
        planes = [voxels[name] for name in COLOURS] if kind.names else [voxels]
        array = [plane.astype(np.float32, copy=False) for plane in planes]
    stacked = array[0][np.newaxis] if len(array) == 1 else np.stack(array)
    return stacked[..., np.newaxis] if dimensions == 2 else stacked
