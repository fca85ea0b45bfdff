from pathlib import Path

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
