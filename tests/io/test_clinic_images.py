"""The 17 files of the shared clinic folder: shapes, ranges and values as the libraries alone give them."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.pixels import apply_color_lut, apply_modality_lut
from synthetic.datasets import shared

from dynammo.io.image_reader import frame_count, image_fault, image_format, read_image

# name, format, shape, smallest, largest value
FACTS = [
    ("mr_abdomen_siemens_overlays.dcm", "dicom", (1, 484, 484), 0, 1123),
    ("mr_head_multiframe.dcm", "dicom", (1, 10, 64, 64), 0, 467),
    ("ct_slice_uncompressed.dcm", "dicom", (1, 512, 512), -1024, 1468),
    ("ct_slice_jpeg2000.dcm", "dicom", (1, 512, 512), -1024, 1468),
    ("ct_pancreas_vr_un.dcm", "dicom", (1, 512, 512), -1024, 1186),
    ("cr_chest_monochrome1_jpeg2000.dcm", "dicom", (1, 1955, 1841), 6255, 31964),
    ("cr_extremity_monochrome1_jpeg2000.dcm", "dicom", (1, 1760, 1760), 0, 1023),
    ("us_palette_rle.dcm", "dicom", (3, 600, 800), 0, 254),
    ("us_rgb_ybr_jpeg2000.dcm", "dicom", (3, 480, 640), 0, 255),
    ("ct_volume_small.nii.gz", "nifti", (1, 30, 101, 122), -1100, 1207),
    ("mr_volume_small.nii.gz", "nifti", (1, 20, 91, 117), -47, 833),
    ("mr_brain_anatomical.nii", "nifti", (1, 25, 41, 33), -610, 30393),
    ("Breast US benign (10).png", "png", (3, 256, 256), 0, 255),
    ("chest_xray.png", "png", (1, 1024, 1024), 4, 255),
    ("mammogram_density_A.jpg", "jpeg", (3, 2457, 1996), 0, 255),
    ("dermoscopy.jpg", "jpeg", (3, 150, 200), 43, 215),
    ("histology_breast.tif", "tiff", (3, 224, 224), 136, 210),
]


@pytest.mark.parametrize(("name", "kind", "shape", "low", "high"), FACTS, ids=lambda value: str(value))
def test_shape_range_and_values(name: str, kind: str, shape: tuple[int, ...], low: int, high: int) -> None:
    path = shared("data", "clinic", name)
    image = read_image(path)
    assert image_format(path) == kind and image.array.shape == shape
    assert (round(float(image.array.min())), round(float(image.array.max()))) == (low, high)
    assert frame_count(path) == (shape[1] if len(shape) == 4 else 1) and image_fault(path) is None
    np.testing.assert_allclose(image.array, _alone(path, kind), atol=0.01)


def _alone(path: Path, kind: str) -> np.ndarray:
    """What the library alone gives, brought to the axes of the reader."""
    if kind == "dicom":
        return _pydicom(path)
    if kind == "nifti":
        stored = nib.load(path)
        turn = nib.orientations.ornt_transform(
            nib.io_orientation(stored.affine), nib.orientations.axcodes2ornt(("S", "P", "L"))
        )
        return nib.apply_orientation(stored.get_fdata(), turn)[None]
    with Image.open(path) as picture:
        pixels = np.asarray(picture)
    return pixels[None] if pixels.ndim == 2 else pixels[..., :3].transpose(2, 0, 1)


def _pydicom(path: Path) -> np.ndarray:
    header = pydicom.dcmread(path)
    pixels = header.pixel_array
    if header.PhotometricInterpretation == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, header) / 257
    if pixels.shape[-1] == 3:
        return pixels.transpose(2, 0, 1)
    measured = apply_modality_lut(pixels, header).astype(float)
    if "PixelPaddingValue" in header:
        padded = pixels == header.PixelPaddingValue
        measured[padded] = measured[~padded].min()
    if header.PhotometricInterpretation == "MONOCHROME1":
        measured = 2**header.BitsStored - 1 - measured
    if "pancreas" in path.name and header.ImageOrientationPatient[4] < 0 and "ImagePositionPatient" in header:
        measured = measured[::-1]  # stored with the back on top
    return measured[None]


def test_the_same_slice_in_two_transfer_syntaxes() -> None:
    plain = read_image(shared("data", "clinic", "ct_slice_uncompressed.dcm"))
    packed = read_image(shared("data", "clinic", "ct_slice_jpeg2000.dcm"))
    assert np.array_equal(plain.array, packed.array)
    np.testing.assert_allclose(plain.meta["spacing"], (0.478516, 0.478516))
    brain = read_image(shared("data", "clinic", "ct_slice_uncompressed.dcm"), window="header").array
    assert (brain.min(), brain.max()) == (0, 255) and 20 < brain.mean() < 80
