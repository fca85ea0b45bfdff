import json
import sys
from pathlib import Path
from typing import Annotated

import pytest
import typer

from dynammo.cli import main
from dynammo.cli_options import Json, command, print_json


def typed(*words: str) -> dict[str, object]:
    """What a command gets of what is typed."""
    got: dict[str, object] = {}

    def learn(
        data: Annotated[Path, typer.Option("--input", "-i")] = Path(),
        values: Annotated[list[str] | None, typer.Option("--set")] = None,
        fresh: Annotated[bool, typer.Option("--fresh")] = False,
        device: str = "auto",
    ) -> None:
        """Learn."""
        got.update(data=data, values=values or [], fresh=fresh, device=device)
        print("done")

    app = typer.Typer()
    app.callback()(lambda: None)
    command(app, "Panel", learn)
    with pytest.raises(SystemExit) as stopped:
        app(["learn", *words])
    assert not stopped.value.code
    return got


def test_options_of_before_work_and_say_the_new_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert typed("--data", "new")["data"] == Path("new") == typed("--data=new")["data"]
    assert "note: --data is called --input now" in capsys.readouterr().err
    assert typed("-i", "new")["data"] == Path("new") and capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("words", "values", "fresh"),
    [
        (["--set", "seed=1", "--image_size", "96"], ["seed=1", "image_size=96"], False),
        (["--image-size=96", "--skip_unreadable"], ["image_size=96", "skip_unreadable=true"], False),
        (["--fresh", "True"], [], True),
        (["--fresh", "--device", "cpu"], [], True),
        (["--fresh=False"], [], False),
        (["--milestones", "[8, 12]"], ["milestones=[8, 12]"], False),
    ],
)
def test_settings_are_taken_as_the_bundle_takes_them(words: list[str], values: list[str], fresh: bool) -> None:
    got = typed(*words)
    assert (got["values"], got["fresh"]) == (values, fresh)


def test_quiet_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout
    typed("-q")
    sys.stdout = before
    assert capsys.readouterr().out == ""
    typed()
    assert capsys.readouterr().out == "done\n"


def test_quiet_ends_with_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["config", "train", "-q"], ["config", "train"]):
        with pytest.raises(SystemExit):
            main(words)
    assert capsys.readouterr().out.count("train.yaml") == 1


def test_json_stands_alone_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    def measure(as_json: Json = False) -> None:
        """Measure."""
        print("measuring ...")
        if as_json:
            print_json({"recall": 0.5, "spread": float("nan"), "classes": ("a\x1b[2J", "ü")})

    app = typer.Typer()
    app.callback()(lambda: None)
    command(app, "Panel", measure)
    for words in (["--json"], ["--json", "-q"], ["-q", "--json"]):
        before = sys.stdout
        with pytest.raises(SystemExit) as stopped:
            app(["measure", *words])
        sys.stdout = before
        out, err = capsys.readouterr()
        assert not stopped.value.code and json.loads(out)["classes"] == ["a\x1b[2J", "ü"] and "\x1b" not in out
        assert json.loads(out)["spread"] is None and err == ("" if "-q" in words else "measuring ...\n")
