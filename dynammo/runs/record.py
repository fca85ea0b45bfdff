"""The record (`run.json`) of a trained model, beside its weights or inside a TorchScript file, read without torch."""

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dynammo.errors import UserError
from dynammo.runs.record_schema import MOST_BYTES, Record, read_typed
from dynammo.runtime.aliases import current_names
from dynammo.runtime.files import sha256
from dynammo.runtime.plain import percent_or_words
from dynammo.training.settings import RECIPE

__all__ = [
    "FOLDER",
    "HISTORY",
    "UNFINISHED",
    "Kind",
    "Measured",
    "Record",
    "check_finished",
    "check_tasks",
    "check_usable",
    "contribution_file",
    "digests",
    "embedded_record",
    "learns_vectors",
    "locate_model",
    "measured",
    "measured_after",
    "read_history",
    "read_record",
    "refuse_other_files",
]

Kind = Literal["run", "bundle", "torchscript"]
CHANNELS = 3
FOLDER = "tasks"  # what each task contributed, beside the record
HISTORY = "history.json"  # in that folder
UNFINISHED = "unfinished.json"  # beside the record for as long as the training is not at its end


@dataclass(frozen=True)
class Measured:
    """How well a model tells its classes apart, and what that was measured on.

    Attributes:
        recall: mean recall of the classes that have test images, 0 to 1; None where none has.
        classes: how many have.
        of: how many the model knows.
        images: test images.
    """

    recall: float | None
    classes: int
    of: int
    images: int

    @property
    def whole(self) -> float | None:
        """The mean class recall of the model: None where it was measured on a part of its classes."""
        return self.recall if self.classes == self.of else None

    @property
    def part(self) -> str:
        """What stands behind a figure that is that of a part of the classes; nothing where it is of all, or of none."""
        return "" if self.classes in (0, self.of) else f" on {self.classes} of {self.of} classes"

    def __str__(self) -> str:
        return "not measured" if self.recall is None else f"{percent_or_words(self.recall)}{self.part}"


def measured(record: Record) -> Measured:
    """What a record says of its model after the last task."""
    results = record.get("results") or []
    return measured_after(results[-1]) if results else Measured(None, 0, len(record["classes"]), 0)


def measured_after(result: Mapping[str, Any]) -> Measured:
    """What one entry of `results` says, of the classes known then."""
    images = [sum(row) for row in result["confusion"]]
    return Measured(result["mean_class_recall"], sum(map(bool, images)), len(images), sum(images))


def locate_model(path: Path) -> tuple[Kind, Path] | None:
    """What `path` is, and the file that holds its weights.

    Args:
        path: folder of a run, folder of an exported bundle or its `models`, one of their files, or a TorchScript
            file.

    Returns:
        None where none of these is there; the record is not looked at.
    """
    if path.is_file() and path.suffix == ".ts":
        return "torchscript", path
    if path.is_file() and path.name in ("model.pt", "run.json"):
        path = path.parent
    for folder in (path, path / "models"):
        if (folder / "run.json").is_file() and (folder / "model.pt").is_file():
            return "bundle" if _is_exported(folder) else "run", folder / "model.pt"
    return None


def read_record(kind: Kind, weights: Path) -> Record:
    """The record of a model, checked for what every use of a model needs.

    Args:
        kind: as `locate_model` says.
        weights: as `locate_model` says.

    Returns:
        `classes` (K names), `network` (arguments of `MergedClassifier`), `config` with `image_size` in pixels, and
        what else the run wrote.

    Raises:
        UserError: no record, or one whose value is missing, of another type, or absurd; it names the value.
    """
    if kind == "torchscript":
        text = embedded_record(weights)
        if text is None:
            raise UserError(
                f"{weights} is not a TorchScript file that carries its record (run.json), without which nobody knows "
                "its classes; give the model.ts that dynammo export wrote, or the folder of a run."
            )
        return _parse(text, f"the record inside {weights}")
    file = weights.parent / "run.json"
    try:
        with file.open("rb") as stream:
            return _parse(stream.read(MOST_BYTES + 1), str(file))
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}); give another model.") from error


def check_usable(record: Record, name: str, folder: Path | None = None, vectors: bool | None = False) -> None:
    """Refuse a model that cannot classify images here, or whose training is not finished.

    Args:
        record: of `read_record`.
        name: of the model, for the message.
        folder: in which its weights lie; None where they are in one file with the record.
        vectors: it is to work on embeddings instead; None for what it has learnt.

    Raises:
        UserError: an unfinished training, made before the image recipe was recorded, or for another number of channels,
            one of embeddings where images are to be classified, or the other way round.
    """
    check_finished(record, name, folder)
    recipe = record["config"].get("recipe")
    if not isinstance(recipe, dict) or any(key not in recipe for key in RECIPE):
        raise UserError(
            f"{name} was made by an earlier version of dynammo, which did not record how images are prepared; "
            "train it again, or give another model."
        )
    of_vectors = learns_vectors(record)
    if of_vectors and vectors is False:
        raise UserError(
            f"{name} has learnt embeddings, not images; give a file of these: --features FILE, of train, classify and "
            "learn (docs/embeddings.md)."
        )
    if vectors and not of_vectors:
        raise UserError(f"{name} has learnt images, not embeddings; give a run of dynammo train --features FILE.")
    channels = record["network"].get("in_channels", CHANNELS)
    if channels != CHANNELS and not of_vectors:
        raise UserError(
            f"{name} is a model for another number of channels: it takes {channels}, and images are read as "
            f"{CHANNELS} (grey ones as three equal ones); give a model trained with in_channels {CHANNELS}."
        )


def learns_vectors(record: Record) -> bool:
    """Whether a model has learnt embeddings instead of images."""
    return str(record["network"].get("architecture")).startswith("vectors:")


def check_finished(record: Record, name: str, folder: Path | None = None) -> None:
    """Refuse a model that some of its classes never reached, or whose last measures and checks are still to come.

    Args:
        record: of `read_record`.
        name: of the model, for the message.
        folder: in which its weights lie; None where they are in one file with the record.

    Raises:
        UserError: an unfinished training.
    """
    learnt, count = record.get("tasks_learnt"), len(record.get("tasks", ()))
    finish = "finish it first: type the command that trains it again"
    if learnt is not None and learnt < count:
        raise UserError(f"{name} has learnt {learnt} of {count} tasks; {finish}, or give another model.")
    if folder is not None and (folder / UNFINISHED).is_file():
        raise UserError(f"the training of {name} is not finished; {finish}, or give another model.")


def check_tasks(record: Record, name: str, needed: Sequence[str] = ("tasks", "tasks_learnt", "results")) -> None:
    """Refuse a record from which nobody can tell what the tasks were and what came of them.

    Args:
        record: of `read_record`.
        name: of the model, for the message.
        needed: what must be in the record.

    Raises:
        UserError: something lacks, or tasks, classes and results do not fit each other.
    """
    lacking = [key for key in needed if key not in record]
    if lacking:
        raise UserError(f"the record (run.json) of {name} lacks {', '.join(lacking)}; give the folder of a run.")
    learnt = record["tasks"][: record["tasks_learnt"]]
    sizes = [len(row) for row in record["results"][-1]["confusion"]] if record["results"] else []
    if [c for task in learnt for c in task] != record["classes"] or len(record["results"]) != len(learnt):
        raise UserError(
            f"the record (run.json) of {name} is damaged (its tasks, classes and results do not fit each other); give "
            "another model, or export or train it again."
        )
    if sizes != [len(record["classes"])] * len(record["classes"]):
        raise UserError(
            f"the record (run.json) of {name} is damaged (the confusion after its last task is not one of "
            f"{len(record['classes'])} classes); give another model, or export or train it again."
        )


def embedded_record(file: Path) -> bytes | None:
    """The text of `run.json` that a TorchScript file carries as an extra file; None where it carries none."""
    try:
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():  # <name of the archive>/extra/run.json
                if member.filename.split("/")[1:] == ["extra", "run.json"] and member.file_size <= MOST_BYTES:
                    return archive.read(member)
    except (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error):
        pass  # not a zip, or a damaged one
    return None


def _is_exported(folder: Path) -> bool:
    """Whether a folder with a model is the `models` folder of a bundle."""
    bundle = (folder.parent / "configs" / "metadata.json").is_file()
    return folder.resolve().name == "models" and (bundle or (folder / "model.ts").is_file())


def _parse(text: bytes, source: str) -> Record:
    """The record as it was written: what the schema does not know is kept."""
    try:
        record: Record = current_names(read_typed(text, "record"))
    except ValueError as error:
        raise UserError(f"{source} is damaged ({error}); give another model, or export or train it again.") from error
    return record


def contribution_file(folder: Path, index: int) -> Path:
    """The file of the task with this index, from 0, in the `tasks` folder of a run."""
    return folder / f"{index + 1}.pt"


def digests(run: Path, tasks: int) -> dict[str, str]:
    """SHA-256 of what a run holds in `tasks/`, by the name in the run, of so many tasks."""
    folder = run / FOLDER
    files = [*(contribution_file(folder, index) for index in range(tasks)), folder / HISTORY]
    return {f"{FOLDER}/{file.name}": sha256(file) for file in files if file.is_file()}


def refuse_other_files(run: Path, record: Record) -> None:
    """Refuse files in `tasks/` that are not those of the run; earlier records do not tell.

    Raises:
        UserError: naming one.
    """
    known = record.get("files", {})
    for name, digest in digests(run, len(record.get("tasks", ()))).items():
        if known.get(name, digest) != digest:
            raise UserError(
                f"{run / name} is not the file that run.json describes (its sha256 differs); copy all files from the "
                "same run."
            )


def read_history(run: Path) -> list[dict[str, Any]]:
    """The history of a run; empty where it has none.

    Raises:
        UserError: a damaged file.
    """
    file = run / FOLDER / HISTORY
    try:
        history: list[dict[str, Any]] = read_typed(file.read_bytes(), "history")
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise UserError(f"{file} is damaged ({error}); put a copy of it back.") from error
    return history
