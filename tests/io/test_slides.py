"""Whole slides: what is one, where its tissue lies, and tiles at the right place, size and resolution."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from synthetic.datasets import shared

from data_prep.phantoms.files import Identity, save_dicom
from dynammo.errors import UserError
from dynammo.io import slides
from dynammo.io.slides import is_slide, read_tile, slide_thumbnail, split_tile, tissue_mask, tissue_tiles

pytest.importorskip("openslide", reason="the extra slides is not installed: pip install -e .[slides]")
tifffile = pytest.importorskip("tifffile", reason="tifffile is not installed: pip install -e .[dev]")

TISSUE, GLASS = (200, 110, 170), (245, 245, 245)
WIDTH, HEIGHT = 1536, 1024
LEFT, TOP, RIGHT, BOTTOM = 256, 384, 896, 768  # of the tissue
Pixels = NDArray[np.uint8]


def write_slide(path: Path, pixels: Pixels, steps: tuple[int, ...] = (1, 4), mpp: float | None = 0.5) -> Path:
    """A tiled TIFF with one level for each step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tifffile.TiffWriter(path) as tiff:
        for number, step in enumerate(steps):
            resolution = {} if mpp is None else {"resolution": (1e4 / mpp / step,) * 2, "resolutionunit": "CENTIMETER"}
            level = pixels.reshape(HEIGHT // step, step, WIDTH // step, step, 3).mean(axis=(1, 3)).round()
            tiff.write(
                level.astype(np.uint8), tile=(256, 256), photometric="rgb", compression="deflate", metadata=None,
                subfiletype=int(number > 0), **resolution,
            )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    """One rectangle of tissue on glass, with noise and a gradient that tells places apart."""
    image = np.full((HEIGHT, WIDTH, 3), GLASS, float)
    image[TOP:BOTTOM, LEFT:RIGHT] = TISSUE
    image[..., 1] -= 20 * np.arange(WIDTH) / WIDTH * (image[..., 1] < 200)
    noise = np.random.default_rng(0).normal(0, 3, (HEIGHT, WIDTH, 1))
    return np.clip(image + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def slide(pixels: Pixels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_slide(tmp_path_factory.mktemp("slides") / "a slide (1) #ü.tif", pixels)


def test_a_pyramid_is_a_slide_and_a_picture_is_not(slide: Path, pixels: Pixels, tmp_path: Path) -> None:
    assert is_slide(slide)
    assert not is_slide(write_slide(tmp_path / "one_level.tif", pixels, steps=(1,)))
    Image.fromarray(pixels).save(tmp_path / "picture.tif", compression="tiff_lzw")
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    save_dicom(tmp_path / "picture.dcm", pixels[..., 0].astype(np.uint16), Identity(1, "test"))
    (tmp_path / "text.svs").write_text("no slide")
    (tmp_path / "empty.svs").touch()
    (tmp_path / "folder.svs").mkdir()
    assert not [path for path in (*tmp_path.iterdir(), tmp_path / "nowhere.svs") if is_slide(path)]


def test_a_large_tiled_tiff_of_one_level_is_a_slide(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "wide.tif") as tiff:
        wide = np.full((256, 5120, 3), 200, np.uint8)
        tiff.write(wide, tile=(256, 256), photometric="rgb", compression="deflate", metadata=None)
    assert is_slide(tmp_path / "wide.tif")


def test_no_clinical_picture_is_taken_for_a_slide() -> None:
    assert not [path for path in shared("data", "clinic").iterdir() if is_slide(path)]


def test_tiles_cover_the_tissue_and_nothing_else(slide: Path) -> None:
    tiles = [split_tile(tile) for tile in tissue_tiles(slide, size=128)]
    assert {file for file, _ in tiles} == {slide}
    expected = {(x, y) for y in range(TOP, BOTTOM, 128) for x in range(LEFT, RIGHT, 128)}
    assert {(x, y) for _, (x, y, _, _) in tiles} == expected
    assert {(span, size) for _, (_, _, span, size) in tiles} == {(128, 128)}
    assert len(tissue_tiles(slide, size=128, tissue=0)) == (WIDTH // 128) * (HEIGHT // 128)


def test_a_tile_at_level_0_has_the_very_pixels(slide: Path, pixels: Pixels) -> None:
    tile = read_tile(slide, "tile=300,400,64,64")
    assert (tile.shape, tile.dtype) == ((3, 64, 64), np.float32)
    np.testing.assert_array_equal(tile, pixels[400:464, 300:364].transpose(2, 0, 1))
    np.testing.assert_array_equal(tile, read_tile(f"{slide}#tile=300,400,64,64"))


def test_resolution_may_be_given_in_micrometres_or_as_a_level(slide: Path, pixels: Pixels) -> None:
    by_mpp, by_level = tissue_tiles(slide, 64, mpp=2.0), tissue_tiles(slide, 64, level=1)
    assert by_mpp == by_level  # 0.5 micrometres at level 0, level 1 shrinks by 4
    x, y, span, size = split_tile(by_mpp[0])[1]
    assert (span, size) == (256, 64)
    shrunk = pixels[y : y + 256, x : x + 256].reshape(64, 4, 64, 4, 3).mean(axis=(1, 3)).transpose(2, 0, 1)
    assert np.abs(read_tile(by_mpp[0]) - shrunk).max() <= 1
    between = read_tile(slide, f"tile={x},{y},256,128")  # from level 0, shrunk by 2
    assert np.abs(between.reshape(3, 64, 2, 64, 2).mean(axis=(2, 4)) - shrunk).mean() < 2


@settings(max_examples=30, deadline=None)
@given(x=st.integers(0, WIDTH - 1), y=st.integers(0, HEIGHT - 1), span=st.integers(1, 1200), size=st.integers(1, 90))
def test_every_tile_is_read_or_refused(slide: Path, pixels: Pixels, x: int, y: int, span: int, size: int) -> None:
    fragment = f"tile={x},{y},{span},{size}"
    if x + span > WIDTH or y + span > HEIGHT:
        with pytest.raises(UserError, match="reaches out of"):
            read_tile(slide, fragment)
        return
    tile = read_tile(slide, fragment)
    assert tile.shape == (3, size, size)
    assert tile.min() >= 0
    assert tile.max() <= 255
    if size > 8:
        assert np.abs(tile.mean((1, 2)) - pixels[y : y + span, x : x + span].mean((0, 1))).max() < 12


def test_the_thumbnail_is_drawn_in_blocks_as_if_at_once(
    slide: Path, pixels: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = np.asarray(slide_thumbnail(slide, 384), float)
    monkeypatch.setattr(slides, "BLOCK", 100)
    blocks = np.asarray(slide_thumbnail(slide, 384), float)
    assert whole.shape == blocks.shape == (256, 384, 3)
    assert np.abs(whole - blocks).max() <= 1
    assert np.abs(whole - pixels.reshape(256, 4, 384, 4, 3).mean(axis=(1, 3))).max() <= 1
    assert slide_thumbnail(slide, 9999).size == (WIDTH, HEIGHT)


def test_the_mask_knows_glass_alone_and_tissue_alone() -> None:
    noise = np.random.default_rng(0).normal(0, 4, (64, 64, 3))
    for colour, tissue in ((GLASS, False), (TISSUE, True), ((3, 2, 2), False)):
        picture = Image.fromarray(np.clip(np.add(noise, colour), 0, 255).astype(np.uint8))
        assert (tissue_mask(picture) == tissue).mean() > 0.9


@pytest.mark.parametrize(
    ("read", "sentence"),
    [
        (lambda slide: read_tile(slide), "names no tile; expected slide.svs#tile=x,y,span,size"),
        (lambda slide: read_tile(slide, "tile=1,2,3"), "names no tile"),
        (lambda slide: read_tile(slide, "tile=-1,2,3,4"), "names no tile"),
        (lambda slide: read_tile(slide, "tile=1,2,0,4"), "is impossible"),
        (lambda slide: read_tile(slide, "tile=0,0,64,999999"), "is impossible"),
        (lambda slide: tissue_tiles(slide, level=2), "level is 2, but .* has the levels 0 to 1"),
        (lambda slide: tissue_tiles(slide, mpp=0), "mpp is 0; expected micrometres"),
        (lambda slide: tissue_tiles(slide, size=0), "size is 0"),
        (lambda slide: tissue_tiles(slide, tissue=2), "tissue is 2"),
        (lambda slide: tissue_tiles(slide.parent / "nowhere.svs"), "there is no slide"),
    ],
)
def test_mistakes_are_explained(slide: Path, read: Callable[[Path], object], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        read(slide)


def test_a_slide_without_resolution_asks_for_a_level(pixels: Pixels, tmp_path: Path) -> None:
    bare = write_slide(tmp_path / "bare.tif", pixels, mpp=None)
    with pytest.raises(UserError, match="give a level, not mpp"):
        tissue_tiles(bare, mpp=0.5)


def test_damaged_slides_are_one_sentence(slide: Path, tmp_path: Path) -> None:
    (tmp_path / "text.svs").write_text("no slide")
    with pytest.raises(UserError, match=r"cannot be opened as a slide: .*give another copy"):
        read_tile(tmp_path / "text.svs", "tile=0,0,8,8")
    with tifffile.TiffFile(slide) as tiff:
        first = min(tiff.pages[0].dataoffsets)
    content = bytearray(slide.read_bytes())
    content[first : first + 2000] = bytes(2000)
    (tmp_path / "damaged.tif").write_bytes(content)
    for _ in range(2):  # the second time must not trip over what the first left behind
        with pytest.raises(UserError, match="is damaged at 0,0"):
            read_tile(tmp_path / "damaged.tif", "tile=0,0,64,64")
    assert read_tile(tmp_path / "damaged.tif", "tile=1280,768,64,64").mean() > 200


def test_without_the_extra_nothing_is_a_slide(slide: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slides, "openslide", None)
    assert not is_slide(slide)
    with pytest.raises(UserError, match=re.escape("pip install 'dynammo[slides]'")):
        read_tile(slide, "tile=0,0,8,8")


def test_a_dicom_slide_picture_is_told_by_its_class(tmp_path: Path) -> None:
    """An ordinary DICOM file stays one even where its name says slide."""
    save_dicom(tmp_path / "slide.svs", np.zeros((64, 64), np.uint16), Identity(1, "test"))
    assert pydicom.dcmread(tmp_path / "slide.svs").Modality == "CR"
    assert not is_slide(tmp_path / "slide.svs")
