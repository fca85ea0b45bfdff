from pathlib import Path

import pytest
from synthetic.datasets import ROOT

from dynammo.cli import main
from dynammo.cli_training import config


def test_a_dry_run_says_what_would_be_done(tiny_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["train", str(tiny_data), "--weights", "first_task", "--image_size", "32", "--dry-run", "-o", "out"])
    out = capsys.readouterr().out
    assert not stopped.value.code and "4 classes in 2 tasks" in out and out.endswith("goes to out\n")


def test_a_mistake_is_one_sentence(tiny_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["train", str(tiny_data), "--set", "image_sise=32"])
    err = capsys.readouterr().err
    assert stopped.value.code == 1 and "did you mean image_size" in err and err.count("\n") == 1


def test_a_config_is_found_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    config("train")
    assert capsys.readouterr().out == f"{ROOT / 'bundle' / 'configs' / 'train.yaml'}\n"


def test_help_of_data_and_of_what_it_prepares(capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in ((["data", "--help"], "Prepare a public data set"), (["data", "phantoms", "--help"], "--only")):
        with pytest.raises(SystemExit) as stopped:
            main(words)
        assert not stopped.value.code
        assert said in capsys.readouterr().out
