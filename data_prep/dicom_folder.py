"""Any folder of DICOM studies: ``python -m data_prep.dicom_folder -i downloads/pacs --labels labels.csv -o data/pacs``.

Labels come from a table by study, series, image or file. Patients are told apart by a keyed hash of their ID.
"""

from __future__ import annotations

import hmac
import os
import secrets
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import pydicom
import typer

from dynammo.data.images import ImageRecord
from dynammo.errors import UserError
from dynammo.runtime.progress import track

from .command_line import DuplicatesOption, Folder, MaxTest, MaxTrain, Out, Seed, TestFraction, one_sentence
from .csv_table import read_table
from .data_list import About, Choice, choose, files_below, finish
from .leak_check import Duplicates

KEYS = ("file", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")  # from the narrowest to the widest
TAGS = [*KEYS[1:], "PatientID", "Rows"]

app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class DicomHeader:
    """What is read of a DICOM file: its names under each key, and its patient."""

    path: Path
    names: tuple[str, str, str, str]
    patient: str = field(repr=False)  # never shown


def read_headers(folder: Path) -> tuple[list[DicomHeader], int]:
    """Read the header of every DICOM image below a folder.

    Returns:
        The headers, and the number of other files, which are passed over.

    Raises:
        UserError: no such folder, or no DICOM image in it.
    """
    files = files_below(folder)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        read = track(pool.map(lambda path: _header(path, folder), files), "reading headers", len(files))
        headers = [header for header in read if header]
    if not headers:
        raise UserError(f"{folder} holds no DICOM image among its {len(files)} files; give -i a folder of studies.")
    return headers, len(files) - len(headers)


def read_labels(file: Path) -> tuple[str, dict[str, str]]:
    """Read a table with the column label and one of file, SOPInstanceUID, SeriesInstanceUID, StudyInstanceUID.

    Returns:
        The key column, and labels by key.

    Raises:
        UserError: a malformed table, no key column, an empty label, two labels for one key.
    """
    rows = read_table(file, ["label"])
    key = next((name for name in KEYS if name in rows[0]), None)
    if key is None:
        raise UserError(f"{file} has none of the columns {', '.join(KEYS)}; expected one, beside label.")
    labels: dict[str, str] = {}
    for line, row in enumerate(rows, start=2):
        if not row[key] or not row["label"]:
            raise UserError(f"line {line} of {file} has no {key} or no label; fill it in or remove the line.")
        if labels.setdefault(row[key], row["label"]) != row["label"]:
            raise UserError(f"line {line} of {file} gives a {key} a second label; give each one.")
    return key, labels


def labelled(headers: Sequence[DicomHeader], key: str, labels: dict[str, str]) -> tuple[list[ImageRecord], list[str]]:
    """Join headers and labels.

    Args:
        headers: the images.
        key: the key column.
        labels: labels by key.

    Returns:
        The labelled images, grouped by PatientID (by study where there is none) until `hidden` replaces it, and
        what did not match.

    Raises:
        UserError: no image has a label.
    """
    place = KEYS.index(key)
    records = [
        ImageRecord(h.path, labels[h.names[place]], "", _identity(h)) for h in headers if h.names[place] in labels
    ]
    if not records:
        raise UserError(
            f"none of the {len(labels)} labels fits one of the {len(headers)} images by {key}; compare them."
        )
    return records, _unmatched(headers, place, labels)


def hidden(records: Sequence[ImageRecord], salt: bytes) -> list[ImageRecord]:
    """Replace groups by a keyed hash; without the salt nobody can try patient IDs out."""
    return [replace(r, group=hmac.new(salt, r.group.encode(), "sha256").hexdigest()[:16]) for r in records]


def _unmatched(headers: Sequence[DicomHeader], place: int, labels: dict[str, str]) -> list[str]:
    present = {header.names[place] for header in headers}
    unlabelled = [header for header in headers if header.names[place] not in labels]
    counts = {
        f"labels without an image (by {KEYS[place]})": len(labels.keys() - present),
        "images without a label, left out": len(unlabelled),
        "studies with no labelled image, left out": len(
            {h.names[3] for h in headers} - {h.names[3] for h in headers if h.names[place] in labels}
        ),
        "labelled images without a PatientID, grouped by study": sum(
            not header.patient for header in headers if header.names[place] in labels
        ),
    }
    return [f"{count} {what}" for what, count in counts.items() if count]


def _header(path: Path, folder: Path) -> DicomHeader | None:
    try:
        read = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=TAGS)
    except Exception:  # pydicom raises many kinds for damaged files; they are counted with those that are no DICOM
        return None
    if "Rows" not in read:  # a report or an index, not an image
        return None
    sop, series, study, patient = (str(read.get(tag, "") or "").strip() for tag in TAGS[:4])
    return DicomHeader(path, (path.relative_to(folder).as_posix(), sop, series, study), patient)


def _identity(header: DicomHeader) -> str:
    return f"patient {header.patient}" if header.patient else f"study {header.names[3]}"


def _salt(file: Path | None) -> bytes:
    if file is None:
        return secrets.token_bytes(32)
    if not file.is_file() or len(content := file.read_bytes().strip()) < 16:
        raise UserError(f"{file} holds no salt; expected a file with at least 16 secret characters.")
    return content


@app.command()
def main(
    download: Folder,
    labels: Annotated[Path, typer.Option(help="CSV with label and StudyInstanceUID, another UID, or file.")],
    out: Out,
    salt_file: Annotated[
        Path | None, typer.Option(help="Secret that makes patient groups the same in every run; random without.")
    ] = None,
    max_train: MaxTrain = 0,
    max_test: MaxTest = 0,
    test_fraction: TestFraction = 0.2,
    seed: Seed = 0,
    duplicates: DuplicatesOption = Duplicates.refuse,
) -> None:
    """Make the data list of a folder of DICOM studies, divided by patient."""
    with one_sentence():
        key, table = read_labels(labels)
        headers, others = read_headers(download)
        records, notes = labelled(headers, key, table)
        notes += [f"{others} files are not readable DICOM images, passed over"] if others else []
        choice = Choice(seed, test_fraction, max_train, max_test)
        facts = {
            "labels by": key,
            "labels": dict(Counter(table.values())),
            "patient groups": "keyed hash of PatientID, " + ("secret from a file" if salt_file else "random secret"),
        }
        about = About(download.name, notes=notes, facts=facts)
        chosen = hidden(choose(records, choice), _salt(salt_file))  # after the split, which the salt must not change
        finish(chosen, download, out, choice, duplicates, about)


if __name__ == "__main__":
    app()
