"""How fast the reader is beside the bare libraries that it decodes with, format by format, in one run.

The files are made up, textured like photographs and of usual sizes: 512 pixels a side is a slice of CT or MR,
ultrasound or a small photograph, 2048 a radiograph or a photograph. Three contenders are interleaved: `bare` decodes
and no more (`pydicom.dcmread(path).pixel_array`, `nibabel.load(path).get_fdata(dtype=numpy.float32)`,
`numpy.asarray(PIL.Image.open(path))`), `values` does the rest of the reader's work with the library's own functions
(rescale, float32, canonical axes, channel first), `reader` is `dynammo.io.image_reader.read_image`.
"""

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_modality_lut
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless
from rich.console import Console
from rich.table import Table
from scipy.ndimage import gaussian_filter

from benchmarks.report import cell, check_writable, table
from benchmarks.timing import Call, Spread, time_interleaved
from dynammo.errors import UserError
from dynammo.io.image_reader import read_image
from dynammo.runtime import provenance
from dynammo.runtime.devices import keep_freed_memory
from dynammo.runtime.files import write_json

__all__ = ["ReadingSettings", "ReadingSpeed", "benchmark_reading", "measure_reading", "values_alone", "write_examples"]

Pixels = NDArray[Any]
LEAST = 0.8  # of the bare library's speed
AT_LEAST = 0.1  # seconds of a measurement
DICOM = {"DICOM": "", "DICOM RLE": RLELossless, "DICOM JPEG-LS": JPEGLSLossless, "DICOM JPEG 2000": JPEG2000Lossless}
PICTURES = {"PNG": "photo.png", "PNG 16 bit": "deep.png", "JPEG": "photo.jpg", "TIFF LZW": "photo.tif"}
LARGEST_VOLUME = 512  # size up to which volumes are measured too; they grow with its third power
VOLUMES = {"NIfTI": "volume.nii", "NIfTI gzip": "volume.nii.gz"}


@dataclass(frozen=True)
class ReadingSettings:
    """What is measured.

    Args:
        size: rows and columns of the images; volumes have half as many, and a quarter as many frames.
        repeats: measurements of each contender.
        large: rows and columns of radiographs and large photographs.

    Raises:
        UserError: a number too small to measure.
    """

    size: int = 512
    repeats: int = 5
    large: int = 2048

    def __post_init__(self) -> None:
        if min(self.size, self.large) < 64 or self.repeats < 1:
            raise UserError(
                f"size is {self.size}, large {self.large} and repeats {self.repeats}; expected at least 64, 64 and 1."
            )


@dataclass(frozen=True)
class ReadingSpeed:
    """Files a second of the contenders, see the head of this module."""

    bare: Spread
    values: Spread
    reader: Spread
    ratio: Spread  # the reader's speed by that of the bare library, turn by turn


def benchmark_reading(settings: ReadingSettings, json_file: Path | None = None) -> dict[str, ReadingSpeed]:
    """Measure all formats, print a table and, where asked for, write the figures to a file.

    Raises:
        UserError: a file that cannot be written; before measuring.
    """
    check_writable(json_file)
    origin = provenance.origin()
    speeds = measure_reading(settings)
    Console(highlight=False).print(_table(speeds, settings))
    if json_file is not None:
        figures = {name: asdict(speed) for name, speed in speeds.items()}
        write_json(json_file, {"settings": asdict(settings), "files_per_second": figures, **origin})
    return speeds


def measure_reading(settings: ReadingSettings) -> dict[str, ReadingSpeed]:
    """Files a second for each format and size."""
    keep_freed_memory()  # as trainings and `dynammo classify` do; of both readers
    speeds: dict[str, ReadingSpeed] = {}
    for size in sorted({settings.size, settings.large}):
        with tempfile.TemporaryDirectory() as folder:
            files = write_examples(Path(folder), size)
            speeds |= {f"{name}, {size}": _measure(path, settings.repeats) for name, path in files.items()}
    return speeds


def write_examples(folder: Path, size: int) -> dict[str, Path]:
    """One file for each format; volumes up to size 512."""
    grey = _texture((size, size))
    photo = Image.fromarray(np.stack([grey // 16, grey // 17, grey // 20], axis=2).astype(np.uint8))
    files = {name: folder / file for name, file in PICTURES.items()}
    photo.save(files["PNG"])
    photo.save(files["JPEG"], quality=90)
    photo.save(files["TIFF LZW"], compression="tiff_lzw")
    Image.fromarray(grey).save(files["PNG 16 bit"])
    if size <= LARGEST_VOLUME:
        files |= _write_volumes(folder, size)
    return {name: _write_dicom(folder / name, grey, syntax) for name, syntax in DICOM.items()} | files


def values_alone(path: Path) -> Pixels:
    """What the reader gives for one of these files, made of it by the library's own functions: float32 (C, ...)."""
    return np.asarray(_contenders(path)[1](path))


def _texture(shape: tuple[int, ...]) -> Pixels:
    """12-bit values (uint16): soft shapes with the noise of a detector."""
    random = np.random.default_rng(0)
    shapes = gaussian_filter(random.normal(size=shape), 8)
    values = 2048 + 700 * shapes / shapes.std() + random.normal(0, 12, shape)
    return np.asarray(np.clip(values, 0, 4095), np.uint16)


def _write_volumes(folder: Path, size: int) -> dict[str, Path]:
    volume = _texture((size // 2, size // 2, size // 4)).astype(np.int16)
    files = {name: folder / file for name, file in VOLUMES.items()}
    for path in files.values():
        nib.save(nib.Nifti1Image(volume, np.diag([-1.0, -1.0, 2.0, 1.0])), path)
    return files


def _write_dicom(path: Path, pixels: Pixels, syntax: str) -> Path:
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID = CTImageStorage
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID = "1.2.3"
    image.StudyInstanceUID, image.SeriesInstanceUID, image.Modality = "1.2.4", "1.2.5", "CT"
    image.Rows, image.Columns = pixels.shape
    image.SamplesPerPixel, image.PhotometricInterpretation, image.PixelRepresentation = 1, "MONOCHROME2", 0
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 12, 11
    image.RescaleSlope, image.RescaleIntercept, image.PixelSpacing = 1, -1024, [0.7, 0.7]
    image.ImagePositionPatient, image.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    image.PixelData = pixels.tobytes()
    if syntax:
        image.compress(syntax, generate_instance_uid=False)
    pydicom.dcmwrite(path, image, enforce_file_format=True)
    return path


def _measure(path: Path, repeats: int) -> ReadingSpeed:
    bare_library, values = _contenders(path)
    contenders = {"bare": bare_library, "values": values, "reader": read_image}
    calls: dict[str, list[Call]] = {name: [partial(read, path)] for name, read in contenders.items()}
    took = time_interleaved(calls, repeats, at_least=AT_LEAST)
    speeds = {name: Spread.of([1 / s for s in one.wall]) for name, one in took.items()}
    ratios = [bare / reader for bare, reader in zip(took["bare"].wall, took["reader"].wall, strict=True)]
    return ReadingSpeed(**speeds, ratio=Spread.of(ratios))


def _contenders(path: Path) -> tuple[Callable[[Path], object], Callable[[Path], object]]:
    if ".nii" in path.name:
        return lambda file: nib.load(file).get_fdata(dtype=np.float32), _nifti_values
    if path.suffix:
        return _picture, _picture_values
    return lambda file: pydicom.dcmread(file).pixel_array, _dicom_values


def _picture(path: Path) -> Pixels:
    with Image.open(path) as image:
        return np.asarray(image)


def _picture_values(path: Path) -> Pixels:
    return np.ascontiguousarray(np.atleast_3d(_picture(path)).transpose(2, 0, 1), np.float32)


def _dicom_values(path: Path) -> Pixels:
    header = pydicom.dcmread(path)
    return np.asarray(apply_modality_lut(header.pixel_array, header), np.float32)[np.newaxis]


def _nifti_values(path: Path) -> Pixels:
    voxels = nib.as_closest_canonical(nib.load(path)).get_fdata(dtype=np.float32)
    return np.ascontiguousarray(voxels.transpose(2, 1, 0)[:, ::-1, ::-1])[np.newaxis]


def _table(speeds: dict[str, ReadingSpeed], settings: ReadingSettings) -> Table:
    headings = ("format", "bare library", "library, same values", "reader", "reader / bare", "")
    made = table("files read in a second, median and range", *headings)
    for name, speed in speeds.items():
        spreads = (speed.bare, speed.values, speed.reader, speed.ratio)
        made.add_row(name, *map(cell, spreads), "met" if speed.ratio.median >= LEAST else "missed")
    made.caption = f"Behind the format: pixels a side. {settings.repeats} repeats, interleaved; expected {LEAST}."
    return made
