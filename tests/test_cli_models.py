import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import Trained

from dynammo.cli import main
from dynammo.cli_models import history


def test_history_takes_the_model_by_its_one_name(trained: Trained, capsys: pytest.CaptureFixture[str]) -> None:
    model = trained()
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(["history", "-m", str(model)])
    typed = capsys.readouterr().out
    history(model)
    assert not stopped.value.code and typed == capsys.readouterr().out and "learnt" in typed


@pytest.mark.parametrize("command", ["learn", "forget", "history", "export", "label-app", "deploy-app"])
def test_every_command_calls_a_model_the_same(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert "--model" in (said := capsys.readouterr().out) and "-m" in said


def test_a_model_that_is_not_there_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["history", "-m", str(tmp_path)])
    assert stopped.value.code == 1 and capsys.readouterr().err.count("\n") == 1


def as_json(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, Any]:
    """Exit status of a command with --json, and what is on its stdout."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main([*words, "--json"])
    return int(stopped.value.code or 0), json.loads(capsys.readouterr().out)


def test_programs_read_models_history_and_doctor(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DYNAMMO_MODELS", raising=False)
    assert as_json(["models"], capsys) == (0, [])
    shutil.copytree(trained(), tmp_path / "runs" / "tiny")
    (tmp_path / "runs" / "bad").mkdir()
    for name in ("run.json", "model.pt"):
        (tmp_path / "runs" / "bad" / name).write_text("{")
    status, (good, bad) = as_json(["models"], capsys)
    record = json.loads((trained() / "run.json").read_text())
    assert (status, good["path"], good["default"], good["fault"]) == (0, "runs/tiny", True, "")
    assert (good["classes"], good["mean_class_recall"]) == (
        record["classes"],
        record["metrics"]["last_mean_class_recall"],
    )
    assert (bad["path"], bad["default"]) == ("runs/bad", False) and "run.json" in bad["fault"]
    status, events = as_json(["history", "-m", "runs/tiny"], capsys)
    assert status == 0 and [event["classes"] for event in events] == record["tasks"]
    status, found = as_json(["doctor"], capsys)
    states = {check["name"]: check["state"] for check in found["checks"]}
    assert status == 0 and found["classification_would_work"] and states["model"] == "ok"
    shutil.rmtree(tmp_path / "runs")
    status, found = as_json(["doctor"], capsys)
    assert status == 1 and not found["classification_would_work"]


def test_programs_read_measures(trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [str(trained(method)) for method in ("dynammo", "finetune")]
    status, found = as_json(["compare", *runs, "-o", str(tmp_path / "out")], capsys)
    assert status == 0 and found == json.loads((tmp_path / "out" / "comparison.json").read_text())
    status, measured = as_json(["evaluate", runs[0]], capsys)
    record = json.loads((trained() / "run.json").read_text())
    assert (status, measured["images"]) == (0, 12)
    assert (
        measured["confusion"] == record["results"][-1]["confusion"] and list(measured["recalls"]) == record["classes"]
    )
