"""The commands of docs/embeddings.md and docs/backbones.md run as typed, with a tiny transformer on tiny images."""

import json
import shlex
import shutil
from pathlib import Path

import pytest
from synthetic.datasets import write_image
from synthetic.encoders import hugging_face
from synthetic.pages import commands_of
from synthetic.runs import without_plots
from typer.testing import CliRunner

from dynammo.cli import app
from dynammo.runs.load import load_model

COLOURS = {"images": ("blue", "green", "red"), "more_images": ("white",), "other_images": ("red", "white")}


def run_as_typed(command: str) -> None:
    name, *words = shlex.split(command)
    assert name == "dynammo"
    more = ["--no-mlflow"] if words[0] in ("train", "learn", "forget", "combine") else []
    result = CliRunner().invoke(app, [*words, *more])
    assert result.exit_code == 0, (command, result.output, result.exception)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an encoder, folders of images of different classes, and vectors of them."""
    pytest.importorskip("transformers", reason="encoders of others need transformers")
    without_plots(monkeypatch)
    monkeypatch.chdir(tmp_path)
    hugging_face("vit", tmp_path / "FOLDER")
    seed = 0
    for folder, colours in COLOURS.items():
        for colour in colours:
            name = "NAME" if folder == "more_images" else f"{colour}_of_others" if "other" in folder else colour
            for number in range(10):
                seed += 1
                write_image(tmp_path / folder / name / f"{folder}_{number}.png", colour, seed)
    for folder, file in (("more_images", "more.npz"), ("other_images", "others.npz"), ("images", "new.npz")):
        run_as_typed(f"dynammo features {folder} -o {file} --backbone hf:FOLDER")
    return tmp_path


def test_commands_of_embeddings_run_as_typed(place: Path) -> None:
    commands = commands_of("docs/embeddings.md")
    (made,) = (command for command in commands if command.startswith("dynammo features"))
    run_as_typed(made)
    run_as_typed("dynammo train --features others.npz -o runs/elsewhere")
    shutil.copytree(place / "images", place / "test_images")
    for number, file in enumerate(sorted((place / "test_images").rglob("*.png"))):
        write_image(file, file.parent.name, 1000 + number)  # other images of the same classes
    run_as_typed("dynammo features test_images -o test.npz --backbone hf:FOLDER")
    for command in commands:
        run_as_typed(command)
    classes = {file.parent.name: json.loads(file.read_text())["classes"] for file in place.glob("runs/*/run.json")}
    assert classes["slides"] == ["blue", "green", "red"] == classes["slides3"]
    assert classes["slides2"] == [*classes["slides"], "NAME"]
    assert classes["both"] == [*classes["slides"], "red_of_others", "white_of_others"]
    assert (place / "results" / "predictions.csv").is_file()
    assert json.loads((place / "dist" / "head" / "head.json").read_text())["classes"] == classes["slides"]


def test_commands_of_backbones_run_as_typed(place: Path) -> None:
    for command in commands_of("docs/backbones.md"):
        run_as_typed(command)
    assert load_model(place / "runs" / "images_analytic").record["classes"] == ["blue", "green", "red"]
