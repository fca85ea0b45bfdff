"""MONAI Label with an app of ours, started in its own environment and asked over HTTP."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from synthetic.datasets import ROOT

from dynammo.export.monai_label import write_label_app

LABEL_PYTHON = Path(os.environ.get("DYNAMMO_LABEL_PYTHON", ROOT / ".venv-label" / "bin" / "python"))
PATIENCE = 120  # seconds until the server must answer, and for one request
Json = dict[str, Any]


class LabelServer:
    """A running server.

    Args:
        app: folder of the app.
        model: name of the model in it.
        port: where it listens.
        log: what it prints.
    """

    def __init__(self, app: Path, model: str, port: int, log: Path) -> None:
        self.app, self.model, self.address, self.log = app, model, f"http://127.0.0.1:{port}", log

    def ask(self, method: str, path: str, **arguments: Any) -> requests.Response:  # noqa: ANN401
        return requests.request(method, f"{self.address}/{path}", timeout=PATIENCE, **arguments)

    def info(self) -> Json:
        found: Json = self.ask("GET", "info/").json()
        return found

    def classes(self) -> list[str]:
        return list(self.info()["models"][self.model]["labels"])

    def infer(self, image: str, **params: Any) -> requests.Response:  # noqa: ANN401
        """Classify an image of the datastore."""
        query = {"image": image, "output": "json"}
        return self.ask("POST", f"infer/{self.model}", params=query, data={"params": json.dumps(params)})

    def infer_file(self, file: Path, **params: Any) -> requests.Response:  # noqa: ANN401
        """Send a file and classify it."""
        with file.open("rb") as content:
            return self.ask(
                "POST",
                f"infer/{self.model}",
                params={"output": "json"},
                data={"params": json.dumps(params)},
                files={"file": (file.name, content)},
            )

    def label(self, image: str, content: str) -> None:
        """Save a final label."""
        files = {"label": ("label.json", content)}
        self.ask("PUT", "datastore/label", params={"image": image, "tag": "final"}, files=files).raise_for_status()

    def train(self, **request: Any) -> Json:  # noqa: ANN401
        """Train in the background, asking meanwhile; the last status of the task."""
        self.ask("POST", f"train/{self.model}", json=request).raise_for_status()
        return self.finished("train/")

    def finished(self, path: str, patience: float = 300) -> Json:
        """Wait for a background task."""
        end = time.monotonic() + patience
        while True:
            status: Json = self.ask("GET", path).json()
            if status["status"] in ("DONE", "ERROR", "STOPPED"):
                return status
            assert time.monotonic() < end, f"{path} takes longer than {patience} s: {status}"
            time.sleep(0.5)


@contextmanager
def label_server(app: Path, model: str, studies: Path, *options: str) -> Iterator[LabelServer]:
    """Start the server of an app and end it."""
    assert LABEL_PYTHON.exists(), f"there is no {LABEL_PYTHON}: type make test-label, which makes the environment"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = app / "server.log"
    command = [str(LABEL_PYTHON), str(app / "start.py"), "--studies", str(studies), "--port", str(port), *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MONAI_LABEL_SESSION_PATH": str(app / "sessions")}
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=output, env=environment) as process,
    ):
        server = LabelServer(app, model, port, log)
        try:
            _wait(server, process)
            yield server
        finally:
            process.terminate()


def _wait(server: LabelServer, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        assert process.poll() is None, f"the server ended:\n{server.log.read_text()[-3000:]}"
        try:
            requests.get(f"{server.address}/info/", timeout=PATIENCE).raise_for_status()
            return
        except requests.ConnectionError:
            time.sleep(0.3)
    raise AssertionError(f"the server does not answer:\n{server.log.read_text()[-3000:]}")


def probabilities_from_label(bundle: Path, images: Iterable[Path], folder: Path) -> dict[str, dict[str, float]]:
    """Probability of every class of images that MONAI Label is sent, by name of the image and class.

    Args:
        bundle: an exported bundle.
        images: PNG, JPEG, TIFF, DICOM or NIfTI.
        folder: an empty one for app and studies.
    """
    write_label_app(bundle, folder / "app")
    (folder / "studies").mkdir()
    found = {}
    with label_server(folder / "app", bundle.name, folder / "studies") as server:
        for image in images:
            response = server.infer_file(image, any_image=True)
            assert response.ok, f"{image.name}: {response.text}"
            found[image.name] = {entry["label"]: entry["score"] for entry in response.json()["prediction"]}
    return found
