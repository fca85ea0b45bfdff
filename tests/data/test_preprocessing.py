"""One rule for every image, as the bundle's configs hold it (docs/method.md)."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import torch
from conftest import Trained
from monai.bundle import ConfigParser
from monai.transforms import Compose, Transform
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid
from synthetic.datasets import ROOT

from dynammo.data.preprocessing import cached_dataset, preprocessing_of

MEAN, DEVIATION = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
RAMP = np.tile(np.linspace(0, 1, 40), (24, 1))  # (H, W) = (24, 40), dark left, bright right
Read = Callable[[Path], torch.Tensor]


@pytest.fixture(scope="module")
def read() -> Read:
    """Preprocess a file as the bundle does and undo the ImageNet normalisation: RGB, (3, 32, 32)."""
    parser = ConfigParser()
    parser.read_config(str(ROOT / "bundle" / "configs" / "train.yaml"))
    parser.update({"image_size": 32})
    transform = parser.get_parsed_content("preprocessing")

    def run(path: Path) -> torch.Tensor:
        image: torch.Tensor = transform({"image": str(path)})["image"]
        assert image.shape == (3, 32, 32) and image.dtype == torch.float32
        return image * DEVIATION.view(3, 1, 1) + MEAN.view(3, 1, 1)

    return run


def write_dicom(path: Path, pixels: np.ndarray, slope: float, intercept: float) -> None:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    image = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    image.SOPClassUID, image.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    image.Modality, image.PatientID = "OT", "MADE-UP"
    image.Rows, image.Columns = pixels.shape[:2]
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    if pixels.ndim == 3:
        image.SamplesPerPixel, image.PhotometricInterpretation, image.PlanarConfiguration = 3, "RGB", 0
    image.BitsAllocated = image.BitsStored = 8 * pixels.dtype.itemsize
    image.HighBit, image.PixelRepresentation = image.BitsStored - 1, 0
    image.RescaleSlope, image.RescaleIntercept = slope, intercept
    image.PixelData = pixels.tobytes()
    pydicom.dcmwrite(path, image, enforce_file_format=True)


def colour_image() -> Image.Image:
    rgb = np.stack([RAMP, 1 - RAMP, np.full_like(RAMP, 0.4)], axis=2)
    return Image.fromarray((rgb * 255).round().astype(np.uint8))


@pytest.mark.parametrize(
    ("mode", "suffix", "tolerance"),
    [("RGB", "png", 0.001), ("RGB", "tif", 0.001), ("RGBA", "png", 0.001), ("P", "png", 0.08), ("RGB", "jpg", 0.06),
     ("CMYK", "jpg", 0.08), ("CMYK", "tif", 0.02)],
)  # fmt: skip
def test_colour_images_of_every_mode_come_out_alike(
    read: Read, tmp_path: Path, mode: str, suffix: str, tolerance: float
) -> None:
    colour_image().save(tmp_path / "plain.png")
    colour_image().convert(mode).save(tmp_path / f"image.{suffix}")
    expected, image = read(tmp_path / "plain.png"), read(tmp_path / f"image.{suffix}")
    assert (image - expected).abs().mean() < tolerance
    assert image[0, 16, 0] < 0.15 < 0.85 < image[0, 16, -1]  # red rises from left to right: rows stay rows
    assert image[2].mean() == pytest.approx(0.4, abs=0.05)


@pytest.mark.parametrize("mode", ["L", "LA", "1"])
def test_grey_images_get_three_equal_channels(read: Read, tmp_path: Path, mode: str) -> None:
    Image.fromarray((RAMP * 255).round().astype(np.uint8)).convert(mode).save(tmp_path / "grey.png")
    image = read(tmp_path / "grey.png")
    torch.testing.assert_close(image[0], image[1], atol=1e-5, rtol=0)
    torch.testing.assert_close(image[0], image[2], atol=1e-5, rtol=0)
    assert image[0, :, 0].mean() < 0.1 and image[0, :, -1].mean() > 0.9


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_deep_grey_images_are_scaled_by_percentiles(read: Read, tmp_path: Path, suffix: str) -> None:
    faint = (1000 + RAMP * 3000).astype(np.uint16)  # a 12-bit picture in 16 bits
    Image.fromarray(faint).save(tmp_path / f"deep.{suffix}")
    image = read(tmp_path / f"deep.{suffix}")
    assert image.min() == pytest.approx(0, abs=0.02) and image.max() == pytest.approx(1, abs=0.02)
    assert image[0, 16, 16] == pytest.approx(0.5, abs=0.05)


def test_grey_dicom_is_rescaled_and_scaled_like_other_deep_images(read: Read, tmp_path: Path) -> None:
    stored = (RAMP * 2000).astype(np.uint16)
    write_dicom(tmp_path / "ct.dcm", stored, slope=2.0, intercept=-1024.0)
    Image.fromarray((stored * 2).astype(np.uint16)).save(tmp_path / "same.png")
    torch.testing.assert_close(read(tmp_path / "ct.dcm"), read(tmp_path / "same.png"), atol=1e-3, rtol=0)


def test_colour_dicom_equals_the_photograph(read: Read, tmp_path: Path) -> None:
    write_dicom(tmp_path / "photo", np.asarray(colour_image()), slope=1, intercept=0)  # no suffix, as clinics have it
    colour_image().save(tmp_path / "photo.png")
    torch.testing.assert_close(read(tmp_path / "photo"), read(tmp_path / "photo.png"), atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(1, 1), (5, 300), (700, 40)])
def test_images_of_any_size_are_taken_whole(read: Read, tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size, (255, 0, 128)).save(tmp_path / "odd.png")
    image = read(tmp_path / "odd.png")
    torch.testing.assert_close(image.mean((1, 2)), torch.tensor([1.0, 0.0, 128 / 255]), atol=1e-3, rtol=0)


def test_a_constant_deep_image_stays_finite(read: Read, tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 700, np.uint16)).save(tmp_path / "flat.png")
    assert torch.isfinite(read(tmp_path / "flat.png")).all()


def test_a_run_is_preprocessed_as_it_was_trained(trained: Trained, tiny_data: Path) -> None:
    record = json.loads((trained("analytic") / "run.json").read_text())
    parser = ConfigParser()
    parser.read_config(str(ROOT / "bundle" / "configs" / "train.yaml"))
    parser.update({"image_size": record["config"]["image_size"]})
    item = {"image": str(next(tiny_data.rglob("*.png")))}
    expected = parser.get_parsed_content("preprocessing")(dict(item))["image"]
    assert torch.equal(preprocessing_of(record)(dict(item))["image"], expected)


def test_what_is_cached_is_kept_for_one_recipe(tmp_path: Path) -> None:
    file, calls = tmp_path / "a.png", []
    colour_image().save(file)
    items = [{"image": str(file), "path": str(file), "label": 0}]

    class Counted(Transform):
        def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
            calls.append(item["path"])
            return {**item, "image": torch.zeros(3)}

    for recipe, count in (({"grey": False}, 1), ({"grey": False}, 1), ({"grey": True}, 2)):
        dataset = cached_dataset(items, Compose([Counted()]), recipe, cache_dir=tmp_path / "cache")
        assert torch.equal(dataset[0]["image"], torch.zeros(3)) and len(calls) == count
    assert len(list((tmp_path / "cache").iterdir())) == 2
    before = file.stat()
    file.write_bytes(bytes(before.st_size))  # another image under the name, of the same size and time
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    cached_dataset(items, Compose([Counted()]), {"grey": True}, cache_dir=tmp_path / "cache")[0]
    assert len(calls) == 3
