"""The bundle command with folders whose names MONAI or Fire would read: each is typed, and does what it says."""

import csv
import os
import runpy
import sys
from pathlib import Path

import pytest
from synthetic.datasets import ROOT
from synthetic.lifecycle import backbone_weights, colours, record_of
from synthetic.runs import without_plots

from dynammo.errors import UserError

TRAIN = f"['{ROOT}/bundle/configs/train.yaml','{ROOT}/configs/methods/analytic.yaml']"
INFERENCE = str(ROOT / "bundle/configs/inference.yaml")
SMALL = ["--stages", "1", "--epochs", "1", "--milestones", "[]", "--image_size", "16", "--increments", "1"]
SMALL += ["--mlflow", "False", "--taps", "None", "--pool_centre", "False", "--pool_deviation", "False"]
LATIN = os.fsdecode(b"B\xe4r")


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    without_plots(monkeypatch)
    return backbone_weights(tmp_path / "backbone.pth")


def typed(*words: str) -> str:
    """Run `python -m monai.bundle run` with these words, as Python itself would; the sentence of a refusal."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["monai.bundle", "run", *words])
        patch.setattr(sys, "excepthook", sys.__excepthook__)
        try:
            runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)
        except RuntimeError as error:
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, UserError):
                cause = cause.__cause__ or cause.__context__
            assert cause is not None, error
            return str(cause)
    return ""


@pytest.mark.parametrize(
    ("data", "run", "out"),
    [("2024", "@run", "%out"), (LATIN, "%run", "~nobody_of_that_name"), ("@scans", LATIN, "1e3")],
)
def test_folders_of_any_name_are_used(data: str, run: str, out: str, weights: str) -> None:
    colours(Path(data), "blue", "green", train=3, test=2)
    words = ["--dataset_dir", f"./{data}", "--output_dir", f"./{run}", "--weights", weights, *SMALL]
    assert typed("training", "--config_file", TRAIN, *words) == ""
    assert record_of(Path(run))["classes"] == ["blue", "green"] and not Path("run").exists()
    words = ["--dataset_dir", f"./{data}/test", "--model_dir", f"./{run}", "--output_dir", f"./{out}"]
    assert typed("inference", "--config_file", INFERENCE, *words) == ""
    with Path(out, "predictions.csv").open(newline="", encoding="utf-8") as table:
        assert len(list(csv.DictReader(table))) == 4
    left = {path.name for path in Path().iterdir()}
    assert left <= {"backbone.pth", data, run, out, "bundle"}


@pytest.mark.parametrize("name", ["2024", "@run", "%run", "run#1", "./a::b", "a,b"])
@pytest.mark.parametrize("option", ["dataset_dir", "output_dir"])
def test_names_that_are_read_otherwise_are_refused(option: str, name: str, weights: str) -> None:
    colours(Path("data"), "blue", "green", train=1, test=1)
    other = {"dataset_dir": "output_dir", "output_dir": "dataset_dir"}[option]
    words = [f"--{option}", name, f"--{other}", {"dataset_dir": "data", "output_dir": "out"}[other]]
    said = typed("training", "--config_file", TRAIN, *words, "--weights", weights, *SMALL)
    assert option in said and any(hint in said for hint in ("./2024", f"./{name}", "rename the folder"))
    assert {path.name for path in Path().iterdir()} == {"backbone.pth", "data"}
