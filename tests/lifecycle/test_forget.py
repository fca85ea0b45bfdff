"""A model forgets a task or a class as if it had never learnt it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from synthetic.lifecycle import (
    assert_same_statistics,
    colours,
    exported,
    record_of,
)

from dynammo.errors import UserError
from dynammo.lifecycle.commands import LearnSettings, forget, learn
from dynammo.lifecycle.forget import labels_to_forget, places_of, scatters_of
from dynammo.lifecycle.learning_state import load_learnt
from dynammo.runs.load import load_model
from dynammo.runtime.files import load_state

pytestmark = pytest.mark.usefixtures("in_root")


Make = Callable[..., Path]


QUIET = LearnSettings(mlflow=False, max_drop=100)


@pytest.mark.parametrize(("gone", "rest"), [("white", "blue,green red"), ("red", "blue,green white")])
def test_a_forgotten_task_was_never_learnt(made: Make, gone: str, rest: str, tmp_path: Path) -> None:
    task = {"red": 2, "white": 3}[gone]
    left = forget(made("blue,green red white"), tmp_path / "left", task=task, mlflow=False)
    assert left.tasks == [task.split(",") for task in rest.split()]
    assert_same_statistics(tmp_path / "left", made(rest))
    record = record_of(tmp_path / "left")
    assert record["classes"] == left.classes and record["metrics"]["last_mean_class_recall"] is not None
    learn(tmp_path / "left", colours(tmp_path / "new", gone), tmp_path / "again", QUIET)
    assert sorted(record_of(tmp_path / "again")["classes"]) == ["blue", "green", "red", "white"]


def test_undoing_the_last_task_gives_the_model_before(made: Make, tmp_path: Path) -> None:
    for method, tasks in (("analytic", "blue,green red"), ("dynammo", "blue,green red")):
        before = made(tasks, method)
        learn(before, colours(tmp_path / method / "new", "white"), tmp_path / method / "after", QUIET)
        forget(tmp_path / method / "after", tmp_path / method / "back", task=3, mlflow=False)
        first, last = (load_state(run / "model.pt") for run in (before, tmp_path / method / "back"))
        assert first.keys() == last.keys()
        tuned = ("heads.", "temperature") if method == "dynammo" else ()  # heads that stay were tuned once more
        for name in first:
            if not name.startswith(tuned or "-"):
                torch.testing.assert_close(first[name], last[name], atol=1e-5, rtol=1e-5)


def test_one_class_of_a_task_goes_alone(made: Make, tmp_path: Path) -> None:
    left = forget(made("blue,green red", "dynammo"), tmp_path / "left", class_name="blue", mlflow=False)
    assert left.tasks == [["green"], ["red"]]
    network = load_model(tmp_path / "left").network
    assert network(torch.randn(2, 3, 16, 16)).shape == (2, 3)
    whole = load_model(made("blue,green red", "dynammo")).network
    assert torch.equal(network.heads[0].weight, whole.heads[0].weight[[1, 2]])
    assert torch.equal(network.heads[1].weight, whole.heads[1].weight)
    memory = load_learnt(tmp_path / "left").state["memory"]
    assert sorted(memory) == ["0", "1"] and all("green" in pair[1] for pair in memory["0"])


def test_a_strategy_that_nobody_knows_is_one_sentence(made: Make, tmp_path: Path) -> None:
    planted = shutil.copytree(made("blue,green red"), tmp_path / "planted")
    record = record_of(planted)
    record["config"]["merge_strategy"] = "nope"
    (planted / "run.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"merge_strategy of .*planted is 'nope'; expected one of average"):
        forget(planted, tmp_path / "left", task=2, mlflow=False)


@pytest.mark.parametrize(
    ("form", "asked", "sentence"),
    [
        ("run", {"task": 9}, "no task 9; it has learnt tasks 1 to 2"),
        ("run", {"class_name": "pink"}, "does not know the class 'pink'; it knows blue, green, red"),
        ("run", {}, "either --task NUMBER or --class NAME"),
        ("run", {"task": 1, "class_name": "red"}, "either --task NUMBER or --class NAME"),
        ("export", {"task": 1}, "was not kept in .*an exported model has none"),
    ],
)
def test_what_cannot_be_forgotten(made: Make, form: str, asked: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    model = made("blue,green red")
    with pytest.raises(UserError, match=sentence):
        forget(exported(model, tmp_path / "b") if form == "export" else model, tmp_path / "left", mlflow=False, **asked)
    assert not (tmp_path / "left" / "run.json").exists()


def test_not_everything_can_be_forgotten(made: Make, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="would know nothing any more"):
        forget(made("blue,green"), tmp_path / "left", task=1, mlflow=False)


def test_classes_are_found_in_their_tasks_with_what_they_contributed(made: Make) -> None:
    model = load_learnt(made("blue,green red"))
    assert labels_to_forget(model, 1, None) == [0, 1] and labels_to_forget(model, None, "red") == [2]
    assert places_of(model, [1], inside=True) == [(0, [1])]
    assert places_of(model, [1], inside=False) == [(0, [0]), (1, [0])]
    scatters = scatters_of(model, places_of(model, [1, 2], inside=True), "AnalyticHeads")
    assert scatters.counts.tolist() == [6, 6]
    known = model.state["handlers"]["AnalyticHeads"]["statistics"]["sums"]
    torch.testing.assert_close(scatters.sums, known[1:])
