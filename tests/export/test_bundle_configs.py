"""The config of an exported bundle reads images as dynammo does, with MONAI's readers alone."""

import csv
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
import tifffile
import torch
import yaml
from monai.bundle import ConfigParser
from monai.transforms import LoadImaged
from PIL import Image
from pydicom.data import DATA_ROOT
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, RLELossless
from synthetic.datasets import ROOT
from synthetic.images import compressed, dicom, nifti, save, slices

from dynammo.export.bundle_configs import standalone_evaluation, standalone_inference
from dynammo.io.image_reader import read_image
from dynammo.io.monai_reader import ClinicalReader
from dynammo.io.studies import find_studies
from dynammo.runtime.tables import csv_bytes
from dynammo.training.settings import RECIPE

VALUES: dict[str, Any] = dict.fromkeys(RECIPE, False) | {"spatial_dims": 2, "grey": "percentile", "window": [0, 1]}
NOISE = np.random.default_rng(0)
GREY = NOISE.integers(0, 4096, (40, 48)).astype(np.uint16)
COLOUR = NOISE.integers(0, 256, (20, 30, 3)).astype(np.uint8)
VOLUME = NOISE.integers(-500, 900, (12, 10, 6)).astype(np.int16)
Write = Callable[[Path], object]


def text(**recipe: object) -> str:
    config = {"image_size": 16, "recipe": VALUES | {"volumes": "middle"} | recipe}
    return standalone_inference({"classes": ["MEL", "NV"], "config": config})


def picture(mode: str, suffix: str, **saving: Any) -> Write:  # noqa: ANN401
    return lambda folder: Image.fromarray(COLOUR).convert(mode).save(folder / f"image{suffix}", **saving)


def turned(folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(COLOUR).save(folder / "turned.jpg", exif=exif)


def deep(folder: Path) -> None:
    Image.fromarray(GREY).save(folder / "deep.png")


def tiff_of(pixels: np.ndarray, **saving: Any) -> Write:  # noqa: ANN401
    return lambda folder: tifffile.imwrite(folder / "image.tif", pixels, **saving)


def dicom_of(pixels: np.ndarray, syntax: Any = None, **elements: Any) -> Write:  # noqa: ANN401
    def write(folder: Path) -> None:
        image = dicom(pixels, **elements)
        save(compressed(image, syntax, folder) if syntax else image, folder / "image.dcm")

    return write


def slice_along(directions: list[int]) -> Write:
    def write(folder: Path) -> None:
        image = slices(VOLUME[:1])[0]
        image.ImageOrientationPatient = directions
        save(image, folder / "image.dcm")

    return write


def volume(codes: str) -> Write:
    return lambda folder: nifti(VOLUME, codes).to_filename(folder / "volume.nii.gz")


def nifti_with_nan(folder: Path) -> None:
    voxels = VOLUME.astype(np.float32)
    voxels[:, :, 2], voxels[3, 4] = np.nan, np.nan
    nifti(voxels).to_filename(folder / "volume.nii")


SIGNED = GREY.astype(np.int16) - 2000
IMAGES: dict[str, Write] = {
    **{f"{mode} png": picture(mode, ".png") for mode in ("RGB", "L", "RGBA", "LA", "P", "1")},
    "jpeg": picture("RGB", ".jpg"),
    "cmyk jpeg": picture("CMYK", ".jpg"),
    **{f"{mode} tiff": picture(mode, ".tif") for mode in ("RGB", "L", "RGBA", "LA", "P", "CMYK")},
    "packed tiff": picture("RGB", ".tif", compression="tiff_lzw"),
    "jpeg in tiff": picture("RGB", ".tif", compression="jpeg"),
    "tiled, big-endian tiff": tiff_of(COLOUR, tile=(16, 16), byteorder=">", photometric="rgb"),
    "white-is-zero tiff": tiff_of(COLOUR[..., 0], photometric="miniswhite"),
    **{f"{suffix} picture": picture("RGB", f".{suffix}") for suffix in ("webp", "bmp", "gif", "jp2", "j2k")},
    "grey bmp": picture("L", ".bmp"),
    "turned jpeg": turned,
    "16 bit png": deep,
    "jpeg named png": picture("RGB", ".png", format="JPEG"),
    "grey dicom": dicom_of(GREY, BitsStored=12, HighBit=11),
    "rescaled": dicom_of(GREY, BitsStored=12, HighBit=11, RescaleSlope=2, RescaleIntercept=-1024),
    "monochrome1": dicom_of(
        GREY, BitsStored=12, HighBit=11, PhotometricInterpretation="MONOCHROME1", RescaleSlope=2, RescaleIntercept=-9
    ),
    "signed monochrome1": dicom_of(SIGNED, PhotometricInterpretation="MONOCHROME1"),
    "padded": dicom_of(np.where(GREY < 900, 0, GREY), PixelPaddingValue=0, RescaleSlope=1, RescaleIntercept=-1024),
    "padded, signed": dicom_of(np.where(SIGNED < 0, -2000, SIGNED), PixelPaddingValue=-2000),
    "8 bit": dicom_of(COLOUR[..., 0].copy()),
    "8 bit, windowed": dicom_of(COLOUR[..., 0].copy(), WindowCenter=60, WindowWidth=40),
    "8 bit, whole window": dicom_of(COLOUR[..., 0].copy(), WindowCenter=128, WindowWidth=256),
    "8 bit, inverted": dicom_of(COLOUR[..., 0].copy(), PhotometricInterpretation="MONOCHROME1"),
    "rgb dicom": dicom_of(COLOUR),
    "rgb dicom, rle": dicom_of(COLOUR, RLELossless),
    "rgb dicom, jpeg": dicom_of(COLOUR, JPEGBaseline8Bit),
    "grey dicom, jpeg 2000": dicom_of(GREY, JPEG2000Lossless),
    "film": dicom_of(GREY[None].repeat(5, 0), NumberOfFrames=5),
    "rgb film": dicom_of(COLOUR[None].repeat(5, 0), NumberOfFrames=5),
    **{f"{name} slice": slice_along(axes) for name, axes in {
        "axial": [1, 0, 0, 0, 1, 0], "prone": [-1, 0, 0, 0, -1, 0], "coronal": [1, 0, 0, 0, 0, -1],
        "coronal from below": [-1, 0, 0, 0, 0, 1], "sagittal": [0, 1, 0, 0, 0, -1],
    }.items()},
    "nifti with nan": nifti_with_nan,
    **{f"nifti {codes}": volume(codes) for codes in ("LPS", "RAS", "PIR", "SLA")},
}  # fmt: skip


def icc(folder: Path) -> None:
    profile = Path(DATA_ROOT, "test_files", "crayons.icc").read_bytes()
    Image.fromarray(COLOUR).save(folder / "image.png", icc_profile=profile)


def deep_with_alpha(folder: Path) -> None:
    pixels = np.stack([GREY, np.full_like(GREY, 40000)], axis=-1)
    (folder / "image.png").write_bytes(imagecodecs.png_encode(pixels))


def deep_jpeg_2000(folder: Path) -> None:
    (folder / "image.jp2").write_bytes(imagecodecs.jpeg2k_encode(GREY, level=0, bitspersample=12))


def thumbnail_first(folder: Path) -> None:
    with tifffile.TiffWriter(folder / "image.tif") as file:
        for pixels in (COLOUR[::4, ::4], COLOUR):
            file.write(pixels, photometric="rgb")


def vectors(folder: Path) -> None:
    stored = nib.Nifti1Image(COLOUR.transpose(1, 0, 2)[:, :, None, None], np.diag([-1.0, -1, 1, 1]))
    stored.header.set_intent("vector")
    stored.to_filename(folder / "volume.nii.gz")


def without_place(folder: Path) -> None:
    header = nib.Nifti1Header()
    header.set_data_shape(VOLUME.shape)
    header.set_data_dtype(np.int16)
    header["sform_code"], header["vox_offset"], header["magic"] = 2, 352, b"n+1"  # a place of zeros
    (folder / "volume.nii").write_bytes(header.binaryblock + bytes(4) + VOLUME.tobytes("F"))


def itk_of(suffix: str) -> Write:
    return lambda folder: sitk.WriteImage(sitk.GetImageFromArray(VOLUME), str(folder / f"volume.{suffix}"))


def painted(folder: Path) -> None:
    image = dicom(COLOUR[..., 0].copy(), PhotometricInterpretation="PALETTE COLOR")
    for at, colour in enumerate(("Red", "Green", "Blue")):
        table = (np.arange(256) * (at + 1) % 256).astype(np.uint8)
        image.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [256, 0, 8])
        image.add_new(f"{colour}PaletteColorLookupTableData", "OW", table.tobytes())
    save(image, folder / "image.dcm")


def placed_frames(folder: Path) -> None:
    """From the head to the feet: dynammo turns them round."""
    image = dicom(GREY[None].repeat(4, 0) + np.arange(4, dtype=np.uint16)[:, None, None], NumberOfFrames=4)
    shared, frames = pydicom.Dataset(), []
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [pydicom.Dataset()], [pydicom.Dataset()]
    shared.PixelMeasuresSequence[0].PixelSpacing = [1, 1]
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    for height in (9, 6, 3, 0):
        frames.append(pydicom.Dataset())
        frames[-1].PlanePositionSequence = [pydicom.Dataset()]
        frames[-1].PlanePositionSequence[0].ImagePositionPatient = [0, 0, height]
    image.SharedFunctionalGroupsSequence, image.PerFrameFunctionalGroupsSequence = [shared], frames
    save(image, folder / "image.dcm")


# what only dynammo reads: how to write it, and the words of the exported README that say so
BEYOND: dict[str, tuple[Write, str]] = {
    "deep tiff": (tiff_of(GREY, photometric="miniswhite"), "TIFF of more or less than 8 bits"),
    "deep jpeg 2000": (deep_jpeg_2000, "JPEG 2000 of more than 8 bits"),
    "signed tiff": (tiff_of(SIGNED.astype(np.int8)), "signed"),
    "pages": (tiff_of(COLOUR[None].repeat(3, 0) // np.array([1, 2, 3], np.uint8)[:, None, None, None],
                      photometric="rgb"), "of several pages"),
    "thumbnail first": (thumbnail_first, "with a small first page"),
    "deep png with alpha": (deep_with_alpha, "grey PNG of 16 bits with transparency"),
    "profile": (icc, "pictures with an ICC colour profile"),
    "nifti without place": (without_place, "NIfTI without a usable place"),
    "colour vectors": (vectors, "with colours as vectors"),
    "nrrd": (itk_of("nrrd"), "NRRD"),
    "metaimage": (itk_of("mha"), "MetaImage"),
    "palette": (painted, "DICOM with a colour palette"),
    "placed frames": (placed_frames, "multi-frame DICOM whose frames know their place"),
}  # fmt: skip


@pytest.fixture(scope="module")
def parsers() -> dict[str, ConfigParser]:
    """The exported config with each way to see a volume."""
    made = {}
    for volumes in ("middle", "maximum", "all"):
        recipe = {"spatial_dims": 3} if volumes == "all" else {"volumes": volumes}
        made[volumes] = ConfigParser(yaml.safe_load(text(**recipe)))
    return made


@pytest.mark.parametrize("volumes", ["middle", "maximum", "all"])
@pytest.mark.parametrize("name", IMAGES)
def test_images_are_read_as_dynammo_reads_them(
    name: str, volumes: str, parsers: dict[str, ConfigParser], tmp_path: Path
) -> None:
    IMAGES[name](tmp_path)
    (file,) = tmp_path.glob("[itdv]*.*")
    reader = ClinicalReader(frames=volumes, pictures_as_rgb=True)
    expected = LoadImaged("image", reader, image_only=True)({"image": str(file)})["image"].as_tensor()
    read = parsers[volumes].get_parsed_content("loading")({"image": str(file)})["image"]
    assert read.shape == expected.shape
    rounding = 1.0 if "jpeg" in name else 2e-3  # of a lossy JPEG in 8 bits: decoders and their colours round apart
    torch.testing.assert_close(torch.as_tensor(np.asarray(read)), expected, atol=rounding, rtol=0)


@pytest.mark.parametrize(("smallest", "reduced"), [(None, 1), (512, 2), (600, 1)])
def test_a_large_jpeg_is_reduced_as_dynammo_reduces_it(smallest: int | None, reduced: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(COLOUR).resize((1300, 1030)).save(tmp_path / "large.jpg", exif=exif)
    expected = read_image(tmp_path / "large.jpg", smallest=smallest)
    parser = ConfigParser(yaml.safe_load(text()) | {"smallest": smallest})
    read = parser.get_parsed_content("loading")({"image": str(tmp_path / "large.jpg")})["image"]
    assert expected.meta["reduced"] == reduced and expected.array.shape == (3, 1300 // reduced, 1030 // reduced)
    np.testing.assert_array_equal(np.asarray(read), expected.array)


@pytest.mark.parametrize("name", BEYOND)
def test_what_dynammo_alone_reads_stands_in_the_readme(
    name: str, parsers: dict[str, ConfigParser], tmp_path: Path
) -> None:
    write, words = BEYOND[name]
    write(tmp_path)
    (file,) = tmp_path.iterdir()
    expected = read_image(file, pictures_as_rgb=True).array
    readme = (ROOT / "dynammo/export/bundle_templates/README.md.j2").read_text()
    (limits,) = (line for line in readme.splitlines() if line.startswith("- Read by dynammo, but refused"))
    assert words in limits
    try:
        read = np.asarray(parsers["all"].get_parsed_content("loading")({"image": str(file)})["image"])
    except Exception:  # MONAI's readers raise many kinds
        return
    assert read.shape != expected.shape or np.abs(read - expected).max() > 0.5, "it need not stand there"


@pytest.mark.parametrize("name", [*IMAGES, *BEYOND])
def test_the_scan_of_headers_finds_what_is_read(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    (IMAGES[name] if name in IMAGES else BEYOND[name][0])(folder)
    for beside in folder.glob("[!itdv]*"):  # what was made on the way to a compressed file
        beside.unlink()
    (study,) = find_studies(folder, tmp_path / "unpacked").studies
    image = read_image(study.files[0])
    assert (study.reason, study.format, study.modality) == ("", image.meta["format"], image.meta["modality"])
    for uid in ("study_uid", "series_uid", "instance_uid"):
        assert getattr(study, uid) == image.meta[uid]


def test_nan_takes_the_smallest_value(parsers: dict[str, ConfigParser], tmp_path: Path) -> None:
    image = nifti(np.where(VOLUME > 500, np.nan, VOLUME.astype(np.float32)))
    image.to_filename(tmp_path / "volume.nii")
    read = parsers["middle"].get_parsed_content("loading")({"image": str(tmp_path / "volume.nii")})["image"]
    assert read.isfinite().all()


def test_palettes_are_refused_with_a_reason(parsers: dict[str, ConfigParser], tmp_path: Path) -> None:
    dicom_of(COLOUR[..., 0].copy(), PhotometricInterpretation="PALETTE COLOR")(tmp_path)
    with pytest.raises(RuntimeError) as refusal:
        parsers["middle"].get_parsed_content("loading")({"image": str(tmp_path / "image.dcm")})
    assert "use dynammo classify" in str(refusal.value.__cause__)


def test_no_name_of_a_patient_is_read(parsers: dict[str, ConfigParser], tmp_path: Path) -> None:
    dicom_of(GREY)(tmp_path)
    load = parsers["middle"].get_parsed_content("loading").transforms[0]
    meta = load({"image": str(tmp_path / "image.dcm")})["image"].meta
    assert "00280010" in meta
    assert "Doe" not in str(meta) and "SECRET" not in str(meta)


def test_values_of_the_recipe_are_those_of_the_run() -> None:
    config = yaml.safe_load(text(volumes="maximum", crop_borders=True, window=[-100, 200]))
    assert (config["grey"], config["image_size"]) == ("percentile", 16)
    config = yaml.safe_load(text(grey="window", window=[-100, 200]))
    assert (config["grey"], config["window"], list(config["grey_scalers"])) == ("window", [-100, 200], ["window"])
    assert "MEL" not in str(config), "names of classes stand in run.json alone"


def test_no_name_is_a_formula_to_a_spreadsheet(parsers: dict[str, ConfigParser]) -> None:
    """As `dynammo classify` writes it, in MONAI's own CSV file."""
    cell = parsers["middle"].get_parsed_content("cell")
    names = [
        "=cmd|'/C calc'!A0", "\t=1", "\n+1", " -1", "@rest", "\uff1d1", "\ufe62 1",
        'a,=1,"b"', "plain", "B\udce4r", "\\t=1", "x\n=1", "",
    ]  # fmt: skip
    (ours,) = csv.reader(io.StringIO(csv_bytes(names, []).decode(), newline=""))
    (theirs,) = csv.reader(io.StringIO(",".join(map(cell, names)), newline=""))
    assert theirs == ours and sum(name.startswith("'") for name in theirs) == 7


def test_nothing_of_dynammo_is_named() -> None:
    for part in (text(), standalone_evaluation()):
        lines = [line for line in part.splitlines() if not line.lstrip().startswith("#")]
        assert not any("dynammo." in line for line in lines)
        assert len(set(yaml.safe_load(part))) == len([line for line in lines if line[:1].isalpha()])  # no key twice


def test_pictures_are_read_upright_where_dynammo_is_not_installed(tmp_path: Path) -> None:
    """In a process of its own: what one library imports may hide that another needs it."""
    (tmp_path / "inference.yaml").write_text(text())
    Image.fromarray(COLOUR).save(tmp_path / "image.png")
    code = (
        "import sys; sys.modules['dynammo'] = None\n"
        "from monai.bundle import ConfigParser\n"
        f"parser = ConfigParser(); parser.read_config({str(tmp_path / 'inference.yaml')!r})\n"
        f"image = parser.get_parsed_content('loading')({{'image': {str(tmp_path / 'image.png')!r}}})['image']\n"
        "print(tuple(image.shape))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "(3, 20, 30)"
