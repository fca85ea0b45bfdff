"""The commands of docs/lifecycle.md run as typed, on small phantoms and for one epoch."""

import json
import shlex
import shutil
import subprocess
from pathlib import Path

import fire
import monai.bundle
import pytest
from synthetic.datasets import ROOT
from synthetic.pages import commands_of
from synthetic.runs import without_plots
from typer.testing import CliRunner

from dynammo.cli import app
from dynammo.runs.load import load_model

SMALL = ["--epochs", "1", "--stages", "1", "--image_size", "32", "--pool_centre", "False"]


def run_as_typed(words: list[str]) -> None:
    if words[:3] == ["python", "-m", "monai.bundle"]:
        fire.Fire({"run": monai.bundle.run}, command=words[3:] + (SMALL if "training" in words else []))
    elif words[0] == "python":
        from data_prep.phantoms.__main__ import app as phantoms

        result = CliRunner().invoke(phantoms, [*words[3:], "--size", "64", "--train", "3", "--test", "2"])
        assert result.exit_code == 0, result.output
    elif words[0] == "dynammo":
        quiet = [] if words[1] == "history" else ["--no-mlflow"]
        result = CliRunner().invoke(app, [*words[1:], *quiet])
        assert result.exit_code == 0, (words, result.output, result.exception)
    else:
        assert words[0] in ("mkdir", "mv"), words
        subprocess.run(words, check=True)


def test_commands_run_as_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_plots(monkeypatch)
    for name in ("bundle", "configs"):
        shutil.copytree(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for command in commands_of("docs/lifecycle.md"):
        run_as_typed(shlex.split(command))
    classes = {run.name: load_model(run).record["classes"] for run in (tmp_path / "runs").iterdir()}
    first = classes["tissue"]
    assert len(first) == 6
    assert classes["tissue_carcinoma"] == [*first, "solid_carcinoma"]
    assert classes["tissue_glands"] == [*first, "normal_glands"]
    assert classes["tissue_again"] == first
    assert classes["tissue_less"] == [*first[2:], "solid_carcinoma"]
    assert classes["tissue_both"] == [*first, "solid_carcinoma", "normal_glands"]
    assert json.loads((tmp_path / "runs" / "tissue_glands" / "learning.json").read_text())["measured"]
