import base64
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.uid import (
    HTJ2K,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGLSNearLossless,
    VLWholeSlideMicroscopyImageStorage,
)
from synthetic.images import (
    COLOUR,
    HTJ2K_RAMP,
    LOSSLESS,
    RAMP,
    compressed,
    dicom,
    save,
    values,
)

from dynammo.io.dicom import DicomFile, is_dicom_slide


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda uid: uid.keyword)
@pytest.mark.parametrize("kind", ["uint8", "uint16", "colour"])
def test_every_lossless_transfer_syntax(tmp_path: Path, syntax: pydicom.uid.UID, kind: str) -> None:
    pixels = {"uint8": COLOUR[..., 0], "uint16": RAMP, "colour": COLOUR}[kind]
    path = save(compressed(dicom(pixels.copy()), syntax, tmp_path), tmp_path / "x")
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == syntax
    assert np.array_equal(values(path), pixels.transpose(2, 0, 1) if kind == "colour" else pixels[None])


@pytest.mark.parametrize("pixels", [COLOUR, COLOUR[..., 2]], ids=["colour", "grey"])
def test_lossy_syntaxes_are_near(tmp_path: Path, pixels: np.ndarray) -> None:
    smooth = np.sort(pixels, axis=0)
    expected = smooth.transpose(2, 0, 1) if smooth.ndim == 3 else smooth[None]
    path = save(compressed(dicom(smooth), JPEGBaseline8Bit, tmp_path), tmp_path / "jpeg")
    assert np.abs(values(path) - expected).mean() < 6
    near = dicom(smooth)
    near.compress(JPEGLSNearLossless, jls_error=2, generate_instance_uid=False)
    assert np.abs(values(save(near, tmp_path / "jls")) - expected).max() <= 2


@pytest.mark.parametrize("syntax", [HTJ2KLossless, HTJ2K], ids=lambda uid: uid.keyword)
def test_high_throughput_jpeg_2000(tmp_path: Path, syntax: pydicom.uid.UID) -> None:
    image = dicom(RAMP)
    image.PixelData = encapsulate([base64.b64decode(HTJ2K_RAMP)])
    image["PixelData"].is_undefined_length = True
    image.file_meta.TransferSyntaxUID = syntax
    assert np.array_equal(values(save(image, tmp_path / "x")), RAMP[None])


def test_lossy_jpeg_of_twelve_bits() -> None:
    image = values(Path(str(get_testdata_file("JPGExtended.dcm"))))
    assert image.shape == (1, 1024, 256)
    assert (image[0, 420, 140], image[0, 230, 120]) == (244, 95)  # as pydicom's own tests have them


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_uncompressed_syntaxes(tmp_path: Path, syntax: pydicom.uid.UID) -> None:
    image = dicom(RAMP if syntax != ExplicitVRBigEndian else RAMP.byteswap())
    image.file_meta.TransferSyntaxUID = syntax
    pydicom.dcmwrite(tmp_path / "x", image, implicit_vr=syntax.is_implicit_VR, little_endian=syntax.is_little_endian)
    assert np.array_equal(values(tmp_path / "x"), RAMP[None])


def test_overlays_and_empty_elements_are_ignored(tmp_path: Path) -> None:
    image = dicom((RAMP % 4096) | 0xF000, BitsStored=12, HighBit=11)  # an overlay in the bits that are not used
    image.add_new(0x00281052, "DS", "")
    image.add_new(0x00281050, "DS", "")
    image.add_new(0x00091010, "UN", b"private")
    assert np.array_equal(values(save(image, tmp_path / "x"), window="header"), RAMP[None])


def test_a_file_says_its_shape_and_who_made_it_and_reads_a_part(tmp_path: Path) -> None:
    stack = np.stack([RAMP, RAMP + 1, RAMP + 2])
    file = DicomFile(save(dicom(stack, NumberOfFrames=3, PixelSpacing=[0.5, 0.25]), tmp_path / "film"))
    assert (file.shape, file.channels, file.affine, file.is_reoriented, file.finite) == (
        (3, 48, 40),
        1,
        None,
        False,
        True,
    )
    assert file.meta["modality"] == "OT" and "SECRET" not in str(file.meta)
    array, display = file.load((slice(1, 2), slice(2, 5), slice(0, 40)), False)
    np.testing.assert_array_equal(array[0, 0], RAMP[2:5] + 1.0)
    assert not display


def test_whole_slides_are_told_by_their_class(tmp_path: Path) -> None:
    image = dicom(COLOUR)
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = VLWholeSlideMicroscopyImageStorage
    assert is_dicom_slide(save(image, tmp_path / "b").read_bytes())


def test_other_images_are_no_slides(tmp_path: Path) -> None:
    assert not is_dicom_slide(save(dicom(COLOUR), tmp_path / "a").read_bytes())
