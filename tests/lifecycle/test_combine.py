"""Models of two sites become one, as if one had learnt all."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from synthetic.lifecycle import (
    assert_same_statistics,
    backbone_weights,
    colours,
    exported,
    record_of,
    trained,
)

from dynammo.clinic.classify import ClassifySettings, classify
from dynammo.errors import UserError
from dynammo.export.export_run import ExportSettings, export_run
from dynammo.lifecycle.combine import combined
from dynammo.lifecycle.commands import LearnSettings, combine, forget, learn
from dynammo.lifecycle.learning_state import load_learnt
from dynammo.runs.load import load_model
from dynammo.runs.record import measured

pytestmark = pytest.mark.usefixtures("in_root")


Make = Callable[..., Path]


QUIET = LearnSettings(mlflow=False, max_drop=100)


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


def test_test_images_that_are_given_measure_all_classes(made: Make, tmp_path: Path) -> None:
    sites = [made("blue,green"), exported(made("red white"), tmp_path / "b")]
    combine(*sites, tmp_path / "part", mlflow=False)
    part = load_model(tmp_path / "part").record
    assert str(measured(part)).endswith("% on 2 of 4 classes") and measured(part).whole is None
    page = tmp_path / "out" / "report.html"
    classify(colours(tmp_path / "new", "red"), page.parent, ClassifySettings(model=tmp_path / "part"))
    assert "measured on 2 of its 4 classes alone" in " ".join(page.read_text().split())
    assert "test images of 2 of its 4 classes. How it does" in description_of_card(
        tmp_path / "part", tmp_path / "card_classification"
    )
    tests = colours(tmp_path / "tests", "blue", "green", "red", "white") / "test"
    combine(*sites, tmp_path / "all", mlflow=False, test_data=tests)
    whole = load_model(tmp_path / "all").record
    assert measured(whole).whole is not None and whole["measured"]["classes"] == 4
    assert part["measured"] == {**whole["measured"], "classes": 2, "images": 6, "recall": measured(part).recall}


def description_of_card(run: Path, bundle: Path) -> str:
    """The model card that an export writes."""
    export_run(run, bundle, ExportSettings(onnx=False))
    return (bundle / "docs" / "README.md").read_text()


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


def test_a_model_and_itself_are_that_model(made: Make, tmp_path: Path) -> None:
    model = load_learnt(made("blue,green red"))
    both = combined(model, model, False, tmp_path)
    assert both.tasks == model.tasks and both.history[-1]["event"] == "combined"
    mine, theirs = (m.state["handlers"]["AnalyticHeads"]["statistics"] for m in (model, both))
    assert all(torch.equal(mine[name], theirs[name]) for name in ("counts", "sums", "gram"))
