"""A model learns more, forgets, and is combined with another's: as if it had been so from the beginning."""

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic.datasets import run_bundle
from synthetic.lifecycle import (
    assert_same_answers,
    assert_same_statistics,
    colours,
    exported,
    record_of,
)
from synthetic.runs import Interrupted, at_epoch, interrupted

from dynammo.clinic.classify import ClassifySettings, classify
from dynammo.data.reviews import COLUMNS
from dynammo.errors import UserError
from dynammo.lifecycle.commands import LearnSettings, forget, learn
from dynammo.lifecycle.learning_state import load_learnt
from dynammo.runs import resume as resuming
from dynammo.runtime import files as checkpoint
from dynammo.runtime.files import sha256
from dynammo.runtime.tables import csv_bytes

pytestmark = pytest.mark.usefixtures("in_root")
Make = Callable[..., Path]
QUIET = LearnSettings(mlflow=False, max_drop=100)


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


def test_what_was_corrected_in_a_report_is_learnt(made: Make, tmp_path: Path) -> None:
    model, seen = made("blue,green"), colours(tmp_path / "new", "red", "blue") / "train"
    classify(seen, tmp_path / "out", ClassifySettings(model=model))
    page = (tmp_path / "out" / "report.html").read_text()
    items = json.loads(page.partition('id="items">')[2].partition("</script>")[0])
    of = {"model": sha256(model / "model.pt"), "comment": ""}
    rows = [
        {
            **of, "path": item["path"], "content": item["content"], "predicted": item["class"],
            "label": item["path"].split("/")[0],
            "review": "accepted" if item["path"].startswith("blue") else "corrected",
        }
        for item in items
    ]  # fmt: skip
    file = tmp_path / "review.csv"
    file.write_bytes(csv_bytes(COLUMNS, rows))
    report = learn(model, seen, tmp_path / "learnt", replace(QUIET, reviews=file))
    assert report["new_classes"] == ["red"] and report["images"] == {"red": 6}
    assert_same_answers(tmp_path / "learnt", made("blue,green red"))
    with pytest.raises(UserError, match="give the model of the report"):
        learn(tmp_path / "learnt", seen, tmp_path / "more", replace(QUIET, reviews=file))


def test_models_of_a_method_that_is_gone_learn_and_forget(made: Make, tmp_path: Path) -> None:
    settings = {"analytic_head": "ridge", "mirrored": "none", "photometric": 0}
    old = made("blue,green red", "light", **settings, method="ridge")
    learn(old, colours(tmp_path / "new", "white"), tmp_path / "learnt", QUIET)
    assert record_of(tmp_path / "learnt")["method"] == "ridge"
    forget(tmp_path / "learnt", tmp_path / "less", task=3, mlflow=False)
    assert_same_answers(tmp_path / "less", old)


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
