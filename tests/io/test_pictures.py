from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from synthetic.images import (
    COLOUR,
    RAMP,
    dicom,
    other_profile,
    save,
    values,
)

from dynammo.errors import UserError
from dynammo.io.image_reader import frame_count, read_image
from dynammo.io.pictures import MOST_PIXELS, PictureFile, check_pixels

pictures = arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12), st.just(3)))


@settings(deadline=None, max_examples=30)
@given(picture=pictures)
def test_a_photograph_is_the_same_through_png_and_dicom(
    picture: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("photo")
    Image.fromarray(picture).save(folder / "photo.png")
    png, secondary = values(folder / "photo.png"), values(save(dicom(picture), folder / "photo.dcm"))
    assert np.array_equal(png, secondary) and np.array_equal(png, picture.transpose(2, 0, 1))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_measured_and_eight_are_for_the_screen(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(RAMP * 30).save(tmp_path / f"deep.{suffix}")
    Image.fromarray(COLOUR[..., 0]).save(tmp_path / f"grey.{suffix}")
    assert np.array_equal(values(tmp_path / f"deep.{suffix}", pictures_as_rgb=True), (RAMP * 30)[None])
    grey = values(tmp_path / f"grey.{suffix}", pictures_as_rgb=True)
    assert grey.shape == (3, 48, 40) and np.array_equal(grey[0], grey[2])
    assert values(tmp_path / f"grey.{suffix}").shape == (1, 48, 40)
    shown = values(tmp_path / f"deep.{suffix}", window=(300, 30000), pictures_as_rgb=True)
    assert shown.shape == (3, 48, 40) and (shown.min(), shown.max()) == (0, 255)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png", "tif"])
def test_pictures_stand_upright(tmp_path: Path, orientation: int, kind: str) -> None:
    """Stored as the camera lay, tagged so that every viewer shows the same."""
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Image.Transpose that puts it into the stored place
    upright = Image.fromarray(np.pad(np.full((8, 16, 3), 250, np.uint8), ((0, 24), (0, 32), (0, 0))))
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / f"x.{kind}", exif=exif)
    image = values(tmp_path / f"x.{kind}")
    assert image.shape == (3, 32, 48)
    assert np.abs(image - np.asarray(upright).transpose(2, 0, 1)).mean() < 2


@pytest.mark.parametrize(
    ("mode", "channels"), [("1", 1), ("L", 1), ("LA", 1), ("P", 3), ("RGBA", 3), ("CMYK", 3), ("YCbCr", 3)]
)
def test_modes_of_pictures(tmp_path: Path, mode: str, channels: int) -> None:
    picture = Image.fromarray(COLOUR).convert(mode)
    picture.save(tmp_path / "x.tif")
    assert values(tmp_path / "x.tif").shape == (channels, 48, 40)


def test_what_is_transparent_lies_on_black(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (200, 100, 50, 0)).save(tmp_path / "clear.png")
    Image.new("LA", (4, 4), (200, 255)).save(tmp_path / "opaque.png")
    assert values(tmp_path / "clear.png").max() == 0 and values(tmp_path / "opaque.png").min() == 200


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("suffix", ["png", "jp2", "j2k"])
@pytest.mark.parametrize("bits", [12, 16])
def test_deep_grey_is_measured_with_and_without_alpha(tmp_path: Path, suffix: str, alpha: bool, bits: int) -> None:
    """Not its upper 8 bits, and not shifted to 16: as stored, where it is transparent too."""
    grey = np.random.default_rng(bits).integers(0, 2**bits, (31, 22)).astype(np.uint16)
    stored = np.stack([grey, np.where(grey % 3, 65535 >> (16 - bits), 7)], axis=2).astype(np.uint16) if alpha else grey
    if suffix == "png":
        content = imagecodecs.png_encode(stored)
    else:
        options = {"codecformat": suffix, "bitspersample": bits, "reversible": True}
        content = imagecodecs.jpeg2k_encode(stored, level=0, **options)
    (tmp_path / "x").write_bytes(content)
    assert np.array_equal(values(tmp_path / "x", pictures_as_rgb=True), grey[None])


def test_signed_jpeg_2000_is_measured_or_refused_by_name(tmp_path: Path) -> None:
    signed = (RAMP.astype(np.int16) - 900)[:, ::2]
    (tmp_path / "x").write_bytes(imagecodecs.jpeg2k_encode(signed, level=0, reversible=True))
    assert np.array_equal(values(tmp_path / "x"), signed[None])
    (tmp_path / "x").write_bytes(imagecodecs.jpeg2k_encode(np.stack([signed] * 3, 2), level=0, reversible=True))
    with pytest.raises(UserError, match="signed JPEG 2000 in colours is not read"):
        read_image(tmp_path / "x")


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P"])
@pytest.mark.parametrize(
    ("suffix", "kind", "saving"),
    [("png", "png", {}), ("webp", "webp", {"lossless": True}), ("bmp", "bmp", {}), ("gif", "gif", {}),
     ("jp2", "jpeg2000", {}), ("jpg", "jpeg", {})],
)  # fmt: skip
def test_pictures_are_as_pillow_reads_them(tmp_path: Path, suffix: str, kind: str, saving: dict, mode: str) -> None:
    picture = Image.fromarray(COLOUR).convert(mode)
    picture = picture.convert("RGB") if (suffix, mode) in {("jpg", "RGBA"), ("jpg", "P"), ("jp2", "P")} else picture
    picture.save(tmp_path / f"x.{suffix}", **saving)
    image = read_image(tmp_path / f"x.{suffix}")
    with Image.open(tmp_path / f"x.{suffix}") as opened:
        expected = np.asarray(opened.convert("L" if opened.mode == "L" else "RGB"), np.float32)
    assert image.meta["format"] == kind and image.meta["display"] is True
    assert np.array_equal(image.array, expected[None] if expected.ndim == 2 else expected.transpose(2, 0, 1))


def test_of_an_animation_the_first_frame_is_read(tmp_path: Path) -> None:
    pages = [Image.new("RGB", (5, 4), (k, 0, 0)) for k in (10, 200)]
    for suffix, saving in (("gif", {}), ("webp", {"lossless": True}), ("png", {})):
        pages[0].save(tmp_path / f"x.{suffix}", save_all=True, append_images=pages[1:], **saving)
        assert values(tmp_path / f"x.{suffix}")[0].max() == 10 and frame_count(tmp_path / f"x.{suffix}") == 1


def test_a_picture_file_is_what_its_header_says(tmp_path: Path) -> None:
    Image.fromarray(COLOUR).save(tmp_path / "x.png")
    file = PictureFile(tmp_path / "x.png")
    assert (file.format, file.shape, file.channels, file.finite) == ("png", (1, 48, 40), 3, True)
    file.close()
    with pytest.raises(ValueError, match="tile it or make it smaller"):
        check_pixels(MOST_PIXELS + 1)


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_large_jpeg_is_decoded_at_the_scale_that_is_enough(tmp_path: Path, mode: str, orientation: int) -> None:
    random = np.random.default_rng(0)
    soft = Image.fromarray(random.integers(0, 256, (9, 13, 3)).astype(np.uint8)).resize((800, 544)).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = orientation
    soft.save(tmp_path / "x.jpg", quality=95, exif=exif)
    soft.save(tmp_path / "x.tif")
    whole = read_image(tmp_path / "x.jpg")
    for smallest, scale in ((None, 1), (273, 1), (272, 2), (136, 4), (68, 8), (1, 8)):
        image = read_image(tmp_path / "x.jpg", smallest=smallest)
        assert image.meta["reduced"] == scale
        assert image.meta["spatial_shape"].tolist() == list(whole.array.shape[1:])
        assert np.array_equal(image.meta["affine"], whole.meta["affine"] @ np.diag([scale, scale, 1, 1]))
        channels, height, width = whole.array.shape
        blocks = whole.array.reshape(channels, height // scale, scale, width // scale, scale)
        assert np.abs(image.array - blocks.mean((2, 4))).mean() < 2
    assert read_image(tmp_path / "x.tif", smallest=68).array.shape[1:] == (544, 800)
    soft.crop((0, 0, 798, 542)).save(tmp_path / "x.jpg")
    assert read_image(tmp_path / "x.jpg", smallest=68).meta["reduced"] == 2, "4 and 8 do not divide its sides"
    with pytest.raises(UserError, match="smallest is 0"):
        read_image(tmp_path / "x.jpg", smallest=0)


def test_colours_of_a_reduced_jpeg_are_turned_to_srgb(tmp_path: Path) -> None:
    profile = other_profile()
    Image.new("RGB", (256, 256), (200, 100, 50)).save(tmp_path / "x.jpg", quality=95, icc_profile=profile)
    whole, reduced = (read_image(tmp_path / "x.jpg", smallest=size) for size in (None, 64))
    assert reduced.meta["colour_profile"] == whole.meta["colour_profile"] != ""
    np.testing.assert_allclose(reduced.array[:, 5, 5], whole.array[:, 20, 20], atol=1)
