"""NRRD and MetaImage, read by SimpleITK; one file each, so that no header can name a file of somebody else."""

import re
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from dynammo.io.orientation import is_placed, voxel_sizes
from dynammo.runtime.library_output import caught_output

__all__ = ["ItkFile"]

Floats = NDArray[np.float32]
Part = tuple[slice, slice, slice]
HEADER = 2**16  # bytes in which the text of a header ends
SPACED = re.compile(rb"^(spacings:|space directions:|ElementSpacing|ElementSize)", re.IGNORECASE | re.MULTILINE)
PLACED = re.compile(rb"^(space:|space dimension:|TransformMatrix|Orientation|Rotation)", re.IGNORECASE | re.MULTILINE)
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # of ITK, to RAS


class ItkFile:
    """One NRRD or MetaImage file, a `Source` of `dynammo.io.image_reader`: axes (k, j, i), colours of three bytes.

    Raises:
        ValueError: more than three dimensions, complex numbers, vectors that are no colours, voxels in another file.
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            head = file.read(HEADER)
        self.format = "nrrd" if head.startswith(b"NRRD") else "metaimage"
        text = _own_header(head, self.format)
        self._reader = reader = sitk.ImageFileReader()
        reader.SetFileName(str(path))
        reader.SetImageIO("NrrdImageIO" if self.format == "nrrd" else "MetaImageIO")
        with caught_output():  # MetaImage prints what is wrong, before it is raised
            reader.ReadImageInformation()
        count, size, kind = reader.GetNumberOfComponents(), reader.GetSize(), reader.GetPixelIDValue()
        name = sitk.GetPixelIDValueAsString(kind)
        grey = count == 1 and "complex" not in name
        if len(size) not in (2, 3) or not (grey or (count == 3 and name == "vector of 8-bit unsigned integer")):
            raise ValueError(
                f"{len(size)}-D {name} of {count} channels is not read; expected 2-D or 3-D, grey or colours of 8 bits"
            )
        self.shape = (*(1, *size[::-1])[-3:],)
        self.channels, self.finite = count, "float" not in name
        steps = np.full(3, np.nan)
        steps[-len(size) :] = reader.GetSpacing()[::-1]
        self.spacing = steps if SPACED.search(text) else np.full(3, np.nan)
        self.affine = _affine(reader) if len(size) == 3 and PLACED.search(text) else None
        if self.affine is not None:
            self.spacing = voxel_sizes(self.affine)
        self.is_reoriented = self.affine is not None
        self.meta: dict[str, str] = {}

    def close(self) -> None:
        """Nothing is open."""

    def load(self, part: Part, header_window: bool) -> tuple[Floats, bool]:
        """Read a part; colours are for the screen."""
        try:
            with caught_output():
                image = self._reader.Execute()  # lives as long as the view of its voxels
        except RuntimeError:  # of several lines, about ITK's own files
            raise ValueError("its voxels are damaged, or it ends early") from None
        voxels = sitk.GetArrayViewFromImage(image).reshape(*self.shape, self.channels)[part]
        return np.moveaxis(voxels, -1, 0).astype(np.float32), self.channels == 3


def _own_header(head: bytes, kind: str) -> bytes:
    """The text of a header whose voxels follow in the same file."""
    if kind == "nrrd":
        text, blank, _ = head.replace(b"\r\n", b"\n").partition(b"\n\n")
        within = bool(blank) and not re.search(rb"^data ?file *:", text, re.IGNORECASE | re.MULTILINE)
    else:
        text, _, file = head.partition(b"\nElementDataFile")
        local = re.match(rb"\s*=\s*LOCAL\s", file)
        within = local is not None and b"elementdatafile" not in (text + file).lower()
    if not within:
        raise ValueError("its voxels lie in another file; convert both to one .nrrd, .mha or .nii file")
    return text


def _affine(reader: sitk.ImageFileReader) -> NDArray[np.float64] | None:
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(reader.GetDirection(), (3, 3)) * reader.GetSpacing()
    affine[:3, 3] = reader.GetOrigin()
    affine = (LPS @ affine)[:, [2, 1, 0, 3]]
    return affine if is_placed(affine) else None
