"""One MLflow store, and what it gets to know of a run.

A run is gathered in a `SequenceRun`, and `Store.write` brings one store up to date with it: what is there already is
not written again, and another store, used when the first one is lost, gets everything.
"""

import json
import logging
import math
import os
import re
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import DatasetInput, LoggedModelOutput, Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.store.db import utils as database
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from dynammo import NOTICE
from dynammo.runs.mlflow_place import KEY
from dynammo.runs.mlflow_summary import markdown

__all__ = [
    "SequenceRun",
    "Store",
    "TaskRun",
    "metrics_of",
    "now",
    "quiet",
    "reason",
    "without_password",
]

TASK, PARENT = "dynammo.task", "mlflow.parentRunId"  # tags by which the runs of tasks are found
KIND = {"mlflow.experimentKind": "custom_model_development"}  # else the pages are those for language models

# what the user has set stays; two tries of 6 s are over before a person thinks that the program hangs
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "6",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


@dataclass
class TaskRun:
    """What MLflow gets to know of one task."""

    name: str
    params: dict[str, str]
    classes: tuple[str, ...]  # all classes seen, in label order
    started: int  # milliseconds, see `now`
    ended: int | None = None
    metrics: list[Metric] = field(default_factory=list)
    folder: Path | None = None  # artifacts/ and model/


@dataclass
class SequenceRun:
    """What MLflow gets to know of a whole run; by its key the runs of an interrupted process are found again."""

    key: str
    name: str
    experiment: str
    registered_model: str
    tags: dict[str, str]
    params: dict[str, str]
    started: int
    points: dict[int, dict[str, float]] = field(default_factory=dict)  # measures by number of classes seen
    tasks: dict[int, TaskRun] = field(default_factory=dict)
    status: str = "RUNNING"  # or FINISHED, FAILED, KILLED
    refused: bool = False  # a model that nobody is to use
    datasets: list[DatasetInput] = field(default_factory=list)
    description: str = ""  # in markdown


class Store:
    """One MLflow store and the runs of one sequence in it.

    Args:
        uri: of tracking and registry.
        artifacts: where a new experiment keeps its files; None for the store's own place.
    """

    def __init__(self, uri: str, artifacts: str | None) -> None:
        self.client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        self.artifacts = artifacts
        self.experiment_id = ""
        self.parent = ""
        self.children: dict[int, str] = {}
        self._steps: set[int] = set()
        self._description = ""
        self._open: set[str] = set()  # runs that have not ended
        self._begun: set[str] = set()  # runs that an interrupted process may have written to

    def write(self, sequence: SequenceRun) -> None:
        """Bring the store up to date with `sequence`; what it has is not written again."""
        if not self.parent:
            self._find_experiment(sequence.experiment)
            self._resume(sequence.key)
            tags = {**sequence.tags, KEY: sequence.key}
            self.parent = self.parent or self._create(sequence.name, sequence.started, tags, sequence.params)
            self._open.add(self.parent)  # one that goes on, too
            self._log_params(self.parent, sequence.params)
            if sequence.datasets:
                self.client.log_inputs(self.parent, sequence.datasets)
        for index, task in sequence.tasks.items():
            if index not in self.children:
                tags = {**sequence.tags, PARENT: self.parent, TASK: str(index)}
                self.children[index] = self._create(task.name, task.started, tags, task.params)
            if task.ended is not None and self.children[index] in self._open:
                self._write_task(self.children[index], task, sequence)
        self._write_points(sequence.points)
        if sequence.description != self._description:
            self.client.set_tag(self.parent, MLFLOW_RUN_NOTE, sequence.description)
            self._description = sequence.description
        if sequence.refused:
            self._withdraw()
        if sequence.status != "RUNNING":
            for run_id in sorted(self._open):
                self._terminate(run_id, sequence.status)

    def abandon(self) -> None:
        """End the runs that would be RUNNING for ever, since the record goes on elsewhere; if it answers."""
        with suppress(Exception):
            for run_id in sorted(self._open):
                self._terminate(run_id, "KILLED")

    def _find_experiment(self, name: str) -> None:
        found = self.client.get_experiment_by_name(name)
        self.experiment_id = found.experiment_id if found else self.client.create_experiment(name, self.artifacts, KIND)

    def _resume(self, key: str) -> None:
        """Go on with the runs of an interrupted process: finished tasks stay, the one cut off is open again."""
        found = self.client.search_runs([self.experiment_id], f"tags.`{KEY}` = '{key}'")
        if not found:
            return
        self.parent = found[0].info.run_id
        self.client.update_run(self.parent, "RUNNING")
        for run in self.client.search_runs([self.experiment_id], f"tags.`{PARENT}` = '{self.parent}'"):
            self.children[int(run.data.tags[TASK])] = run.info.run_id
            if run.info.status != "FINISHED":
                self.client.update_run(run.info.run_id, "RUNNING")
                self._open.add(run.info.run_id)
        self._begun = {self.parent, *self._open}
        self._steps = {metric.step for metric in self.client.get_metric_history(self.parent, "accuracy")}

    def _create(self, name: str, started: int, tags: dict[str, str], params: dict[str, str]) -> str:
        run_id = str(self.client.create_run(self.experiment_id, started, tags, name).info.run_id)
        self._open.add(run_id)  # at once: what follows may fail
        self._log_params(run_id, params)
        return run_id

    def _log_params(self, run_id: str, params: Mapping[str, str]) -> None:
        if run_id in self._begun:
            known = self.client.get_run(run_id).data.params
            params = {key: value for key, value in params.items() if key not in known}
        entries = [Param(key, value) for key, value in params.items()]
        for first in range(0, len(entries), 100):  # MLflow takes 100 at a time
            self.client.log_batch(run_id, params=entries[first : first + 100], synchronous=True)

    def _write_task(self, run_id: str, task: TaskRun, sequence: SequenceRun) -> None:
        if run_id in self._begun:
            self._log_params(run_id, task.params)
        self._log_metrics(run_id, task.metrics)
        if task.folder and (task.folder / "artifacts").is_dir():
            for owner in (run_id, self.parent):  # the parent keeps the newest
                self.client.log_artifacts(owner, str(task.folder / "artifacts"))
        if task.folder and (task.folder / "model" / "MLmodel").is_file():
            self._register(run_id, task.folder / "model", task, sequence)
        self._terminate(run_id, "FINISHED", task.ended)

    def _write_points(self, points: Mapping[int, Mapping[str, float]]) -> None:
        new = {step: values for step, values in points.items() if step not in self._steps}
        self._log_metrics(self.parent, [metric for step, values in new.items() for metric in metrics_of(values, step)])
        self._steps.update(new)

    def _log_metrics(self, run_id: str, metrics: list[Metric]) -> None:
        if run_id in self._begun:
            keys = {metric.key for metric in metrics}
            known = {(m.key, m.step) for key in keys for m in self.client.get_metric_history(run_id, key)}
            metrics = [metric for metric in metrics if (metric.key, metric.step) not in known]
        for first in range(0, len(metrics), 1000):  # MLflow takes 1000 at a time
            self.client.log_batch(run_id, metrics=metrics[first : first + 1000], synchronous=True)

    def _withdraw(self) -> None:
        """Take the models of this run out of the registry; their files stay at their runs."""
        for run_id in self.children.values():
            for version in self.client.search_model_versions(f"run_id = '{run_id}'"):
                self.client.delete_model_version(version.name, version.version)

    def _terminate(self, run_id: str, status: str, ended: int | None = None) -> None:
        self.client.set_terminated(run_id, status, ended)
        self._open.discard(run_id)

    def _register(self, run_id: str, folder: Path, task: TaskRun, sequence: SequenceRun) -> None:
        """Upload the model as the output of its run and make it the newest version in the registry."""
        number, name = task.params["task"], sequence.registered_model
        if run_id in self._begun and self.client.search_model_versions(f"run_id = '{run_id}'"):
            return
        model = self.client.create_logged_model(self.experiment_id, f"task_{number}", run_id)
        described = Model.load(str(folder))
        described.run_id, described.model_id = run_id, model.model_id
        described.save(str(folder / "MLmodel"))
        self.client.log_model_artifacts(model.model_id, str(folder))
        self.client.finalize_logged_model(model.model_id, "READY")
        self.client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
        try:
            self.client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        self.client.create_model_version(
            name,
            source=model.artifact_location,
            run_id=run_id,
            model_id=model.model_id,
            tags={**sequence.tags, "task": number, "classes": json.dumps(task.classes, ensure_ascii=False)},
            description=f"After task {number}. Output: probabilities of {markdown(', '.join(task.classes))}, then the "
            f"unknown score. {NOTICE}",
            await_creation_for=0,
        )


def metrics_of(values: Mapping[str, float], step: int = 0) -> list[Metric]:
    """Metrics at `step`, without those that have no value yet."""
    return [Metric(key, float(value), now(), step) for key, value in values.items() if math.isfinite(value)]


def now() -> int:
    """Milliseconds since 1970, as MLflow counts time."""
    return int(time.time() * 1000)


def reason(error: BaseException) -> str:
    """The innermost cause in one short line: what wraps it speaks of connection pools.

    A page (HTML) in place of an answer comes from a server that does not know the question.
    """
    while inner := error.__cause__ or error.__context__:
        error = inner
    if re.search(r"<!doctype|<html", str(error), re.IGNORECASE):
        code = re.search(r"error code (\d{3})", str(error))
        return f"it answers with a page{f' (HTTP {code[1]})' if code else ''}, as a server older than MLflow 3 does"
    return f"{type(error).__name__}: {without_password(' '.join(str(error).split())[:200])}"


def without_password(text: str) -> str:
    """`text` with `user:password@` taken out of its URLs."""
    return re.sub(r"://[^/@\s]*@", "://", text)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep MLflow silent, and its patience with a dead server or database to seconds instead of minutes."""
    ours = {key: value for key, value in ENVIRONMENT.items() if key not in os.environ}
    root, tries = logging.root, database.MAX_RETRY_COUNT
    level, handlers, disabled = root.level, root.handlers[:], root.manager.disable
    os.environ.update(ours)
    logging.disable(logging.CRITICAL)
    database.MAX_RETRY_COUNT = min(tries, 4)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        database.MAX_RETRY_COUNT = tries
        logging.disable(disabled)
        root.handlers[:] = handlers
        root.setLevel(level)
        for key in ours:
            os.environ.pop(key, None)
