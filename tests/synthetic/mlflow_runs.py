"""A loop over tasks without the training, and what MLflow has recorded of it."""

from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import torch
from ignite.engine import Engine
from mlflow import MlflowClient
from mlflow.entities import Run

from dynammo.data.tasks import Task, TaskSequence
from dynammo.networks.adapters import copy_state
from dynammo.networks.incremental_network import IncrementalNetwork
from dynammo.runs.mlflow import LogTaskToMLflow
from dynammo.training.metrics import TaskResult
from dynammo.training.trainer import TaskEvents

CLASSES = ["BCC", "BKL", "MEL", "NV"]


PATIENT = "Erika_Mustermann"


SETTINGS = {"dataset_dir": f"/clinic/{PATIENT}/images", "train": {"epochs": 2}, "increments": [2, 2]}


class Images:
    """Two training images and a test image of every class, none of them there."""

    def __init__(self, tasks: TaskSequence) -> None:
        self.tasks = tasks

    def train(self, task: Task) -> list[dict[str, Any]]:
        return [item for label in task.labels for item in images_of(label, "train", 2)]

    def test(self) -> list[dict[str, Any]]:
        return [item for label in range(len(CLASSES)) for item in images_of(label, "test", 1)]

    def digest(self) -> str:
        return 64 * "a"


def images_of(label: int, split: str, count: int) -> list[dict[str, Any]]:
    paths = [f"/clinic/{PATIENT}/{split}/{label}/scan_17_{number}.png" for number in range(count)]
    return [{"image": path, "path": path, "label": label} for path in paths]


class Learner(Engine):
    """What the handler sees of an `IncrementalTrainer`, without the training."""

    def __init__(
        self, handler: LogTaskToMLflow, fail_at: int | None = None, error: type[BaseException] = RuntimeError
    ) -> None:
        super().__init__(self._learn)
        self.register_events(*TaskEvents)
        self.tasks = TaskSequence(CLASSES, 2)
        self.network = IncrementalNetwork(stages=1, weights="first_task", image_size=16)
        self.task, self.seed, self.losses, self.results, self.cost = self.tasks[0], 3, [], [], {}
        self.data, self.refused = Images(self.tasks), False
        self.memory = [{"image": f"/clinic/{PATIENT}/scan_17.png", "label": 0}]
        self.fail_at, self.error, self.key = fail_at, error, uuid4().hex
        self.classifiers: list[torch.nn.Module] = []
        handler.attach(self)

    def learn(self, start: int = 0) -> None:
        tasks = list(self.tasks)[start:]
        self.run(tasks, max_epochs=1, epoch_length=len(tasks))

    def _learn(self, engine: Engine, task: Any) -> None:  # noqa: ANN401
        self.task = task
        self.network.start_task(len(task.classes), task.seen)
        self.fire_event(TaskEvents.TASK_STARTED)
        if task.index == self.fail_at:
            raise self.error("made up")
        self.network.set_branches([copy_state(self.network.adapters)])
        self.classifiers.append(self.network.classifier())
        self.losses = [1.0, 0.5 - 0.1 * task.index]
        self.results.append(made_up_result(task.index))
        self.cost = {"gmac_per_image": 1.5, "train_seconds": float(task.index)}
        self.fire_event(TaskEvents.TASK_COMPLETED)


def made_up_result(index: int) -> TaskResult:
    if index == 0:
        return TaskResult(0, (0.9,), 0.9, 0.8, 0.7, 0.05, ((9, 1), (1, 9)))
    confusion = tuple(tuple(row) for row in (5 * np.eye(4, dtype=int) + 1).tolist())
    return TaskResult(1, (0.6, 0.7), 0.65, 0.6, float("nan"), 0.1, confusion)


def handler(folder: Path) -> LogTaskToMLflow:
    return LogTaskToMLflow(folder, experiment="own", registered_model="own", settings=SETTINGS, image_size=16)


def client(folder: Path) -> MlflowClient:
    """Of the store in a folder, or beside it where it holds none."""
    store = folder if (folder / "mlruns.db").exists() else folder.parent
    uri = f"sqlite:///{store}/mlruns.db"
    return MlflowClient(uri, uri)


def runs(folder: Path, experiment: str = "own") -> tuple[list[Run], list[Run]]:
    """Parent runs and child runs, in the order of their start."""
    store = client(folder)
    found = store.get_experiment_by_name(experiment)
    assert found is not None
    every = store.search_runs([found.experiment_id], order_by=["attributes.start_time ASC"])
    return (
        [run for run in every if "mlflow.parentRunId" not in run.data.tags],
        [run for run in every if "mlflow.parentRunId" in run.data.tags],
    )


def assert_complete(folder: Path) -> None:
    """Both tasks with their numbers and models are in the local store."""
    (parent,), children = runs(folder)
    assert [run.data.metrics["accuracy"] for run in children] == [0.9, 0.65]
    assert {run.info.status for run in (parent, *children)} == {"FINISHED"}
    history = client(folder).get_metric_history(parent.info.run_id, "accuracy")
    assert [(point.step, point.value) for point in history] == [(2, 0.9), (4, 0.65)]
    assert len(client(folder).search_model_versions("name = 'own'")) == 2
