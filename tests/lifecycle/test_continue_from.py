"""A finished model goes on, with more images of its classes too."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from synthetic.lifecycle import (
    assert_same_answers,
    assert_same_statistics,
    colours,
    exported,
    record_of,
    trained,
)
from synthetic.runs import make_trainer

from dynammo.errors import UserError
from dynammo.lifecycle.commands import LearnSettings, forget, learn
from dynammo.lifecycle.continue_from import ContinueFrom
from dynammo.lifecycle.learning_state import load_learnt
from dynammo.runs.load import load_model
from dynammo.runtime.files import load_state, save_checkpoint
from dynammo.training.trainer import TaskEvents

pytestmark = pytest.mark.usefixtures("in_root")


Make = Callable[..., Path]


QUIET = LearnSettings(mlflow=False, max_drop=100)


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


def test_exemplars_must_be_there_or_be_given_up(made: Make, tmp_path: Path) -> None:
    run = shutil.copytree(made("blue,green red", "dynammo").parent, tmp_path / "copy") / "run"
    bundle, new = exported(run, tmp_path / "bundle"), colours(tmp_path / "new", "white")
    state = {**load_state(run / "checkpoint.pt"), "memory": {"0": [["blue.png", "blue.png"]]}, "place": "/trained/here"}
    gone = shutil.copytree(run, tmp_path / "gone")
    save_checkpoint(gone, "checkpoint", state)
    with pytest.raises(
        UserError, match=r"1 of the 1 exemplars .* \(blue.png, looked for in /trained/here, .*put the im"
    ):
        learn(gone, new, tmp_path / "refused", QUIET)
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


def test_a_trainer_stands_where_the_model_ended(made: Make, weights: str, tmp_path: Path) -> None:
    run = made("blue,green red")
    model = load_learnt(run)
    sources = [{"dataset_dir": str(run.parent / "data"), "data_list": None}]
    continued = ContinueFrom(model, sources)
    trainer = make_trainer(
        run.parent / "data", tmp_path / "run", "analytic", increments=[["blue", "green"], ["red"]], epochs=1,
        milestones=[], pool_centre=False, pool_deviation=False, weights=weights,
    )  # fmt: skip
    continued.attach(trainer)
    trainer.fire_event(TaskEvents.LEARNING_STARTED)
    assert trainer.tasks_learnt == 2 and trainer.trust == model.state["trust"]
    images = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(trainer.network.classifier()(images), load_model(run).network(images))
    assert continued.state_dict() == {"sources": sources}
