"""What `dynammo classify` is measured with: made-up images of usual sizes and a model of the shipped shape."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import torch
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    CTImageStorage,
    ExplicitVRLittleEndian,
)
from scipy.ndimage import gaussian_filter

from benchmarks.networks import CLASSES_OF_A_TASK
from dynammo.networks.merged_classifier import MergedClassifier
from dynammo.runtime.files import prepare_output_dir, save_state, sha256, write_json

__all__ = ["SETS", "copy_often", "shared_folder", "write_dicoms", "write_model", "write_photographs"]

SETS = ("derm8", "path11", "radio12")
"""Benchmark sets of real images, in `data/` of `shared_folder`."""

Pixels = NDArray[Any]
PHOTO = (450, 600)  # rows and columns of a dermoscopy photograph
SLICE = (512, 512)
STORAGE = {"CT": CTImageStorage, "CR": ComputedRadiographyImageStorage}
CLASSES = [f"class {letter}" for letter in "ABCDEFGH"]
RECIPE = {
    "spatial_dims": 2, "volumes": "middle", "crop_borders": False, "stain_normalisation": False,
    "colour_constancy": False, "grey": "percentile", "window": [-160, 240],
}  # fmt: skip


def shared_folder() -> Path:
    """Where the benchmark sets and the weights lie that are no part of the project, as the overlays have it."""
    return Path(os.environ.get("DYNAMMO_SHARED", "../shared"))


def write_photographs(folder: Path, count: int, seed: int = 0) -> None:
    """Write JPEG photographs of 450 x 600 pixels, all different, each of some 150 KB."""
    random = np.random.default_rng(seed)
    texture = _texture(random)
    for i in range(count):
        grey = _cut(texture, PHOTO, random)
        photo = np.stack([grey // 16, grey // 18, grey // 22], axis=2).astype(np.uint8)
        Image.fromarray(photo).save(folder / f"photo {i:05}.jpg", quality=95, subsampling=0)


def write_dicoms(folder: Path, count: int, seed: int = 1) -> None:
    """Write 12-bit DICOM images of 512 x 512 pixels, CT and CR in turn, each a series of its own."""
    random = np.random.default_rng(seed)
    texture = _texture(random)
    for i in range(count):
        image = _dicom(_cut(texture, SLICE, random), ("CT", "CR")[i % 2], f"1.2.826.0.1.{seed}.{i}")
        pydicom.dcmwrite(folder / f"image {i:05}.dcm", image, enforce_file_format=True)


def copy_often(folder: Path, count: int, different: int = 20) -> None:
    """Write `count` small JPEGs, copies of a few."""
    random = np.random.default_rng(2)
    texture = _texture(random)
    for i in range(count):
        file = folder / f"small {i:05}.jpg"
        if i < different:
            Image.fromarray((_cut(texture, (64, 64), random) // 16).astype(np.uint8)).save(file)
        else:
            shutil.copyfile(folder / f"small {i % different:05}.jpg", file)


def write_model(folder: Path, image_size: int = 224, stages: int = 4) -> Path:
    """Write a run as the defaults of `train.yaml` shape it, with random weights: they change no cost.

    Args:
        folder: of the run, made if need be.
        image_size: height and width that images are brought to, in pixels.
        stages: layers of the ResNet, 1 to 4.
    """
    torch.manual_seed(0)
    spec: dict[str, Any] = {
        "heads": [CLASSES_OF_A_TASK] * (len(CLASSES) // CLASSES_OF_A_TASK), "branches": 1, "architecture": "resnet18",
        "stages": stages, "adapter": "conv", "spatial_dims": 2, "in_channels": 3, "others": True,
        "out_of_distribution": len(CLASSES),
    }  # fmt: skip
    weights = prepare_output_dir(folder) / "model.pt"
    save_state(weights, MergedClassifier(**spec).state_dict())
    record = {
        "method": "dynammo", "classes": CLASSES, "network": spec, "files": {"model.pt": sha256(weights)},
        "config": {"image_size": image_size, "recipe": RECIPE},
        "trust": {
            "false_alarm_rate": 0.05, "unknown_threshold": 0.5, "out_of_distribution_threshold": 3.0,
            "temperature": 1.0,
        },
    }  # fmt: skip
    write_json(folder / "run.json", record)
    return folder


def _texture(random: np.random.Generator) -> Pixels:
    """12-bit values (uint16) of 1024 x 1024 pixels: soft shapes with the noise of a detector."""
    shapes = gaussian_filter(random.normal(size=(1024, 1024)), 8)
    values = 2048 + 700 * shapes / shapes.std() + random.normal(0, 60, shapes.shape)
    return np.asarray(np.clip(values, 0, 4095), np.uint16)


def _cut(texture: Pixels, shape: tuple[int, int], random: np.random.Generator) -> Pixels:
    top, left = (int(random.integers(whole - part)) for whole, part in zip(texture.shape, shape, strict=True))
    return np.ascontiguousarray(texture[top : top + shape[0], left : left + shape[1]])


def _dicom(pixels: Pixels, modality: str, uid: str) -> Dataset:
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID = STORAGE[modality]
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID = f"{uid}.3"
    image.StudyInstanceUID, image.SeriesInstanceUID, image.Modality = f"{uid}.1", f"{uid}.2", modality
    image.Rows, image.Columns = pixels.shape
    image.SamplesPerPixel, image.PhotometricInterpretation, image.PixelRepresentation = 1, "MONOCHROME2", 0
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 12, 11
    image.PixelSpacing = [0.7, 0.7]
    if modality == "CT":
        image.RescaleSlope, image.RescaleIntercept = 1, -1024
        image.ImagePositionPatient, image.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    image.PixelData = pixels.tobytes()
    return image
