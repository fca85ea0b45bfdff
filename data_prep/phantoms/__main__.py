"""Render small phantom sets to try the bundle on, offline: ``python -m data_prep.phantoms -o demo/data``.

Pictures by default, volumes with ``--only volumes``.
Every picture has its own stream of randomness, drawn from the seed and the picture's place in its set.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, NoReturn
from zlib import crc32

import numpy as np
import typer
from rich.progress import track

from dynammo.runtime.terminal import Terminal

from . import dermoscopy as phantom_dermoscopy
from . import histology as phantom_histology
from . import radiology as phantom_radiology
from . import volumes as phantom_volumes
from .files import Identity, save_dicom, save_jpeg, save_nifti, save_png
from .record import NOTE, PhantomError, Record, Settings
from .sheet import draw_sheet

RECIPE = 1  # raised whenever the same seed would draw other pictures

app = typer.Typer(add_completion=False)
console = Terminal(soft_wrap=True)
complaints = Terminal(stderr=True, soft_wrap=True)


class SetName(str, Enum):
    """The sets, as typed after --only."""

    dermoscopy = "dermoscopy"
    histology = "histology"
    radiology = "radiology"
    volumes = "volumes"


@dataclass(frozen=True)
class PhantomSet:
    """How one set is drawn and written.

    Attributes:
        classes: Class names, each with what it ``shows``.
        render: Draws one picture of a class at a size.
        save: Writes it.
        suffix: Ending of its file name.
        size: Usual height, pixels or voxels.
        sizes: Smallest and largest height.
        picture: Turns what was rendered into what a contact sheet shows.
        usual: Rendered where no set is asked for.
    """

    classes: Mapping[str, Any]
    render: Callable[[str, int, np.random.Generator], np.ndarray]
    save: Callable[[Path, np.ndarray, Identity], None]
    suffix: str
    size: int = 96
    sizes: tuple[int, int] = (48, 1024)
    picture: Callable[[np.ndarray], np.ndarray] = np.asarray
    usual: bool = True


SETS: dict[str, PhantomSet] = {
    "dermoscopy": PhantomSet(phantom_dermoscopy.CLASSES, phantom_dermoscopy.render, save_jpeg, ".jpg"),
    "histology": PhantomSet(phantom_histology.CLASSES, phantom_histology.render, save_png, ".png"),
    "radiology": PhantomSet(phantom_radiology.CLASSES, phantom_radiology.render, save_dicom, ".dcm"),
    "volumes": PhantomSet(
        phantom_volumes.CLASSES,
        phantom_volumes.render,
        save_nifti,
        ".nii.gz",
        size=36,
        sizes=(24, 128),
        picture=phantom_volumes.picture,
        usual=False,  # as large as all the others together
    ),
}


def render_phantom(
    name: str, phantom_class: str, split: str, index: int, seed: int = 0, size: int | None = None
) -> np.ndarray:
    """Render one picture of a set.

    Args:
        name: dermoscopy, histology, radiology or volumes.
        phantom_class: One of the set's classes.
        split: train or test.
        index: Which picture of the class, from 0.
        seed: Same seed, same picture.
        size: Height in pixels or voxels; None for the usual one of the set.

    Returns:
        RGB of shape (height, width, 3), uint8; for radiology grey of shape (height, width), uint16; for volumes
        Hounsfield units of shape (size, size, size), int16.
    """
    place = crc32(f"{name}/{split}/{phantom_class}".encode())
    rng = np.random.default_rng([seed, place, index])
    return SETS[name].render(phantom_class, size or SETS[name].size, rng)


def render_set(out: Path, name: str, settings: Settings) -> None:
    """Render one set into ``out``/``name``/train and test, one folder per class."""
    kind, seed, size = SETS[name], settings["seed"], settings["size"]
    places = list(listed(settings))
    # Numbers are shuffled so that neither a file's name nor a patient's tells the class.
    numbers = np.random.default_rng([seed, crc32(name.encode())]).permutation(len(places)) + 1
    bar = track(numbers.tolist(), f"Rendering {name}", console=console, transient=True, disable=not console.is_terminal)
    for number, (split, phantom_class, index) in zip(bar, places, strict=True):
        identity = Identity(number, f"{RECIPE}/{seed}/{size}/{name}/{split}/{phantom_class}/{index}")
        folder = out / name / split / phantom_class
        folder.mkdir(parents=True, exist_ok=True)
        pixels = render_phantom(name, phantom_class, split, index, seed, size)
        kind.save(folder / f"{identity.patient}{kind.suffix}", pixels, identity)


def listed(settings: Settings) -> Iterator[tuple[str, str, int]]:
    """List every picture of a set as (split, class, index)."""
    for split in ("train", "test"):
        for phantom_class in settings["classes"]:
            for index in range(settings[split]):
                yield split, phantom_class, index


def render_all(out: Path, names: list[str], asked: Settings, force: bool) -> None:
    """Render into ``out`` the sets that it does not hold yet, or all of them if ``force``."""
    record = Record(out)
    wanted = {name: {**asked, "size": asked["size"] or SETS[name].size, "classes": shown(name)} for name in names}
    # Every set is looked at before the first is touched.
    held = {name: record.holds(name, settings, force) for name, settings in wanted.items()}
    for name, settings in wanted.items():
        folder = out / name
        if held[name]:
            console.print(f"{folder} already holds this rendering and is left as it is (--force renders anew).")
            continue
        out.mkdir(parents=True, exist_ok=True)
        record.write(name, settings, complete=False)  # so that a rendering cut short can be redone
        if folder.exists():
            shutil.rmtree(folder)
        render_set(out, name, settings)
        record.write(name, settings, complete=True)
        console.print(f"Rendered {folder}: {len(settings['classes'])} classes, seed {settings['seed']}.")


def shown(name: str) -> dict[str, str]:
    """Give the classes of a set with what each shows."""
    return {key: kind.shows for key, kind in SETS[name].classes.items()}


def sheet_of(names: list[str], seed: int, size: int, count: int) -> list[dict[str, list[np.ndarray]]]:
    """Render the first ``count`` training pictures of every class of sets, pictures at ``size``, volumes as usual."""
    return [
        {key: [_shown_picture(name, key, index, seed, size) for index in range(count)] for key in SETS[name].classes}
        for name in names
    ]


def _shown_picture(name: str, key: str, index: int, seed: int, size: int) -> np.ndarray:
    low, high = SETS[name].sizes
    fitting = size if SETS[name].usual and low <= size <= high else None
    return SETS[name].picture(render_phantom(name, key, "train", index, seed, fitting))


def check(names: list[str], size: int | None, seed: int, train: int, test: int) -> None:
    """Refuse numbers that cannot be rendered."""
    for kind in (SETS[name] for name in names):
        low, high = kind.sizes
        if size is not None and not low <= size <= high:
            raise PhantomError(
                f"--size is {size}, but {low} to {high} pixels are expected so that patterns show: try "
                f"--size {kind.size}."
            )
    if seed < 0:
        raise PhantomError(f"--seed is {seed}, but a whole number from 0 is expected: try --seed 0.")
    for name, count, usual in (("--train", train, 40), ("--test", test, 20)):
        if count < 1:
            raise PhantomError(f"{name} is {count}, but at least 1 picture a class is expected: try {name} {usual}.")


@app.command()
def main(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to render into.")] = Path("demo/data"),
    seed: Annotated[int, typer.Option(help="Same seed, same pictures.")] = 0,
    size: Annotated[int | None, typer.Option(help="Height in pixels: 96 for pictures, 36 for volumes.")] = None,
    train: Annotated[int, typer.Option(help="Training pictures per class.")] = 40,
    test: Annotated[int, typer.Option(help="Test pictures per class.")] = 20,
    only: Annotated[
        list[SetName] | None, typer.Option(help="Only this set; may be repeated. None: all but volumes.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Render anew what is already there.")] = False,
    sheet: Annotated[Path | None, typer.Option(help="Draw a contact sheet here instead (PNG).")] = None,
) -> None:
    """Render phantom sets: small synthetic pictures to try the bundle on. They are not medicine."""
    try:
        names = sorted({name.value for name in only or ()}) or [name for name, kind in SETS.items() if kind.usual]
        check(names, size, seed, train, test)
        if sheet:
            draw_sheet(sheet, sheet_of(names, seed, size=84, count=2))
            console.print(f"Drew {sheet}.")
            return
        asked = {"recipe": RECIPE, "seed": seed, "size": size, "train": train, "test": test}
        render_all(out, names, asked, force)
        console.print(NOTE)
    except PhantomError as error:
        complain(str(error))
    except OSError as error:
        complain(
            f"{sheet or out} cannot be written ({error.strerror or error}), but a place this account "
            f"may write to is expected: try another one with {'--sheet' if sheet else '-o'}."
        )


def complain(message: str) -> NoReturn:
    """Print one sentence and end with status 1."""
    complaints.print(message, style="red")
    raise typer.Exit(1)


if __name__ == "__main__":
    app()
