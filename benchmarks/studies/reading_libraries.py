"""What other libraries read from an image, brought to the values and axes that docs/images.md promises."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import highdicom
import imagecodecs
import nibabel as nib
import numpy as np
import pydicom
import SimpleITK as sitk
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydicom.pixels import apply_color_lut, apply_modality_lut
from pydicom.uid import UID, ImplicitVRLittleEndian

from dynammo.io.image_reader import image_format

__all__ = ["LIBRARIES", "OTHERS"]

Values = NDArray[Any]
Reading = tuple[Values, Sequence[float] | None]  # (C, frames, H, W), and mm between frames, rows and columns
AS_STORED = ("XRayAngiographic", "XRayRadiofluoroscopic")  # their modality LUT is not for showing them
CORONAL, SAGITTAL, AXIAL = "LIP", "PIL", "LPS"  # where columns, rows and frames run to


def _by_pydicom(path: Path) -> Reading:
    header = pydicom.dcmread(path, force=True)
    if not header.file_meta.get("TransferSyntaxUID"):
        header.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    pixels = header.pixel_array
    if header.PhotometricInterpretation == "PALETTE COLOR":
        coloured = apply_color_lut(pixels, header)
        return _placed(coloured * (255 / np.iinfo(coloured.dtype).max), header, colour=True)
    if header.SamplesPerPixel == 3:
        return _placed(pixels * (255 / (2.0**header.BitsStored - 1)), header, colour=True)
    return _placed(_shown(_rescaled(pixels, header), header), header, colour=False)


def _by_highdicom(path: Path) -> Reading:
    image = highdicom.imread(path)
    colour = image.SamplesPerPixel == 3 or image.PhotometricInterpretation == "PALETTE COLOR"
    frames = image.get_frames(
        dtype=np.float64, apply_real_world_transform=False, apply_modality_transform=None if not colour else False,
        apply_voi_transform=False, apply_presentation_lut=False, apply_icc_profile=False,
        apply_palette_color_lut=None,
    )  # fmt: skip
    if colour:
        bits = image.BitsStored if image.SamplesPerPixel == 3 else image.RedPaletteColorLookupTableDescriptor[2]
        return _placed(frames * (255 / (2.0**bits - 1)), image, colour=True)
    return _placed(_shown(frames, image), image, colour=False)


def _by_itk(path: Path) -> Reading:
    image = sitk.ReadImage(str(path))
    if image_format(path) != "dicom":
        return _oriented(image)
    header = pydicom.dcmread(path, force=True, stop_before_pixels=True)
    stored = sitk.GetArrayFromImage(image).astype(np.float64)
    if image.GetNumberOfComponentsPerPixel() == 3:
        return _turned(stored * (255 / np.iinfo(sitk.GetArrayViewFromImage(image).dtype).max), image)
    return _turned(_without_padding(stored, header, mirrored=header.PhotometricInterpretation == "MONOCHROME1"), image)


def _by_nibabel(path: Path) -> Reading:
    image = nib.load(path)
    voxels = np.asanyarray(image.dataobj)
    if voxels.dtype.names:
        voxels = np.stack([voxels[name] for name in ("R", "G", "B")], axis=-1)
    elif voxels.ndim == 5 and voxels.shape[3:] == (1, 3):
        voxels = voxels[:, :, :, 0]
    elif voxels.ndim > 3:
        voxels = voxels.reshape(*voxels.shape[:3], -1)  # several volumes
    flat = voxels.reshape(*(*voxels.shape[:3], 1, 1)[:3], -1).astype(np.float64)
    made = sitk.GetImageFromArray(np.swapaxes(flat, 0, 2), isVector=True)
    axes = np.diag([-1, -1, 1]) @ image.affine[:3, :3]  # to the left and to the back, as ITK counts
    lengths = np.linalg.norm(axes, axis=0)
    made.SetSpacing(lengths.tolist())
    made.SetDirection((axes / lengths).ravel().tolist())
    return _oriented(made)


def _by_tifffile(path: Path) -> Reading:
    with tifffile.TiffFile(path) as file:
        pages = [page for page in file.pages if page.size == max(other.size for other in file.pages)]
        page, stored = pages[0], np.stack([page.asarray() for page in pages])
        if len(pages) == 1 and file.is_imagej:
            stored = file.series[0].asarray().reshape(-1, *stored.shape[1:])
    if page.planarconfig == 2 and page.samplesperpixel > 1:
        stored = np.moveaxis(stored, 1, -1)
    if page.photometric == 2:
        return np.moveaxis(stored[..., :3] >> (8 * stored.dtype.itemsize - 8), -1, 0), None
    if page.photometric == 0:
        stored = np.iinfo(stored.dtype).max + np.iinfo(stored.dtype).min - stored.astype(np.int64)
    return np.asarray(stored)[np.newaxis], None


def _by_pillow(path: Path) -> Reading:
    with Image.open(path) as image:
        largest = max(range(getattr(image, "n_frames", 1)), key=lambda k: (image.seek(k), image.size)[1])
        image.seek(largest)
        up = ImageOps.exif_transpose(image)
        as_it_is = up.mode in ("1", "L", "F", "I", "RGB") or up.mode.startswith("I;")
        pixels = np.asarray(up if as_it_is else up.convert("L" if up.mode == "LA" else "RGB"), np.float64)
    return np.moveaxis(np.atleast_3d(pixels), -1, 0)[:, np.newaxis], None


def _by_imagecodecs(path: Path) -> Reading:
    pixels = np.atleast_3d(imagecodecs.imread(path))
    colours = 3 if pixels.shape[-1] > 2 else 1
    return np.moveaxis(pixels[..., :colours], -1, 0)[:, np.newaxis], None


LIBRARIES: dict[str, dict[str, Callable[[Path], Reading]]] = {
    "dicom": {"pydicom": _by_pydicom, "SimpleITK": _by_itk, "highdicom": _by_highdicom},
    "nifti": {"nibabel": _by_nibabel, "SimpleITK": _by_itk},
    "tiff": {"tifffile": _by_tifffile, "Pillow": _by_pillow},
    **{kind: {"Pillow": _by_pillow, "imagecodecs": _by_imagecodecs} for kind in ("png", "jpeg")},
}
OTHERS = {"pydicom": _by_pydicom, "nibabel": _by_nibabel, "SimpleITK": _by_itk, "Pillow": _by_pillow}


def _rescaled(pixels: Values, header: pydicom.Dataset) -> Values:
    if UID(header.get("SOPClassUID", "")).keyword.startswith(AS_STORED):
        return pixels.astype(np.float64)
    return apply_modality_lut(pixels, header).astype(np.float64)


def _shown(measured: Values, header: pydicom.Dataset) -> Values:
    """Padding takes the smallest value that is none; bright is dense."""
    measured = _without_padding(measured, header, mirrored=False)
    return _ends(header).sum() - measured if header.PhotometricInterpretation == "MONOCHROME1" else measured


def _ends(header: pydicom.Dataset) -> Values:
    bits = header.BitsStored
    return _rescaled(
        np.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if header.PixelRepresentation else [0, 2**bits - 1]), header
    )


def _without_padding(measured: Values, header: pydicom.Dataset, mirrored: bool) -> Values:
    padding = header.get("PixelPaddingValue")
    if not isinstance(padding, int):
        return measured
    blank = _rescaled(np.array([padding]), header)[0]
    padded = measured == (_ends(header).sum() - blank if mirrored else blank)
    upside_down = header.PhotometricInterpretation == "MONOCHROME1" and not mirrored
    end = measured[~padded].max() if upside_down else measured[~padded].min()
    return np.where(padded, end, measured)


def _placed(pixels: Values, header: pydicom.Dataset, colour: bool) -> Reading:
    """Pixels (frames, H, W[, 3]) or (H, W[, 3]), laid out by what the header says of their place."""
    stored = pixels.reshape(-1, header.Rows, header.Columns, 3 if colour else 1)
    made = sitk.GetImageFromArray(stored.astype(np.float64), isVector=True)
    axes, lengths = header.get("ImageOrientationPatient"), header.get("PixelSpacing")
    if axes and lengths and header.get("ImagePositionPatient"):
        rows, columns = np.reshape(np.array(axes, float), (2, 3))
        if abs(rows @ columns) < 1e-3 < min(np.abs(rows).max(), np.abs(columns).max()):
            made.SetSpacing([float(lengths[1]), float(lengths[0]), 1.0])
            made.SetDirection(np.stack([rows, columns, np.cross(rows, columns)], axis=1).ravel().tolist())
            values, spacing = _oriented(made)
            return values, spacing if len(stored) == 1 else None
    return _oriented(made)[0], None


def _turned(values: Values, image: sitk.Image) -> Reading:
    made = sitk.GetImageFromArray(values, isVector=image.GetNumberOfComponentsPerPixel() > 1)
    made.CopyInformation(image)
    return _oriented(made)


def _oriented(image: sitk.Image) -> Reading:
    """What ITK makes of an image whose place it knows."""
    if image.GetDimension() == 3:
        axes = np.abs(np.reshape(image.GetDirection(), (3, 3)))
        thin = {int(axes[:, k].argmax()) for k in range(3) if image.GetSize()[k] == 1}
        image = sitk.DICOMOrient(image, {1: CORONAL, 0: SAGITTAL}.get(min(thin), AXIAL) if len(thin) == 1 else AXIAL)
    values = sitk.GetArrayFromImage(image)
    if image.GetNumberOfComponentsPerPixel() == 1:
        values = values[..., np.newaxis]
    spacing = image.GetSpacing()[::-1]  # where nothing is known, ITK has 1 mm everywhere
    known = None if set(spacing) == {1.0} else spacing
    return np.moveaxis(values if image.GetDimension() == 3 else values[np.newaxis], -1, 0), known
