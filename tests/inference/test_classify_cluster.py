"""`dynammo classify --engine-cluster` as it is typed: the same table as without a cluster.

Not beside the tests of `dynammo.inference.cluster`: Ray's workers import the file of what they are given, and know no
fixtures.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from socket import create_connection, socket
from subprocess import Popen
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from conftest import Trained
from synthetic.datasets import CLASSES, ROOT, write_image

from dynammo.cli import main
from dynammo.clinic.journal import Journal

START = "ray start --head --include-dashboard=false --disable-usage-stats"
pytestmark = [
    pytest.mark.spread,
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install 'dynammo[ray]'"),
]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Forty images of four colours."""
    for i in range(40):
        write_image(tmp_path / "archive" / f"{i}.png", CLASSES[i % 4], i)
    return tmp_path / "archive"


def found(out: Path) -> dict[str, Any]:
    items = json.loads((out / "predictions.json").read_text())["items"]
    assert len(items) == len({item["path"] for item in items})
    return {item["path"]: (item["class"], pytest.approx(item["probability"], abs=1e-4)) for item in items}


def classify(source: Path, out: Path, model: Path, *options: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["classify", "-i", str(source), "-o", str(out), "--model", str(model), *options])
    assert not stopped.value.code


def workers_of_ray() -> list[int]:
    names = {int(entry.parent.name): entry.read_bytes() for entry in Path("/proc").glob("[0-9]*/cmdline")}
    return [process for process, name in names.items() if name.startswith(b"ray::Worker")]


def test_an_archive_is_classified_although_a_worker_is_killed(
    archive: Path, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classify(archive, tmp_path / "alone", trained("analytic"))
    killed: list[int] = []
    add = Journal.add

    def add_and_kill(journal: Journal, *result: Any) -> None:  # noqa: ANN401
        add(journal, *result)
        if not killed:
            killed.append(workers_of_ray()[0])
            os.kill(killed[0], signal.SIGKILL)

    monkeypatch.setattr(Journal, "add", add_and_kill)
    classify(archive, tmp_path / "spread", trained("analytic"), "--engine-cluster", "local")
    assert killed and found(tmp_path / "spread") == found(tmp_path / "alone")


def wait_for(port: int, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert time.monotonic() < end, "the head of the cluster does not start"
            time.sleep(0.5)
        else:
            return


@pytest.fixture
def head(tmp_path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Address of a cluster with two cores, and the surroundings of a user whose home has its token."""
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")} | {"HOME": str(tmp_path)}
    options = ["--port", "0", "--ray-client-server-port", str(port), "--num-cpus", "2", "--block"]
    with TemporaryDirectory(prefix="ray") as short:  # sockets have short names
        command = [*START.split(), *options, "--temp-dir", short]
        with Popen([sys.executable, "-m", "ray.scripts.scripts", *command[1:]], env=home) as process:
            wait_for(port)
            yield f"ray://127.0.0.1:{port}", home
            process.terminate()


def test_an_archive_is_classified_on_a_cluster_that_others_started(
    archive: Path, trained: Trained, tmp_path: Path, head: tuple[str, dict[str, str]]
) -> None:
    assert START in (ROOT / "docs/distributed.md").read_text()
    classify(archive, tmp_path / "alone", trained("analytic"))
    address, home = head
    typed = ["-i", archive, "-o", tmp_path / "spread", "--model", trained("analytic"), "--engine-cluster", address]
    command = [sys.executable, "-m", "dynammo", "classify", *map(str, typed)]
    subprocess.run(command, env=home, check=True, timeout=600)
    assert found(tmp_path / "spread") == found(tmp_path / "alone")
