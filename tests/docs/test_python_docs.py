"""The examples of docs/python.md run, in their order."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Trained
from PIL import Image
from synthetic.datasets import ROOT, write_image
from synthetic.images import RAMP, dicom
from synthetic.runs import without_plots

BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL)


def small(block: str) -> str:
    """An example without what takes minutes on two cores: large images, databases of MLflow, ONNX."""
    block = re.sub(r'(to="runs/\w+")', r"\1, mlflow=False", block)
    block = block.replace("image_size=224", 'weights="first_task", stages=1, image_size=32, epochs=1')
    return block.replace('export("dist/skin_classification"', 'export("dist/skin_classification", onnx=False')


@pytest.fixture
def folder(trained: Trained, tiny_data: Path, tmp_path: Path) -> Path:
    """What the examples find."""
    shutil.copytree(trained("analytic"), tmp_path / "runs" / "skin")
    shutil.copytree(tiny_data, tmp_path / "folder")
    write_image(tmp_path / "images" / "lesion.png", "red", 7)
    dicom(RAMP).save_as(tmp_path / "images" / "ct.dcm", enforce_file_format=True)
    for number in range(3):
        (tmp_path / "new_classes" / "striped").mkdir(parents=True, exist_ok=True)
        stripes = np.zeros((32, 32, 3), np.uint8)
        stripes[number::4] = 255
        Image.fromarray(stripes).save(tmp_path / "new_classes" / "striped" / f"{number}.png")
    return tmp_path


def test_the_examples_run(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    without_plots(monkeypatch)
    monkeypatch.chdir(folder)
    capsys.readouterr()
    names: dict[str, Any] = {}
    for block in BLOCKS:
        exec(small(block), names)
    assert names["first"].classes == names["model"].classes
    assert names["result"].label == "red" and names["heat"].ndim == 2
    assert names["both"].classes == ["blue", "green", "white", "striped", "red"]
    assert (folder / "dist" / "skin_classification.zip").is_file()
    text = capsys.readouterr().out
    assert text.startswith("<Model skin: 4 classes (blue, green, red, white), analytic")
    assert "image 3" in text and "there is no runs/none" in text
