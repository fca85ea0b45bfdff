"""`dynammo ui`: MLflow's own pages for a store on this machine, opened where the runs are listed."""

import os
import socket
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from dynammo.errors import UserError
from dynammo.runs.find import short_path
from dynammo.runs.mlflow_place import ARTIFACTS, DATABASE, address_of, find_store, locked, prepare_store
from dynammo.runtime.plain import say, show_page

__all__ = ["open_ui"]


def open_ui(folder: Path | None, port: int = 5000, open_page: bool = True) -> None:
    """Serve MLflow's pages on 127.0.0.1 until Ctrl-C or SIGTERM, from this process: none is left behind.

    Args:
        folder: of a run, of several runs, or of a store (`find_store`); None for the server or store that
            `MLFLOW_TRACKING_URI` names, or else the nearest one.
        port: 0 for any free one.
        open_page: show the list of runs in the browser.

    Raises:
        UserError: no store, one that cannot be read, or a port in use.
    """
    named = os.environ.get("MLFLOW_TRACKING_URI", "") if folder is None else ""
    if named.startswith(("http://", "https://")):
        say("MLFLOW_TRACKING_URI names a server, which shows its runs itself; open its address in a browser.")
        return
    store = None if named else find_store(folder)
    with closing(_listen(port)) as listener:
        page = f"http://127.0.0.1:{listener.getsockname()[1]}"
        app = _application(store, named)
        if store is not None:
            page += _list_of_runs(store / DATABASE)
        _serve(app, listener, f"MLflow, {short_path(store) if store else 'MLFLOW_TRACKING_URI'}", page, open_page)


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    if os.name == "posix":  # elsewhere it would let two programs have one port
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen()
    except (OSError, OverflowError) as error:
        listener.close()
        raise UserError(f"port {port} cannot be used ({_why(error)}); type --port 0 for any free one.") from error
    return listener


def _why(error: Exception) -> str:
    return (error.strerror or "" if isinstance(error, OSError) else "expected 0 to 65535").lower()


def _application(store: Path | None, uri: str) -> Any:  # noqa: ANN401
    """MLflow's web application for a store; it is told by the environment which one."""
    from mlflow.server import constants  # late: a mistake is told before anything that takes seconds

    from dynammo.runs.mlflow_store import quiet, reason

    with quiet():
        if store is not None:
            try:
                with suppress(OSError), locked(store):  # a store of others can be looked at as it is
                    prepare_store(store)
            except Exception as error:  # of SQLite, SQLAlchemy, alembic and MLflow
                raise UserError(
                    f"{store / DATABASE} cannot be read ({reason(error)}); give another folder, or put a copy of it "
                    "back."
                ) from error
            os.environ[constants.ARTIFACT_ROOT_ENV_VAR] = (store / ARTIFACTS).as_uri()
        os.environ[constants.BACKEND_STORE_URI_ENV_VAR] = address_of(store) if store else uri
        from mlflow.server.fastapi_app import app

    return app


def _list_of_runs(database: Path) -> str:
    """Where the experiment with the newest run lists its runs; MLflow's first page shows none."""
    newest = "select experiment_id from runs where lifecycle_stage = 'active' order by start_time desc limit 1"
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        for (number,) in connection.execute(newest):
            return f"/#/experiments/{number}/runs?workflowType=machine_learning"  # not the pages for language models
    return ""


def _serve(app: Any, listener: socket.socket, name: str, page: str, open_page: bool) -> None:  # noqa: ANN401
    import uvicorn

    from dynammo.runs.mlflow_store import quiet

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            say(f"{name}: {page} (Ctrl-C ends it)")
            if open_page:
                show_page(page)

    # pages that are still open in a browser keep nothing waiting
    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1)
    with quiet(), suppress(KeyboardInterrupt):
        Server(config).run(sockets=[listener])
