"""`mlflow models serve` on this machine, and images through it."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from synthetic.datasets import ROOT

__all__ = ["ask_example", "classify_pictures", "post", "save_for_mlflow", "served"]

PATIENCE = 90  # seconds until the server must answer
MLFLOW = Path(sys.executable).with_name("mlflow")


@contextmanager
def served(model: str, log: Path, **variables: str) -> Iterator[str]:
    """Serve a model, a folder or `models:/NAME/VERSION`, on a free port of 127.0.0.1; gives the address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [str(MLFLOW), "models", "serve", "-m", model, "--env-manager", "local", "--host", "127.0.0.1"]
    path = {"PATH": f"{MLFLOW.parent}{os.pathsep}{os.environ['PATH']}"}  # it starts uvicorn by name
    with log.open("wb") as stream:
        server = subprocess.Popen(
            [*words, "--port", str(port)], stdout=stream, stderr=stream, start_new_session=True,
            env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", **path, **variables},
        )  # fmt: skip
    try:
        _wait(server, f"http://127.0.0.1:{port}/ping", log)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, 15)  # the group of this server alone
        server.wait(30)


def post(address: str, content: Any, kind: str = "application/json") -> tuple[int, Any]:  # noqa: ANN401
    """Status and answer of a request; bytes go as they are, all else as JSON."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    try:
        with urllib.request.urlopen(
            urllib.request.Request(f"{address}/invocations", body, {"Content-Type": kind}), timeout=60
        ) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def save_for_mlflow(bundle: Path, to: Path) -> Path:
    """The TorchScript of an exported bundle in MLflow's format, as a training registers it."""
    from mlflow import pytorch
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    record = json.loads((bundle / "models" / "run.json").read_text())
    size, floats = record["config"]["image_size"], np.dtype(np.float32)
    signature = ModelSignature(
        Schema([TensorSpec(floats, (-1, 3, size, size))]),
        Schema([TensorSpec(floats, (-1, len(record["classes"]) + 1))]),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = torch.jit.load(str(bundle / "models" / "model.ts"))
        pytorch.save_model(
            network, str(to), signature=signature, pip_requirements=["torch"], serialization_format="pickle"
        )
    return to


def ask_example(run: Path, picture: Path, address: str) -> Mapping[str, Any]:
    """What docs/examples/ask_mlflow.py says: `probabilities` and `unknown`."""
    words = [sys.executable, str(ROOT / "docs" / "examples" / "ask_mlflow.py"), str(run), str(picture), address]
    answer: Mapping[str, Any] = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)
    return answer


def classify_pictures(
    bundle: Path, pictures: Sequence[Path], workplace: Path
) -> dict[Path, tuple[dict[str, float], float]]:
    """Pictures through `mlflow models serve` and docs/examples/ask_mlflow.py, as `through_deploy.classify_pictures`."""
    model, found = save_for_mlflow(bundle, workplace / "model"), {}
    with served(str(model), workplace / "serve.log") as address:
        for picture in pictures:
            answer = ask_example(bundle / "models", picture, address)
            found[picture] = (answer["probabilities"], answer["unknown"])
    return found


def _wait(server: "subprocess.Popen[bytes]", address: str, log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.3)
    raise RuntimeError(f"mlflow models serve does not answer: {log.read_text(errors='replace')[-2000:]}")
