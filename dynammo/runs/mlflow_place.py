"""The MLflow store on this machine: where it lies, how it is made, kept up to date, shared and found again.

One database serves all runs of a folder: it lies beside their output folders, so that they can be compared.
"""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from dynammo.errors import UserError
from dynammo.runtime.plain import expanded
from dynammo.runtime.unfinished import work_folder

__all__ = [
    "ARTIFACTS",
    "DATABASE",
    "KEY",
    "address_of",
    "find_store",
    "follow",
    "locked",
    "make_database",
    "places_for",
    "prepare_store",
]

DATABASE, ARTIFACTS, LOCK = "mlruns.db", "mlruns", ".mlruns.lock"
KEY = "dynammo.run"  # tag by which an interrupted run is found
PATIENCE = 120  # seconds that one training waits while another writes; a new database takes many
# where MLflow notes the folder of files, as it was when a run began
PLACES = (
    ("experiments", "artifact_location"), ("runs", "artifact_uri"), ("logged_models", "artifact_location"),
    ("model_versions", "source"), ("model_versions", "storage_location"),
)  # fmt: skip


def places_for(output: Path, key: str) -> tuple[Path, ...]:
    """Folders whose store may take a run, the first choice first.

    That is the parent of the output folder, and the output folder itself where the parent cannot be written. What
    already knows the run comes first: one that 0.1 began, or that had to go there, is not torn in two. Above a mounted
    output folder nothing is written: in a container that would be lost.

    Args:
        output: folder of the run, absolute.
        key: of the run.
    """
    if output.is_mount() or output == output.parent or _knows(output / DATABASE, key):
        return (output,)
    return output.parent, output


def find_store(folder: Path | None) -> Path:
    """The folder of the store nearest to a folder: in it, beside it, in its `runs`, or in a run of 0.1 below it.

    Args:
        folder: of a run, of several runs, or of a store; None for `runs`, the working directory, or `demo/runs`.

    Raises:
        UserError: there is none.
    """
    if folder is not None and not expanded(folder).is_dir():
        raise UserError(f"there is no folder {folder}; give the folder of a run, or of several runs.")
    if folder is None:
        places = below = [Path("runs"), Path(), Path("demo/runs")]
    else:
        folder = expanded(folder).resolve()
        places, below = [folder, folder.parent, folder / "runs"], [folder, folder / "runs"]
    found = [place for place in places if (place / DATABASE).is_file()]
    if not found:  # 0.1 kept one in each output folder
        old = [file for place in below for file in place.glob(f"*/{DATABASE}")]
        found = [max(old, key=lambda file: file.stat().st_mtime).parent] if old else []
    if not found:
        raise UserError(
            f"no training is recorded ({DATABASE}) in {', '.join(map(str, places))}; train a model first, or give the "
            "folder that holds its runs."
        )
    return found[0].resolve()


def address_of(folder: Path) -> str:
    """The URI of the store in a folder, for MLflow; a writer waits for the end of another one."""
    return f"sqlite:///{(folder / DATABASE).as_posix()}?timeout={PATIENCE}"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other trainings from writing to the store in a folder; where a network drive knows no locks, without one.

    Raises:
        OSError: nothing can be written here, or another training does not let go of it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK, timeout=PATIENCE)
    try:
        lock.acquire()
    except Timeout as error:
        raise OSError(f"another training holds {folder / LOCK} for more than {PATIENCE} s") from error
    except (NotImplementedError, OSError):
        if not os.access(folder, os.W_OK):
            raise
    try:
        yield
    finally:
        lock.release()


def prepare_store(folder: Path) -> None:
    """Make the store in a folder ready to be written by this version, at the place where it lies now; under its lock.

    A missing database is made, one of an older MLflow migrated, and one that was moved or copied with its files told
    where they are.
    """
    file = folder / DATABASE
    if not file.exists():
        make_database(file)
    _migrate(file)
    follow(folder)


def make_database(path: Path) -> None:
    """Make MLflow's SQLite database aside: that takes seconds, and half a database could not be opened."""
    with _aside(path) as made:
        _open(made)


def follow(folder: Path) -> None:
    """Let a database that was moved or copied find the files beside it: MLflow notes whole paths and takes no others.

    Without this, files of new runs would go to the old place.
    """
    here = (folder / ARTIFACTS).as_uri()
    with closing(sqlite3.connect(folder / DATABASE, timeout=PATIENCE)) as connection, connection:
        noted = [place for (place,) in connection.execute("select artifact_location from experiments")]
        for there in {place for place in noted if _is_ours(place)} - {here}:
            for table, column in PLACES:
                connection.execute(
                    f"update {table} set {column} = ? || substr({column}, ?) where {column} = ? or {column} like ?"
                    " escape '!'",
                    (here, len(there) + 1, there, _literally(there) + "/%"),
                )


def _is_ours(place: str | None) -> bool:
    """Whether files lie in the folder `mlruns` beside a database; MLflow itself puts a number behind it."""
    return bool(place) and str(place).startswith("file:") and str(place).endswith(f"/{ARTIFACTS}")


def _literally(text: str) -> str:
    return text.replace("!", "!!").replace("%", "!%").replace("_", "!_")


def _migrate(path: Path) -> None:
    """Bring a database of an older MLflow to this one's tables, aside: half a migration could not be opened."""
    from mlflow.exceptions import MlflowException
    from mlflow.store.db import utils as database

    try:
        _open(path)
    except MlflowException as error:
        if "out-of-date database schema" not in str(error):
            raise
        with _aside(path) as copy:
            with closing(sqlite3.connect(path)) as old, closing(sqlite3.connect(copy)) as new:
                old.backup(new)
            engine = database.create_sqlalchemy_engine_with_retry(f"sqlite:///{copy.as_posix()}")
            database._upgrade_db(engine)  # what `mlflow db upgrade` does
            engine.dispose()


def _open(path: Path) -> None:
    from mlflow import MlflowClient  # late: a store is found without it, and it takes seconds

    uri = f"sqlite:///{path.as_posix()}?timeout={PATIENCE}"
    MlflowClient(tracking_uri=uri, registry_uri=uri).search_experiments()


@contextmanager
def _aside(path: Path) -> Iterator[Path]:
    """A database in the making, which takes its place when the block ends well."""
    coming = path.with_name(f"{path.name}.coming")
    with work_folder("dynammo-mlflow-") as folder:
        made = folder / DATABASE
        yield made
        shutil.copyfile(made, coming)
    os.replace(coming, path)


def _knows(path: Path, key: str) -> bool:
    """Whether a database has the run of that key."""
    with suppress(sqlite3.Error, OSError):
        if path.is_file():
            with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
                return bool(connection.execute("select 1 from tags where key = ? and value = ?", (KEY, key)).fetchone())
    return False
