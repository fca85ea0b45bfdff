"""The tutorials run, and the notebooks are made of them."""

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from synthetic.datasets import ROOT
from synthetic.runs import without_plots

from benchmarks.figures.write_notebooks import cells_of, run_cell

TUTORIALS = sorted((ROOT / "docs").glob("tutorial-*.md"))


def small(source: str) -> str:
    """A cell without what takes minutes: many images, epochs, statistics of 3,840 features, databases of MLflow."""
    source = source.replace('weights="mine.pth"', 'weights="mine.pth", taps=[1]')
    source = re.sub(r"(to=\"runs/\w+\")", r"\1, mlflow=False", source)
    source = re.sub(r'"--train", "\d+", "--test", "\d+"', '"--train", "4", "--test", "2"', source)
    return re.sub(r"epochs=\d", "epochs=1", source).replace("image_size=48", "image_size=32")


@pytest.mark.parametrize("file", TUTORIALS, ids=lambda file: file.stem)
def test_the_cells_run_in_their_order(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_plots(monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    names: dict[str, Any] = {}
    shown = "".join(run_cell(small(source), names) for kind, source in cells_of(file.read_text()) if kind == "code")
    expected = {
        "tutorial-learn": ["analytic", "the same probabilities as before"],
        "tutorial-weights": ["the weights other.pth are not those of resnet18", "mine ["],
    }
    assert all(words in shown for words in expected[file.stem]), shown


@pytest.mark.parametrize("file", TUTORIALS, ids=lambda file: file.stem)
def test_the_notebook_is_that_of_the_page(file: Path) -> None:
    made = json.loads((ROOT / "docs" / "tutorials" / f"{file.stem.removeprefix('tutorial-')}.ipynb").read_text())
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in made["cells"]]
    assert cells == list(cells_of(file.read_text())), "run python -m benchmarks.figures.write_notebooks"
    assert any(cell.get("outputs") for cell in made["cells"]) and "/" + "tmp/" not in json.dumps(made)
