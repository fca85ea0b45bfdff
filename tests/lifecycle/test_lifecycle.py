"""A model learns more, forgets, and is combined with another's: as if it had been so from the beginning."""

import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from synthetic.datasets import ROOT, run_bundle
from synthetic.lifecycle import (
    assert_same_answers,
    assert_same_statistics,
    backbone_weights,
    colours,
    exported,
    trained,
)
from synthetic.runs import Interrupted, at_epoch, interrupted, without_plots

from dynammo.errors import UserError
from dynammo.lifecycle.commands import LearnSettings, combine, forget, learn
from dynammo.lifecycle.learning_state import load_learnt
from dynammo.runs import resume as resuming
from dynammo.runs.find import find_models
from dynammo.runs.load import load_model
from dynammo.runtime import files as checkpoint
from dynammo.runtime.files import load_state, sha256

pytestmark = pytest.mark.usefixtures("in_root")
QUIET = LearnSettings(mlflow=False, max_drop=100)


@pytest.fixture(scope="module", autouse=True)
def no_plots() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        without_plots(patch)
        yield


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return backbone_weights(tmp_path_factory.mktemp("weights") / "backbone.pth")


Make = Callable[..., Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, weights: str) -> Make:
    """Run of a method on colours, cut into tasks such as `blue,green red`; each is trained once."""
    done: dict[tuple[str, str, str], Path] = {}

    def make(tasks: str, method: str = "analytic", **settings: Any) -> Path:  # noqa: ANN401
        key = (tasks, method, str(settings))
        if key not in done:
            folder = tmp_path_factory.mktemp(method)
            names = [task.split(",") for task in tasks.split()]
            data = colours(folder / "data", *(name for task in names for name in task))
            before = Path.cwd()
            os.chdir(ROOT)
            try:
                done[key] = trained(data, folder / "run", names, method, weights=weights, **settings)
            finally:
                os.chdir(before)
        return done[key]

    return make


def record_of(run: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((run / "run.json").read_text())
    return record


@pytest.mark.parametrize("form", ["run", "export"])
def test_learning_later_equals_learning_in_one_sequence(made: Make, form: str, tmp_path: Path) -> None:
    model = made("blue,green red")
    if form == "export":
        model = exported(model, tmp_path / "bundle")
        shutil.rmtree(tmp_path / "bundle" / "images", ignore_errors=True)
    report = learn(model, colours(tmp_path / "new", "white"), tmp_path / "learnt", QUIET)
    assert_same_answers(tmp_path / "learnt", made("blue,green red white"))
    assert_same_statistics(tmp_path / "learnt", made("blue,green red white"))
    record = record_of(tmp_path / "learnt")
    assert record["classes"] == ["blue", "green", "red", "white"]
    assert record["tasks"] == [["blue", "green"], ["red"], ["white"]]
    assert record["config"]["learnt_from"] == report["model"]["sha256"]
    assert report["new_classes"] == ["white"] and report["images"] == {"white": 6}
    # an export does not know where the old test images lay
    assert report["measured"] == (form == "run") and report["accepted"]


def test_a_learnt_model_is_a_run_like_any_other(made: Make, tmp_path: Path) -> None:
    learn(made("blue,green"), colours(tmp_path / "new", "red"), tmp_path / "second", QUIET)
    learn(tmp_path / "second", colours(tmp_path / "newest", "white"), tmp_path / "third", QUIET)
    assert_same_answers(tmp_path / "third", made("blue,green red white"))
    # test images of every learning are found again
    assert json.loads((tmp_path / "third" / "learning.json").read_text())["test_images"] == {
        "blue": 3, "green": 3, "red": 3, "white": 3
    }  # fmt: skip
    assert [entry["event"] for entry in load_learnt(tmp_path / "third").history] == ["learnt"] * 3


def test_the_bundle_command_does_the_same(made: Make, tmp_path: Path) -> None:
    run_bundle(
        "increment", ["bundle/configs/train.yaml", "bundle/configs/increment.yaml"], mlflow=False,
        model_dir=str(made("blue,green red")), dataset_dir=str(colours(tmp_path / "new", "white")),
        output_dir=str(tmp_path / "learnt"), max_drop=100,
    )  # fmt: skip
    assert_same_answers(tmp_path / "learnt", made("blue,green red white"))
    assert (tmp_path / "learnt" / "learning.json").is_file()


def test_class_folders_alone_will_do(made: Make, tmp_path: Path) -> None:
    new = colours(tmp_path / "new", "white") / "train"
    report = learn(made("blue,green red"), new, tmp_path / "learnt", QUIET)
    assert report["test_images"] == {"blue": 3, "green": 3, "red": 3} and math.isnan(report["after"]["new"])
    again = learn(
        made("blue,green red"), new, tmp_path / "measured",
        LearnSettings(mlflow=False, max_drop=100, test_data=tmp_path / "new" / "test", json=tmp_path / "report.json"),
    )  # fmt: skip
    assert again["test_images"]["white"] == 3
    assert json.loads((tmp_path / "report.json").read_text()) == again


def test_more_images_of_known_classes_count_as_if_they_had_been_there(made: Make, weights: str, tmp_path: Path) -> None:
    new = colours(tmp_path / "new", "red", train=4, first=50)
    colours(tmp_path / "new", "white")
    report = learn(made("blue,green red"), new, tmp_path / "learnt", QUIET)
    assert report["updated_classes"] == ["red"] and report["images"] == {"red": 4, "white": 6}
    whole = colours(tmp_path / "whole", "blue", "green", "red", "white")
    colours(whole, "red", train=4, first=50)
    assert_same_statistics(tmp_path / "learnt", trained(whole, tmp_path / "at_once", [4], weights=weights))
    # what each class contributed was kept up to date
    forget(tmp_path / "learnt", tmp_path / "without", class_name="red", mlflow=False)
    assert_same_statistics(tmp_path / "without", made("blue,green white"))


def test_more_images_alone_make_no_new_task(made: Make, tmp_path: Path) -> None:
    new = colours(tmp_path / "new", "red", train=4, first=50)
    report = learn(made("blue,green red"), new, tmp_path / "learnt", QUIET)
    assert report["new_classes"] == [] and record_of(tmp_path / "learnt")["tasks"] == [["blue", "green"], ["red"]]
    after = load_learnt(tmp_path / "learnt")
    assert after.state["handlers"]["AnalyticHeads"]["statistics"]["counts"].tolist() == [6, 6, 10]
    assert [entry["event"] for entry in after.history] == ["learnt", "learnt", "more images"]
    with pytest.raises(AssertionError):
        assert_same_answers(tmp_path / "learnt", made("blue,green red"))


def test_an_export_takes_no_more_images_of_its_classes(made: Make, tmp_path: Path) -> None:
    bundle = exported(made("blue,green red"), tmp_path / "bundle")
    with pytest.raises(UserError, match=r"images of red, which .* knows.*--model the run that learnt them"):
        learn(bundle, colours(tmp_path / "new", "red", "white"), tmp_path / "learnt", QUIET)


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


@pytest.mark.parametrize("form", ["run", "export"])
def test_two_sites_equal_one_sequence(made: Make, form: str, tmp_path: Path) -> None:
    sites = [made("blue,green"), made("red white")]
    if form == "export":
        sites = [exported(site, tmp_path / name) for site, name in zip(sites, ("a", "b"), strict=True)]
    both = combine(*sites, tmp_path / "both", mlflow=False)
    assert both.tasks == [["blue", "green"], ["red"], ["white"]]
    assert_same_statistics(tmp_path / "both", made("blue,green red white"))
    assert [entry["event"] for entry in both.history] == ["learnt"] * 3 + ["combined"]
    assert [(entry.get("site", 1), entry.get("task")) for entry in both.history[:3]] == [(1, 1), (2, 1), (2, 2)]
    measured = record_of(tmp_path / "both")["metrics"]["last_accuracy"]
    assert (measured is not None) == (form == "run")


@pytest.mark.parametrize("method", ["analytic", "dynammo"])
def test_sites_that_began_as_one_model_share_its_classes(made: Make, method: str, tmp_path: Path) -> None:
    model = exported(made("blue,green", method), tmp_path / "bundle")
    settings = LearnSettings(mlflow=False, max_drop=100, without_exemplars=True)
    for name in ("red", "white"):
        learn(model, colours(tmp_path / "new" / name, name), tmp_path / name, settings)
    both = combine(tmp_path / "red", tmp_path / "white", tmp_path / "both", mlflow=False)
    assert both.tasks == [["blue", "green"], ["red"], ["white"]]
    assert [entry["event"] for entry in both.history] == ["learnt"] * 3 + ["combined"]
    if method == "analytic":
        assert_same_statistics(tmp_path / "both", made("blue,green red white"))
    assert load_model(tmp_path / "both").network(torch.randn(1, 3, 16, 16)).shape == (1, 5)


def test_classes_of_the_same_name_are_refused_or_counted_together(made: Make, weights: str, tmp_path: Path) -> None:
    there = colours(tmp_path / "there", "green", train=5, first=30)
    site = trained(colours(there, "white"), tmp_path / "site", [["green"], ["white"]], weights=weights)
    with pytest.raises(UserError, match=r"both models know green; .*--same-classes"):
        combine(made("blue,green red"), site, tmp_path / "both", mlflow=False)
    both = combine(made("blue,green red"), site, tmp_path / "both", same_classes=True, mlflow=False)
    assert both.tasks == [["blue", "green"], ["red"], ["white"]]
    whole = colours(tmp_path / "whole", "blue", "green", "red", "white")
    colours(whole, "green", train=5, first=30)
    assert_same_statistics(tmp_path / "both", trained(whole, tmp_path / "at_once", [4], weights=weights))
    forget(tmp_path / "both", tmp_path / "less", class_name="green", mlflow=False)
    assert load_learnt(tmp_path / "less").state["handlers"]["AnalyticHeads"]["statistics"]["counts"].tolist() == [6] * 3


def test_sites_that_do_not_fit_are_refused_by_what_differs(made: Make, tmp_path: Path) -> None:
    other = backbone_weights(tmp_path / "other.pth", seed=1)
    data = colours(tmp_path / "data", "red", "white")
    stranger = trained(data, tmp_path / "stranger", [["red"], ["white"]], weights=other)
    with pytest.raises(UserError, match="differ in the weights of the backbone"):
        combine(made("blue,green"), stranger, tmp_path / "both", mlflow=False)
    plain = trained(data, tmp_path / "plain", [["red"], ["white"]], weights=other, grey="zscore", power=1.0)
    with pytest.raises(UserError, match="differ in recipe, power"):
        combine(made("blue,green"), plain, tmp_path / "both", mlflow=False)


def test_tuned_heads_of_two_sites_stand_side_by_side(made: Make, weights: str, tmp_path: Path) -> None:
    combine(made("blue,green", "dynammo"), made("red white", "dynammo"), tmp_path / "both", mlflow=False)
    both, first, second = (
        load_model(run).network
        for run in (tmp_path / "both", made("blue,green", "dynammo"), made("red white", "dynammo"))
    )
    assert [head.out_features for head in both.heads] == [3, 2, 2]
    for head, alone in zip(both.heads, [*first.heads, *second.heads], strict=True):
        assert torch.equal(head.weight, alone.weight)
    merged, mine, theirs = (network.branches.state_dict() for network in (both, first, second))
    for name in merged:
        if merged[name].is_floating_point():  # one task here, two there
            torch.testing.assert_close(merged[name], (mine[name] + 2 * theirs[name]) / 3, atol=1e-6, rtol=1e-5)
    data = colours(tmp_path / "data", "green", "red", first=30)
    other = trained(data, tmp_path / "other", [["green", "red"]], "dynammo", weights=weights)
    with pytest.raises(UserError, match="both models know green, and tuned heads"):
        combine(made("blue,green", "dynammo"), other, tmp_path / "no", mlflow=False)


def test_exemplars_must_be_there_or_be_given_up(made: Make, tmp_path: Path) -> None:
    run = shutil.copytree(made("blue,green red", "dynammo").parent, tmp_path / "copy") / "run"
    bundle, new = exported(run, tmp_path / "bundle"), colours(tmp_path / "new", "white")
    with pytest.raises(UserError, match=r"the exemplars \(8\) of .* are not available.*--without-exemplars"):
        learn(bundle, new, tmp_path / "learnt", QUIET)
    report = learn(bundle, new, tmp_path / "learnt", LearnSettings(mlflow=False, max_drop=100, without_exemplars=True))
    assert report["new_classes"] == ["white"]
    first, last = (load_model(model).network for model in (run, tmp_path / "learnt"))
    for mine, other in zip(first.heads, last.heads, strict=False):  # without an image they are left alone
        assert torch.equal(mine.weight, other.weight)


def test_images_of_known_classes_are_rehearsed(made: Make, tmp_path: Path) -> None:
    new = colours(tmp_path / "new", "red", train=5, first=60)
    colours(tmp_path / "new", "white")
    recipe = LearnSettings(mlflow=False, max_drop=100, overlays=(Path("configs/recipes/dermoscopy.yaml"),))
    report = learn(made("blue,green red", "dynammo"), new, tmp_path / "learnt", recipe)
    assert report["updated_classes"] == ["red"]
    # of a recipe only the augmentation counts: images are prepared as the model knows them
    assert (
        record_of(tmp_path / "learnt")["config"]["recipe"]
        == record_of(made("blue,green red", "dynammo"))["config"]["recipe"]
    )
    memory = load_learnt(tmp_path / "learnt").state["memory"]
    assert {label: len(pairs) for label, pairs in memory.items()} == {"0": 2, "1": 2, "2": 2, "3": 2}
    learn(made("blue,green red", "finetune"), new, tmp_path / "tuned", QUIET)
    kept = load_learnt(tmp_path / "tuned").state["memory"]
    assert not any(kept.values())  # a method that keeps no image keeps none
    with pytest.raises(UserError, match="known classes alone"):
        learn(made("blue,green red", "finetune"), colours(tmp_path / "red", "red"), tmp_path / "no", QUIET)


def test_a_model_that_loses_too_much_is_kept_aside(made: Make, tmp_path: Path) -> None:
    model, new = made("blue,green red", "finetune", epochs=12, learning_rate=0.1), colours(tmp_path / "new", "white")
    before = sha256(model / "model.pt")
    with pytest.raises(
        UserError, match=r"known classes lost .* more than 0; to accept that, type --max-drop"
    ) as caught:
        learn(
            model, new, tmp_path / "runs" / "learnt", LearnSettings(max_drop=0, mlflow=False, json=tmp_path / "r.json")
        )
    assert not (tmp_path / "runs" / "learnt").exists() and find_models([tmp_path / "runs"]) == []
    assert (tmp_path / "runs" / ".learnt.refused" / "model.pt").is_file() and ".learnt.refused" in str(caught.value)
    assert json.loads((tmp_path / "r.json").read_text())["accepted"] is False
    assert sha256(model / "model.pt") == before


def test_nothing_that_is_finished_is_replaced(made: Make, tmp_path: Path) -> None:
    model = made("blue,green red")
    with pytest.raises(UserError, match="holds a finished model, which is not replaced"):
        learn(model, colours(tmp_path / "new", "white"), model, QUIET)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ("none", "there is no folder"),
        ("empty", "has no class folder"),
        ("hollow", "holds no image"),
        ("learnt", "is what the model was trained on"),
        ("case", "differ by more than case"),
    ],
)
def test_data_that_teach_nothing_are_explained(made: Make, data: str, sentence: str, tmp_path: Path) -> None:
    model = made("blue,green red")
    (tmp_path / "empty").mkdir()
    (tmp_path / "hollow" / "white").mkdir(parents=True)
    shutil.copytree(colours(tmp_path / "new", "white") / "train" / "white", tmp_path / "case" / "Red")
    folder = model.parent / "data" if data == "learnt" else tmp_path / data
    with pytest.raises(UserError, match=sentence):
        learn(model, folder, tmp_path / "learnt", QUIET)


def test_an_interrupted_learning_goes_on(made: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, new = made("blue,green red", "dynammo", epochs=3), colours(tmp_path / "new", "white")
    learn(model, new, tmp_path / "whole", QUIET)
    with monkeypatch.context() as patch:
        first = at_epoch(2, "adapters", 1)
        patch.setattr(resuming, "save_checkpoint", interrupted(checkpoint.save_checkpoint, first))
        with pytest.raises(Interrupted):
            learn(model, new, tmp_path / "cut", QUIET)
    assert not (tmp_path / "cut" / "run.json").exists()
    learn(model, new, tmp_path / "cut", QUIET)
    assert sha256(tmp_path / "cut" / "model.pt") == sha256(tmp_path / "whole" / "model.pt")
