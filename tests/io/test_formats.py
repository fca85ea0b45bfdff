"""Formats by content: those that are read, and those that are refused by name."""

from pathlib import Path

import pytest
from PIL import Image
from synthetic.images import COLOUR

from dynammo.io.formats import IMAGE_ENDINGS, NO_IMAGE, format_or_fault, split_fragment


@pytest.mark.parametrize(
    ("suffix", "kind"), [("webp", "webp"), ("bmp", "bmp"), ("gif", "gif"), ("jp2", "jpeg2000"), ("j2k", "jpeg2000")]
)
def test_pictures_of_more_formats(tmp_path: Path, suffix: str, kind: str) -> None:
    Image.fromarray(COLOUR).save(tmp_path / f"x.{suffix}")
    (tmp_path / f"x.{suffix}").rename(tmp_path / "x.png")
    assert format_or_fault(tmp_path / "x.png") == (kind, "") and f".{suffix}" in IMAGE_ENDINGS


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC is not read; save it as PNG, JPEG, TIFF or NIfTI"),
        (b"\0\0\0\x18ftypavif\0\0\0\0mif1avif", "AVIF is not read"),
        (b"\xff\x0a" + bytes(20), "JPEG XL is not read"),
        (b"8BPS\0\1" + bytes(20), "Photoshop is not read"),
        (b"\x89HDF\r\n\x1a\n" + bytes(20), "HDF5, as of MINC 2, is not read"),
        (b"CDF\1" + bytes(20), "NetCDF, as of MINC 1, is not read"),
        (b"", "it is empty"),
        (b"BMI,age\n21,40\n22,41\n", NO_IMAGE),
        (b"NDims are counted here\n", NO_IMAGE),
    ],
)
def test_what_is_not_read_is_refused_by_name(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "x.png").write_bytes(content)
    kind, fault = format_or_fault(tmp_path / "x.png")
    assert kind is None and fault.startswith(sentence)


def test_fragments_and_folders(tmp_path: Path) -> None:
    assert split_fragment("scan.nii.gz#12") == (Path("scan.nii.gz"), "12")
    assert format_or_fault(tmp_path) == (None, "it is a folder; expected a file")
    with pytest.raises(FileNotFoundError):
        format_or_fault(tmp_path / "nowhere")
