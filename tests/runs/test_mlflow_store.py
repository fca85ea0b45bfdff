import logging
import math
import os
from pathlib import Path

import pytest
from mlflow import MlflowClient

from dynammo.runs.mlflow_place import make_database
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


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no experiment says otherwise, MLflow keeps files in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def sequence(status: str = "RUNNING") -> SequenceRun:
    """One finished task of a sequence of one."""
    task = TaskRun("task 1", {"task": "1"}, ("a", "b"), now(), now(), metrics_of({"accuracy": 0.9, "ece": math.nan}))
    return SequenceRun(
        "key", "run", "own", "own", {"seed": "3"}, {"epochs": "2"}, now(), {2: {"accuracy": 0.9}}, {0: task}, status
    )


def test_what_is_there_is_not_written_again_by_the_next_process(tmp_path: Path) -> None:
    make_database(tmp_path / "mlruns.db")
    uri = f"sqlite:///{tmp_path}/mlruns.db"
    for status in ("RUNNING", "FINISHED"):  # the second goes on with what an interrupted process has left
        Store(uri, str(tmp_path / "mlruns")).write(sequence(status))
    client = MlflowClient(uri, uri)
    found = client.get_experiment_by_name("own")
    assert found is not None
    runs = client.search_runs([found.experiment_id])
    assert sorted(run.info.run_name for run in runs) == ["run", "task 1"]
    assert {run.info.status for run in runs} == {"FINISHED"}
    for run in runs:
        points = client.get_metric_history(run.info.run_id, "accuracy")
        assert [point.value for point in points] == [0.9] and "ece" not in run.data.metrics


def test_reasons_are_one_line_without_passwords() -> None:
    try:
        try:
            raise OSError("no route to\nhttp://erika:secret@server")
        except OSError as error:
            raise ValueError("pool") from error
    except ValueError as error:
        assert reason(error) == "OSError: no route to http://server"
    assert without_password("http://a:b@c/d and http://e/f") == "http://c/d and http://e/f"


def test_what_the_user_has_set_stays_while_mlflow_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    before = dict(os.environ)
    with quiet():
        assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "60"
        assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "1"
        assert logging.root.manager.disable == logging.CRITICAL
    assert dict(os.environ) == before and logging.root.manager.disable == 0
