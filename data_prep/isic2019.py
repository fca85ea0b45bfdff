"""ISIC 2019 dermoscopy -> SKIN8: ``python -m data_prep.isic2019 -i downloads/isic2019 -o data/skin8``.

Eight balanced classes in four tasks. The published split lists 4,260 images: of every class at most 628 (the
size of SCC), a sixth of them, rounded down, for testing. That split is by image; this one is by lesion.
"""

from __future__ import annotations

from pathlib import Path

import typer

from dynammo.data.images import ImageRecord
from dynammo.errors import UserError

from .command_line import DuplicatesOption, Folder, MaxTest, MaxTrain, Out, Seed, TestFraction, one_sentence
from .csv_table import read_table
from .data_list import About, Choice, choose, finish
from .leak_check import Duplicates

URL = "https://challenge.isic-archive.com/data/#2019"
IMAGES = "ISIC_2019_Training_Input"
TRUTH = "ISIC_2019_Training_GroundTruth.csv"
METADATA = "ISIC_2019_Training_Metadata.csv"
CLASSES = ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC")
INCREMENTS = (("BKL", "MEL"), ("DF", "NV"), ("SCC", "BCC"), ("AK", "VASC"))
PUBLISHED_ROWS = 25_331
MAX_TRAIN, MAX_TEST, TEST_FRACTION = 524, 104, 1 / 6  # 628 = 524 + 104

app = typer.Typer(add_completion=False)


def read_isic2019(download: Path) -> list[ImageRecord]:
    """Read labels and lesions of every image; images of the class UNK are left out.

    Args:
        download: folder with the images' folder and the two tables.

    Returns:
        Images without a split; group is the lesion, or empty where none is given.

    Raises:
        UserError: a file missing or malformed.
    """
    truth = read_table(download / TRUTH, ["image", *CLASSES], URL)
    lesions = {row["image"]: row["lesion_id"] for row in read_table(download / METADATA, ["image", "lesion_id"], URL)}
    folder = download / IMAGES
    if (folder / IMAGES).is_dir():  # some unpack it into a folder of the same name
        folder = folder / IMAGES
    labelled = [(row["image"], _label(row, line)) for line, row in enumerate(truth, start=2)]
    records = [
        ImageRecord(folder / f"{image}.jpg", label, "", lesions.get(image, "")) for image, label in labelled if label
    ]
    _refuse_missing(records, folder)
    return records


def _label(row: dict[str, str], line: int) -> str:
    marked = [name for name in (*CLASSES, "UNK") if row.get(name) not in ("0", "0.0", None)]
    if len(marked) != 1 or row[marked[0]] not in ("1", "1.0"):
        raise UserError(f"line {line} of {TRUTH} does not mark exactly one class with 1.0; download it again at {URL}.")
    return "" if marked[0] == "UNK" else marked[0]


def _refuse_missing(records: list[ImageRecord], folder: Path) -> None:
    present = {path.name for path in folder.glob("*.jpg")}
    missing = [record.path.name for record in records if record.path.name not in present]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(records)} images of {TRUTH} are not in {folder} ({', '.join(missing[:3])}); "
            f"unpack {IMAGES}.zip there, from {URL}."
        )


@app.command()
def main(
    download: Folder,
    out: Out,
    max_train: MaxTrain = MAX_TRAIN,
    max_test: MaxTest = MAX_TEST,
    test_fraction: TestFraction = TEST_FRACTION,
    seed: Seed = 0,
    duplicates: DuplicatesOption = Duplicates.refuse,
) -> None:
    """Make the data list of SKIN8: 8 balanced classes of ISIC 2019, divided by lesion."""
    with one_sentence():
        choice = Choice(seed, test_fraction, max_train, max_test)
        records = read_isic2019(download)
        notes = ["the published SKIN8 split is by image, this one by lesion, so results are not strictly comparable"]
        if len(records) != PUBLISHED_ROWS:
            notes.append(f"{TRUTH} names {len(records)} images; the published one names {PUBLISHED_ROWS}")
        about = About("SKIN8 (ISIC 2019)", URL, "CC BY-NC 4.0", INCREMENTS, notes)
        finish(choose(records, choice), download, out, choice, duplicates, about)


if __name__ == "__main__":
    app()
