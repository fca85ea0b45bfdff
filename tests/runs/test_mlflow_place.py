import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from filelock import FileLock
from mlflow.store.db import utils as database
from mlflow.store.tracking.dbmodels.initial_models import Base
from synthetic.datasets import ROOT
from synthetic.mlflow_runs import Learner, assert_complete, client, handler, runs

from dynammo.runs import mlflow_place
from dynammo.runs.mlflow_place import LOCK, address_of, locked, make_database, places_for, prepare_store


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no experiment says otherwise, MLflow keeps files in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr("dynammo.runs.mlflow.result_figures", lambda *_: {})


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database without runs, which takes seconds to make."""
    made = tmp_path_factory.mktemp("empty") / "mlruns.db"
    make_database(made)
    return made


@pytest.fixture
def folder(empty: Path, tmp_path: Path) -> Path:
    """A folder of runs with such a database."""
    (tmp_path / "runs").mkdir()
    shutil.copy(empty, tmp_path / "runs" / "mlruns.db")
    return tmp_path / "runs"


def test_half_a_database_is_never_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Dying:
        def __init__(self, tracking_uri: str, registry_uri: str) -> None:
            Path(tracking_uri.removeprefix("sqlite:///").partition("?")[0]).write_bytes(b"half")

        def search_experiments(self) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr("mlflow.MlflowClient", Dying)
    with pytest.raises(KeyboardInterrupt):
        make_database(tmp_path / "mlruns.db")
    assert not (tmp_path / "mlruns.db").exists()


def test_runs_of_a_folder_share_its_store(folder: Path) -> None:
    for name in ("first", "second"):
        Learner(handler(folder / name)).learn()
    parents, children = runs(folder)
    assert [run.info.run_name for run in parents] == ["first: dynammo, seed 3", "second: dynammo, seed 3"]
    assert len(children) == 4
    versions = client(folder).search_model_versions("name = 'own'")
    assert sorted(int(version.version) for version in versions) == [1, 2, 3, 4]
    newest = client(folder).get_model_version_by_alias("own", "latest")  # MLflow's own word, which nobody can set
    assert int(newest.version) == 4 and newest.tags["task"] == "2"


def test_a_relative_output_folder_shares_the_store_of_the_working_directory(folder: Path, tmp_path: Path) -> None:
    shutil.move(folder / "mlruns.db", tmp_path)
    Learner(handler(Path("run"))).learn()
    assert_complete(tmp_path)
    assert not (tmp_path / "run" / "mlruns.db").exists()


def test_above_a_mount_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert places_for(tmp_path, "key") == (tmp_path.parent, tmp_path)
    monkeypatch.setattr(Path, "is_mount", lambda path: path == tmp_path)
    assert places_for(tmp_path, "key") == (tmp_path,)
    assert places_for(Path("/"), "key") == (Path("/"),)


def test_a_run_that_an_earlier_version_began_goes_on_where_it_lies(
    folder: Path, empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Version 0.1 kept a store in each output folder."""
    output = folder / "run"
    output.mkdir()
    shutil.copy(empty, output)
    old = Learner(handler(output), fail_at=1)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="made up"):
        patch.setattr("dynammo.runs.mlflow.places_for", lambda output, key: (output,))
        old.learn()
    assert places_for(output, "another") == (folder, output)
    learner = Learner(handler(output))
    learner.key, learner.results = old.key, old.results
    learner.network.start_task(len(learner.tasks[0].classes), learner.tasks[0].seen)
    learner.learn(start=1)
    assert_complete(output)
    assert client(folder).get_experiment_by_name("own") is None
    (output / "mlruns.db").write_bytes(b"damaged")
    assert places_for(output, old.key) == (folder, output)


def test_what_cannot_be_written_beside_the_folder_lies_in_it(
    folder: Path, empty: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A database that is none stands for a folder of others: the superuser may write everywhere."""
    (folder / "mlruns.db").write_bytes(b"nothing that SQLite knows" * 100)
    (folder / "run").mkdir()
    shutil.copy(empty, folder / "run")
    Learner(handler(folder / "run")).learn()
    assert_complete(folder / "run")
    (said,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert f"MLflow at {folder / 'mlruns.db'} failed" in said
    assert f"the whole run is recorded in {folder / 'run' / 'mlruns.db'} instead" in said


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_of_others_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError), locked(tmp_path):
        pass
    tmp_path.chmod(0o700)


def test_one_training_waits_for_the_other_and_not_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow_place, "PATIENCE", 0.1)
    with FileLock(tmp_path / LOCK), pytest.raises(OSError, match="another training holds"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_where_a_drive_knows_no_locks_it_goes_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise NotImplementedError("flock")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with locked(tmp_path):
        assert not (tmp_path / "anything").exists()


def test_files_of_a_store_that_was_moved_are_found_and_new_ones_go_there(folder: Path, tmp_path: Path) -> None:
    Learner(handler(folder / "first")).learn()
    moved = tmp_path / "moved_100%"
    folder.rename(moved)
    Learner(handler(moved / "second")).learn()
    assert not folder.exists()
    store = client(moved)
    for run in (*runs(moved)[0], *runs(moved)[1]):
        assert "accuracy_matrix.csv" in [file.path for file in store.list_artifacts(run.info.run_id)]
    for number in range(1, 5):
        place = store.get_model_version_download_uri("own", str(number))
        assert place.startswith((moved / "mlruns").as_uri())
        assert (moved / "mlruns" / place.partition("/mlruns/")[2] / "MLmodel").is_file()


def test_a_store_of_an_older_mlflow_is_migrated(tmp_path: Path) -> None:
    file = tmp_path / "mlruns.db"
    uri = f"sqlite:///{file}"
    engine = database.create_sqlalchemy_engine(uri)
    Base.metadata.create_all(engine)
    config = database._get_alembic_config(uri)
    script = ScriptDirectory.from_config(config)
    before = script.get_revision(script.get_current_head()).down_revision
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, before)
        connection.exec_driver_sql(
            "insert into experiments (name, artifact_location, lifecycle_stage) values ('kept', 'x', 'active')"
        )
    engine.dispose()
    prepare_store(tmp_path)
    assert client(tmp_path).get_experiment_by_name("kept") is not None
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("select version_num from alembic_version").fetchall() != [(before,)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlruns.db"]


TRAIN = """
import sys, pathlib
from synthetic.mlflow_runs import Learner, handler
import dynammo.runs.mlflow as tracking
tracking.result_figures = lambda *_: {}
sys.stdin.readline()
Learner(handler(pathlib.Path(sys.argv[1]))).learn()
"""


def test_two_trainings_at_once_both_end_recorded(tmp_path: Path) -> None:
    """Two processes; there is no database yet, which one of them makes while the other waits."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests")))}
    trainings = [
        subprocess.Popen(
            [sys.executable, "-c", TRAIN, str(tmp_path / "runs" / name)], stdin=subprocess.PIPE, env=environment,
            stderr=subprocess.PIPE, text=True,
        )
        for name in ("first", "second")
    ]  # fmt: skip
    for training in trainings:
        assert training.stdin is not None
        training.stdin.write("go\n")
        training.stdin.flush()
    said = [training.communicate(timeout=300)[1] for training in trainings]
    assert [training.returncode for training in trainings] == [0, 0], said
    assert "MLflow" not in "".join(said)
    parents, children = runs(tmp_path / "runs")
    assert sorted(run.info.run_name for run in parents) == ["first: dynammo, seed 3", "second: dynammo, seed 3"]
    assert {run.info.status for run in (*parents, *children)} == {"FINISHED"} and len(children) == 4
    for parent in parents:
        assert [point.value for point in client(tmp_path / "runs").get_metric_history(parent.info.run_id, "accuracy")]
    assert len(client(tmp_path / "runs").search_model_versions("name = 'own'")) == 4
    assert not list(tmp_path.rglob("first/mlruns*")) and not list(tmp_path.rglob("second/mlruns*"))


def test_the_address_lets_a_writer_wait(tmp_path: Path) -> None:
    assert address_of(tmp_path) == f"sqlite:///{tmp_path}/mlruns.db?timeout={mlflow_place.PATIENCE}"
