"""Which trained models are on this machine; reads records alone, so that the answer comes at once."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from dynammo.errors import UserError
from dynammo.runs.record import (
    Kind,
    Measured,
    Record,
    check_usable,
    embedded_record,
    locate_model,
    measured,
    read_record,
)
from dynammo.runtime.plain import expanded
from dynammo.runtime.terminal import Terminal

__all__ = [
    "VARIABLE",
    "ModelInfo",
    "default_model",
    "described",
    "find_models",
    "named_roots",
    "print_models",
    "short_path",
]

VARIABLE = "DYNAMMO_MODELS"
ROOTS = ("runs", "demo/runs", "dist", "models", "bundle/models")
DEPTH = 4  # folders below a root
PASSED_BY = ("earlier", "mlruns", "predictions", "node_modules")
WIDTH = 100
LONG_AGO = datetime.min.replace(tzinfo=timezone.utc)
HOW_TO_GET_ONE = (
    "give --model the folder of one, or train one on a folder of images for each class: dynammo train FOLDER"
)


@dataclass(frozen=True)
class ModelInfo:
    """What its record says of one model.

    Attributes:
        path: what to give to `--model`.
        kind: run, bundle (exported) or torchscript.
        weights: the file that holds the weights.
        size: of that file in bytes.
        method: name of the method.
        classes: names in label order.
        finished: end of the training; None where unknown.
        measured: after the last task; None where the record cannot be used.
        fault: why it cannot be used, one sentence; empty where it can.
    """

    path: Path
    kind: Kind
    weights: Path
    size: int
    method: str = ""
    classes: tuple[str, ...] = ()
    finished: datetime | None = None
    measured: Measured | None = None
    fault: str = ""


def named_roots() -> list[Path]:
    """Folders that the variable `DYNAMMO_MODELS` names, there or not."""
    return [expanded(name) for name in os.environ.get(VARIABLE, "").split(os.pathsep) if name.strip()]


def find_models(roots: Sequence[Path] | None = None) -> list[ModelInfo]:
    """Every model below `roots`, newest first; those that cannot be used say why and come last.

    Args:
        roots: folders; None for `runs`, `demo/runs`, `dist`, `models` and `bundle/models` in the working directory and
            those of `named_roots`.
    """
    found: dict[Path, ModelInfo] = {}
    for root in [*map(Path, ROOTS), *named_roots()] if roots is None else roots:
        for path in _candidates(root):
            located = locate_model(path)
            if located is not None and located[1].resolve() not in found:
                found[located[1].resolve()] = _inform(*located)
    return sorted(found.values(), key=lambda m: (bool(m.fault), -(m.finished or LONG_AGO).timestamp(), str(m.path)))


def default_model(models: Sequence[ModelInfo] | None = None) -> ModelInfo:
    """The newest exported model, else the newest run.

    Args:
        models: as `find_models` gives them; None to look for them.

    Raises:
        UserError: there is none, or none that can be used.
    """
    models = find_models() if models is None else models
    usable = [model for model in models if not model.fault]
    if usable:
        return next((model for model in usable if model.kind != "run"), usable[0])
    if models:
        raise UserError(f"no trained model can be used; {_sentence(models[0].fault)} All: dynammo models.")
    raise UserError(_nothing())


def described() -> list[dict[str, Any]]:
    """The models as programs take them, in the order of `find_models`."""
    models = find_models()
    default = default_model(models) if any(not model.fault for model in models) else None
    return [
        {
            "path": short_path(model.path),
            "default": model is default,
            "kind": model.kind,
            "method": model.method,
            "classes": model.classes,
            "finished": model.finished and model.finished.isoformat(),
            "mean_class_recall": model.measured and model.measured.whole,
            "measured": model.measured and asdict(model.measured),
            "bytes": model.size,
            "fault": model.fault,
        }
        for model in models
    ]


def print_models() -> None:
    """Print the models as a table, the default marked, and below it those that cannot be used."""
    console = Terminal(width=min(WIDTH, Terminal().width))
    models = find_models()
    usable = [model for model in models if not model.fault]
    if usable:
        console.print(_table(usable))
        console.print("* is taken where no --model is given: the newest exported one, else the newest run.")
    for model in models[len(usable) :]:
        console.print(f"not usable: {model.fault}", soft_wrap=True)
    if not usable:
        console.print(_nothing(), soft_wrap=True)


def short_path(path: Path) -> str:
    """A path as one would type it: from the working directory where it lies below it, `~` for the home folder."""
    full = expanded(path).absolute()
    for start, sign in ((Path.cwd(), ""), (Path.home(), "~/")):
        if full != start and full.is_relative_to(start):
            return sign + full.relative_to(start).as_posix()
    return path.as_posix()


def _candidates(root: Path) -> Iterator[Path]:
    """Folders with a record and weights, and TorchScript files with a record inside, not too far below `root`."""
    for name, folders, files in os.walk(root):
        folder = Path(name)
        depth = len(folder.relative_to(root).parts)
        folders[:] = sorted(f for f in folders if depth < DEPTH and f not in PASSED_BY and not f.startswith("."))
        whole = {"run.json", "model.pt"} <= set(files)
        if whole:
            yield folder
        for file in sorted(files):
            if file.endswith(".ts") and not (whole and file == "model.ts") and embedded_record(folder / file):
                yield folder / file


def _inform(kind: Kind, weights: Path) -> ModelInfo:
    path, size = _path_to_give(kind, weights), weights.stat().st_size
    try:
        record = read_record(kind, weights)
        check_usable(record, short_path(path), None if kind == "torchscript" else weights.parent)
    except UserError as error:
        return ModelInfo(path, kind, weights, size, fault=str(error))
    method, classes = record.get("method", ""), tuple(record["classes"])
    return ModelInfo(path, kind, weights, size, method, classes, _finished(record), measured(record))


def _path_to_give(kind: Kind, weights: Path) -> Path:
    if kind == "torchscript":
        return weights
    folder = weights.parent
    return folder.parent if kind == "bundle" and folder.parent.parts else folder


def _finished(record: Record) -> datetime | None:
    try:
        time = datetime.strptime(record["finished"], "%Y-%m-%dT%H:%M:%S%z")
        time.timestamp()  # of the year 1 there is none
        return time
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _table(models: Sequence[ModelInfo]) -> Table:
    default = default_model(models)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    table.add_column("model", overflow="fold")
    table.add_column("kind, method", no_wrap=True)
    table.add_column("classes", overflow="fold", max_width=30)
    table.add_column("trained", no_wrap=True)
    table.add_column("recall", justify="right", no_wrap=True)
    table.add_column("MB", justify="right", no_wrap=True)
    for model in models:
        table.add_row(
            "*" if model is default else "",
            short_path(model.path),
            f"{model.kind}\n{model.method}".rstrip(),
            _names(model.classes),
            model.finished.strftime("%Y-%m-%d") if model.finished else "-",
            _short(model.measured),
            f"{model.size / 1e6:.0f}",
        )
    return table


def _short(found: Measured | None) -> str:
    """A recall, and below it on how many classes where not on all."""
    return "-" if found is None or found.recall is None else str(found).replace(" on ", "\non ")


def _names(classes: Sequence[str], room: int = 50) -> str:
    """The number of classes and as many of their names as there is room for."""
    shown = ", ".join(classes)
    return f"{len(classes)}: {shown if len(shown) <= room else shown[: room - 2].rstrip(' ,') + ' …'}"


def _nothing() -> str:
    named = f" or in the folders that {VARIABLE} names" if os.environ.get(VARIABLE) else ""
    return f"no trained model is in {', '.join(ROOTS)}{named}; {HOW_TO_GET_ONE}."


def _sentence(text: str) -> str:
    return text.rstrip(".") + "."
