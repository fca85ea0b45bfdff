"""Record a run with MLflow: a parent run, a child run for each task, every merged model in the registry."""

import logging
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Events
from mlflow.entities import Metric
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

from dynammo.networks.merged_classifier import MergedClassifier
from dynammo.runs.mlflow_store import (
    SequenceRun,
    Store,
    TaskRun,
    make_database,
    metrics_of,
    now,
    quiet,
    reason,
    without_password,
)
from dynammo.runs.plots import result_figures, save_figure
from dynammo.runtime import provenance
from dynammo.runtime.distributed import is_first
from dynammo.runtime.plain import expanded
from dynammo.training.metrics import TaskResult, matrix_csv, summarise
from dynammo.training.trainer import IncrementalTrainer, TaskEvents

__all__ = ["LogTaskToMLflow"]

_logger = logging.getLogger(__name__)


class LogTaskToMLflow:
    """Record every task with MLflow and register the merged model; stands last in the list of handlers.

    The store is `MLFLOW_TRACKING_URI`, or else the database `mlruns.db` in the output folder. A server that does
    not answer costs one warning, never the training: the run goes on in the local store, from its first task. An
    interrupted run continues in the runs that it has, found by `engine.key`.

    Args:
        output_dir: folder of the local store.
        experiment: name of the MLflow experiment.
        registered_model: name in the model registry; every task adds a version.
        method: name of the method.
        settings: config values to record, nested or flat; of a path only the last part is recorded.
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
        self.settings = _flatten(settings or {})
        self.image_size = image_size
        self._local = f"sqlite:///{(self.folder / 'mlruns.db').as_posix()}"
        self._uri = ""  # empty: no store can be written, or no run is on
        self._store: Store | None = None
        self._sequence: SequenceRun | None = None
        self._files: tempfile.TemporaryDirectory[str] | None = None

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
                name=f"{self.method}, seed {engine.seed}",
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
            self._uri = os.environ.get("MLFLOW_TRACKING_URI") or self._local
            self._store = None
            self._write(self._sequence)
        return self._sequence

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
        if not self._uri:
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
        if self._uri == self._local and run.folder:  # a server may still be lost, and then these are wanted again
            shutil.rmtree(run.folder, ignore_errors=True)

    def _gather(self, engine: IncrementalTrainer, sequence: SequenceRun, run: TaskRun) -> None:
        tasks, results = list(engine.tasks), engine.results
        losses = [Metric("stage_1_loss", loss, now(), epoch) for epoch, loss in enumerate(engine.losses, start=1)]
        run.metrics = [*losses, *metrics_of({**_measures(results), **engine.cost})]
        for count in range(1, len(results) + 1):
            sequence.points.setdefault(tasks[count - 1].seen, _measures(results[:count]))
        sequence.points[engine.task.seen].update(engine.cost)
        self._files = self._files or tempfile.TemporaryDirectory(prefix="dynammo-", ignore_cleanup_errors=True)
        run.folder = Path(self._files.name, f"task_{engine.task.index + 1}")
        _save_artifacts(run.folder / "artifacts", results, [task.classes for task in tasks])
        spec = engine.network.spec
        shape = (spec["in_channels"], *[self.image_size] * spec["spatial_dims"])
        _save_model(run.folder / "model", engine.network.classifier(), shape, len(run.classes))

    def _end(self, engine: IncrementalTrainer, status: str) -> None:
        if self._sequence is not None:
            self._sequence.status = status
            self._write(self._sequence)
            self._sequence = None
        if self._files is not None:
            self._files.cleanup()
            self._files = None

    def _fail(self, engine: IncrementalTrainer, error: BaseException) -> None:
        self._end(engine, "FAILED" if isinstance(error, Exception) else "KILLED")
        raise error  # ignite takes an exception that has a handler for handled

    def _write(self, sequence: SequenceRun) -> None:
        while self._uri:
            try:
                with quiet():
                    self._store = self._store or self._open_store()
                    self._store.write(sequence)
                return
            except Exception as error:  # whatever a server or a disk may do, training goes on
                self._fall_back(error)

    def _open_store(self) -> Store:
        if self._uri != self._local:
            return Store(self._uri, None)
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / "mlruns.db").exists():
            make_database(self.folder / "mlruns.db")
        return Store(self._uri, (self.folder / "mlruns").as_uri())

    def _fall_back(self, error: Exception) -> None:
        store, place = self._uri, self.folder / "mlruns.db"
        if self._store is not None:
            with quiet():
                self._store.abandon()
        self._store = None
        if store == self._local:
            self._uri = ""
            _logger.warning(
                "MLflow cannot write to %s (%s); training goes on and this run is no longer recorded in MLflow: free "
                "disk space or give another --output_dir for the next one.",
                place,
                reason(error),
            )
            return
        self._uri = self._local
        _logger.warning(
            "MLflow at %s failed (%s); training goes on and the whole run is recorded in %s instead; look at it with: "
            "mlflow ui --backend-store-uri %s",
            without_password(store),
            reason(error),
            place,
            shlex.quote(self._local),
        )


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
        torch.jit.script(classifier.cpu()),
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
    """Settings as MLflow's parameters: nested keys joined by dots, values as text."""
    flat: dict[str, str] = {}
    for key, value in settings.items():
        name = prefix + re.sub(r"[^\w .:-]", "_", str(key))
        flat |= _flatten(value, f"{name}.") if isinstance(value, Mapping) else {name: _text(value)}
    return flat


def _text(value: Any) -> str:  # noqa: ANN401
    """A value as text; of a path the last part alone, since folders are often named after people."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(_text(item) for item in value)}]"
    return re.split(r"[/\\]", str(value).rstrip("/\\"))[-1]
