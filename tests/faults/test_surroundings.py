"""Disks that fill up, servers that die, clocks that jump, and a second process on the same folder."""

import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from synthetic.processes import Training, mlflow_runs
from synthetic.runs import left_by

SENTENCE = "make room or mend it, and type the same command to resume."


@pytest.fixture(scope="module")
def whole(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that nothing disturbs."""
    output = tmp_path_factory.mktemp("whole") / "run"
    training = Training(tiny_data, output)
    assert "accuracy" in training.end() and training.process.exitcode == 0
    return output


def goes_on(data: Path, output: Path, whole: Path, **settings: object) -> None:
    """The same command, once the fault is mended, ends as if there had been none."""
    last = Training(data, output, **settings)
    assert "resuming the unfinished run" in last.end() and last.process.exitcode == 0, last.log.read_text()
    assert left_by(output) == left_by(whole)


def limit_files(largest: int) -> None:
    """Let every write behind so many bytes of a file fail, as on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9])
def test_a_write_that_fails(share: float, whole: Path, tiny_data: Path, tmp_path: Path, count: Counter[str]) -> None:
    largest = (whole / "checkpoint.pt").stat().st_size
    stopped = Training(tiny_data, tmp_path / "run", partial(limit_files, int(share * largest)))
    said = stopped.end()
    assert stopped.process.exitcode == 1 and SENTENCE in said and "Traceback" not in said, said
    goes_on(tiny_data, tmp_path / "run", whole)
    count["writes that failed"] += 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only the administrator may mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("left", [0.5, 2, 4, 6, 8])
def test_a_disk_that_is_full(left: float, whole: Path, tiny_data: Path, small_disk: Path, count: Counter[str]) -> None:
    room = shutil.disk_usage(small_disk).free - int(left * 2**20)
    (small_disk / "filler").write_bytes(bytes(room))
    stopped = Training(tiny_data, small_disk / "run")
    said = stopped.end()
    (small_disk / "filler").unlink()
    assert stopped.process.exitcode == 1 and "No space left" in said and "Traceback" not in said, said
    goes_on(tiny_data, small_disk / "run", whole)
    count["full disks"] += 1


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """An MLflow server and its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{tmp_path}/server.db", "--artifacts-destination", str(tmp_path / "files"),
    ]  # fmt: skip
    with (tmp_path / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    for _ in range(240):
        time.sleep(0.5)
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2):
                break
        except OSError:
            continue
    else:
        pytest.fail((tmp_path / "server.log").read_text())
    yield process, address
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def use_server(address: str) -> None:
    os.environ["MLFLOW_TRACKING_URI"] = address


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP])
def test_a_server_that_dies_on_the_way(
    fault: signal.Signals, server: tuple[subprocess.Popen[bytes], str], whole: Path, tiny_data: Path, tmp_path: Path,
    count: Counter[str],
) -> None:  # fmt: skip
    process, address = server
    training = Training(tiny_data, tmp_path / "run", partial(use_server, address), mlflow=True)
    while training.heard.recv()[0] != "records":  # the first task is learnt, and its runs are on the server
        pass
    os.killpg(process.pid, fault)
    said = training.end()
    assert training.process.exitcode == 0 and said.count("training goes on") == 1, said
    assert left_by(tmp_path / "run") == left_by(whole)
    local = mlflow_runs(tmp_path / "run")
    assert {status for _, status in local["runs"]} == {"FINISHED"} and len(local["runs"]) == 4
    assert len(local["versions"]) == 3
    count["servers killed" if fault == signal.SIGKILL else "servers that fell silent"] += 1


def test_an_interrupted_run_goes_on_in_its_runs_on_a_server(
    server: tuple[subprocess.Popen[bytes], str], whole: Path, tiny_data: Path, tmp_path: Path, count: Counter[str]
) -> None:
    first = Training(tiny_data, tmp_path / "run", partial(use_server, server[1]), mlflow=True)
    while first.heard.recv()[0] != "head tuning":
        pass
    first.kill()
    last = Training(tiny_data, tmp_path / "run", partial(use_server, server[1]), mlflow=True)
    assert "resuming" in last.end() and last.process.exitcode == 0
    assert left_by(tmp_path / "run") == left_by(whole)
    (tmp_path / "server.db").rename(tmp_path / "mlruns.db")
    known = mlflow_runs(tmp_path / "run")
    assert [status for _, status in known["runs"]] == ["FINISHED"] * 4 and len(known["versions"]) == 3
    count["runs continued"] += 1


def test_two_processes_on_one_folder(whole: Path, tiny_data: Path, tmp_path: Path, count: Counter[str]) -> None:
    for number in range(5):
        output = tmp_path / str(number)
        trainings = [Training(tiny_data, output)]
        time.sleep(0.4 * number)
        trainings.append(Training(tiny_data, output))
        trainings[1].log = trainings[0].log
        for training in trainings:
            training.moments()
        codes = sorted(training.process.exitcode or 0 for training in trainings)
        assert codes == [0, 1], codes
        assert left_by(output) == left_by(whole)
        count["pairs, one of which was refused"] += 1


def jump() -> None:
    """Let every look at the clock find it anywhere within twenty years."""
    chosen, real = random.Random(1), time.time
    time.time = lambda: real() + chosen.uniform(-1, 1) * 3e8
    time.strftime = partial(_strftime, time.strftime)


def _strftime(real: object, text: str, moment: object = None) -> str:
    return real(text, time.localtime(time.time()))  # type: ignore[operator, no-any-return]


def test_a_clock_that_jumps(whole: Path, tiny_data: Path, tmp_path: Path, count: Counter[str]) -> None:
    for number in range(3):
        output = tmp_path / str(number)
        first = Training(tiny_data, output, jump)
        while first.heard.recv()[0] != "head tuning":
            pass
        first.kill()
        goes_on_jumping = Training(tiny_data, output, jump)
        assert "resuming" in goes_on_jumping.end() and goes_on_jumping.process.exitcode == 0
        assert left_by(output) == left_by(whole)
        count["runs under a jumping clock"] += 1
    recorded = Training(tiny_data, tmp_path / "recorded", jump, mlflow=True)
    assert "no longer recorded" not in recorded.end() and recorded.process.exitcode == 0
    assert len(mlflow_runs(tmp_path / "recorded")["versions"]) == 3
