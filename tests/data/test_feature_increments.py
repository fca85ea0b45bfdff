"""A model of embeddings goes on: it learns, forgets, is measured and combined, from files of vectors."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dynammo.data.feature_increments import IncrementFeatures
from dynammo.errors import UserError
from dynammo.lifecycle.commands import LearnSettings, combine, forget, learn
from dynammo.lifecycle.evaluate import evaluate
from dynammo.lifecycle.learning_state import load_learnt
from dynammo.lifecycle.train import train
from dynammo.lifecycle.training_plan import TrainSettings
from dynammo.networks.merged_classifier import build_classifier
from dynammo.runs.load import load_model
from dynammo.runtime.files import load_state

WIDTH = 6
OF_VECTORS = LearnSettings(features=True, mlflow=False)


def write(file: Path, classes: str, count: int = 30, seed: int = 0, **more: Any) -> Path:  # noqa: ANN401
    draw = np.random.default_rng(seed)
    labels = [name for name in classes for _ in range(count)]
    means = 5 * np.eye(WIDTH)[["abcd".index(name) for name in labels]]
    ids = [f"{row}" for row in range(len(labels))]  # the same in every file
    np.savez(file, features=means + draw.normal(size=means.shape), ids=ids, labels=labels, **more)
    return file


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("vectors")


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    settings = TrainSettings(features=True, mlflow=False, classes_per_task="all")
    return train(write(folder / "ab.npz", "ab"), folder / "ab", settings)


@pytest.fixture(scope="module")
def more(folder: Path, run: Path) -> Path:
    splits = (["train"] * 24 + ["test"] * 6) * 3
    file = write(folder / "bcd.npz", "bcd", seed=1, splits=splits)
    learn(run, file, folder / "more", OF_VECTORS)
    return folder / "more"


def test_classes_are_tested_by_the_first_file_that_has_them(tmp_path: Path) -> None:
    record = {"network": {"in_channels": WIDTH}, "config": {}}
    new = write(tmp_path / "new.npz", "bc", 4, splits=["train", "train", "train", "test"] * 2)
    tests, earlier = write(tmp_path / "tests.npz", "abd", 2, seed=1), write(tmp_path / "earlier.npz", "ab", seed=2)
    found = IncrementFeatures(new, ["a", "b"], record, tests, [{"features": str(earlier)}])
    assert (found.new_classes, found.updated) == (["c"], ["b"])
    assert found.images("train") == {"b": 3, "c": 3}
    assert found.images("test") == {"a": 2, "b": 1, "c": 1}
    assert len(found.table.vectors) == len(found.records) == 10
    again = IncrementFeatures(None, ["a", "b", "c"], record, None, found.sources)
    assert again.images("test") == {"a": 6, "b": 6, "c": 1}


def head(run: Path) -> Any:  # noqa: ANN401
    return load_model(run, vectors=True).network.heads[0].weight.numpy()


def test_new_classes_and_more_of_known_ones_are_learnt(more: Path) -> None:
    report = json.loads((more / "learning.json").read_text())
    assert (report["new_classes"], report["updated_classes"]) == (["c", "d"], ["b"])
    assert report["test_images"] == {"a": 6, "b": 6, "c": 6, "d": 6}
    assert report["after"]["new"] > 0.9
    assert report["before"]["recall"]["a"] > 0.9  # on what the first training had split off
    counts = load_learnt(more).state["handlers"]["AnalyticHeads"]["statistics"]["counts"]
    assert counts.tolist() == [24, 48, 24, 24]


def test_what_is_forgotten_was_never_learnt(run: Path, folder: Path) -> None:
    learn(run, write(folder / "c.npz", "c", seed=2), folder / "c", OF_VECTORS)
    forget(folder / "c", folder / "forgotten", class_name="c", mlflow=False)
    record = json.loads((folder / "forgotten" / "run.json").read_text())
    assert record["classes"] == ["a", "b"]
    assert record["measured"]["classes"] == 2
    np.testing.assert_allclose(head(folder / "forgotten"), head(run), rtol=1e-4, atol=1e-5)


def test_it_is_measured_on_what_it_was_measured_on_and_on_other_files(more: Path, tmp_path: Path) -> None:
    record = json.loads((more / "run.json").read_text())
    again = evaluate(more)
    assert again.mean_class_recall == pytest.approx(record["results"][-1]["mean_class_recall"])
    assert again.images == 24
    other = evaluate(more, write(tmp_path / "other.npz", "abcd", 10, seed=3), tmp_path)
    assert (other.images, other.mean_class_recall > 0.9) == (40, True)
    assert (tmp_path / "evaluation.json").is_file()


def test_two_sites_equal_one_sequence(run: Path, folder: Path) -> None:
    common = TrainSettings(features=True, mlflow=False, classes_per_task="all")
    second = train(write(folder / "cd.npz", "cd", seed=4), folder / "cd", common)
    combine(run, second, folder / "both", mlflow=False)
    record = json.loads((folder / "both" / "run.json").read_text())
    assert record["classes"] == [*"abcd"]
    assert record["measured"]["classes"] == 4
    assert record["results"][-1]["mean_class_recall"] > 0.9
    statistics = [load_learnt(folder / name).state["handlers"]["AnalyticHeads"]["statistics"] for name in ("ab", "cd")]
    both = load_learnt(folder / "both").state["handlers"]["AnalyticHeads"]["statistics"]
    np.testing.assert_allclose(both["gram"], statistics[0]["gram"] + statistics[1]["gram"])
    located = build_classifier(record["network"], load_state(folder / "both" / "model.pt"))
    assert located.heads[0].out_features == 4


def test_the_same_classes_of_two_sites_are_counted_together(run: Path, folder: Path) -> None:
    common = TrainSettings(features=True, mlflow=False, classes_per_task="all")
    second = train(write(folder / "bc.npz", "bc", seed=5), folder / "bc", common)
    combine(run, second, folder / "shared", same_classes=True, mlflow=False)
    counts = load_learnt(folder / "shared").state["handlers"]["AnalyticHeads"]["statistics"]["counts"]
    assert counts.tolist() == [24, 48, 24]


def test_what_does_not_fit_is_one_sentence(run: Path, folder: Path, tmp_path: Path) -> None:
    wide = tmp_path / "wide.npz"
    np.savez(wide, features=np.ones((2, 3)), ids=["x", "y"], labels=["e", "e"])
    with pytest.raises(UserError, match="have 3 features, but the model has learnt 6"):
        learn(run, wide, tmp_path / "out", OF_VECTORS)
    with pytest.raises(UserError, match="is what the model was trained on"):
        learn(run, folder / "ab.npz", tmp_path / "out", OF_VECTORS)
    copied = tmp_path / "copied.npz"
    np.savez(copied, **np.load(folder / "ab.npz"))
    with pytest.raises(UserError, match="vectors are both to be learnt and to be tested"):
        learn(run, copied, tmp_path / "out", OF_VECTORS)
    with pytest.raises(UserError, match="has learnt embeddings, not images"):
        learn(run, tmp_path, tmp_path / "out", LearnSettings(mlflow=False))


def test_vectors_of_another_encoder_are_refused(tmp_path: Path) -> None:
    common = TrainSettings(features=True, mlflow=False, classes_per_task="all")
    first = train(write(tmp_path / "ab.npz", "ab", encoder=np.array("one")), tmp_path / "ab", common)
    other = write(tmp_path / "cd.npz", "cd", encoder=np.array("other"))
    with pytest.raises(UserError, match="with another encoder"):
        learn(first, other, tmp_path / "out", OF_VECTORS)
    with pytest.raises(UserError, match="differ in the encoder that made the vectors"):
        combine(first, train(other, tmp_path / "cd", common), tmp_path / "both", mlflow=False)
