"""What a person reads while a run learns, and at its end."""

import io
import math
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from synthetic.runs import make_trainer

from dynammo.runs.console import PrintTaskTable, percent

pytestmark = pytest.mark.usefixtures("in_root", "no_plots")


def test_a_fraction_of_nothing_is_a_dash() -> None:
    assert [percent(value) for value in (0.1234, 1, math.nan)] == ["12.3", "100.0", "-"]


def test_a_line_for_every_task_and_a_table_at_the_end(tiny_data: Path, tmp_path: Path) -> None:
    trainer = make_trainer(tiny_data, tmp_path / "run", epochs=1)
    printed = PrintTaskTable("the folder")
    printed.console = Console(file=io.StringIO(), width=200)
    printed.attach(trainer)
    trainer.learn()
    text = printed.console.file.getvalue()  # type: ignore[attr-defined]
    first, *lines = text.splitlines()
    assert first.startswith("4 classes in 3 tasks, 24 training, 12 test images, about ")
    for number, names in enumerate(("blue, green", "red", "white"), start=1):
        (line,) = [line for line in lines if line.startswith(f"task {number}/3")]
        result = trainer.results[number - 1]
        assert line.endswith(names) and f"accuracy {percent(result.accuracy):>5} %" in line
    assert "cost of one image" in text and "images kept" in text
    assert text.rstrip().endswith("all files are in the folder: model.pt, run.json, plots")


def test_the_last_figures_say_of_how_many_classes_they_are(tiny_data: Path, tmp_path: Path) -> None:
    trainer = make_trainer(tiny_data, tmp_path / "run", epochs=1)
    printed = PrintTaskTable("the folder")
    printed.console = Console(file=io.StringIO(), width=200)
    printed.attach(trainer)
    trainer.learn()
    trainer.results[-1] = replace(trainer.results[-1], confusion=[[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0] * 4])
    printed._table(trainer)
    lines = printed.console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    last = [line for line in lines if line.startswith("last mean class recall")]
    assert last[0].endswith("%") and last[1].endswith("% on 3 of 4 classes")
