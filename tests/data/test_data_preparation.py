from pathlib import Path

import pytest
from synthetic.datasets import ROOT

from dynammo.data.data_preparation import data_commands, run_data_command
from dynammo.errors import UserError


def test_every_module_with_a_command_line_is_a_command() -> None:
    files = [*(ROOT / "data_prep").glob("*.py"), *(ROOT / "data_prep").glob("*/__main__.py")]
    with_app = [file for file in files if "\napp = typer.Typer(" in file.read_text()]
    assert sorted(data_commands()) == sorted(f.parent.name if f.stem == "__main__" else f.stem for f in with_app)


@pytest.mark.parametrize("name", data_commands())
def test_each_of_them_runs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        run_data_command(name, ["--help"])
    assert end.value.code == 0 and f"Usage: dynammo data {name} " in capsys.readouterr().out


def test_arguments_and_statuses_are_those_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["-o", str(tmp_path / "data"), "--train", "1", "--test", "1", "--size", "48", "--only", "histology"]
    with pytest.raises(SystemExit) as end:
        run_data_command("phantoms", small)
    assert end.value.code == 0 and len(list(tmp_path.rglob("*.png"))) == 16
    with pytest.raises(SystemExit) as end:
        run_data_command("image_folder", ["-i", str(tmp_path / "nowhere"), "-o", str(tmp_path / "list")])
    assert end.value.code == 1 and "nowhere" in capsys.readouterr().err


def test_an_unknown_one_gets_a_sentence() -> None:
    with pytest.raises(UserError, match=r"prepared by 'isic2018'; did you mean isic2019\?"):
        run_data_command("isic2018", [])
    with pytest.raises(UserError, match=r"by 'x'; expected phantoms, image_folder, .*med31\."):
        run_data_command("x", [])
