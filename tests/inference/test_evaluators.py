"""What an evaluator leaves: predictions of a folder, measures of a test set."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from synthetic.datasets import CLASSES, make_data

from dynammo.data.images import ImageSet
from dynammo.errors import UserError
from dynammo.inference import evaluators
from dynammo.inference.evaluators import PrintEvaluation, SavePredictions

ROWS = [[0.7, 0.3], [0.4, 0.6], [0.2, 0.8]]  # of a.png and of two slices of b.nii


def evaluator(folder: Path) -> Engine:
    """An engine whose network says `ROWS`, one item for each pass."""
    paths, labels = [folder / "a.png", folder / "b.nii", folder / "b.nii"], [0, 1, 1]

    def step(_: Engine, number: int) -> list[dict[str, Any]]:
        engine.state.batch = [{"path": str(paths[number])}]
        row = torch.tensor(ROWS[number])
        output = {"path": str(paths[number]), "pred": row, "unknown": torch.tensor([0.1 * number])}
        return [{**output, "label": torch.tensor(labels[number])}]

    engine = Engine(step)
    return engine


def test_every_study_has_one_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine = evaluator(tmp_path / "images")
    SavePredictions(str(tmp_path / "out"), str(tmp_path / "images"), ["x", "y"]).attach(engine)
    engine.run([0, 1, 2])
    first, second = csv.DictReader((tmp_path / "out" / "predictions.csv").open())
    assert (first["path"], first["slices"], first["predicted_class"], first["p_x"]) == ("a.png", "1", "x", "0.7")
    assert (second["path"], second["slices"], second["predicted_class"]) == ("b.nii", "2", "y")
    assert float(second["p_y"]) == pytest.approx(0.7) and float(second["unknown"]) == pytest.approx(0.15)
    assert second["unknown_score"] == second["unknown"]  # its name in 0.1
    written = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert (
        written["classes"] == ["x", "y"]
        and len(written["images"]) == 2
        and "not a medical" in written["notice"].lower()
    )
    assert "2 images: 1 x, 1 y" in capsys.readouterr().out


def test_measures_are_of_studies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine = evaluator(tmp_path)
    results = [{"confusion": [[1]]}, {"confusion": [[1, 0], [0, 1]]}]
    record = {"classes": ["x", "y"], "tasks": [["x"], ["y"], ["later"]], "tasks_learnt": 2, "results": results}
    PrintEvaluation(str(tmp_path / "out"), record).attach(engine)
    engine.run([0, 1, 2])
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert found["accuracy"] == 1 and found["confusion"] == [[1, 0], [0, 1]] and found["task_accuracy"] == [1, 1]
    text = capsys.readouterr().out
    assert "2 test images of 2 classes" in text and "recall of y" in text


def test_classes_that_the_model_has_not_learnt_are_refused(tmp_path: Path) -> None:
    images = ImageSet(str(make_data(tmp_path / "data", train=1, test=2)))
    items = evaluators.test_items(images, list(reversed(CLASSES)))
    assert len(items) == 8
    assert {(Path(str(item["path"])).parent.name, item["label"]) for item in items} == {
        (name, 3 - label) for label, name in enumerate(CLASSES)
    }
    with pytest.raises(UserError, match=r"the classes \['white'\], which the model has not learnt"):
        evaluators.test_items(images, ["blue", "green", "red"])
