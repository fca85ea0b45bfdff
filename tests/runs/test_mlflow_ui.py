import os
import re
import select
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from synthetic.datasets import ROOT
from synthetic.mlflow_runs import Learner, handler

from dynammo.errors import UserError
from dynammo.runs.mlflow_place import find_store
from dynammo.runs.mlflow_ui import open_ui

OPEN = "import sys, pathlib; from dynammo.runs.mlflow_ui import open_ui; open_ui(pathlib.Path(sys.argv[1]), 0, False)"


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def store(folder: Path) -> Path:
    """A folder with the name of a store, which is all that is looked at."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mlruns.db").write_bytes(b"")
    return folder


def test_the_nearest_store_is_found(tmp_path: Path) -> None:
    old = store(tmp_path / "demo" / "runs" / "old")
    assert find_store(None) == old
    store(tmp_path)
    assert find_store(None) == tmp_path
    (tmp_path / "runs" / "new").mkdir(parents=True)
    assert find_store(Path("runs")) == tmp_path
    store(tmp_path / "runs")
    assert find_store(None) == find_store(Path("runs")) == find_store(Path("runs/new")) == tmp_path / "runs"
    store(tmp_path / "further" / "elsewhere" / "runs")
    assert find_store(Path("further/elsewhere")) == tmp_path / "further" / "elsewhere" / "runs"


def test_what_is_not_there_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no training is recorded \(mlruns.db\) in runs, \., demo/runs; train a model"):
        open_ui(None, 0, False)
    with pytest.raises(UserError, match="there is no folder nowhere"):
        open_ui(Path("nowhere"), 0, False)


def test_a_port_in_use_is_refused_before_anything_heavy_is_imported(tmp_path: Path) -> None:
    store(tmp_path)
    code = (
        "import sys, pathlib\nfrom dynammo.runs.mlflow_ui import open_ui\n"
        "try: open_ui(pathlib.Path(sys.argv[1]), int(sys.argv[2]), False)\n"
        "except ValueError as error: print(error, {'torch', 'monai', 'mlflow'} & set(sys.modules))"
    )
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path), port], capture_output=True, text=True, check=True, cwd=ROOT
        )
    assert re.match(rf"port {port} cannot be used \(.+\); type --port 0 for any free one. set\(\)", ended.stdout)
    with pytest.raises(UserError, match="port 99999 cannot be used"):
        open_ui(tmp_path, 99999, False)


def test_what_is_no_database_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (store(tmp_path) / "mlruns.db").write_bytes(b"nothing that SQLite knows" * 100)
    with pytest.raises(UserError, match=r"mlruns.db cannot be read \(.+\); give another folder"):
        open_ui(tmp_path, 0, False)


def test_a_server_shows_its_runs_itself(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://erika:secret@server")
    open_ui(None, 0, False)
    said = capsys.readouterr().out
    assert "MLFLOW_TRACKING_URI names a server" in said and "secret" not in said


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_the_list_of_runs_is_served_until_it_ends_without_a_trace(
    end: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dynammo.runs.mlflow.result_figures", lambda *_: {})
    Learner(handler(tmp_path / "runs" / "run")).learn()
    code = OPEN.replace("open_ui(pathlib", "signal.signal(signal.SIGINT, signal.default_int_handler); open_ui(pathlib")
    code = f"import signal; {code}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "runs")], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, env=environment, start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None and select.select([process.stdout], [], [], 240)[0]
        line = process.stdout.readline()
        found = re.fullmatch(
            r"MLflow, .*runs: (http://127\.0\.0\.1:\d+)/#/experiments/(\d+)/runs\?.* \(Ctrl-C .*\)\n", line
        )
        assert found is not None, line
        asked = urllib.request.Request(
            f"{found[1]}/api/2.0/mlflow/runs/search", f'{{"experiment_ids": ["{found[2]}"]}}'.encode(),
            {"Content-Type": "application/json"},
        )  # fmt: skip
        with urllib.request.urlopen(asked, timeout=240) as answer:
            assert answer.read().count(b'"run_name"') == 3
        process.send_signal(end)
        rest = process.communicate(timeout=240)[0]
        assert rest == ""
        assert process.returncode == (0 if end == signal.SIGINT else -signal.SIGTERM)
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)
    finally:
        if process.poll() is None:
            process.kill()
