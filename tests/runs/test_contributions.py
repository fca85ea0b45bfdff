import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from synthetic.datasets import ROOT
from synthetic.lifecycle import colours, trained, two_tasks
from synthetic.runs import without_plots

from dynammo.errors import UserError
from dynammo.lifecycle.commands import combine, forget
from dynammo.lifecycle.history import history_of
from dynammo.lifecycle.learning_state import load_learnt
from dynammo.runs.contributions import load_contribution, weights_sha256
from dynammo.runs.record import contribution_file, digests, read_history, read_record, refuse_other_files
from dynammo.runtime.files import load_state, save_state, sha256

NAMES = ["blue", "green", "red"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed-form model of two tasks, trained on images in a folder named like a person."""
    return two_tasks(tmp_path_factory.mktemp("models"))


def test_a_task_contributes_half_a_matrix_a_class_and_its_adapters(run: Path) -> None:
    contribution = load_contribution(run / "tasks", 0)
    assert contribution is not None and contribution["classes"] == ["blue", "green"]
    parts = contribution["handlers"]
    features = load_learnt(run).state["handlers"]["AnalyticHeads"]["statistics"]["sums"].shape[1]
    assert parts["AnalyticHeads"]["scatters"].shape == (2, features * (features + 1) // 2)
    assert parts["AnalyticHeads"]["counts"].tolist() == parts["FitOutOfDistribution"]["counts"].tolist() == [6, 6]
    assert parts["MergeAdapters"]["weight"] == 1.0
    assert load_contribution(run / "tasks", 7) is load_contribution(None, 0) is None


def test_scatters_by_class_can_be_left_out(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    without_plots(monkeypatch)
    data = colours(tmp_path / "data", "blue", "green")
    trained(data, tmp_path / "run", [2], weights="first_task", class_statistics=False)
    contribution = load_contribution(tmp_path / "run" / "tasks", 0)
    assert contribution is not None and "AnalyticHeads" not in contribution["handlers"]


def test_the_history_names_the_models_that_were(run: Path) -> None:
    first, last = read_history(run)
    assert (first["task"], first["classes"], first["images"]) == (1, ["blue", "green"], {"blue": 6, "green": 6})
    assert last["sha256"] == {"model.pt": sha256(run / "model.pt"), "tasks/2.pt": sha256(run / "tasks" / "2.pt")}
    assert last["metrics"]["accuracy"] == json.loads((run / "run.json").read_text())["results"][1]["accuracy"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}", last["when"])


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    assert read_history(tmp_path) == []
    (tmp_path / "tasks" / "history.json").write_text("[1]")
    with pytest.raises(UserError, match=r"history\.json is damaged"):
        read_history(tmp_path)
    torch.save({"classes": []}, contribution_file(tmp_path / "tasks", 0))
    with pytest.raises(UserError, match=r"1\.pt is damaged; put a copy of it back"):
        load_contribution(tmp_path / "tasks", 0)


def test_files_of_another_run_are_refused(run: Path, tmp_path: Path) -> None:
    own = shutil.copytree(run, tmp_path / "own")
    record = read_record("run", own / "model.pt")
    assert {name: record["files"][name] for name in digests(own, 2)} == digests(own, 2)
    assert list(digests(own, 2)) == ["tasks/1.pt", "tasks/2.pt", "tasks/history.json"]
    refuse_other_files(own, record)
    contribution = load_state(own / "tasks" / "1.pt")
    contribution["handlers"]["MergeAdapters"]["weight"] = 2.0  # as another training would leave it
    save_state(own / "tasks" / "1.pt", contribution)
    for act in (
        lambda: refuse_other_files(own, record),
        lambda: forget(own, tmp_path / "left", task=2, mlflow=False),
        lambda: combine(run, own, tmp_path / "both", mlflow=False),
        lambda: history_of(own),
    ):
        with pytest.raises(UserError, match=r"tasks/1\.pt is not the file that run\.json describes"):
            act()
    shutil.copy(own / "tasks" / "2.pt", own / "tasks" / "1.pt")
    del record["files"]  # as earlier versions recorded it
    (own / "run.json").write_text(json.dumps({**record, "files": {"model.pt": sha256(own / "model.pt")}}))
    with pytest.raises(UserError, match=r"1\.pt is of a task of red, but task 1 has blue, green"):
        forget(own, tmp_path / "left", task=2, mlflow=False)


def test_the_digest_of_weights_is_that_of_their_file(tmp_path: Path) -> None:
    state = {"a": torch.arange(3.0), "b": torch.ones(2, 2)}
    save_state(tmp_path / "model.pt", state)
    assert weights_sha256(state) == sha256(tmp_path / "model.pt")
