"""Record a run with MLflow: a parent run, a child run for each task, every merged model in the registry."""

import logging
import os
import re
import shlex
import shutil
import time
from collections.abc import Mapping
from contextlib import ExitStack, nullcontext, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Events
from mlflow.entities import Metric
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

from dynammo.networks.encoders import scripted
from dynammo.networks.merged_classifier import MergedClassifier
from dynammo.runs.mlflow_place import ARTIFACTS, DATABASE, address_of, locked, places_for, prepare_store
from dynammo.runs.mlflow_store import (
    SequenceRun,
    Store,
    TaskRun,
    metrics_of,
    now,
    quiet,
    reason,
    without_password,
)
from dynammo.runs.mlflow_summary import datasets_of, description_of, record_without_folders
from dynammo.runs.plots import result_figures, save_figure
from dynammo.runtime import provenance
from dynammo.runtime.distributed import is_first
from dynammo.runtime.files import write_json
from dynammo.runtime.plain import expanded
from dynammo.runtime.unfinished import work_folder
from dynammo.training.metrics import TaskResult, matrix_csv, summarise
from dynammo.training.settings import without_unused
from dynammo.training.trainer import IncrementalTrainer, TaskEvents

__all__ = ["LogTaskToMLflow"]

_logger = logging.getLogger(__name__)

TRIES = 3  # to write to a database that others write to, too


class LogTaskToMLflow:
    """Record every task with MLflow and register the merged model; stands last in the list of handlers.

    The store is `MLFLOW_TRACKING_URI`, or else the database `mlruns.db` beside the output folder, in its parent, which
    the runs of a folder share (`dynammo.runs.mlflow_place`). A store that does not answer or cannot be written costs
    one warning, never the training: the run goes on in the next one, from its first task. An interrupted run continues
    in the runs that it has, found by `engine.key`.

    Measures of a sequence and of a task stand at the number of classes seen (step), losses at their epoch.

    Args:
        output_dir: folder of the run.
        experiment: name of the MLflow experiment.
        registered_model: name in the model registry; every task adds a version.
        method: name of the method.
        settings: config values to record, nested or flat, without those that have no effect; of a path only the last
            part is recorded.
        image_size: height and width in pixels of the images that the model takes.
    """

    def __init__(
        self,
        output_dir: str | Path,
        experiment: str = "dynammo",
        registered_model: str = "dynammo",
        method: str = "dynammo",
        settings: Mapping[str, Any] | None = None,
        image_size: int = 224,
    ) -> None:
        self.folder = expanded(output_dir).resolve()
        self.experiment = experiment
        self.registered_model = registered_model
        self.method = method
        self.settings = _flatten(without_unused(settings or {}))
        self.image_size = image_size
        self._places: list[str | Path] = []  # address of a server, folders with a store; those that failed are gone
        self._store: Store | None = None
        self._sequence: SequenceRun | None = None
        self._files = ExitStack()
        self._aside: Path | None = None

    def attach(self, engine: IncrementalTrainer) -> None:
        """Register with the loop over tasks."""
        if not is_first():
            return
        # not STARTED: by now every other handler has loaded its state
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(TaskEvents.TASK_STARTED, self._start_task)
        engine.add_event_handler(TaskEvents.TASK_COMPLETED, self._log_task)
        engine.add_event_handler(Events.TERMINATE, self._end, "KILLED")
        engine.add_event_handler(Events.COMPLETED, self._end, "FINISHED")
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._fail)

    def _start(self, engine: IncrementalTrainer) -> SequenceRun:
        if self._sequence is None:
            commit = provenance.commit()
            self._sequence = SequenceRun(
                key=engine.key,
                name=self._name(engine.seed),
                experiment=self.experiment,
                registered_model=self.registered_model,
                tags={
                    "method": self.method,
                    "seed": str(engine.seed),
                    **({"mlflow.source.git.commit": commit} if commit else {}),
                },
                params=self.settings,
                started=now(),
            )
            with suppress(OSError):  # an image that has just gone is no matter of the record
                self._sequence.datasets = datasets_of(engine)
            server = os.environ.get("MLFLOW_TRACKING_URI")
            self._places = [*([server] if server else []), *places_for(self.folder, engine.key)]
            self._store = None
            self._write(self._sequence)
        return self._sequence

    def _name(self, seed: int) -> str:
        """Of the folder, too: runs that share a store must be told apart."""
        folder = "" if self.folder.name in (self.method, "") else f"{self.folder.name}: "
        return f"{folder}{self.method}, seed {seed}"

    def _start_task(self, engine: IncrementalTrainer) -> TaskRun:
        sequence, task = self._start(engine), engine.task
        if task.index not in sequence.tasks:
            names = ", ".join(task.classes)
            params = {"task": str(task.index + 1), "classes": names, "classes_seen": str(task.seen)}
            sequence.tasks[task.index] = TaskRun(
                name=f"task {task.index + 1}: {names}",
                params={**self.settings, **params},
                classes=tuple(engine.tasks.classes[: task.seen]),
                started=now(),
            )
            self._write(sequence)
        return sequence.tasks[task.index]

    def _log_task(self, engine: IncrementalTrainer) -> None:
        sequence, run = self._start(engine), self._start_task(engine)
        if not self._places:
            return
        try:
            with quiet():
                self._gather(engine, sequence, run)
        except Exception as error:  # no record is worth hours of training
            _logger.warning(
                "%s is recorded in MLflow without some of its files (%s); training goes on.", run.name, reason(error)
            )
        run.ended = now()
        self._write(sequence)
        if self._places and isinstance(self._places[0], Path) and run.folder:  # a server may still be lost
            shutil.rmtree(run.folder, ignore_errors=True)

    def _gather(self, engine: IncrementalTrainer, sequence: SequenceRun, run: TaskRun) -> None:
        tasks, results = list(engine.tasks), engine.results
        losses = [Metric("stage_1_loss", loss, now(), epoch) for epoch, loss in enumerate(engine.losses, start=1)]
        run.metrics = [*losses, *metrics_of({**_measures(results), **engine.cost}, engine.task.seen)]
        for count in range(1, len(results) + 1):
            sequence.points.setdefault(tasks[count - 1].seen, _measures(results[:count]))
        sequence.points[engine.task.seen].update(engine.cost)
        sequence.description = description_of(results, [task.classes for task in tasks])
        self._aside = self._aside or self._files.enter_context(work_folder("dynammo-mlflow-"))
        run.folder = self._aside / f"task_{engine.task.index + 1}"
        _save_artifacts(run.folder / "artifacts", results, [task.classes for task in tasks])
        record = record_without_folders(self.folder, engine.key)
        if record is not None:
            write_json(run.folder / "artifacts" / "run.json", record)
        spec = engine.network.spec
        shape = (spec["in_channels"], *[self.image_size] * spec["spatial_dims"])
        _save_model(run.folder / "model", engine.network.classifier(), shape, len(run.classes))

    def _end(self, engine: IncrementalTrainer, status: str) -> None:
        if self._sequence is not None:
            self._sequence.status = status
            if engine.refused:
                self._sequence.status, self._sequence.refused = "FAILED", True
                tasks = [task.classes for task in engine.tasks]
                self._sequence.description = description_of(engine.results, tasks, refused=True)
            self._write(self._sequence)
            self._sequence = None
        self._files.close()
        self._aside = None

    def _fail(self, engine: IncrementalTrainer, error: BaseException) -> None:
        self._end(engine, "FAILED" if isinstance(error, Exception) else "KILLED")
        raise error  # ignite takes an exception that has a handler for handled

    def _write(self, sequence: SequenceRun) -> None:
        failed: list[str] = []
        tries = 0
        while self._places:
            place = self._places[0]
            try:
                with quiet(), locked(place) if isinstance(place, Path) else nullcontext():
                    self._store = self._store or _open_store(place)
                    self._store.write(sequence)
                break
            except Exception as error:  # whatever a server or a disk may do, training goes on
                tries += 1
                if "database is locked" in reason(error) and tries < TRIES:  # by a program that knows no lock of ours
                    self._store = None  # a new one finds what this one has written
                    time.sleep(tries)
                else:
                    tries = 0
                    failed.append(self._give_up(error))
        if failed:
            _say(failed, self._places[0] if self._places else None)

    def _give_up(self, error: Exception) -> str:
        """Take the first place from the list; what it is and why it failed."""
        lost = self._places.pop(0)
        if self._store is not None:
            with quiet():
                self._store.abandon()
        self._store = None
        if isinstance(lost, str):
            return f"{without_password(lost)} failed ({reason(error)})"
        # what a store on this machine has taken is not kept for another one
        taken = self._sequence is not None and any(task.ended for task in self._sequence.tasks.values())
        kept = "; models and plots of earlier tasks stay there" if taken else ""
        return f"{lost / DATABASE} failed ({reason(error)}{kept})"


def _say(failed: list[str], place: str | Path | None) -> None:
    stores = ", ".join(failed)
    if place is None:
        _logger.warning(
            "MLflow at %s; training goes on and this run is no longer recorded in MLflow: free disk space or give "
            "another --output_dir for the next one.",
            stores,
        )
    else:  # what comes behind another one is always one on this machine
        _logger.warning(
            "MLflow at %s; training goes on and the whole run is recorded in %s instead; look at it with: dynammo ui "
            "%s",
            stores,
            Path(place) / DATABASE,
            shlex.quote(str(place)),
        )


def _open_store(place: str | Path) -> Store:
    if isinstance(place, str):
        return Store(place, None)
    prepare_store(place)
    return Store(address_of(place), (place / ARTIFACTS).as_uri())


def _save_artifacts(folder: Path, results: list[TaskResult], tasks: list[tuple[str, ...]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "accuracy_matrix.csv").write_text(matrix_csv(results), encoding="utf-8")
    for name, figure in result_figures(results, tasks).items():
        save_figure(figure, folder / name)


def _save_model(folder: Path, classifier: MergedClassifier, shape: tuple[int, ...], classes: int) -> None:
    """Save the network as TorchScript, in MLflow's format: weights and code, no pickled Python object."""
    from mlflow import pytorch  # late: it sets the root logger to errors alone, which `quiet` puts back

    floats = np.dtype(np.float32)
    signature = ModelSignature(
        inputs=Schema([TensorSpec(floats, (-1, *shape))]), outputs=Schema([TensorSpec(floats, (-1, classes + 1))])
    )
    pytorch.save_model(
        scripted(classifier.cpu(), shape),
        str(folder),
        signature=signature,
        pip_requirements=[f"{name}=={version(name).split('+')[0]}" for name in ("mlflow", "torch", "numpy")],
        serialization_format="pickle",  # MLflow's word for all but torch.export; TorchScript goes to torch.jit.save
    )


def _measures(results: list[TaskResult]) -> dict[str, float]:
    last = results[-1]
    return {
        "accuracy": last.accuracy,
        "mean_class_recall": last.mean_class_recall,
        "unknown_auroc": last.unknown_auroc,
        "ece": last.ece,
        **summarise(results),
        **{f"accuracy_task_{number}": value for number, value in enumerate(last.task_accuracy, start=1)},
    }


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Settings as MLflow's parameters: nested keys joined by dots, values as text, of paths the last part."""
    flat: dict[str, str] = {}
    for key, value in settings.items():
        name = prefix + re.sub(r"[^\w .:-]", "_", str(key))
        flat |= _flatten(value, f"{name}.") if isinstance(value, Mapping) else {name: _text(value)}
    return flat


def _text(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, list | tuple):  # of names and numbers
        return f"[{', '.join(map(str, value))}]"
    return provenance.without_folders(str(value))
