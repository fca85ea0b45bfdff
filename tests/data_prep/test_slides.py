"""Slides in class folders become tiles with a data list that the bundle reads, slides kept apart."""

import csv
import json
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

pytest.importorskip("openslide", reason="the extra slides is not installed: pip install -e .[slides]")
tifffile = pytest.importorskip("tifffile", reason="tifffile is not installed: pip install -e .[dev]")

from data_prep.slides import app  # noqa: E402


def write_slide(path: Path, colour: tuple[int, int, int]) -> None:
    """Tissue on the left half, glass on the right."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((256, 512, 3), 245, np.uint8)
    pixels[:, :256] = colour
    noise = np.random.default_rng(crc32(path.name.encode())).integers(-5, 6, pixels.shape)
    pixels = np.clip(pixels + noise, 0, 255).astype(np.uint8)
    with tifffile.TiffWriter(path) as tiff:
        for step in (1, 2):
            tiff.write(
                pixels[::step, ::step], tile=(128, 128), photometric="rgb", metadata=None, subfiletype=int(step > 1)
            )


@pytest.fixture
def slides(tmp_path: Path) -> Path:
    for label, colour in (("benign", (200, 110, 170)), ("tumour", (120, 60, 150))):
        for number in range(3):
            write_slide(tmp_path / "slides" / label / f"P{number}-{label} (a).tif", colour)
    (tmp_path / "slides" / "benign" / "notes.txt").write_text("not a slide")
    return tmp_path / "slides"


def cut(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.output


def rows(out: Path) -> list[dict[str, str]]:
    with open(out / "data_list.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_tissue_becomes_tiles_and_a_data_list(slides: Path, tmp_path: Path) -> None:
    status, output = cut("-i", slides, "-o", tmp_path / "out", "--size", "64")
    assert status == 0, output
    listed = rows(tmp_path / "out")
    assert len(listed) == len({row["path"] for row in listed}) == 2 * 3 * 16
    assert len({row["group"] for row in listed}) == 6
    for row in listed:
        tile = np.asarray(Image.open(tmp_path / "out" / row["path"]))
        assert tile.shape == (64, 64, 3)
        colour = {"benign": (200, 110, 170), "tumour": (120, 60, 150)}[row["label"]]
        assert np.abs(tile.mean((0, 1)) - colour).max() < 1
    record = json.loads((tmp_path / "out" / "data_list.provenance.json").read_text())
    assert record["cut"]["size"] == 64
    assert record["slides"] == 6


def test_the_bundle_reads_the_list_and_keeps_slides_apart(slides: Path, tmp_path: Path) -> None:
    from dynammo.data.images import ImageSet

    assert cut("-i", slides, "-o", tmp_path / "out", "--size", "128", "--limit", "2")[0] == 0
    images = ImageSet(tmp_path / "out", tmp_path / "out" / "data_list.csv")
    assert images.classes == ["benign", "tumour"]
    assert len(images.records) == 12
    groups = {split: {r.group for r in images.records if r.split == split} for split in ("train", "test")}
    assert not groups["train"] & groups["test"]


def test_splits_and_patients_are_kept(slides: Path, tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / "both" / split).mkdir(parents=True)
        for label in ("benign", "tumour"):
            (tmp_path / "both" / split / label).mkdir()
    for path in slides.rglob("*.tif"):
        split = "test" if path.name.startswith("P2") else "train"
        path.rename(tmp_path / "both" / split / path.parent.name / path.name)
    options = ("--size", "64", "--patient", r"^P\d")
    assert cut("-i", tmp_path / "both", "-o", tmp_path / "out", *options)[0] == 0
    listed = rows(tmp_path / "out")
    assert {(row["split"], row["group"]) for row in listed} == {("train", "P0"), ("train", "P1"), ("test", "P2")}
    assert all(row["path"].startswith(f"{row['split']}/{row['label']}/") for row in listed)
    (tmp_path / "both" / "test" / "benign" / "P2-benign (a).tif").rename(
        tmp_path / "both" / "train" / "benign" / "P2-benign (a).tif"
    )
    status, output = cut("-i", tmp_path / "both", "-o", tmp_path / "again", *options)
    assert (status, "P2" in output) == (1, True)
    assert not (tmp_path / "again").exists()


def test_a_slide_without_tissue_is_named_and_the_rest_goes_on(slides: Path, tmp_path: Path) -> None:
    write_slide(slides / "benign" / "glass.tif", (245, 245, 245))
    status, output = cut("-i", slides, "-o", tmp_path / "out", "--size", "64")
    assert status == 0
    assert "glass.tif has no tile of which 0.5 is tissue" in output
    assert len(rows(tmp_path / "out")) == 96


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--level", "7"], "level is 7"),
        (["--mpp", "0.5"], "give a level, not mpp"),
        (["--patient", "nobody"], "finds nothing in"),
        (["--patient", "("], "is no regular expression"),
        (["--tissue", "3"], "tissue is 3"),
    ],
)
def test_mistakes_are_explained(slides: Path, tmp_path: Path, options: list[str], sentence: str) -> None:
    status, output = cut("-i", slides, "-o", tmp_path / "out", *options)
    assert status == 1
    assert sentence in output
    assert "Traceback" not in output


def test_folders_that_cannot_be_used(slides: Path, tmp_path: Path) -> None:
    assert "there is no folder" in cut("-i", tmp_path / "nowhere", "-o", tmp_path / "out")[1]
    (tmp_path / "none" / "class").mkdir(parents=True)
    assert "holds no slide" in cut("-i", tmp_path / "none", "-o", tmp_path / "out")[1]
    status, output = cut("-i", slides, "-o", slides)
    assert (status, "is not empty" in output) == (1, True)
