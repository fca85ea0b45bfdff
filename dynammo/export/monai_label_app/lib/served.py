"""Which bundle of a model is served: `model/NAME/` holds bundles in folders 1, 2, ...; the file `served` names one."""

import os
import re
import shutil
import tempfile
from pathlib import Path

__all__ = ["add_bundle", "model_folders", "new_aside", "remove", "serve", "served_bundle", "stale_folders"]

POINTER = "served"
ASIDE = ".learning-"


def model_folders(models: Path) -> dict[str, Path]:
    """Folders of the models that can be served, by name."""
    return {folder.name: folder for folder in sorted(models.iterdir()) if (folder / POINTER).is_file()}


def served_bundle(model: Path) -> Path:
    """The folder of the bundle that is served.

    Args:
        model: folder `model/NAME` of the app.

    Raises:
        ValueError: the file `served` names no bundle.
    """
    pointer = model / POINTER
    number = pointer.read_text(encoding="utf-8").strip() if pointer.is_file() else ""
    if not re.fullmatch(r"\d{1,9}", number) or not (model / number).is_dir():
        raise ValueError(
            f"the file served of the model {model.name} names no bundle; expected the number of one of its folders: "
            f"{', '.join(map(str, _numbers(model))) or 'there is none'}."
        )
    return model / number


def serve(model: Path, number: int) -> None:
    """Serve the bundle `number` from now on; readers see the old or the new number, never a part of it."""
    aside = model / f".{POINTER}-{os.getpid()}"
    aside.write_text(f"{number}\n", encoding="utf-8")
    os.replace(aside, model / POINTER)


def add_bundle(model: Path, made: Path) -> int:
    """Move a finished bundle, which lies on the same disk, in among the others; it is not served yet."""
    number = max(_numbers(model), default=0) + 1
    os.replace(made, model / str(number))
    return number


def new_aside(model: Path) -> Path:
    """A new folder on the disk of the bundles, for work that may fail."""
    return Path(tempfile.mkdtemp(prefix=ASIDE, dir=model))


def stale_folders(model: Path) -> list[Path]:
    """Folders that trainings which were killed have left; remove them only where no training runs."""
    return [folder for folder in model.glob(f"{ASIDE}*") if folder.is_dir()]


def remove(*folders: Path) -> None:
    """Remove folders, whether they are still there or not."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _numbers(model: Path) -> list[int]:
    return sorted(int(folder.name) for folder in model.iterdir() if folder.is_dir() and folder.name.isdecimal())
