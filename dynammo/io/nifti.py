"""NIfTI volumes: read by nibabel whatever the file is called, compressed or not."""

import gzip
import logging
import math
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, cast

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from dynammo.io.orientation import is_placed, voxel_sizes
from dynammo.runtime.claims import DEFLATED, check_claim

__all__ = ["NiftiFile", "is_nifti"]

logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)  # it reports every header that it mends

Floats = NDArray[np.float32]
Part = tuple[slice, slice, slice]
GZIP = b"\x1f\x8b"
KINDS = {348: nib.Nifti1Image, 540: nib.Nifti2Image}  # by the length of the header, its first number
MAGIC = (b"n+1\0", b"ni1\0", b"n+2\0", b"ni2\0")
COLOURS = ("R", "G", "B")
VECTORS = {0, 1007, 2003}  # intents of colours along the fifth axis: none, vector, RGB
LARGEST_SCALE = 1e15  # of whole numbers that stay within float32 for sure
MOST_KEPT = 2**26  # voxels of a compressed volume that is kept for its next frame: 256 MiB


class NiftiFile:
    """One NIfTI file, a `Source` of `dynammo.io.image_reader`.

    Its axes are (i, j, k), without a usable affine (k, j, i): frames lie along the last one. Colours are RGB voxels, or
    vectors of three bytes as ITK writes them.

    Raises:
        ValueError: empty, 4-D, complex, or a header without its image.
    """

    format = "nifti"

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, _file(path)
        self._proxy, header = _proxy(self._file)
        self.channels = _channels(self._proxy, header)
        self._stored = _shape(self._proxy.shape, self.channels)
        bits = 8 * self._proxy.dtype.itemsize
        check_claim(self._stored, bits, path.stat().st_size, DEFLATED if _is_compressed(path) else 1)
        self.affine = _affine(header)
        self.is_reoriented = self.affine is not None
        self.shape = self._stored if self.is_reoriented else self._stored[::-1]
        lengths = np.array([*header.get_zooms(), np.nan, np.nan][:3], np.float64)[::-1]
        self.spacing = np.where(np.isfinite(lengths) & (lengths > 0), lengths, np.nan)
        if self.affine is not None:
            self.spacing = voxel_sizes(self.affine)
        scale = self._proxy.slope, self._proxy.inter
        self.finite = self._proxy.dtype.kind in "iu" and all(abs(s) < LARGEST_SCALE for s in scale)
        self.meta: dict[str, str] = {}

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def load(self, part: Part, header_window: bool) -> tuple[Floats, bool]:
        """Read a part; colours are for the screen."""
        stored = part if self.is_reoriented else (part[2], part[1], part[0])
        whole = [slice(0, length) for length in self._stored]
        if list(stored) != whole and math.prod(self.shape) <= MOST_KEPT and _is_compressed(self._path):
            status = self._path.stat()
            voxels = _kept(self._path, status.st_mtime_ns, status.st_size)[:, stored[0], stored[1], stored[2]]
        else:
            voxels = _voxels(self._proxy, None if list(stored) == whole else stored, self.channels)
        return voxels if self.is_reoriented else voxels.transpose(0, 3, 2, 1), self.channels == 3


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


def _proxy(file: IO[bytes]) -> tuple[Any, Any]:
    """The voxels, not yet read, and the header: nibabel's images refuse a header whose place is not usable."""
    head = file.read(348)
    file.seek(0)
    length = next((n for order in ("little", "big") if (n := int.from_bytes(head[:4], order)) in KINDS), 348)
    if head[344:348] == MAGIC[1] or head[4:8] == MAGIC[3]:
        raise ValueError("it is the header of a NIfTI pair; convert both to one .nii file")
    header = KINDS[length].header_class.from_fileobj(file)
    return nib.arrayproxy.ArrayProxy(file, header), header


def _affine(header: Any) -> NDArray[np.float64] | None:  # noqa: ANN401
    """The sform, else the qform; where the header names neither, what nibabel takes then."""
    wanted = [name for name in ("sform", "qform") if header[f"{name}_code"] > 0] or ["base_affine"]
    for name in wanted:
        try:
            affine = np.asarray(getattr(header, f"get_{name}")(), np.float64)
        except (ValueError, HeaderDataError):  # a quaternion that is none
            continue
        if is_placed(affine):
            return affine
    return None


def _shape(stored: tuple[int, ...], channels: int) -> tuple[int, int, int]:
    if len(stored) < 2 or min(stored) < 1:
        raise ValueError(f"it is an empty NIfTI of shape {stored}")
    volumes = math.prod(stored[3:])
    if volumes > 1 and not (channels == 3 and stored[3:] == (1, 3)):
        raise ValueError(
            f"it is a {len(stored)}-D NIfTI of {volumes} volumes; expected one: split it into a file for each "
            "(nibabel: `nib.four_to_three(image)`) and choose"
        )
    i, j, k = (*stored, 1)[:3]
    return i, j, k


def _channels(proxy: Any, header: Any) -> int:  # noqa: ANN401
    kind, vector = proxy.dtype, proxy.shape[4] if len(proxy.shape) == 5 and proxy.shape[3] == 1 else 1
    if kind.names is not None:
        if kind.names[:3] != COLOURS:
            raise ValueError(f"its voxels hold {', '.join(kind.names)}; expected numbers or RGB")
        return 3
    if kind.kind == "c":
        raise ValueError("its voxels are complex numbers; expected magnitude or phase")
    if vector == 1:
        return 1
    plain = kind == np.uint8 and (proxy.slope, proxy.inter) == (1, 0)
    if vector == 3 and plain and int(header["intent_code"]) in VECTORS:
        return 3
    raise ValueError(
        f"its voxels are vectors of {vector} {kind.name} numbers, which is not read; expected one number, or colours "
        "as three unsigned bytes"
    )


@lru_cache(maxsize=2)
def _kept(path: Path, changed: int, size: int) -> Floats:
    """All voxels of a compressed volume: each frame would have to decompress all before it."""
    with _file(path) as file:
        proxy, header = _proxy(file)
        voxels = _voxels(proxy, None, _channels(proxy, header))
    voxels.flags.writeable = False
    return voxels


def _voxels(proxy: Any, part: Part | None, channels: int) -> Floats:  # noqa: ANN401
    """Scaled voxels (C, i, j, k) of a part; None stands for all."""
    dimensions, named = len(proxy.shape), proxy.dtype.names
    with np.errstate(over="ignore", invalid="ignore"):
        if part is None and dimensions <= 3:
            voxels = np.asarray(proxy, None if named else np.float32)  # scaled as float32 from the start
        else:
            one: tuple[Any, ...] = (0,) * (dimensions - 3) if channels == 1 or named else (0, slice(None))
            chosen = tuple(part or [slice(None)] * 3)[:dimensions] + one
            voxels = np.asarray(proxy[chosen])
        vector = channels == 3 and not named
        planes = [voxels[name] for name in COLOURS] if named else np.moveaxis(voxels, -1, 0) if vector else [voxels]
        array = [plane.astype(np.float32, copy=False) for plane in planes]
    stacked = array[0][np.newaxis] if len(array) == 1 else np.stack(array)
    return stacked[..., np.newaxis] if dimensions == 2 else stacked
