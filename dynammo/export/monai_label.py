"""An exported bundle -> a MONAI Label app: a folder that runs in Label's own environment, without dynammo."""

import json
import re
import shutil
import sys
from importlib.resources import as_file, files
from pathlib import Path

from dynammo import __version__
from dynammo.errors import UserError
from dynammo.runs.record import Record, locate_model, read_record
from dynammo.runtime.files import prepare_output_dir, sha256

__all__ = ["write_label_app"]

TEMPLATE = files("dynammo.export") / "monai_label_app"
NEEDED = ("configs/metadata.json", "configs/inference.yaml", "models/model.ts", "models/run.json")
RUN_FILES = ("run.json", "model.pt", "checkpoint.pt", "checkpoint.pt.sha256")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")  # part of the address of a request


def write_label_app(bundle: Path, to: Path, run: Path | None = None) -> Path:
    """Write a MONAI Label app that serves a bundle and teaches it new classes.

    Into an app that is there already, its code is written anew and the bundle is added as one more model.

    Args:
        bundle: folder that `dynammo export` wrote; its name becomes that of the model.
        to: folder of the app, made if need be.
        run: the run that the bundle was exported from, so that images of its classes can update what it knows of
            them, too; without it the app learns new classes alone.

    Returns:
        The folder `model/NAME` of the model in the app.

    Raises:
        UserError: no such bundle, one that differs from its record, another run than the bundle's, a model of that
            name in the app already, a folder that cannot be written.
    """
    bundle = bundle.resolve()
    record = _check_bundle(bundle)
    if run is not None:
        _check_run(run, record)
    model = to / "model" / bundle.name
    if model.exists():
        raise UserError(
            f"the app {to} has a model {bundle.name}, which may have learnt since; remove {model} to replace it, or "
            "give -o another folder."
        )
    app = prepare_output_dir(to)
    try:
        with as_file(TEMPLATE) as template:
            shutil.copytree(template, app, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        settings = {"dynammo": [sys.executable, "-m", "dynammo"], "version": __version__}
        (app / "app.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        shutil.copytree(bundle, model / "1")
        if run is not None:
            _copy_run(run, model / "1" / "run")
        (model / "served").write_text("1\n", encoding="utf-8")  # last: without it the model is not there
    except OSError as error:
        raise UserError(
            f"the app cannot be written to {to} ({error.strerror}); free disk space or give -o another folder."
        ) from error
    return model


def _check_bundle(bundle: Path) -> Record:
    missing = [name for name in NEEDED if not (bundle / name).is_file()]
    if missing:
        raise UserError(
            f"{bundle} is not an exported bundle: it lacks {', '.join(missing)}; give the folder that dynammo export "
            "wrote."
        )
    if not NAME.fullmatch(bundle.name):
        raise UserError(
            f"the bundle is named {bundle.name!r}, which cannot be part of an address; rename its folder, with "
            "letters, digits, _ - and . only."
        )
    weights = bundle / "models" / "model.ts"
    record = read_record("bundle", weights)
    if record.get("files", {}).get(weights.name) != sha256(weights):
        raise UserError(f"{weights} is not the file that run.json beside it describes; export the model again.")
    return record


def _check_run(run: Path, record: Record) -> None:
    located = locate_model(run)
    if located is None or located[0] != "run":
        raise UserError(f"{run} is not a run; give --run the output folder of the training that was exported.")
    if read_record(*located).get("files", {}).get("model.pt") != record.get("source"):
        raise UserError(f"the bundle was not exported from {run}; give --run the run that it came from.")


def _copy_run(run: Path, to: Path) -> None:
    """Copy what learning needs of a run, and no images, plots or MLflow records."""
    to.mkdir()
    for name in RUN_FILES:
        if (run / name).is_file():
            shutil.copy(run / name, to)
    if (run / "tasks").is_dir():
        shutil.copytree(run / "tasks", to / "tasks")
