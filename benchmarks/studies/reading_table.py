"""Read real files with dynammo and with independent libraries, and write what came of it into docs/images.md.

Type `python -m benchmarks.studies.reading_table` from the repository root. The files are those that pydicom and nibabel
carry for their own tests and, where they are there, the shared cases and clinic files. What the libraries give is
brought to the values and axes that docs/images.md promises, then compared in shape, colour, value and place.
"""

import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import typer
from numpy.typing import NDArray
from pydicom.data import DATA_ROOT

from benchmarks.studies.reading_libraries import LIBRARIES, OTHERS
from dynammo.errors import UserError
from dynammo.io.image_reader import image_format, read_image
from dynammo.runtime.library_output import caught_output

__all__ = ["BEGIN", "DOCS", "END", "Outcome", "compare", "outcomes", "rows", "share", "versions", "write"]

Values = NDArray[Any]
DOCS = Path(__file__).parents[2] / "docs" / "images.md"
SHARED = Path(os.environ.get("DYNAMMO_SHARED", Path(__file__).parents[3] / "shared"))
SOURCES = {
    "pydicom's test data": Path(DATA_ROOT),
    "nibabel's test data": Path(nib.__file__).parent / "tests" / "data",
    "shared cases": SHARED / "cases",
    "shared clinic files": SHARED / "data" / "clinic",
}
NO_DATA = {".py", ".pyc", ".json", ".md", ".rst", ".txt", ".csv", ".m"}  # of those folders
BEGIN, END = "<!-- begin of the reading table -->", "<!-- end of the reading table -->"
PACKAGES = ("pydicom", "highdicom", "SimpleITK", "nibabel", "tifffile", "pillow", "imagecodecs")
EXACT, ROUNDED, LOSSY = 1e-4, 1.0, 3.5  # of 255: between libraries, through palettes of 8 or 16 bits, of lossy JPEG
LOSSY_SYNTAXES = {"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"}
SEVERAL = "several volumes, to be split"
WHY = {  # where dynammo gives another image than a library, by the beginning of the file's name
    "SC_rgb_rle_": "ITK has other colours in deep RLE than both",
    "liver_": "ITK shows the bits of a mask as 0 and 255",
    "rtdose_expb": "ITK has other doses than in the same file in little-endian order",
    "badVR": "its number of frames is no number", "example4d": SEVERAL, "example_nifti2": SEVERAL,
    "functional": SEVERAL,
    "resampled_anat_moved": "ITK reads NaN as 0", "nan_slices": "ITK reads NaN as 0",
    "bigendian_deflate": "Pillow swaps its bytes", "int8": "Pillow wraps its values",
    "uint32": "Pillow wraps its values",
    "imagej_one": "Pillow sees the first slice alone", "rgb16_planar": "Pillow mixes up its planes",
    "white_is_zero": "Pillow leaves deep values inverted", "grey16_alpha": "Pillow cuts its values to 8 bits",
    "bits12_high15": "no library heeds a high bit of 15 with 12 bits; the right values are known",
    "palette_16": "no library scales a palette of 16 bits by its values to 255; the right colours are known",
    "two_pages": "pydicom gives both pages, the header speaks of one",
    "colour_5d": "ITK leaves a flat image as it is stored, whatever its place",
    "xa_modality": "the standard has no modality LUT applied to XA",
}  # fmt: skip


@dataclass
class Outcome:
    """What became of one file.

    Attributes:
        name: of the file.
        kind: its format as dynammo tells it.
        equal: libraries whose image is that of dynammo.
        other: libraries that read another image, or one where dynammo refuses.
        refused: dynammo's reason; empty where it reads the file.
        several: whether a library finds several volumes in it.
    """

    name: str
    kind: str
    equal: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)
    refused: str = ""
    several: bool = False

    @property
    def libraries(self) -> int:
        """How many libraries read it."""
        return len(self.equal) + len(self.other)

    @property
    def otherwise(self) -> bool:
        """Whether dynammo reads what no library reads alike."""
        return not self.refused and bool(self.other) and not self.equal


def compare(path: Path) -> Outcome:
    """Read a file with dynammo and with each library for its format."""
    kind = image_format(path) or ""
    outcome, ours = Outcome(path.name, kind), None
    try:
        ours = read_image(path, colour_profiles=False)
    except UserError as error:
        outcome.refused = str(error).split("cannot be read: ", 1)[-1].rstrip(".")
    near = _near(path, kind)
    for name, read in LIBRARIES.get(kind, OTHERS).items():
        try:
            with caught_output(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                theirs, spacing = read(path)
        except Exception:  # every library raises many kinds
            continue
        outcome.several |= theirs.ndim > 4 or theirs.shape[0] not in (1, 3)
        alike = ours is not None and _alike(ours.array, theirs, near) and _as_far(ours.meta["spacing"], spacing)
        (outcome.equal if alike else outcome.other).append(name)
    return outcome


def _alike(ours: Values, theirs: Values, near: float) -> bool:
    frames = ours.reshape(ours.shape[0], -1, *ours.shape[-2:])
    if frames.shape != theirs.shape:
        return False
    known = np.isfinite(theirs)
    scale = max(1.0, float(np.abs(theirs[known]).max(initial=0)) / 255)
    return bool(np.allclose(frames[known], theirs[known], rtol=0, atol=near * scale))


def _as_far(ours: Values, theirs: Sequence[float] | None) -> bool:
    """Whether the spacing is the same where both know it."""
    if theirs is None:
        return True
    apart = ours / np.asarray(theirs)[-len(ours) :] - 1
    return not (np.abs(apart[np.isfinite(apart)]) > 1e-3).any()


def _near(path: Path, kind: str) -> float:
    if kind != "dicom":
        return LOSSY if kind == "jpeg" else EXACT
    header = pydicom.dcmread(path, force=True, stop_before_pixels=True)
    if header.file_meta.get("TransferSyntaxUID") in LOSSY_SYNTAXES:
        return LOSSY
    return ROUNDED if header.get("PhotometricInterpretation") == "PALETTE COLOR" else EXACT


def outcomes() -> dict[str, list[Outcome]]:
    """What became of every file, by where it comes from; without those that are not here."""
    return {name: [compare(path) for path in _files(folder)] for name, folder in SOURCES.items() if folder.is_dir()}


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix not in NO_DATA:
            yield path


def versions() -> str:
    """The libraries that the table depends on."""
    return ", ".join(f"{package} {version(package)}" for package in PACKAGES)


def share(found: dict[str, list[Outcome]]) -> tuple[int, int, int]:
    """Single images that two libraries read, those of them that dynammo reads, and files of several volumes."""
    files = [file for some in found.values() for file in some if file.libraries > 1]
    single = [file for file in files if not file.several]
    return len(single), sum(not file.refused for file in single), len(files) - len(single)


def rows(found: dict[str, list[Outcome]]) -> list[str]:
    """The rows of both tables: the counts, and each file that is not as all libraries read it."""
    return [*_counts(found), *_differences(found)]


def _counts(found: dict[str, list[Outcome]]) -> list[str]:
    made = []
    for source, files in found.items():
        for kind in sorted({file.kind for file in files}, key=lambda kind: (not kind, kind)):
            alike = [file for file in files if file.kind == kind]
            cells = [len(alike)]
            for some in ([f for f in alike if f.libraries > 1], [f for f in alike if f.libraries == 1]):
                read = [file for file in some if not file.refused]
                equal = sum(not file.other for file in read)
                cells += [equal, len(read) - equal, len(some) - len(read)]
            neither = [file for file in alike if not file.libraries]
            cells += [sum(not file.refused for file in neither), sum(bool(file.refused) for file in neither)]
            made.append(f"| {source}: {kind or 'no format that is read'} | " + " | ".join(map(str, cells)) + " |")
    return made


def _differences(found: dict[str, list[Outcome]]) -> list[str]:
    """Files that are not as every library reads them, those alike in one row; of formats unknown if two read them."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for source, files in found.items():
        for file in files:
            if file.other and (file.kind or file.libraries > 1):
                why = next((reason for start, reason in WHY.items() if file.name.startswith(start)), file.refused)
                ours = "refused" if file.refused else f"as {' and '.join(file.equal) or 'none'}"
                alike.setdefault((source, ours, ", ".join(file.other), why or "?"), []).append(file.name)
    return [
        f"| {source}: {', '.join(names)} | {ours} | {others} | {why} |"
        for (source, ours, others, why), names in alike.items()
    ]


def write(found: dict[str, list[Outcome]], docs: Path = DOCS) -> None:
    """Put the tables between their marks."""
    images, read, several = share(found)
    counts = [
        "| files | number | two or more libraries read: equal to all | to some or none of them | refused "
        "| one reads: equal | another image | refused | none reads: read | refused |",
        "|" + "---|" * 10,
        *_counts(found),
    ]
    differences = ["| file | dynammo | otherwise in | why |", "|---|---|---|---|", *_differences(found)]
    said = (
        f"Of {images} images that two or more libraries read, {read} are read ({100 * read / images:.1f} %); {several} "
        "files of several volumes, which they read, too, are refused by name and not counted here."
    )
    text = docs.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    parts = [BEGIN, f"With {versions()}. {said}", "", *counts, "", *differences, END]
    docs.write_text(before + "\n".join(parts) + after, encoding="utf-8")


if __name__ == "__main__":
    typer.run(lambda: write(outcomes()))
