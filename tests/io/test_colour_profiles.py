"""Colours with an ICC profile become sRGB, as LittleCMS turns them."""

from io import BytesIO
from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
from PIL import Image, ImageCms
from synthetic.images import COLOUR, RAMP, other_profile

from dynammo.io.image_reader import read_image
from dynammo.io.monai_reader import ClinicalReader
from dynammo.io.pictures import profile_name, to_srgb

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


OTHER = other_profile()
RIGHT = np.asarray(
    ImageCms.profileToProfile(
        Image.fromarray(COLOUR), ImageCms.ImageCmsProfile(BytesIO(OTHER)), ImageCms.createProfile("sRGB")
    )
)


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_pictures_are_turned_to_srgb(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(COLOUR).save(path, icc_profile=OTHER, **({"lossless": True} if suffix == "webp" else {}))
    image = read_image(path)
    assert np.abs(RIGHT.astype(int) - COLOUR).mean() > 10
    assert np.array_equal(image.array, RIGHT.transpose(2, 0, 1)) and image.meta["colour_profile"] == profile_name(OTHER)
    for stored in (read_image(path, colour_profiles=False), read_with_monai(path)):
        assert np.array_equal(stored[0] if isinstance(stored, tuple) else stored.array, COLOUR.transpose(2, 0, 1))


def read_with_monai(path: Path) -> tuple[np.ndarray, dict[str, object]]:
    return ClinicalReader(colour_profiles=False).get_data([str(path)])


def test_transparent_colours_and_palettes_too(tmp_path: Path) -> None:
    picture = Image.fromarray(COLOUR)
    picture.putalpha(255)
    picture.save(tmp_path / "x.png", icc_profile=OTHER)
    assert np.array_equal(read_image(tmp_path / "x.png").array, RIGHT.transpose(2, 0, 1))
    few = Image.fromarray(COLOUR).quantize(16)
    few.save(tmp_path / "x.png", icc_profile=OTHER)
    turned, _ = to_srgb(few.convert("RGB"), OTHER)
    assert np.array_equal(read_image(tmp_path / "x.png").array, np.asarray(turned).transpose(2, 0, 1))


@pytest.mark.parametrize("profile", [None, SRGB, b"broken", OTHER[:200]], ids=["none", "srgb", "broken", "cut"])
def test_nothing_changes_without_a_profile_or_with_that_of_srgb(tmp_path: Path, profile: bytes | None) -> None:
    Image.fromarray(COLOUR).save(tmp_path / "x.png", icc_profile=profile)
    image = read_image(tmp_path / "x.png")
    assert np.array_equal(image.array, COLOUR.transpose(2, 0, 1)) and image.meta["colour_profile"] == ""


def test_grey_and_measured_values_stay(tmp_path: Path) -> None:
    for name, pixels in (("a.png", COLOUR[..., 0]), ("b.png", RAMP)):
        Image.fromarray(pixels).save(tmp_path / name, icc_profile=OTHER)
        assert np.array_equal(read_image(tmp_path / name).array, pixels[None])


def test_slides_are_turned_to_srgb(tmp_path: Path) -> None:
    pixels = np.repeat(np.repeat(COLOUR, 8, 0), 8, 1)[:256, :256]
    with tifffile.TiffWriter(tmp_path / "x.tif") as file:
        for step in (1, 2):
            tile = {"tile": (128, 128), "photometric": "rgb", "subfiletype": step - 1, "iccprofile": OTHER}
            file.write(np.ascontiguousarray(pixels[::step, ::step]), **tile)
    if openslide.OpenSlide(tmp_path / "x.tif").color_profile is None:
        pytest.skip("this OpenSlide reads no colour profile of a generic TIFF")
    image = read_image(f"{tmp_path}/x.tif#tile=0,0,256,256")
    right, _ = to_srgb(Image.fromarray(pixels), OTHER)
    assert np.array_equal(image.array, np.asarray(right).transpose(2, 0, 1)) and image.meta["colour_profile"]
    stored = read_image(f"{tmp_path}/x.tif#tile=0,0,256,256", colour_profiles=False)
    assert np.array_equal(stored.array, pixels.transpose(2, 0, 1)) and stored.meta["colour_profile"] == ""
