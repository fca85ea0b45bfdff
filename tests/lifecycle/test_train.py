import json
from pathlib import Path

import pytest
from synthetic.datasets import CLASSES, TINY, write_image

import dynammo
from dynammo.cli import main
from dynammo.errors import UserError
from dynammo.lifecycle.train import train, train_methods
from dynammo.lifecycle.training_plan import TrainSettings

SETTINGS = TrainSettings(weights="first_task", values={k: v for k, v in TINY.items() if k != "weights"}, mlflow=False)


def test_class_folders_are_divided_learnt_and_recorded(
    tmp_path: Path, no_plots: None, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, colour in enumerate(CLASSES[:3]):
        for i in range(6):
            write_image(tmp_path / "data" / colour / f"{i}.png", colour, 10 * number + i)
    out = train(tmp_path / "data", tmp_path / "run", SETTINGS)
    assert out == tmp_path / "run" and f"-m {out}" in capsys.readouterr().out
    record = json.loads((out / "run.json").read_text())
    assert record["method"] == "analytic" and record["tasks"] == [["blue", "green", "red"]]
    rows = json.loads(Path(record["config"]["data_list"]).read_text())
    assert len(rows) == 18 and {(r["label"], r["split"]) for r in rows} == {
        (colour, split) for colour in CLASSES[:3] for split in ("train", "test")
    }
    model = (out / "model.pt").read_bytes()
    assert train(tmp_path / "data", tmp_path / "run", SETTINGS) == out and "already finished" in capsys.readouterr().out
    write_image(tmp_path / "data" / "red" / "more.png", "red", 99)
    with pytest.raises(UserError, match=r"finished run with other settings \(data_list"):
        train(tmp_path / "data", tmp_path / "run", SETTINGS)
    assert (out / "model.pt").read_bytes() == model


def test_a_dry_run_does_nothing(tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tiny_data, tmp_path / "run", SETTINGS, dry_run=True) == tmp_path / "run"
    assert not (tmp_path / "run").exists() and "nothing was done" in capsys.readouterr().out


def test_a_class_name_is_no_code(tmp_path: Path, no_plots: None) -> None:
    names = ("$__import__('os').system('touch ran')", "@rest")
    for number, name in enumerate(names):
        for i in range(4):
            write_image(tmp_path / "data" / name / f"{i}.png", CLASSES[number], 10 * number + i)
    out = train(tmp_path / "data", tmp_path / "run", SETTINGS)
    assert json.loads((out / "run.json").read_text())["classes"] == sorted(names)
    assert not list(tmp_path.rglob("ran")) and not Path("ran").exists()


def test_methods_are_trained_once_and_compared(
    tiny_data: Path, tmp_path: Path, no_plots: None, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compare", str(tiny_data), "--methods", "finetune,analytic", "-o", str(tmp_path), "--no-mlflow"]
    words += [word for name, value in TINY.items() for word in (f"--{name}", str(value))]
    for _ in range(2):
        with pytest.raises(SystemExit) as stopped:
            main(words)
        assert not stopped.value.code
    out = capsys.readouterr().out
    assert out.count("already finished") == 2 and out.count("chance is 25.0 %") == 2
    assert (tmp_path / "comparison.png").is_file()
    found = dynammo.compare([tmp_path / "finetune", tmp_path / "analytic"])
    assert [row.method for row in found.rows] == ["finetune", "analytic"]
    with pytest.raises(UserError, match="is one method"):
        train_methods(tiny_data, ["analytic", "analytic"], tmp_path, SETTINGS)
