"""Trainers of tiny runs, made from the configs that ship, ways to break them off, and what they leave."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigParser
from monai.utils import set_determinism

from dynammo.training.trainer import IncrementalTrainer
from synthetic.datasets import TINY

SHORT: dict[str, Any] = {
    **TINY, "stages": 1, "image_size": 16, "increments": [2, 1, 1], "epochs": 3, "milestones": [2], "head_epochs": 2,
    "exemplars": 8, "mlflow": False,
}  # fmt: skip
"""Three tasks; what an epoch draws, its momentum and its rate all matter for the next."""


class Interrupted(BaseException):
    """What no handler expects, as a signal."""


def make_trainer(data: Path, output: Path, overlay: str = "dynammo", /, **settings: Any) -> IncrementalTrainer:  # noqa: ANN401
    """The trainer of a method, as `python -m monai.bundle run training` makes it."""
    parser = ConfigParser()
    parser.read_config(["bundle/configs/train.yaml", f"configs/methods/{overlay}.yaml"])
    budget = {} if overlay in ("dynammo", "dynammo_refit", "acl") else {"exemplars": parser["exemplars"]}
    parser.update({"dataset_dir": str(data), "output_dir": str(output), **SHORT, **budget, **settings})
    parser.get_parsed_content("initialize")
    set_determinism(parser.get_parsed_content("seed"))
    trainer: IncrementalTrainer = parser.get_parsed_content("incremental#trainer")
    return trainer


def without_plots(patch: pytest.MonkeyPatch) -> None:
    """Drawing takes most of the time of so small a task."""
    patch.setattr("dynammo.runs.save_run.result_figures", lambda *_: {})
    patch.setattr("dynammo.runs.save_run.OUTPUTS", ("model.pt", "accuracy_matrix.csv"))


def interrupted(function: Callable[..., Any], when: Callable[..., bool]) -> Callable[..., Any]:
    """`function`, behind which the run breaks off as soon as `when`, asked with its arguments, says so."""

    def run(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401
        result = function(*arguments, **named)
        if when(*arguments, **named):
            raise Interrupted
        return result

    return run


def at_epoch(task: int, stage: str, epoch: int) -> Callable[..., bool]:
    """For `interrupted`: the snapshot of this epoch has been written."""

    def when(folder: Path, name: str, state: dict[str, Any]) -> bool:
        return name == "stage" and (state["task"], state["stage"], state["epoch"]) == (task, stage, epoch)

    return when


def left_by(run: Path) -> tuple[list[str], Any, Any]:
    """What two equal runs have in common: digests of model and matrix, results and trust."""
    names = ("model.pt", "accuracy_matrix.csv")
    record = json.loads((run / "run.json").read_text())
    return [hashlib.sha256((run / name).read_bytes()).hexdigest() for name in names], record["results"], record["trust"]
