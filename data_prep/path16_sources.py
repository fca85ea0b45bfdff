"""The seven histology sets of PATH16, each read from its own public layout."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from dynammo.data.images import ImageRecord
from dynammo.errors import UserError
from dynammo.io.file_sources import is_clutter

from .csv_table import read_table
from .data_list import image_files
from .patchcamelyon import PARTS, read_patchcamelyon, unpack_patchcamelyon

__all__ = ["LC25000_GROUPS", "SOURCES", "PathologySet"]

LC25000_GROUPS = "lc25000_image_groups.csv"
BREAKHIS_PATIENT = re.compile(r"SOB_[BM]_[A-Z]+-(\d+-\d+)[A-Z]*-\d+-\d+", re.IGNORECASE)
BREAKHIS_NAME = "a BreakHis image, such as SOB_B_A-14-22549AB-40-001.png"
TCGA_PATIENT = re.compile(r"(TCGA-\w{2}-\w{4})", re.IGNORECASE)
TCGA_NAME = "a TCGA barcode, such as TCGA-BR-4187-01Z-00-DX1_0001.png"
ORAL_FOLDERS = {
    "First Set/100x Normal Oral Cavity Histopathological Images": "oral_normal",
    "First Set/100x OSCC Histopathological Images": "oral_oscc",
    "Second Set/400x Normal Oral Cavity Histopathological Images": "oral_normal",
    "Second Set/400x OSCC Histopathological Images": "oral_oscc",
}
BREAKHIS = "BreaKHis_v1/histology_slides/breast"
LC25000 = "lung_colon_image_set"
LC25000_NOTE = (
    "every original picture of LC25000 is there about 20 times, turned and flipped; without groups copies of one "
    f"original are on both sides and accuracy is far too good: put {LC25000_GROUPS} beside the pictures "
    "(https://github.com/GeorgeBatch/LC25000-clean, folder kaggle)"
)


@dataclass(frozen=True)
class PathologySet:
    """One source of PATH16.

    Attributes:
        folder: its folder in the download folder.
        classes: its classes, one task; of TCGA-STAD the number alone is known, and names are those of the folders.
        needs: files and folders that must be there, relative to `folder`.
        url: where to get it.
        licence: under which terms.
        read: reads its images; gets its folder and the folder for unpacked images.
        unpack: writes the chosen images where they are packed; gets its folder and the images.
        note: what a reader of results must know.
    """

    folder: str
    classes: Sequence[str]
    needs: Sequence[str]
    url: str
    licence: str
    read: Callable[[Path, Path], list[ImageRecord]]
    unpack: Callable[[Path, Sequence[ImageRecord]], None] | None = None
    note: str = ""

    def missing(self, download: Path) -> list[str]:
        """What of this set is not there or an empty folder, relative to the download folder."""
        needed = [self.folder] if not (download / self.folder).is_dir() else [f"{self.folder}/{n}" for n in self.needs]
        return [name for name in needed if not _there(download / name)]


def _there(path: Path) -> bool:
    return path.is_file() or (path.is_dir() and any(path.iterdir()))


def _mhist(folder: Path, _: Path) -> list[ImageRecord]:
    file = folder / "annotations.csv"
    rows = read_table(file, ["Image Name", "Majority Vote Label", "Partition"])
    kinds = {(row["Majority Vote Label"], row["Partition"]) for row in rows}
    if not kinds <= set(product(("HP", "SSA"), ("train", "test"))):
        raise UserError(f"rows of {file} are not HP or SSA in train or test; download it again.")
    records = [
        ImageRecord(folder / "images" / r["Image Name"], f"mhist_{r['Majority Vote Label'].lower()}", r["Partition"])
        for r in rows
    ]
    missing = [record.path.name for record in records if not record.path.is_file()]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(records)} images of {file} are not in {folder / 'images'} "
            f"({', '.join(missing[:3])}); unpack images.zip there."
        )
    return records


def _breakhis(folder: Path, _: Path) -> list[ImageRecord]:
    return [
        ImageRecord(path, f"breast_{kind}", "", _patient(path, BREAKHIS_PATIENT, BREAKHIS_NAME))
        for kind in ("benign", "malignant")
        for path in image_files(folder / BREAKHIS / kind)
    ]


def _oral(folder: Path, _: Path) -> list[ImageRecord]:
    return [ImageRecord(path, label, "") for name, label in ORAL_FOLDERS.items() for path in image_files(folder / name)]


def _tcga_stad(folder: Path, _: Path) -> list[ImageRecord]:
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not is_clutter(path.name))
    if len(classes) != 4:
        raise UserError(
            f"{folder} has {len(classes)} class folders ({', '.join(path.name for path in classes) or 'none'}), but 4 "
            f"are expected, their images named after {TCGA_NAME}."
        )
    return [
        ImageRecord(path, f"stomach_{kind.name}", "", _patient(path, TCGA_PATIENT, TCGA_NAME))
        for kind in classes
        for path in image_files(kind)
    ]


def _lc25000(tissue: str, kinds: Sequence[str]) -> Callable[[Path, Path], list[ImageRecord]]:
    def read(folder: Path, _: Path) -> list[ImageRecord]:
        file = folder / LC25000_GROUPS
        groups = {r["stem"]: r["group_id"] for r in read_table(file, ["stem", "group_id"])} if file.exists() else {}
        records = [
            ImageRecord(path, kind, "", groups.get(path.stem, ""))
            for kind in kinds
            for path in image_files(folder / LC25000 / f"{tissue}_image_sets" / kind)
        ]
        without = [record.path.name for record in records if not record.group]
        if groups and without:
            raise UserError(f"{len(without)} images have no row in {file} ({', '.join(without[:3])}); get it again.")
        return records

    return read


def _patient(path: Path, pattern: re.Pattern[str], expected: str) -> str:
    match = pattern.search(path.name)
    if match is None:
        raise UserError(f"{path} is not named after {expected}, so its patient cannot be told; rename or remove it.")
    return match[1].upper()


SOURCES: dict[str, PathologySet] = {
    "mhist": PathologySet(
        "mhist", ("mhist_hp", "mhist_ssa"), ("annotations.csv", "images"),
        "https://bmirds.github.io/MHIST", "MHIST dataset research use agreement", _mhist,
        note="MHIST names no patients: only its own split keeps them apart",
    ),
    "breakhis": PathologySet(
        "breakhis", ("breast_benign", "breast_malignant"), (f"{BREAKHIS}/benign", f"{BREAKHIS}/malignant"),
        "https://web.inf.ufpr.br/vri/databases/breast-cancer-histopathological-database-breakhis", "CC BY 4.0",
        _breakhis, note="which breast cancer set PATH16 took is not known; BreakHis is chosen here",
    ),
    "oral": PathologySet(
        "oral", ("oral_normal", "oral_oscc"), tuple(ORAL_FOLDERS),
        "https://data.mendeley.com/datasets/ftmp4cvtmb", "CC BY 4.0", _oral,
        note="which oral cancer set PATH16 took is not known; the Mendeley set chosen here has 290 normal images and "
        "names no patients, so it is divided by image",
    ),
    "patchcamelyon": PathologySet(
        "patchcamelyon", ("lymph_normal", "lymph_tumor"), PARTS,
        "https://github.com/basveeling/pcam", "CC0", read_patchcamelyon, unpack_patchcamelyon,
    ),
    "tcga_stad": PathologySet(
        "tcga_stad", (), (), "https://portal.gdc.cancer.gov/projects/TCGA-STAD", "NIH genomic data sharing policy",
        _tcga_stad, note="which four classes PATH16 took from TCGA-STAD is not known; those of the folders are taken",
    ),
    "lung": PathologySet(
        "lc25000", ("lung_aca", "lung_n"), (f"{LC25000}/lung_image_sets/lung_aca", f"{LC25000}/lung_image_sets/lung_n"),
        "https://github.com/tampapath/lung_colon_image_set", "see its page",
        _lc25000("lung", ("lung_aca", "lung_n")),
        note="which two of the three lung classes PATH16 took is not known; adenocarcinoma and normal are chosen here",
    ),
    "colon": PathologySet(
        "lc25000", ("colon_aca", "colon_n"),
        (f"{LC25000}/colon_image_sets/colon_aca", f"{LC25000}/colon_image_sets/colon_n"),
        "https://github.com/tampapath/lung_colon_image_set", "see its page",
        _lc25000("colon", ("colon_aca", "colon_n")),
    ),
}  # fmt: skip
