"""Cut the tissue of whole-slide images into tiles: ``python -m data_prep.slides -i SLIDES -o OUT``.

Slides lie in SLIDES/<class>/, or in SLIDES/train/<class>/ and SLIDES/test/<class>/. Slides without a split are divided
before they are cut. Every tile becomes OUT/<split>/<class>/<slide>/<x>_<y>_<span>.png and a row of OUT/data_list.csv
whose group is the slide, or the patient named in the slide's name: tiles of one slide are never on both sides.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from dynammo.data.images import ImageRecord
from dynammo.errors import UserError
from dynammo.io.file_sources import is_clutter
from dynammo.io.slides import is_slide, read_tile, split_tile, tissue_tiles
from dynammo.runtime.progress import track

from .command_line import DuplicatesOption, Seed, TestFraction, one_sentence
from .data_list import About, Choice, choose, files_below, finish
from .leak_check import Duplicates, refuse_shared_groups

app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Cut:
    """How slides are cut, see ``dynammo.io.slides.tissue_tiles``; ``limit`` tiles of a slide at most, evenly spread."""

    size: int = 224
    mpp: float | None = None
    level: int = 0
    tissue: float = 0.5
    limit: int = 0


def find_slides(folder: Path, patient: str | None = None) -> list[ImageRecord]:
    """List the slides in the class folders of ``folder``.

    Args:
        folder: Holds <class>/ or train/<class>/ and test/<class>/.
        patient: Regular expression; what it matches in a slide's name is its group. None: each slide is a group.

    Returns:
        Sorted by path, without split where there are no train/ and test/; files that are no slides are left out.

    Raises:
        UserError: No such folder, no slide in it, or a name that ``patient`` does not match.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; give -i a folder with <class>/<slides>.")
    found = [
        ImageRecord(path, label.name, split, _group(path.relative_to(folder), patient))
        for split, label in _class_folders(folder)
        for path in files_below(label)
        if is_slide(path)
    ]
    if not found:
        raise UserError(
            f"{folder} holds no slide that OpenSlide can read in its class folders; give -i a folder with "
            "<class>/<slides>, and type pip install 'dynammo[slides]' if OpenSlide is not installed."
        )
    return found


def find_tissue(slides: list[ImageRecord], cut: Cut) -> tuple[dict[Path, list[str]], list[str]]:
    """Choose the tiles of every slide.

    Returns:
        The tiles of each slide that has some, and a sentence for every other one.

    Raises:
        UserError: No slide has tissue, or none has what ``cut`` asks for.
    """
    tiles: dict[Path, list[str]] = {}
    faults = []
    for slide in track(slides, "looking for tissue", len(slides)):
        try:
            found = tissue_tiles(slide.path, cut.size, cut.mpp, cut.level, cut.tissue)
        except UserError as error:
            faults.append(str(error))
            continue
        if found:
            tiles[slide.path] = _thinned(found, cut.limit)
        else:
            faults.append(f"{slide.path} has no tile of which {cut.tissue} is tissue; lower --tissue to get some.")
    if not tiles:
        raise UserError(f"no slide gives a tile: {faults[0]}")
    return tiles, faults


def cut_slide(slide: ImageRecord, tiles: list[str], out: Path) -> list[ImageRecord]:
    """Write tiles of one slide as PNG below ``out``.

    Raises:
        UserError: The slide is damaged there.
    """
    folder = out / slide.split / slide.class_name / slide.path.name
    folder.mkdir(parents=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return [replace(slide, path=path) for path in pool.map(lambda tile: _write(tile, folder), tiles)]


@app.command()
def main(
    slides: Annotated[Path, typer.Option("--in", "-i", help="Folder with <class>/<slides>, or train/ and test/.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="New folder for the tiles and data_list.csv.")],
    size: Annotated[int, typer.Option(help="Pixels a side of a tile.")] = 224,
    mpp: Annotated[float | None, typer.Option(help="Micrometres for each pixel, such as 0.5 (20 x).")] = None,
    level: Annotated[int, typer.Option(help="Level of the pyramid, where --mpp is not given.")] = 0,
    tissue: Annotated[float, typer.Option(help="Smallest share of tissue in a tile, 0 to 1.")] = 0.5,
    limit: Annotated[int, typer.Option(min=0, help="Tiles of a slide at most, evenly spread; 0: all.")] = 0,
    patient: Annotated[
        str | None, typer.Option(help="Regular expression that finds the patient in a slide's name.")
    ] = None,
    test_fraction: TestFraction = 0.2,
    seed: Seed = 0,
    duplicates: DuplicatesOption = Duplicates.refuse,
) -> None:
    """Cut the tissue of whole-slide images into tiles, divided by slide or patient."""
    with one_sentence():
        choice, cut = Choice(seed, test_fraction), Cut(size, mpp, level, tissue, limit)
        _refuse_filled(out)
        found = find_slides(slides, patient)
        refuse_shared_groups(found)
        tiles, faults = find_tissue(found, cut)
        chosen = choose([slide for slide in found if slide.path in tiles], choice)
        written = [
            tile
            for slide in track(chosen, "cutting slides", len(chosen))
            for tile in cut_slide(slide, tiles[slide.path], out)
        ]
        notes = [f"left out: {fault}" for fault in faults]
        about = About("Tiles of slides", notes=notes, facts={"slides": len(chosen), "cut": asdict(cut)})
        finish(written, out, out, choice, duplicates, about)


def _refuse_filled(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is not empty; give -o a new or an empty folder.")


def _thinned(tiles: list[str], limit: int) -> list[str]:
    if not 0 < limit < len(tiles):
        return tiles
    return [tiles[i] for i in np.linspace(0, len(tiles) - 1, limit).round().astype(int)]


def _class_folders(folder: Path) -> Iterator[tuple[str, Path]]:
    """Give (split, class folder); the split is empty where there are no train/ and test/."""
    splits = [split for split in ("train", "test") if (folder / split).is_dir()]
    for split in splits or [""]:
        for label in sorted((folder / split).iterdir()):
            if label.is_dir() and not is_clutter(label.name):
                yield split, label


def _group(path: Path, patient: str | None) -> str:
    if patient is None:
        return path.as_posix()
    try:
        found = re.search(patient, path.name)
    except re.error as error:
        raise UserError(f"--patient {patient!r} is no regular expression ({error}).") from error
    if not found or not found.group():
        raise UserError(f"--patient {patient!r} finds nothing in {path.name}; expected what names the patient there.")
    return found.group()


def _write(tile: str, folder: Path) -> Path:
    x, y, span, _ = split_tile(tile)[1]
    path = folder / f"{x}_{y}_{span}.png"
    Image.fromarray(read_tile(tile).transpose(1, 2, 0).round().astype(np.uint8)).save(path, compress_level=3)
    return path


if __name__ == "__main__":
    app()
