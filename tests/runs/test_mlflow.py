import contextlib
import io
import itertools
import json
import logging
import os
import pickletools
import shutil
import socket
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
from synthetic.mlflow_runs import (
    CLASSES,
    PATIENT,
    SETTINGS,
    Learner,
    assert_complete,
    client,
    handler,
    made_up_result,
    runs,
)
from synthetic.old_mlflow import old_server

from dynammo.runs.mlflow import LogTaskToMLflow
from dynammo.runs.mlflow_store import Store

DEAD = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no experiment says otherwise, MLflow keeps files in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes most of the time of a task, and one test looks at the plots."""
    monkeypatch.setattr("dynammo.runs.mlflow.result_figures", lambda *_: {})


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Learner, Path]:
    """Two tasks in the default store of a folder whose name is no plain ASCII word."""
    folder = tmp_path_factory.mktemp("runs") / "Prüfung 1, 50 % Bilder"
    torch.manual_seed(0)
    learner = Learner(LogTaskToMLflow(folder, settings=SETTINGS, image_size=16))
    learner.learn()
    return learner, folder


@pytest.fixture
def folder(recorded: tuple[Learner, Path], tmp_path: Path) -> Path:
    """Output folder to be, beside a database that is made already (that takes seconds) and has another experiment."""
    (tmp_path / "runs").mkdir()
    shutil.copy(recorded[1].parent / "mlruns.db", tmp_path / "runs" / "mlruns.db")
    return tmp_path / "runs" / "run"


def test_a_parent_run_holds_the_sequence_as_one_curve(recorded: tuple[Learner, Path]) -> None:
    (parent,), children = runs(recorded[1], "dynammo")
    assert parent.data.tags.items() >= {"method": "dynammo", "seed": "3"}.items()
    assert parent.info.status == "FINISHED"
    assert [run.info.run_name for run in children] == ["task 1: BCC, BKL", "task 2: MEL, NV"]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    history = client(recorded[1]).get_metric_history(parent.info.run_id, "average_incremental_accuracy")
    assert [(point.step, point.value) for point in history] == [(2, 0.9), (4, pytest.approx(0.775))]
    assert parent.info.run_name == "Prüfung 1, 50 % Bilder: dynammo, seed 3"
    assert parent.data.params == {"dataset_dir": "images", "train.epochs": "2", "increments": "[2, 2]"}


def test_a_child_run_holds_what_is_known_of_its_task(recorded: tuple[Learner, Path]) -> None:
    _, (first, second) = runs(recorded[1], "dynammo")
    assert second.data.params.items() >= {"task": "2", "classes": "MEL, NV", "train.epochs": "2"}.items()
    expected = {
        "accuracy": 0.65,
        "accuracy_task_1": 0.6,
        "accuracy_task_2": 0.7,
        "mean_class_recall": 0.6,
        "ece": 0.1,
        "forgetting": 0.3,
        "average_incremental_accuracy": 0.775,
        "gmac_per_image": 1.5,
        "train_seconds": 1.0,
    }
    assert {key: second.data.metrics[key] for key in expected} == pytest.approx(expected)
    assert "unknown_auroc" in first.data.metrics
    assert "unknown_auroc" not in second.data.metrics, "a measure without a value is left out"
    losses = client(recorded[1]).get_metric_history(second.info.run_id, "stage_1_loss")
    assert [(point.step, point.value) for point in losses] == [(1, 1.0), (2, 0.4)]


def test_plots_and_matrix_lie_at_the_tasks_and_at_the_parent(recorded: tuple[Learner, Path], tmp_path: Path) -> None:
    parents, children = runs(recorded[1], "dynammo")
    store, names = client(recorded[1]), ["accuracy_curve.png", "accuracy_matrix.csv", "accuracy_matrix.png"]
    for run in (*parents, *children):
        assert [file.path for file in store.list_artifacts(run.info.run_id)] == [
            *names,
            "class_recall.png",
            "confusion.png",
        ]
    matrix = store.download_artifacts(parents[0].info.run_id, "accuracy_matrix.csv", str(tmp_path))
    assert Path(matrix).read_text() == "after_task,task_1,task_2\n1,0.900000,\n2,0.600000,0.700000\n"
    assert (recorded[1].parent / "mlruns").is_dir()


def test_every_task_adds_a_version_that_predicts_like_the_classifier(recorded: tuple[Learner, Path]) -> None:
    learner, folder = recorded
    store = client(folder)
    versions = sorted(store.search_model_versions("name = 'dynammo'"), key=lambda v: int(v.version))
    assert [v.run_id for v in versions] == [run.info.run_id for run in runs(folder, "dynammo")[1]]
    assert json.loads(versions[1].tags["classes"]) == CLASSES
    images = np.random.default_rng(0).normal(size=(3, 3, 16, 16)).astype(np.float32)
    for found, classifier, count in zip(versions, learner.classifiers, (2, 4), strict=True):
        location = store.get_model_version_download_uri("dynammo", found.version)
        loaded = mlflow.pyfunc.load_model(location)
        assert loaded.metadata.signature.inputs.inputs[0].shape == (-1, 3, 16, 16)
        assert loaded.metadata.signature.outputs.inputs[0].shape == (-1, count + 1)
        with torch.no_grad():
            expected = classifier(torch.from_numpy(images)).numpy()
        np.testing.assert_allclose(loaded.predict(images), expected, atol=1e-5)


def test_no_python_object_is_pickled(recorded: tuple[Learner, Path]) -> None:
    models = list((recorded[1].parent / "mlruns").rglob("model.pth"))
    assert len(models) == 2
    for model in models:
        torch.jit.load(model)
        with zipfile.ZipFile(model) as archive:
            content = next(archive.read(name) for name in archive.namelist() if name.endswith("/data.pkl"))
        named = {str(arg).split()[0] for op, arg, _ in pickletools.genops(io.BytesIO(content)) if op.name == "GLOBAL"}
        assert all(name.startswith(("__torch__", "torch._utils")) or name in ALLOWED for name in named), named


ALLOWED = {"collections", "torch", "torch.jit._pickle"}  # tensors and containers, read by torch.jit alone


def test_no_path_or_patient_gets_into_the_store(recorded: tuple[Learner, Path]) -> None:
    files = [file for file in recorded[1].parent.rglob("*") if file.is_file()]
    assert any(file.name == "mlruns.db" for file in files)
    for file in files:
        assert PATIENT.encode() not in file.read_bytes(), file
        assert b"scan_17" not in file.read_bytes(), file


def test_the_environment_names_the_store_and_mlflow_is_silent(
    folder: Path,
    tmp_path: Path,
    no_plots: None,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    elsewhere = tmp_path / "server"
    elsewhere.mkdir()
    (folder.parent / "mlruns.db").rename(elsewhere / "mlruns.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{elsewhere}/mlruns.db")
    Learner(handler(folder)).learn()
    assert_complete(elsewhere)
    assert not (folder.parent / "mlruns.db").exists() and not (folder / "mlruns.db").exists()
    assert capfd.readouterr() == ("", "")
    assert logging.root.manager.disable == 0


def test_a_server_that_is_not_there_costs_one_warning(
    folder: Path, no_plots: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://erika:secret@127.0.0.1:9")
    before = dict(os.environ)
    Learner(handler(folder)).learn()
    assert_complete(folder)
    (record,) = [r for r in caplog.records if r.levelno >= logging.WARNING]
    for words in (
        f"MLflow at {DEAD} failed",
        "Connection refused",
        "training goes on",
        str(folder.parent / "mlruns.db"),
    ):
        assert words in record.getMessage()
    assert f"dynammo ui {folder.parent}" in record.getMessage()
    assert "secret" not in record.getMessage()
    assert dict(os.environ) == before


def test_a_server_that_never_answers_is_given_up(
    folder: Path, no_plots: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as deaf:  # connections are taken, and nothing is said
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{deaf.getsockname()[1]}")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")  # what the user sets counts; the default is 6 s
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        Learner(handler(folder)).learn()
    assert_complete(folder)
    assert "timed out" in caplog.text


def test_a_database_that_cannot_be_opened_is_given_up_in_seconds(
    folder: Path, no_plots: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder.parent}")  # a folder is no database
    started = time.monotonic()
    Learner(handler(folder)).learn()
    assert time.monotonic() - started < 30, "MLflow alone tries for 100 s"
    assert_complete(folder)
    assert "unable to open database file" in caplog.text


def test_a_server_that_dies_between_tasks_leaves_a_complete_local_store(
    folder: Path, tmp_path: Path, no_plots: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = tmp_path / "server.db"
    shutil.copy(folder.parent / "mlruns.db", server)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{server}")
    write = Store.write

    def dying(self: Store, sequence: Any) -> None:  # noqa: ANN401
        if len(sequence.tasks) == 2 and self.artifacts is None:  # a server has its own place for files
            raise ConnectionError("the server died")
        write(self, sequence)

    monkeypatch.setattr(Store, "write", dying)
    Learner(handler(folder)).learn()
    assert_complete(folder)
    assert caplog.text.count("the server died") == 1


def test_no_store_at_all_costs_one_warning(tmp_path: Path, no_plots: None, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("no folder")
    Learner(handler(tmp_path / "file" / "run")).learn()
    (record,) = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert "no longer recorded in MLflow" in record.getMessage()


@pytest.mark.parametrize(("error", "status"), [(RuntimeError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_a_run_that_breaks_off_is_marked(error: type[BaseException], status: str, folder: Path, no_plots: None) -> None:
    learner = Learner(handler(folder), fail_at=1, error=error)
    with pytest.raises(error, match="made up"):
        learner.learn()
    (parent,), children = runs(folder)
    assert parent.info.status == status
    assert [run.info.status for run in children] == ["FINISHED", status]


@pytest.mark.parametrize("cut_off", ["by an error", "within the record", "behind the record"])
def test_a_resumed_run_goes_on_in_the_same_runs(
    cut_off: str, folder: Path, no_plots: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a process finds them that takes up the key: what is there stays, what is missing is written."""
    broken = Learner(handler(folder), fail_at=1 if cut_off == "by an error" else None)
    with monkeypatch.context() as patch, contextlib.suppress(RuntimeError, KeyboardInterrupt):
        if cut_off != "by an error":  # a process that is killed says nothing at its end
            patch.setattr(LogTaskToMLflow, "_end", lambda *_: None)
        if cut_off == "within the record":
            patch.setattr(Store, "_register", interrupted_at(2, Store._register))
        broken.learn()
    cut = "FINISHED" if cut_off == "behind the record" else "FAILED" if cut_off == "by an error" else "RUNNING"
    assert [run.info.status for run in runs(folder)[1]] == ["FINISHED", cut]
    learner = Learner(handler(folder))
    learner.key, learner.results = broken.key, [made_up_result(0)]
    learner.network.start_task(len(learner.tasks[0].classes), learner.tasks[0].seen)
    learner.learn(start=1)
    assert_complete(folder)
    for run in runs(folder)[1]:
        losses = client(folder).get_metric_history(run.info.run_id, "stage_1_loss")
        assert [point.step for point in losses] == [1, 2]


def interrupted_at(call: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` whose call of that number is interrupted, from 1."""
    calls = itertools.count(1)

    def run(*arguments: Any) -> Any:  # noqa: ANN401
        if next(calls) == call:
            raise KeyboardInterrupt
        return function(*arguments)

    return run


def test_an_old_server_costs_one_sentence_and_keeps_no_running_run(
    folder: Path, tmp_path: Path, no_plots: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with old_server(tmp_path / "artifacts") as (uri, kept):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        Learner(handler(folder)).learn()
    assert_complete(folder)
    (record,) = [r for r in caplog.records if r.levelno >= logging.WARNING]
    said = record.getMessage()
    assert "older than MLflow 3" in said and "404" in said and "<" not in said and "\n" not in said
    assert len(kept) == 2 and {run["status"] for run in kept.values()} == {"KILLED"}


def test_the_parent_says_what_came_of_the_run(folder: Path, no_plots: None, tmp_path: Path) -> None:
    learner = Learner(handler(folder))
    folder.mkdir()
    record = {"run": learner.key, "config": {"dataset_dir": f"/clinic/{PATIENT}/images"}}
    (folder / "run.json").write_text(json.dumps(record))
    learner.learn()
    (parent,), _ = runs(folder)
    assert "| 2 | MEL, NV&emsp; | 70.0 | 70.0 | 65.0 | 60.0 |" in parent.data.tags["mlflow.note.content"]
    inputs = {found.dataset.name for found in parent.inputs.dataset_inputs}
    assert inputs == {"train: 8 images", "test: 4 images"}
    file = client(folder).download_artifacts(parent.info.run_id, "run.json", str(tmp_path))
    assert json.loads(Path(file).read_text()) == {"run": learner.key, "config": {"dataset_dir": "images"}}


def test_a_refused_model_is_no_version(folder: Path, no_plots: None) -> None:
    Learner(handler(folder)).learn()
    refused = Learner(handler(folder.parent / "refused"))
    refused.refused = True
    refused.learn()
    (first, second), _ = runs(folder)
    assert (first.info.status, second.info.status) == ("FINISHED", "FAILED")
    assert second.data.tags["mlflow.note.content"].startswith("**Refused")
    versions = client(folder).search_model_versions("name = 'own'")
    assert sorted(int(version.version) for version in versions) == [1, 2]


def test_settings_without_effect_are_not_recorded() -> None:
    settings = {"head_layout": "analytic", "adapter": "none", "weights": "a/b.pt", "epochs": 2, "shrinkage": "auto"}
    kept = {"head_layout": "analytic", "adapter": "none", "weights": "b.pt", "shrinkage": "auto"}
    assert LogTaskToMLflow("run", settings=settings).settings == kept
