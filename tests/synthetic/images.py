"""Tiny images in the formats of clinics, written by other libraries than those that the reader decodes with."""

from io import BytesIO
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
from PIL import Image, ImageCms
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from dynammo.io.image_reader import Paths, read_image

# RAMP below as HTJ2K, by OpenJPH: no library that comes with the reader writes it
HTJ2K_RAMP = (
    "/0//UQApQAAAAAAoAAAAMAAAAAAAAAAAAAAAKAAAADAAAAAAAAAAAAABDwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB/1wAEyCIkJCQkJCQ"
    "kJCQkJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAALoAAf+TwAArAC0AdfXr/zPqAsM0AKAACYDb7QAiNACgAAqg2mqr"
    "7cBCAf62AMAAFTAABXAIIPDa/X5LdgBs2djY2P70DEYxgey4AMAAFZAABawA8O/4FPT09PTyegCyMplMJpPJZLL/UAQ9iEB79iEB7L0AwAAr"
    "4AAXTgAAAPx/wClKUpSlKUvsAE7HcRzHcRzHcRzHcRzHcf7/fZAQge/YQge/YQge/YQge/YQgey3Af/Z"
)
LOSSLESS = (RLELossless, JPEGLSLossless, JPEG2000Lossless, JPEGLossless, JPEGLosslessSV1)


def dicom(pixels: np.ndarray, **elements: Any) -> FileDataset:  # noqa: ANN401
    """A secondary capture of (H, W), (H, W, 3) or, with `NumberOfFrames`, one axis more."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    image = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    image.SOPClassUID, image.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    image.StudyInstanceUID, image.SeriesInstanceUID, image.Modality = "1.2.3", "1.2.3.4", "OT"
    image.PatientName, image.PatientID, image.PatientBirthDate = "Doe^Jane", "SECRET-77", "19500101"
    colour, stack = pixels.shape[-1] == 3, "NumberOfFrames" in elements
    image.SamplesPerPixel, image.PhotometricInterpretation = (3, "RGB") if colour else (1, "MONOCHROME2")
    if colour:
        image.PlanarConfiguration = 0
    image.Rows, image.Columns = pixels.shape[1:3] if stack else pixels.shape[:2]
    image.BitsAllocated = image.BitsStored = 8 * pixels.dtype.itemsize
    image.HighBit, image.PixelRepresentation = image.BitsStored - 1, int(pixels.dtype.kind == "i")
    image.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    for name, value in elements.items():
        setattr(image, name, value)
    return image


def compressed(image: FileDataset, syntax: UID, folder: Path) -> FileDataset:
    """The same image in another transfer syntax."""
    if syntax == JPEGBaseline8Bit:
        stream = BytesIO()
        Image.fromarray(image.pixel_array).save(stream, "JPEG", quality=95)
        image.PixelData = encapsulate([stream.getvalue()])
        image["PixelData"].is_undefined_length = True
        image.file_meta.TransferSyntaxUID = syntax
        if image.SamplesPerPixel == 3:
            image.PhotometricInterpretation = "YBR_FULL_422"
        return image
    if syntax in (JPEGLossless, JPEGLosslessSV1):
        return _by_gdcm(image, syntax, folder)
    image.compress(syntax, generate_instance_uid=False)
    return image


def _by_gdcm(image: FileDataset, syntax: UID, folder: Path) -> FileDataset:
    import gdcm

    save(image, folder / "plain")
    reader = gdcm.ImageReader()
    reader.SetFileName(str(folder / "plain"))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    kind = "JPEGLosslessProcess14" if syntax == JPEGLossless else "JPEGLosslessProcess14_1"
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, kind)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(folder / "compressed"))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return pydicom.dcmread(folder / "compressed")


def save(image: FileDataset, path: Path) -> Path:
    """Write a DICOM file."""
    pydicom.dcmwrite(path, image, enforce_file_format=True)
    return path


def slices(volume: np.ndarray, spacing: tuple[float, float, float] = (4.0, 2.0, 1.5)) -> list[FileDataset]:
    """Axial DICOM slices of int16 (D, H, W), laid out as the reader lays volumes out, feet first."""
    images = []
    for k, pixels in enumerate(volume):
        image = dicom(pixels, PixelSpacing=list(spacing[1:]), SliceThickness=spacing[0], InstanceNumber=k + 1)
        image.ImageOrientationPatient, image.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [-30, -20, spacing[0] * k]
        image.RescaleSlope, image.RescaleIntercept = 1, -1024
        images.append(image)
    return images


def nifti(volume: np.ndarray, codes: str = "LPS", spacing: tuple[float, ...] = (1.5, 2.0, 4.0)) -> nib.Nifti1Image:
    """A NIfTI of (x, y, z) stored along `codes`; the volume is given along LPS."""
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])  # of LPS, in RAS mm
    affine[:3, 3] = 30, 20, 0
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("LPS"), nib.orientations.axcodes2ornt(tuple(codes))
    )
    return nib.Nifti1Image(volume, affine).as_reoriented(turn)


RAMP = np.arange(48 * 40, dtype=np.uint16).reshape(48, 40)


COLOUR = np.stack([RAMP % 251, RAMP % 241, RAMP // 10], axis=2).astype(np.uint8)


VOLUME = np.random.default_rng(0).integers(0, 3000, (6, 5, 4)).astype(np.int16)  # (D, H, W) as read


def values(path: Paths, **options: Any) -> np.ndarray:  # noqa: ANN401
    array = read_image(path, **options).array
    assert array.dtype == np.float32 and array.flags.c_contiguous
    return array


def as_nifti(volume: np.ndarray, codes: str = "LPS") -> nib.Nifti1Image:
    """The volume (D, H, W) as NIfTI, stored along `codes`."""
    return nifti(np.ascontiguousarray(volume.transpose(2, 1, 0)), codes)


def other_profile() -> bytes:
    """The red and blue primaries of sRGB, swapped: colours change strongly; under a name of its own."""
    content = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    tags = {
        bytes(content[at : at + 4]): at for at in range(132, 132 + 12 * int.from_bytes(content[128:132], "big"), 12)
    }
    red, blue = tags[b"rXYZ"], tags[b"bXYZ"]
    content[red + 4 : red + 12], content[blue + 4 : blue + 12] = (
        content[blue + 4 : blue + 12],
        content[red + 4 : red + 12],
    )
    for plain in ("sRGB", "RGB"):
        wide = plain.encode("utf-16-be")
        content = content.replace(wide, ("x" * len(plain)).encode("utf-16-be"))
    return bytes(content)
