"""A model of embeddings leaves as a small head that says what the model says."""

import json
from pathlib import Path

import numpy as np
import pytest

from dynammo.cli import main
from dynammo.clinic.classify_features import classify_features
from dynammo.export.export_head import export_head
from dynammo.lifecycle.train import train
from dynammo.lifecycle.training_plan import TrainSettings

WIDTH = 16


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("features") / "vectors.npz"
    draw, numbers = np.random.default_rng(0), np.arange(90) % 3
    vectors = draw.normal(size=(90, WIDTH)) + 2 * np.eye(WIDTH)[numbers]
    np.savez(file, features=vectors, ids=[f"{i}" for i in range(90)], labels=[f"c{n}" for n in numbers])
    return file


@pytest.fixture(scope="module")
def run(file: Path) -> Path:
    settings = TrainSettings(features=True, mlflow=False, classes_per_task="all")
    return train(file, file.parent / "run", settings)


@pytest.fixture(scope="module")
def head(run: Path) -> Path:
    return export_head(run, run.parent / "head")


def test_readme_and_onnx_say_what_classify_says(run: Path, file: Path, head: Path, tmp_path: Path) -> None:
    rows = classify_features(file, tmp_path, run)
    expected = np.array([[*(row[f"p_c{n}"] for n in range(3)), row["unknown"]] for row in rows])
    vectors = np.load(file)["features"].astype(np.float32)
    code = (head / "README.md").read_text().split("```python\n")[1].split("```")[0]
    names = {"x": vectors}
    exec(code.replace('"head.json"', repr(str(head / "head.json"))), names)
    found = np.column_stack([names["probabilities"], names["unknown"]])
    np.testing.assert_allclose(found, expected, atol=1e-4)
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(head / "head.onnx"), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(["pred"], {"features": vectors})[0], expected, atol=1e-4)


def test_it_is_small_and_says_classes_and_limits(run: Path, head: Path) -> None:
    about = json.loads((head / "head.json").read_text())
    trust = json.loads((run / "run.json").read_text())["trust"]
    assert (about["classes"], about["features"]) == (["c0", "c1", "c2"], WIDTH)
    assert about["limits"] == {"unknown": trust["unknown_threshold"], "confidence": trust.get("confidence_limit")}
    assert sum(path.stat().st_size for path in head.iterdir()) < 30_000
    assert str(run) not in (head / "head.json").read_text()


def test_the_command_exports_a_head_and_refuses_what_is_for_images(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["export", "-m", str(run), "-o", str(tmp_path / "out"), "--no-onnx"])
    assert not stopped.value.code
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"README.md", "head.json"}
    with pytest.raises(SystemExit):
        main(["export", "-m", str(run), "-o", str(tmp_path / "out"), "--modality", "MR"])
    assert "the head alone is exported" in capsys.readouterr().err
