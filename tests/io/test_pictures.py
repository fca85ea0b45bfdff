import itertools
import struct
from pathlib import Path

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
    save,
    values,
)

from dynammo.io.image_reader import frame_count
from dynammo.io.pictures import may_be_slide

pictures = arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12), st.just(3)))


def test_openslide_is_asked_only_for_tiffs_with_tags_of_slides(tmp_path: Path) -> None:
    """The first directory of tags, in both orders of bytes, in TIFF and BigTIFF; a damaged one is a picture."""
    for order, big, tag in itertools.product("<>", (False, True), (256, 322, 65420)):
        mark, number, pointer, entry = (43, "Q", "HHQ", "HHQQ") if big else (42, "H", "I", "HHII")
        head = (b"II" if order == "<" else b"MM") + struct.pack(order + "H", mark)
        head += struct.pack(order + pointer, *((8, 0, 16) if big else (8,)))
        tags = struct.pack(order + number, 2) + struct.pack(order + entry, 254, 4, 1, 0)
        (tmp_path / "a").write_bytes(head + tags + struct.pack(order + entry, tag, 4, 1, 0))
        assert may_be_slide(tmp_path / "a") is (tag != 256), (order, big, tag)
        for end in range(4, len(head) + 1):
            (tmp_path / "b").write_bytes(head[:end])
            assert not may_be_slide(tmp_path / "b")


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


def test_pages_of_a_tiff_are_frames(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.full((4, 5), k, np.uint8)) for k in (10, 30, 20)]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    assert frame_count(tmp_path / "stack.tif") == 3 and values(tmp_path / "stack.tif").shape == (1, 3, 4, 5)
    assert values(f"{tmp_path}/stack.tif#1").max() == 30 == values(tmp_path / "stack.tif", frames="maximum").max()
    pages[0].save(tmp_path / "previews.tif", save_all=True, append_images=[pages[1].resize((2, 2))])
    assert frame_count(tmp_path / "previews.tif") == 1 and values(tmp_path / "previews.tif").max() == 10
