"""A trained run -> the models of a bundle: weights, TorchScript and their record."""

import json
import os
import tempfile
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import torch

from dynammo.checkpoint import prepare_output_dir, sha256, write_atomically, write_json
from dynammo.errors import UserError
from dynammo.inference import load_classifier
from dynammo.model_files import load_model
from dynammo.model_records import Record
from dynammo.network import MergedClassifier

__all__ = ["export_run"]

TOLERANCE = 1e-5  # of probabilities, between the network and its TorchScript
PATHS = ("dataset_dir", "data_list", "weights", "cache_dir", "output_dir")  # of these the last part is kept


def export_run(run: Path, to: Path) -> Path:
    """Write `to/models/` with `model.pt`, `model.ts` (TorchScript, the record inside) and `run.json`.

    The files are written aside, loaded again and compared on random images before they replace earlier ones, and the
    record comes last: a folder with a record is whole. The record leaves out where the images lay, since folders may
    be named after people.

    Args:
        run: folder of a run.
        to: folder of the bundle, made if need be.

    Returns:
        The folder `to/models`.

    Raises:
        UserError: no model, a folder that cannot be written, or a TorchScript that gives other probabilities.
    """
    model = load_model(run)
    models = prepare_output_dir(to) / "models"
    try:
        models.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=models, prefix=".export-") as aside:
            folder = Path(aside)
            _write_files(folder, model.network, _shareable(model.record))
            _check_torchscript(folder, model.network, model.record)
            _replace(models, folder)
    except OSError as error:
        raise UserError(
            f"the model cannot be written to {models} ({error.strerror}); free disk space or give -o another folder."
        ) from error
    return models


def _write_files(folder: Path, network: MergedClassifier, record: Record) -> None:
    write_atomically(folder / "model.pt", partial(torch.save, network.state_dict()))
    record["files"] = {"model.pt": sha256(folder / "model.pt")}
    inside = {"run.json": json.dumps(record, ensure_ascii=False)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch advises torch.export, which MONAI's tools do not read
        script = torch.jit.script(network)
        write_atomically(folder / "model.ts", lambda file: torch.jit.save(script, file, _extra_files=inside))
    record["files"]["model.ts"] = sha256(folder / "model.ts")
    write_json(folder / "run.json", record)


def _check_torchscript(folder: Path, network: MergedClassifier, record: Record) -> None:
    """Compare what lies in `folder` with the network that it was made from."""
    sides = [record["config"]["image_size"]] * record["network"].get("spatial_dims", 2)
    images = torch.randn(2, 3, *sides, generator=torch.Generator().manual_seed(0))
    script: Any = torch.jit.load(str(folder / "model.ts"), map_location="cpu")  # type: ignore[no-untyped-call]
    with torch.inference_mode():
        expected = network(images)
        outputs = [load_classifier(folder)(images), *(script(images) for _ in range(3))]  # compiled anew by the 2nd
    difference = max(float((output - expected).abs().max()) for output in outputs)
    if not difference <= TOLERANCE:
        raise UserError(
            f"the TorchScript gives probabilities that differ by {difference:.1e} from those of the run, more than "
            f"{TOLERANCE:.0e}; nothing was exported: use the run itself and report this with your version of torch."
        )


def _replace(models: Path, written: Path) -> None:
    """Put the written files into `models`; while they are changed no record is there, so that no mixture is taken."""
    (models / "run.json").unlink(missing_ok=True)
    for name in ("model.pt", "model.ts", "run.json"):
        os.replace(written / name, models / name)


def _shareable(record: Record) -> Record:
    """A copy of the record without paths and without the command line that names them."""
    shared: Record = json.loads(json.dumps(record))
    shared.pop("command", None)
    config = shared["config"]
    config |= {key: Path(config[key]).name for key in PATHS if isinstance(config.get(key), str)}
    return shared
