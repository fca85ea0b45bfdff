"""docs/examples/onnx_without_torch.py, where torch cannot be imported."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from synthetic.datasets import ROOT, write_image

from dynammo.clinic.classify import ClassifySettings, classify
from dynammo.export.export_run import export_run

EXAMPLE = ROOT / "docs" / "examples" / "onnx_without_torch.py"
NO_TORCH = "import runpy, sys; sys.modules['torch'] = None; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0])"


@pytest.fixture(scope="module")
def bundle(trained: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason="ONNX is an extra: pip install 'dynammo[onnx]'")
    to = tmp_path_factory.mktemp("exported") / "dynammo_colours_classification"
    export_run(trained(), to)
    return to


@pytest.mark.parametrize("size", [20, 75])
def test_onnx_without_torch_answers_as_classify_does(bundle: Path, tmp_path: Path, size: int) -> None:
    picture = tmp_path / "images" / "red.png"
    write_image(picture, "red", seed=1, size=size)
    words = [sys.executable, "-c", NO_TORCH, str(EXAMPLE), str(bundle), str(picture)]
    answer = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)
    classify(picture.parent, tmp_path / "classified", ClassifySettings(model=bundle, device="cpu"))
    (row,) = json.loads((tmp_path / "classified" / "predictions.json").read_text())["items"]
    assert answer["probabilities"] == pytest.approx(row["probabilities"], abs=1e-4)
    assert answer["unknown"] == pytest.approx(row["unknown"], abs=1e-4)


def test_it_is_as_short_as_the_docs_say() -> None:
    assert sum(bool(line.strip()) for line in EXAMPLE.read_text().splitlines()) <= 20
