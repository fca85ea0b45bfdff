"""Embeddings from a file to a table, by the commands that people type."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from dynammo.cli import main
from dynammo.clinic.classify_features import classify_features
from dynammo.errors import UserError
from dynammo.lifecycle.evaluate import evaluate
from dynammo.lifecycle.train import train
from dynammo.lifecycle.training_plan import TrainSettings, make_plan
from dynammo.runs.load import find_model

WIDTH, COUNT = 8, 120


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("features") / "vectors.npz"
    draw = np.random.default_rng(0)
    numbers = np.arange(COUNT) % 4
    vectors = draw.normal(size=(COUNT, WIDTH)) + 6 * np.eye(WIDTH)[numbers]
    np.savez(file, features=vectors, ids=[f"=v{i}" for i in range(COUNT)], labels=[f"$c{n}" for n in numbers])
    return file


@pytest.fixture(scope="module")
def run(features: Path) -> Path:
    return train(features, features.parent / "run", TrainSettings(features=True, mlflow=False, classes_per_task="2"))


def test_a_run_of_embeddings_is_a_run(run: Path) -> None:
    record = json.loads((run / "run.json").read_text())
    assert record["metrics"]["last_mean_class_recall"] > 0.9
    assert (record["method"], record["network"]["architecture"]) == ("light", "vectors:8")
    assert [len(task) for task in record["tasks"]] == [2, 2]
    assert record["trust"]["unknown_threshold"] is not None
    assert "unfinished.json" not in {file.name for file in run.iterdir()}


def test_every_vector_gets_class_probabilities_and_flags(run: Path, features: Path, tmp_path: Path) -> None:
    rows = classify_features(features, tmp_path, run)
    assert np.mean([row["predicted_class"] == f"$c{i % 4}" for i, row in enumerate(rows)]) > 0.9
    assert all(abs(sum(row[f"p_$c{n}"] for n in range(4)) - 1) < 1e-4 for row in rows)
    with (tmp_path / "predictions.csv").open(newline="") as stream:
        table = list(csv.DictReader(stream))
    assert table[0]["id"] == "'=v0"  # no formula
    assert list(table[0])[:5] == ["id", "predicted_class", "probability", "unknown", "flags"]
    record = json.loads((tmp_path / "classification.json").read_text())
    assert record["counts"]["items"] == COUNT
    far = tmp_path / "far.npz"
    np.savez(far, features=np.full((1, WIDTH), -30.0), ids=["far"])
    assert "unknown" in classify_features(far, tmp_path, run)[0]["flags"]


def test_what_does_not_fit_is_one_sentence(run: Path, features: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.npz"
    np.savez(other, features=np.zeros((1, 3)), ids=["a"])
    with pytest.raises(UserError, match="have 3 features, but the model has learnt 8"):
        classify_features(other, tmp_path, run)
    with pytest.raises(UserError, match="give --model"):
        classify_features(features, tmp_path, None)
    with pytest.raises(UserError, match="has learnt embeddings, not images"):
        find_model(run)


def slides(folder: Path, names: list[str], labels: list[str], seed: int) -> Path:
    """A CSV of slides of 20 vectors each, in HDF5."""
    h5py = pytest.importorskip("h5py", reason="the extra hdf5 is not installed: pip install -e .[hdf5]")
    draw = np.random.default_rng(seed)
    for name, label in zip(names, labels, strict=True):
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file["features"] = draw.normal(size=(20, WIDTH)) + 2 * np.eye(WIDTH)["ab".index(label)]
    rows = [f"{name},{label},{name}.h5" for name, label in zip(names, labels, strict=True)]
    (folder / "slides.csv").write_text("\n".join(["id,label,file", *rows]))
    return folder / "slides.csv"


@pytest.mark.parametrize("average", ["vectors", "probabilities"])
def test_slides_are_learnt_measured_and_classified_as_one(average: str, tmp_path: Path) -> None:
    names, labels = [f"s{i}" for i in range(20)], ["a", "b"] * 10
    file = slides(tmp_path, names, labels, 0)
    chosen = {"average": average} if average == "vectors" else {}
    run = train(
        file, tmp_path / "run", TrainSettings(features=True, mlflow=False, classes_per_task="all", values=chosen)
    )
    record = json.loads((run / "run.json").read_text())
    assert record["config"]["average"] == average
    assert np.sum(record["results"][-1]["confusion"]) == 4  # slides of the test fifth
    (tmp_path / "new").mkdir()
    new = slides(tmp_path / "new", names[:6], labels[:6], 1)
    rows = classify_features(new, tmp_path / "out", run)
    assert [(row["id"], row["predicted_class"]) for row in rows] == list(zip(names[:6], labels[:6], strict=True))
    assert evaluate(run, new).images == 6
    if average == "probabilities":
        single = classify_features(new, tmp_path / "out", run, average="none")
        assert rows[0]["p_a"] == pytest.approx(np.mean([row["p_a"] for row in single[:20]]), abs=1e-5)
        assert classify_features(new.with_name("s1.h5"), tmp_path / "out", run)[0]["predicted_class"] == "b"
    other = "vectors" if average == "probabilities" else "probabilities"
    with pytest.raises(UserError, match=f"--average is {other}, but run has learnt"):
        classify_features(new, tmp_path / "out", run, average=other)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (TrainSettings(features=True, method="dynammo"), "the method dynammo fits adapters"),
        (TrainSettings(features=True, backbone="resnet18"), "--backbone is for images"),
        (TrainSettings(features=True, recipe="xray"), "--recipe is for images"),
    ],
)
def test_settings_of_images_are_refused(settings: TrainSettings, words: str, features: Path) -> None:
    with pytest.raises(UserError, match=words):
        make_plan(features, None, settings)


@pytest.mark.parametrize("command", ["train images --average none", "classify -i images -o out --average vectors"])
def test_images_of_a_folder_are_not_averaged(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(command.split())
    assert stopped.value.code == 2
    assert "--average is for embeddings" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("command", ["train", "classify -o out"])
def test_neither_images_nor_embeddings_are_said(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(command.split())
    assert stopped.value.code == 2
    assert "give either" in capsys.readouterr().err
