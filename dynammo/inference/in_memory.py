"""Images that a program holds, as files: arrays, PIL's pictures, pydicom's data sets.

They go in by the door that files go in by, so that the same pixels get the same answer wherever they come from.
"""

import copy
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydicom.dataset import Dataset

from dynammo.errors import UserError
from dynammo.io.pictures import screen_planes
from dynammo.io.studies import Study, find_studies
from dynammo.runtime.plain import expanded

__all__ = ["ImageLike", "studies_of"]

ImageLike: TypeAlias = str | os.PathLike[str] | NDArray[Any] | Image.Image | Dataset
"""A path, an array, a picture of PIL or a data set of pydicom."""
EXPECTED = "expected a path, an array (H, W) or (H, W, 3), a picture of PIL, a data set of pydicom, or a list of these"


def studies_of(images: ImageLike | list[ImageLike] | tuple[ImageLike, ...], folder: Path) -> tuple[list[Study], bool]:
    """What is to be classified.

    Args:
        images: one image or several. Arrays are (H, W) or (H, W, 3): uint8 holds values for the screen, 0 to 255;
            colours may be floats from 0 to 1 as well; other grey numbers are measured values, such as Hounsfield
            units, which the recipe of the model scales, as those of a file are. Every entry of a list is one study: an
            image, or the folder of one DICOM series.
        folder: empty, for this user alone: images that are no files are kept there; the caller removes it.

    Returns:
        The studies, and whether they are one image rather than a list.

    Raises:
        UserError: what is no image, a path without one, an entry of a list that comes to several studies.
    """
    if isinstance(images, list | tuple):
        return [_only(image, number, folder / str(number)) for number, image in enumerate(images, start=1)], False
    if not isinstance(images, str | os.PathLike):
        return [_study_of(images, "image", folder)], True
    path = expanded(images)
    studies = find_studies(path, folder).studies
    return studies, studies[0].files == (path,)  # not so in a folder, a zip, a DICOMDIR or a list


def _only(image: ImageLike, number: int, folder: Path) -> Study:
    """The one study that an entry of a list is."""
    if not isinstance(image, str | os.PathLike):
        folder.mkdir()
        return _study_of(image, f"image {number}", folder)
    studies = find_studies(Path(os.fspath(image)), folder).studies
    if len(studies) > 1:
        raise UserError(f"{image} comes to {len(studies)} studies, one entry of a list to one; give it alone.")
    return studies[0]


def _study_of(image: Any, name: str, folder: Path) -> Study:  # noqa: ANN401
    if isinstance(image, Dataset):
        study = find_studies(_dicom_file(image, folder / f"{name}.dcm"), folder).studies[0]
        return replace(study, name=name)
    if isinstance(image, Image.Image):
        return _picture_study(image, name, folder)
    try:
        array = np.asarray(image)
    except Exception as error:  # of a tensor on a GPU, or with a gradient
        raise UserError(f"{name} is no array ({str(error).splitlines()[0]}); {EXPECTED}.") from error
    if array.dtype.kind not in "uif" or array.ndim not in (2, 3) or not array.size:
        what = f"an array {array.shape} of {array.dtype}" if array.ndim else f"of type {type(image).__name__}"
        raise UserError(f"{name} is {what}; {EXPECTED}.")
    if array.ndim == 3:
        return _png(_colours(array, name), name, folder)
    if array.dtype == np.uint8:
        return _png(array, name, folder)
    _refuse_unclear(array, name)
    return _measured(array, name, folder)


def _picture_study(image: Image.Image, name: str, folder: Path) -> Study:
    """The picture as its file would be read: upright, colours in sRGB, what is transparent on black."""
    upright = ImageOps.exif_transpose(image)
    if upright.mode in ("F", "I") or upright.mode.startswith("I;"):
        return _measured(np.asarray(upright), name, folder)
    planes, _ = screen_planes(upright, upright.info.get("icc_profile"))
    pixels = np.moveaxis(planes.astype(np.uint8), 0, -1)
    return _png(pixels if pixels.shape[-1] == 3 else pixels[..., 0], name, folder)


def _colours(array: NDArray[Any], name: str) -> NDArray[np.uint8]:
    if array.shape[-1] != 3:
        hint = "; turn its axes: array.transpose(1, 2, 0)" if array.shape[0] == 3 else ""
        raise UserError(f"{name} is an array {array.shape}; {EXPECTED}{hint}.")
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind != "f" or not (array.min() >= 0 and array.max() <= 1):  # NaN is neither
        raise UserError(
            f"{name} holds colours of {array.dtype} from {array.min():g} to {array.max():g}; expected uint8 from 0 to "
            "255, or floats from 0 to 1."
        )
    return np.round(array * 255.0).astype(np.uint8)


def _refuse_unclear(array: NDArray[Any], name: str) -> None:
    """Grey floats from 0 to 1 may be a picture, and may be measured: the one is shown as it is, the other scaled."""
    if array.dtype.kind == "f" and array.min() >= 0 and array.max() <= 1:
        raise UserError(
            f"{name} holds grey floats from 0 to 1, which may be a picture or measured values; give a picture as "
            "(255 * x).round().astype('uint8'), and measured values in their own unit, or times 1000."
        )


def _png(pixels: NDArray[np.uint8], name: str, folder: Path) -> Study:
    file = folder / f"{name}.png"
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG", compress_level=1)
    return Study((file,), name, "png")


def _measured(values: NDArray[Any], name: str, folder: Path) -> Study:
    file = folder / f"{name}.tif"
    tifffile.imwrite(file, values.astype(np.float32), photometric="minisblack")
    return Study((file,), name, "tiff")


def _dicom_file(dataset: Dataset, file: Path) -> Path:
    try:
        copy.deepcopy(dataset).save_as(file, enforce_file_format=True)  # which settles ambiguous elements
    except Exception as error:  # pydicom raises many kinds; their text may quote the header
        raise UserError(
            f"the data set of pydicom cannot be written as a file ({type(error).__name__}); give one that "
            "pydicom.dcmread has read, whole, or the path of its file."
        ) from error
    return file
