"""A finished model as something that learns more: what it carries, what its history tells, what is refused."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from synthetic.lifecycle import exported, two_tasks

from dynammo.errors import UserError
from dynammo.lifecycle.learning_state import learning_state_of, load_learnt, sources_of
from dynammo.runtime.files import load_state, save_checkpoint, sha256

NAMES = ["blue", "green", "red"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed-form model of two tasks, trained on images in a folder named like a person."""
    return two_tasks(tmp_path_factory.mktemp("models"))


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(run, tmp_path / "copy")


def test_an_export_carries_little_and_no_path(run: Path) -> None:
    state = learning_state_of(run)
    content = io.BytesIO()
    torch.save(state, content)
    statistics = state["handlers"]["AnalyticHeads"]["statistics"]
    assert statistics["gram"].dim() == 1 and "backbone" not in state and "memory" not in state
    for name in (b"Mustermann", str(run.parent).encode(), b".png"):
        assert name not in content.getvalue()
    looks = state["handlers"]["FitOutOfDistribution"]
    for label in range(3):  # in no order that images had
        distances = looks["distances"][looks["labels"] == label]
        assert len(distances) == 6 and torch.equal(distances, distances.sort().values)


def test_an_export_is_the_run_it_came_from(run: Path, tmp_path: Path) -> None:
    mine, theirs = load_learnt(run), load_learnt(exported(run, tmp_path / "bundle"))
    assert (mine.classes, mine.tasks, mine.sha256) == (theirs.classes, theirs.tasks, theirs.sha256)
    for name, tensor in mine.state["backbone"].items():
        assert torch.equal(tensor, theirs.state["backbone"][name])
    grams = [m.state["handlers"]["AnalyticHeads"]["statistics"]["gram"] for m in (mine, theirs)]
    torch.testing.assert_close(grams[0], grams[1], atol=1e-12, rtol=1e-12)
    assert theirs.contribution(0) is None and sources_of(theirs) == []
    assert sources_of(mine) == [{"dataset_dir": str(run.parent / "Mustermann"), "data_list": None}]
    learning_state_of(tmp_path / "bundle")  # an export can be exported again


def unfinished(run: Path) -> None:
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "tasks_learnt": 1}))


def of_an_earlier_version(run: Path) -> None:
    state = load_state(run / "checkpoint.pt")
    del state["branch_count"]
    torch.save(state, run / "checkpoint.pt")
    (run / "checkpoint.pt.sha256").write_text(f"{sha256(run / 'checkpoint.pt')}  checkpoint.pt\n")


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (lambda run: shutil.rmtree(run), "there is no trained model in"),
        (unfinished, "has learnt 1 of 2 tasks; finish it first"),
        (lambda run: (run / "checkpoint.pt.sha256").unlink(), "has no checkpoint.pt with its checksum"),
        (lambda run: (run / "checkpoint.pt").write_bytes(b"nothing"), "damaged or gone"),
        (lambda run: (run / "model.pt").write_bytes(b"nothing"), "is not the file that run.json describes"),
        (of_an_earlier_version, "was made by an earlier version of dynammo"),
    ],
)
def test_what_cannot_learn_more_is_explained(copy: Path, harm: Callable[[Path], object], sentence: str) -> None:
    harm(copy)
    with pytest.raises(UserError, match=sentence):
        load_learnt(copy)


def test_settings_that_came_later_have_a_default(copy: Path) -> None:
    record = json.loads((copy / "run.json").read_text())
    del record["config"]["head_images"], record["config"]["architecture"]
    (copy / "run.json").write_text(json.dumps(record))
    model = load_learnt(copy)
    assert model.setting("head_images") == "balanced" and model.setting("exemplars") == 0
    with pytest.raises(UserError, match="made by an earlier version"):
        model.setting("architecture")


def test_exports_that_cannot_learn_say_why(run: Path, tmp_path: Path) -> None:
    models = exported(run, tmp_path / "bundle") / "models"
    (models / "learning.pt").write_bytes((models / "learning.pt").read_bytes() + b"x")
    with pytest.raises(UserError, match=r"learning.pt is not the file that run.json describes"):
        load_learnt(models)
    (models / "learning.pt").unlink()
    with pytest.raises(UserError, match=r"exported without learning.pt, so it can predict but not learn"):
        load_learnt(models)
    with pytest.raises(UserError, match="is a TorchScript file, which can only predict"):
        load_learnt(models / "model.ts")


@pytest.mark.parametrize(
    "arguments",
    [
        ["learn", "--model", "nowhere", "--input", "nowhere", "-o", "out"],
        ["forget", "--model", "nowhere", "--task", "1", "-o", "out"],
        ["history", "--model", "nowhere"],
        ["combine", "nowhere", "neither", "-o", "out"],
    ],
)
def test_commands_end_in_one_sentence(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from dynammo.cli import main

    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    error = capsys.readouterr().err
    assert stopped.value.code == 1 and error.startswith("error: there is no") and error.count("\n") == 1


def test_a_checkpoint_of_another_run_is_refused(copy: Path, tmp_path: Path) -> None:
    state = load_state(copy / "checkpoint.pt")
    save_checkpoint(copy, "checkpoint", {**state, "run": "another"})
    with pytest.raises(UserError, match=r"checkpoint.pt is not that of the run that run.json describes"):
        load_learnt(copy)
    record = json.loads((copy / "run.json").read_text())
    del record["run"]  # as before 0.3
    (copy / "run.json").write_text(json.dumps(record))
    load_learnt(copy)
    save_checkpoint(copy, "checkpoint", {**state, "results": state["results"][:1]})
    with pytest.raises(UserError, match=r"checkpoint.pt is not that of the run"):
        load_learnt(copy)


def test_a_learning_state_that_its_record_does_not_list_is_refused(run: Path, tmp_path: Path) -> None:
    models = exported(run, tmp_path / "bundle") / "models"
    record = json.loads((models / "run.json").read_text())
    del record["files"]["learning.pt"]
    (models / "run.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"learning.pt is not the file that run.json describes"):
        load_learnt(models)


def test_paths_are_found_from_another_folder(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = shutil.copytree(run, tmp_path / "project" / "runs" / "one")
    image = Path("data/train/blue/1.tif")
    for place in ("project", "trained", "here"):
        (tmp_path / place / image).parent.mkdir(parents=True)
        (tmp_path / place / image).touch()
    monkeypatch.chdir(tmp_path / "here")
    record = json.loads((copy / "run.json").read_text())
    record["config"]["dataset_dir"] = "data"
    (copy / "run.json").write_text(json.dumps(record))
    state = {**load_state(copy / "checkpoint.pt"), "memory": {"0": [[f"{image}#2", str(image)]]}}

    def found(**more: str) -> list[str]:
        save_checkpoint(copy, "checkpoint", {**state, **more})
        model = load_learnt(copy)
        return [*model.state["memory"]["0"][0], sources_of(model)[0]["dataset_dir"]]

    trained, around = tmp_path / "trained", tmp_path / "project"
    assert found(place=str(trained)) == [f"{trained / image}#2", str(trained / image), str(trained / "data")]
    assert found(place=str(tmp_path / "gone")) == [f"{image}#2", str(image), "data"]
    shutil.rmtree(tmp_path / "here" / "data")
    assert found(place=str(tmp_path / "gone"))[:2] == [f"{around / image}#2", str(around / image)]
    assert "place" in load_learnt(copy).state and "place" not in learning_state_of(copy)
