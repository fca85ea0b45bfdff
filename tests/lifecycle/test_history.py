import shutil
from pathlib import Path

import pytest
from synthetic.lifecycle import exported, two_tasks
from typer.testing import CliRunner

from dynammo.cli import app
from dynammo.errors import UserError
from dynammo.lifecycle.history import history_of
from dynammo.runtime.files import sha256
from dynammo.runtime.terminal import Terminal

NAMES = ["blue", "green", "red"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed-form model of two tasks, trained on images in a folder named like a person."""
    return two_tasks(tmp_path_factory.mktemp("models"))


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(run, tmp_path / "copy")


def test_history_is_printed_of_runs_exports_and_older_runs(
    run: Path, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dynammo.lifecycle.history.Terminal", lambda **options: Terminal(width=150, **options))
    for model in (run, exported(run, tmp_path / "bundle")):
        printed = CliRunner().invoke(app, ["history", "--model", str(model)]).output
        assert "task 1 learnt" in printed and "blue, green" in printed and sha256(run / "model.pt")[:12] in printed
    shutil.rmtree(copy / "tasks")
    assert [entry["classes"] for entry in history_of(copy)] == [["blue", "green"], ["red"]]


def test_what_is_no_model_has_no_history(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no"):
        history_of(tmp_path / "nowhere")
