"""A trained run -> a bundle folder and a zip that stand alone: MONAI and torch classify with it, dynammo teaches it."""

import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from monai.data import save_net_with_metadata

from dynammo.errors import UserError
from dynammo.export.agreement import Agreement, check_agreement, sample_images
from dynammo.export.bundle_configs import standalone_evaluation, standalone_inference
from dynammo.export.bundle_metadata import INTENDED_USE, changes, metadata, model_card
from dynammo.inference.onnx import check_onnx_packages, write_onnx
from dynammo.lifecycle.learning_state import LEARNING_FILE, learning_state_of
from dynammo.networks.encoders import scripted, short_name
from dynammo.networks.merged_classifier import MergedClassifier
from dynammo.runs.load import Model, load_model
from dynammo.runs.record import Record, check_tasks
from dynammo.runs.record_schema import read_typed
from dynammo.runtime.bundle_files import bundle_config
from dynammo.runtime.config import inert, original
from dynammo.runtime.files import prepare_output_dir, sha256, write_atomically, write_json
from dynammo.runtime.plain import plain

__all__ = ["ExportSettings", "Exported", "export_run"]

PATHS = ("dataset_dir", "data_list", "features", "weights", "cache_dir", "output_dir")  # of these the last part is kept
DESCRIBED = ("method", "seed", "commit", "versions", "tasks", "tasks_learnt", "results")  # by card and metadata
OWN = ("LICENSE", "configs", "docs", "models")  # what an export writes, and replaces
NO_LICENCE = "The licence of the training images was not stated at the export; ask whoever trained the model.\n"


@dataclass(frozen=True)
class ExportSettings:
    """How a run is exported.

    Attributes:
        images: folder of real images to check the export with; None for those the run was trained on.
        intended_use: a sentence for metadata and model card.
        data_source: where the training images came from.
        modality: of the images, such as dermoscopy, CR or MR; see `dynammo.export.bundle_metadata.metadata`.
        data_license: text file with the licence of the training images.
        onnx: write `model.onnx` too.
    """

    images: Path | None = None
    intended_use: str = INTENDED_USE
    data_source: str = ""
    modality: str = ""
    data_license: Path | None = None
    onnx: bool = True


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        bundle: the folder.
        archive: the zip beside it.
        version: of the bundle.
        agreement: between all forms of the model.
        lacks: why the bundle cannot learn more; empty where it can.
    """

    bundle: Path
    archive: Path
    version: str
    agreement: Agreement
    lacks: str = ""

    def __str__(self) -> str:
        """What a person wants to know."""
        checked = f"{self.agreement.images} real images" if self.agreement.images else "noise, for want of real images"
        lines = [
            f"bundle {self.bundle.name}, version {self.version}: {self.bundle} and {self.archive.name}",
            f"checked on {checked}: no probability differs by more than {self.agreement.difference:.0e} from the run's",
        ]
        if self.agreement.misread:
            lines.append(
                f"warning: MONAI alone reads {self.agreement.misread} of them otherwise (palettes, pages, films); "
                "use dynammo classify for such files"
            )
        if self.lacks:
            lines.append(f"warning: without {LEARNING_FILE}, this bundle predicts but cannot learn: {self.lacks}")
        return "\n".join(lines)


def export_run(run: Path, to: Path, settings: ExportSettings | None = None) -> Exported:
    """Write a bundle that stands alone, check it, and put it in the place of an earlier one.

    `models/` holds `model.pt`, `model.ts` (metadata, inference config and record inside), `model.onnx`, `learning.pt`
    (what `dynammo learn` needs, no image and no path), `run.json`;
    `configs/` metadata, inference and evaluation in MONAI's classes alone; `docs/` the model card. All is written
    aside, loaded again and compared with the network of the run before it replaces what was there. The record leaves
    out where the images lay, since folders may be named after people.

    Args:
        run: folder of a run, or of an exported bundle.
        to: folder of the bundle, made if need be; other files in it are kept.
        settings: the defaults if left out.

    Raises:
        UserError: no model, a folder that cannot be written, missing packages, or forms that do not agree.
    """
    settings = settings or ExportSettings()
    if settings.onnx:
        check_onnx_packages()
    model, images = load_model(run), settings.images
    check_tasks(model.record, str(run), DESCRIBED)
    if settings.onnx and (model.record["network"].get("encoder") or {"build": {}})["build"].get("script"):
        raise UserError("torch writes no ONNX of an encoder that is a TorchScript file; give --no-onnx.")
    data_set = model.record["config"].get("dataset_dir")
    if images is None and data_set is not None:
        images = Path(data_set)
    to = prepare_output_dir(to).resolve()
    try:
        with tempfile.TemporaryDirectory(dir=to.parent, prefix=f".{to.name}.") as aside:
            folder = Path(aside) / to.name
            learning, lacks = _learning_state(model)
            version = _write_bundle(folder, model, settings, _changelog(to, model), learning)
            agreement = check_agreement(folder, model.network, model.record, sample_images(images))
            archive = Path(shutil.make_archive(str(Path(aside) / "bundle"), "zip", aside, to.name))
            _swap(folder, to, Path(aside) / "before")
            os.replace(archive, to.with_name(f"{to.name}.zip"))
    except OSError as error:
        raise UserError(
            f"the bundle cannot be written to {to} ({error.strerror}); free disk space or give -o another folder."
        ) from error
    return Exported(to, to.with_name(f"{to.name}.zip"), version, agreement, lacks)


def _learning_state(model: Model) -> tuple[dict[str, Any] | None, str]:
    """What more learning needs, or why there is none."""
    if model.kind == "torchscript":
        return None, "a TorchScript file can only predict"
    try:
        return learning_state_of(model.path), ""
    except UserError as error:
        return None, str(error)


def _write_bundle(
    folder: Path,
    model: Model,
    settings: ExportSettings,
    changelog: Mapping[str, str],
    learning: Mapping[str, Any] | None,
) -> str:
    for name in ("configs", "docs", "models"):
        (folder / name).mkdir(parents=True)
    record = _shareable(model.record)
    about = metadata(record, folder.name, changelog, settings.intended_use, settings.data_source, settings.modality)
    inference = standalone_inference(record)
    write_json(folder / "configs" / "metadata.json", inert(about))
    (folder / "configs" / "inference.yaml").write_text(inference, encoding="utf-8")
    (folder / "configs" / "evaluate.yaml").write_text(standalone_evaluation(), encoding="utf-8")
    shutil.copy(bundle_config("logging.conf"), folder / "configs")
    shutil.copy(bundle_config("metadata.json").parent.parent / "LICENSE", folder)
    if learning is not None:
        write_atomically(folder / "models" / LEARNING_FILE, partial(torch.save, dict(learning)))
    record["files"] = _write_models(folder / "models", model.network, record, about, inference, settings.onnx)
    write_json(folder / "models" / "run.json", record)
    (folder / "docs" / "README.md").write_text(model_card(record, about, record["files"]), encoding="utf-8")
    licence = settings.data_license.read_text(encoding="utf-8") if settings.data_license else NO_LICENCE
    (folder / "docs" / "data_license.txt").write_text(licence, encoding="utf-8")
    return str(about["version"])


def _write_models(
    models: Path, network: MergedClassifier, record: Record, about: Mapping[str, Any], inference: str, onnx: bool
) -> dict[str, str]:
    """Write every form of the network; sha256 by file."""
    sides = [record["config"]["image_size"]] * record["network"].get("spatial_dims", 2)
    write_atomically(models / "model.pt", partial(torch.save, network.state_dict()))
    record["files"] = {"model.pt": sha256(models / "model.pt")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch advises torch.export, which MONAI's tools do not read
        inside = {
            "run.json": json.dumps(record, ensure_ascii=False).encode(),
            "inference.json": json.dumps(yaml.safe_load(inference)).encode(),
        }
        script = scripted(network, (3, *sides))
        save_net_with_metadata(
            script, str(models / "model.ts"), meta_values=inert(dict(about)), more_extra_files=inside
        )
    if onnx:
        write_onnx(network, sides, models / "model.onnx")
    return {file.name: sha256(file) for file in sorted(models.iterdir())}


def _changelog(to: Path, model: Model) -> dict[str, str]:
    """What every version of the bundle brought, with the one that is written now."""
    file, weights = to / "configs" / "metadata.json", to / "models" / "run.json"
    try:
        before: dict[str, str] = original(read_typed(file.read_bytes(), "metadata")["changelog"])
        same = read_typed(weights.read_bytes(), "record").get("source") == _source(model.record)
    except (OSError, ValueError):
        return changes(model.record)
    return before if same and before else changes(model.record, before)


def _swap(written: Path, to: Path, aside: Path) -> None:
    """Put the written entries into `to`; the record is away while they change, so that no mixture is taken."""
    aside.mkdir()
    (to / "models" / "run.json").unlink(missing_ok=True)
    for name in OWN:
        if (to / name).exists():
            os.replace(to / name, aside / name)
    for name in OWN:
        os.replace(written / name, to / name)


def _source(record: Record) -> str:
    """The weights that a run left, by their sha256, however often they were exported since."""
    return record.get("source") or record.get("files", {}).get("model.pt", "")


def _shareable(record: Record) -> Record:
    """A copy of the record without paths and without the command line that names them."""
    shared: Record = plain(record)
    shared.pop("command", None)
    shared["source"] = _source(record)
    encoder = shared["network"].get("encoder")
    if encoder:
        encoder["name"] = short_name(encoder["name"])
    config: dict[str, Any] = shared["config"]  # type: ignore[assignment]  # a place may stand in any of them
    config |= {key: Path(config[key]).name for key in PATHS if isinstance(config.get(key), str)}
    return shared
