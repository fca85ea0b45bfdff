"""A finished model as something that continues learning: its record, its state, what its tasks contributed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dynammo.errors import UserError
from dynammo.heads.scatters import packed, unpacked
from dynammo.networks.adapters import FOLDABLE
from dynammo.runs.contributions import load_contribution
from dynammo.runs.record import (
    FOLDER,
    Kind,
    Record,
    check_tasks,
    check_usable,
    locate_model,
    read_record,
    refuse_other_files,
)
from dynammo.runs.record_schema import fault_of
from dynammo.runtime.files import load_checkpoint, load_state, sha256
from dynammo.runtime.plain import expanded, plain
from dynammo.training.settings import updated

__all__ = ["LEARNING_FILE", "LearntModel", "exported_history", "learning_state_of", "load_learnt", "sources_of"]

LEARNING_FILE = "learning.pt"
"""Name of the file beside the weights of an exported model that `learning_state_of` gives the content of."""
NEEDED = {
    "adapters",
    "branches",
    "branch_count",
    "heads",
    "background",
    "out_of_distribution",
    "temperature",
    "results",
    "handlers",
}
PLACES = ("dataset_dir", "data_list", "features")  # what a source of test data names on this machine
PRIVATE = ("ContinueFrom",)  # handlers whose state names places on this machine
EARLIER = "was made by an earlier version of dynammo, which did not keep what learning on needs; train it again"


@dataclass(frozen=True)
class LearntModel:
    """A model that can learn more.

    Attributes:
        path: where it was found.
        kind: run or bundle (exported).
        record: its `run.json`.
        state: its learning state (`IncrementalTrainer.load_learning_state`), the frozen backbone beside it.
        history: what happened to it, oldest first.
        folder: with what its tasks contributed; None for an exported model.
        sha256: of its `model.pt`.
    """

    path: Path
    kind: Kind
    record: Record
    state: dict[str, Any]
    history: list[dict[str, Any]]
    folder: Path | None
    sha256: str

    @property
    def classes(self) -> list[str]:
        """Names in label order."""
        return list(self.record["classes"])

    @property
    def tasks(self) -> list[list[str]]:
        """Class names of every task."""
        return [list(task) for task in self.record["tasks"]]

    def setting(self, name: str) -> Any:  # noqa: ANN401
        """A setting that the model was trained with, one that came later as it was before there was a choice.

        Raises:
            UserError: the record does not know it.
        """
        settings = updated(self.record["config"])
        if name not in settings:
            raise UserError(f"{self.path} {EARLIER}.")
        return settings[name]

    @property
    def places(self) -> list[Path]:
        """Folders that relative paths of this model may start from."""
        return _places(self.path, self.state)

    def contribution(self, task: int) -> dict[str, Any] | None:
        """What the task with this index contributed; None where it was not kept."""
        return load_contribution(self.folder, task, self.tasks[task])


def load_learnt(path: str | Path) -> LearntModel:
    """Load a finished run or an exported bundle, to continue learning from.

    Raises:
        UserError: no such model, an unfinished run, damaged files, or a model without what learning needs.
    """
    path = expanded(path)
    kind, weights, record = _located(path)
    check_tasks(record, str(path))
    digest = sha256(weights)
    if digest != record.get("files", {}).get(weights.name):
        raise UserError(f"{weights} is not the file that run.json describes; copy both from the same run.")
    if kind == "run":
        refuse_other_files(weights.parent, record)
    folder = (weights.parent / FOLDER).resolve() if kind == "run" else None
    state = _checkpoint(path, weights.parent, record) if kind == "run" else _restored(path, weights, record)
    history = list(state["handlers"].get("SaveContributions", {}).get("history", []))
    # what it is recorded as in MLflow is another run's, and so will the files of its tasks be
    handlers = {name: part for name, part in state["handlers"].items() if name != "LogTaskToMLflow"}
    handlers["SaveContributions"] = {"history": history, "source": str(folder or "")}
    places = _places(path, state)
    memory = {
        label: [_exemplar(image, file, places) for image, file in pairs] for label, pairs in state["memory"].items()
    }
    return LearntModel(path, kind, record, {**state, "memory": memory, "handlers": handlers}, history, folder, digest)


def sources_of(model: LearntModel) -> list[dict[str, Any]]:
    """Data that a run was trained and tested on, as `dynammo.data.increments.Source`; none of an exported model."""
    config = model.record["config"]
    if model.kind != "run" or not isinstance(config.get("dataset_dir"), str):
        return []
    first: list[dict[str, Any]] = [{"dataset_dir": config["dataset_dir"], "data_list": config.get("data_list")}]
    if config.get("features"):  # embeddings, which the training has divided
        first = [{**first[0], "features": config["features"], "seed": config.get("seed", 0)}]
    sources: list[dict[str, Any]] = model.state["handlers"].get("ContinueFrom", {}).get("sources", first)
    return [
        {name: _found(value, model.places) if value and name in PLACES else value for name, value in source.items()}
        for source in sources
    ]


def learning_state_of(path: str | Path) -> dict[str, Any]:
    """What an exported model needs to continue learning beside its `model.pt`: tensors and plain values, few of them.

    No paths and no exemplars; of images only what the handlers' statistics say: counts, sums and one scatter matrix of
    the features of each kind, losses by class, and for every training image how far it was from the others',
    in no order.

    Args:
        path: folder of a finished run, or of an exported model.
    """
    model = load_learnt(path)
    state = {name: value for name, value in model.state.items() if name not in ("run", "place", "memory")}
    foldable = model.setting("adapter") in FOLDABLE
    if not foldable:  # its backbone is that of model.pt
        del state["backbone"]
    handlers = {name: dict(part) for name, part in state["handlers"].items() if name not in PRIVATE}
    handlers["SaveContributions"] = {"history": model.history, "source": ""}
    if handlers.get("FitOutOfDistribution"):
        handlers["FitOutOfDistribution"] |= _unordered(handlers["FitOutOfDistribution"])
    return {**state, "handlers": {name: _packed(part) for name, part in handlers.items()}}


def exported_history(file: Path) -> list[dict[str, Any]]:
    """The history in the `learning.pt` of an exported model.

    Raises:
        UserError: a damaged file.
    """
    state = _checked(file, load_state(file))
    try:
        history: list[dict[str, Any]] = state["handlers"].get("SaveContributions", {}).get("history", [])
        fault = fault_of(history, "history")
    except AttributeError:
        fault = "its handlers are not there"
    if fault:
        raise UserError(f"{file} is damaged ({fault}); copy it again from where it was exported.")
    return history


def _places(path: Path, state: Mapping[str, Any]) -> list[Path]:
    """Where relative paths of a model may start: where it was trained, here, and the folders around it."""
    trained = [Path(state["place"])] if state.get("place") else []
    return list(dict.fromkeys([*trained, Path.cwd(), *path.resolve().parents]))


def _found(path: str, places: Sequence[Path]) -> str:
    """Where a file or folder that the training was given lies; as it was given where it lies here or nowhere."""
    given = expanded(path)
    place = next((place for place in places if (place / given).exists()), Path.cwd())
    return path if given.is_absolute() or place == Path.cwd() else str(place / given)


def _exemplar(image: str, path: str, places: Sequence[Path]) -> list[str]:
    """An exemplar of the memory whose file is `_found`; what names a part of the file stands behind its path."""
    found = _found(path, places)
    return [found + image.removeprefix(path), found] if image.startswith(path) else [image, path]


def _located(path: Path) -> tuple[Kind, Path, Record]:
    located = locate_model(path)
    if located is None:
        raise UserError(
            f"there is no trained model in {path}; give --model the folder of a finished run or of an exported bundle."
        )
    kind, weights = located
    if kind == "torchscript":
        raise UserError(
            f"{path} is a TorchScript file, which can only predict; give --model the run or the exported bundle that "
            "it came from."
        )
    record = read_record(kind, weights)
    check_usable(record, str(path), weights.parent, None)
    return kind, weights, record


def _checkpoint(path: Path, folder: Path, record: Record) -> dict[str, Any]:
    state = load_checkpoint(folder, "checkpoint")
    if state is None:
        raise UserError(
            f"{path} has no checkpoint.pt with its checksum, which learning on needs; give a whole copy of the run, or "
            "the bundle exported from it."
        )
    state = _checked(path, state)
    # of a run that was recorded before 0.3 the measures tell
    own = state.get("run") == record["run"] if "run" in record else plain(state["results"]) == record["results"]
    if not own or state.get("tasks_learnt") != record["tasks_learnt"]:
        raise UserError(
            f"{folder / 'checkpoint.pt'} is not that of the run that run.json describes; copy all files from the same "
            "run."
        )
    return state


def _restored(path: Path, weights: Path, record: Record) -> dict[str, Any]:
    """The state that `learning_state_of` packed, with the backbone of the exported weights."""
    file = weights.with_name(LEARNING_FILE)
    if not file.is_file():
        raise UserError(
            f"{path} was exported without {LEARNING_FILE}, so it can predict but not learn; give --model the run that "
            "it came from, or export that again."
        )
    if sha256(file) != record.get("files", {}).get(file.name):
        raise UserError(f"{file} is not the file that run.json describes; copy both from the same export.")
    state = _checked(path, load_state(file))
    backbone = {k.removeprefix("backbone."): v for k, v in load_state(weights).items() if k.startswith("backbone.")}
    handlers = {name: _unpacked(part) for name, part in state["handlers"].items()}
    return {"backbone": backbone, "memory": {}, **state, "handlers": handlers}


def _checked(path: Path, state: Any) -> dict[str, Any]:  # noqa: ANN401
    if not isinstance(state, dict) or NEEDED - state.keys():
        raise UserError(f"{path} {EARLIER}.")
    return state


def _packed(part: Mapping[str, Any]) -> dict[str, Any]:
    """Of the symmetric matrix in class statistics, the upper half."""
    statistics = part.get("statistics")
    if not statistics:
        return dict(part)
    return {**part, "statistics": {**statistics, "gram": packed(statistics["gram"])}}


def _unpacked(part: Mapping[str, Any]) -> dict[str, Any]:
    statistics = part.get("statistics")
    if not statistics:
        return dict(part)
    gram = unpacked(statistics["gram"], statistics["sums"].shape[1])
    return {**part, "statistics": {**statistics, "gram": gram}}


def _unordered(part: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The distances of every class sorted, so that none can be told to be that of an image."""
    order = torch.argsort(part["distances"])
    order = order[torch.argsort(part["labels"][order], stable=True)]
    return {"distances": part["distances"][order], "labels": part["labels"][order]}
