"""Names that are no text, and files that only look like what they claim to be, in what is handed over."""

import gzip
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dynammo.errors import UserError
from dynammo.io.studies import find_studies


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(path, "PNG")
    return path


@pytest.mark.parametrize("code", ["latin-1", "utf-8-sig", "utf-16"])
def test_a_list_of_any_encoding(code: str, tmp_path: Path) -> None:
    picture(tmp_path / (os.fsdecode(b"B\xe4r.png") if code == "latin-1" else "Bär.png"))
    (tmp_path / "list.txt").write_bytes("Bär.png\n".encode(code))
    (study,) = find_studies(tmp_path / "list.txt", tmp_path / "x").studies
    assert study.name == ("B\ufffdr.png" if code == "latin-1" else "Bär.png")


def test_what_holds_zeros_is_no_list(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"a.png\0\n")
    with pytest.raises(UserError, match="neither an image nor a list"):
        find_studies(tmp_path / "list.txt", tmp_path / "x")


def test_a_zip_whose_names_are_no_text(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(picture(tmp_path / "p.png"), "ä.png")  # flagged as UTF-8
    content = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(content.replace("ä.png".encode(), b"\xff\xfe.png"))
    with pytest.raises(UserError, match="is damaged or no zip"):
        find_studies(tmp_path / "a.zip", tmp_path / "x")


def test_a_damaged_gzip_beside_an_image(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.png")
    whole = bytearray(gzip.compress(bytes(400)))
    whole[10:14] = struct.pack("<I", 0xFFFFFFFF)
    (tmp_path / "images" / "b.nii.gz").write_bytes(whole)
    studies = find_studies(tmp_path / "images", tmp_path / "x").studies
    assert [bool(study.reason) for study in studies] == [False, True]
