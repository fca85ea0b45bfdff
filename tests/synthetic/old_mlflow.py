"""A stand-in for an MLflow server of version 2.7: it keeps runs, and answers what it does not know with a page."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

PAGE = "<!doctype html>\n<html lang=en>\n<title>404 Not Found</title>\n<h1>Not Found</h1>\n<p>" + "long " * 50 + "</p>"


@contextmanager
def old_server(artifacts: Path) -> Iterator[tuple[str, dict[str, dict[str, Any]]]]:
    """The address of the server, and the runs that it has: their status by their number."""
    runs: dict[str, dict[str, Any]] = {}

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.do_POST()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = urlsplit(self.path)
            asked = json.loads(body) if body else dict(p.split("=", 1) for p in path.query.split("&") if p)
            answer = _answer(path.path.removeprefix("/api/2.0/mlflow/"), asked, runs, artifacts)
            text = PAGE if answer is None else json.dumps(answer)
            self.send_response(404 if answer is None else 200)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: Any) -> None:  # noqa: ANN401
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", runs
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _answer(path: str, asked: dict[str, Any], runs: dict[str, dict[str, Any]], artifacts: Path) -> Any:  # noqa: ANN401
    if path == "runs/create":
        number = str(len(runs))
        runs[number] = {
            "run_id": number, "run_uuid": number, "experiment_id": "1", "status": "RUNNING", "start_time": 1,
            "artifact_uri": (artifacts / number).as_uri(), "lifecycle_stage": "active",
        }  # fmt: skip
    if path == "runs/update":
        runs[asked["run_id"]]["status"] = asked["status"]
    return {
        "experiments/get-by-name": {"experiment": {"experiment_id": "1", "name": "own", "lifecycle_stage": "active"}},
        "runs/search": {},
        "runs/create": {"run": {"info": runs.get(str(len(runs) - 1)), "data": {}}},
        "runs/get": {"run": {"info": runs.get(str(asked.get("run_id"))), "data": {}}},
        "runs/log-batch": {},
        "runs/log-inputs": {},
        "runs/set-tag": {},
        "runs/update": {"run_info": runs.get(str(asked.get("run_id")))},
        "metrics/get-history": {},
    }.get(path)
