"""How phantoms are written: JPEG and PNG with Pillow, DICOM with pydicom, NIfTI with nibabel."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

# Stored values are unsigned; what they stand for may be negative, as from a real detector.
RESCALE_SLOPE = 0.05
RESCALE_INTERCEPT = -1000.0
DETECTOR_MM = 400.0
SCAN_MM = np.array([360.0, 360.0, 300.0])  # field of view across, front to back and along the body


@dataclass(frozen=True)
class Identity:
    """Who a phantom is: nobody, but the same nobody for the same settings.

    Attributes:
        number: Its number in its set, from 1.
        origin: Everything it was drawn from, in words; no two phantoms share it.
    """

    number: int
    origin: str

    @property
    def patient(self) -> str:
        """Patient ID and file stem, such as PHANTOM-000123."""
        return f"PHANTOM-{self.number:06d}"

    def uid(self, level: str) -> UID:
        """Give the UID of this phantom's study, series or instance."""
        return generate_uid(entropy_srcs=[self.origin, level])


def save_jpeg(path: Path, pixels: np.ndarray, identity: Identity) -> None:
    """Write RGB pixels of shape (height, width, 3), uint8, as JPEG."""
    Image.fromarray(pixels).save(path, quality=92)


def save_png(path: Path, pixels: np.ndarray, identity: Identity) -> None:
    """Write RGB pixels of shape (height, width, 3), uint8, as PNG."""
    Image.fromarray(pixels).save(path)


def window(pixels: np.ndarray) -> tuple[float, float]:
    """Give the centre and width, in stored values, at which a radiograph is looked at."""
    return float(pixels.mean()), float(4.5 * pixels.std())


def save_dicom(path: Path, pixels: np.ndarray, identity: Identity) -> None:
    """Write a radiograph of shape (height, width), uint16, as uncompressed MONOCHROME2 DICOM."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    meta.MediaStorageSOPInstanceUID = identity.uid("instance")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    describe_patient(dataset, identity)
    describe_image(dataset, pixels)
    dataset.PixelData = pixels.astype("<u2").tobytes()
    dataset.save_as(path, enforce_file_format=True)


def describe_patient(dataset: FileDataset, identity: Identity) -> None:
    """Fill in patient, study, series and device; what is not known stays empty, as DICOM asks."""
    dataset.SOPClassUID = ComputedRadiographyImageStorage
    dataset.SOPInstanceUID = identity.uid("instance")
    dataset.StudyInstanceUID = identity.uid("study")
    dataset.SeriesInstanceUID = identity.uid("series")
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientID = identity.patient
    dataset.PatientName = identity.patient.replace("-", "^")
    dataset.SyntheticData = "YES"
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "Synthetic: no patient was imaged"
    for empty in ("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
                  "AccessionNumber", "ReferringPhysicianName"):  # fmt: skip
        setattr(dataset, empty, "")
    dataset.Modality = "CR"
    dataset.Manufacturer = "Phantom"
    dataset.SeriesDescription = "Phantom, not a patient"
    dataset.BodyPartExamined = "CHEST"
    dataset.ViewPosition = "PA"
    dataset.PatientOrientation = ["L", "F"]
    dataset.SeriesNumber = dataset.InstanceNumber = 1


def describe_image(dataset: FileDataset, pixels: np.ndarray) -> None:
    """Fill in how the pixels are laid out, what they stand for and how to look at them."""
    centre, width = window(pixels)
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 0
    dataset.ImagerPixelSpacing = [round(DETECTOR_MM / pixels.shape[0], 4)] * 2
    dataset.RescaleSlope = RESCALE_SLOPE
    dataset.RescaleIntercept = RESCALE_INTERCEPT
    dataset.RescaleType = "US"
    dataset.WindowCenter = round(centre * RESCALE_SLOPE + RESCALE_INTERCEPT, 1)
    dataset.WindowWidth = round(width * RESCALE_SLOPE, 1)


def save_nifti(path: Path, voxels: np.ndarray, identity: Identity) -> None:
    """Write a volume of shape (z, y, x), int16, as compressed NIfTI in mm, its middle at the scanner's origin.

    The file's axes are x, y, z, as converted CT has them; x rises to the patient's left and y to the back, which
    NIfTI counts downwards.
    """
    stored = voxels.transpose(2, 1, 0)
    steps = SCAN_MM / stored.shape * (-1, -1, 1)
    affine = np.diag([*steps, 1.0])
    affine[:3, 3] = -steps * (np.array(stored.shape) - 1) / 2
    image = nibabel.Nifti1Image(stored, affine, dtype=np.int16)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b"Phantom, not a patient"
    image.set_qform(affine, code="scanner")
    image.set_sform(affine, code="scanner")
    nibabel.save(image, path)
