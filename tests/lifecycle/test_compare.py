"""Finished runs side by side: what is refused, what is said, and what the table, the figure and the files hold."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console
from synthetic.lifecycle import exported
from synthetic.records import RECORD, edit, write_run

from dynammo.errors import UserError
from dynammo.lifecycle import compare as module
from dynammo.lifecycle.compare import MEASURES, Comparison, compare, comparison_figure, print_comparison
from dynammo.runs.record import UNFINISHED

Make = Callable[..., Path]
TASKS = [["BCC", "BKL"], ["MEL", "NV"]]
COST = {"gmac_per_image": 0.3, "gmac_backbone": 0.2, "images_kept": 40, "train_seconds": 61.4, "state_bytes": 7.25e6}


def result(recall: float | None, counts: Sequence[int]) -> dict[str, Any]:
    confusion = [[count if i == j else 0 for j in range(len(counts))] for i, count in enumerate(counts)]
    return {"mean_class_recall": recall, "accuracy": recall, "ece": 0.1, "confusion": confusion}


def finished(
    folder: Path,
    method: str = "dynammo",
    recalls: Sequence[float | None] = (0.8, 0.5),
    **changes: Any,  # noqa: ANN401
) -> Path:
    """A made-up run of two tasks with ten test images of each class."""
    tasks = changes.get("tasks", TASKS)
    seen = [sum(map(len, tasks[: i + 1])) for i in range(len(tasks))]
    counts = changes.pop("counts", [10] * seen[-1])
    results = [result(recall, counts[:count]) for recall, count in zip(recalls, seen, strict=True)]
    known = [value for value in recalls if value is not None]
    metrics = {
        "average_mean_class_recall": sum(known) / len(known), "last_mean_class_recall": recalls[-1], "forgetting": 0.125
    }  # fmt: skip
    settings = {
        **RECORD["config"],
        "architecture": "resnet18",
        "stages": 3,
        "method": method,
        "epochs": 15,
        **changes.pop("config", {}),
    }
    about = {"tasks": tasks, "tasks_learnt": len(tasks), "classes": [name for task in tasks for name in task]}
    network = {**RECORD["network"], "heads": [len(task) for task in tasks]}
    about |= {"method": method, "results": results, "metrics": metrics, "cost": COST, "network": network}
    return write_run(folder, **{**about, "config": settings, "test_images": "a" * 64, **changes})


def names(comparison: Comparison) -> list[str]:
    return [row.name for row in comparison.rows]


def printed(comparison: Comparison, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Lines of the table."""
    console = Console(file=io.StringIO(), width=200)
    monkeypatch.setattr(module, "Terminal", lambda **_: console)
    print_comparison(comparison)
    lines: list[str] = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    return lines


def test_recall_of_a_part_of_the_classes_is_not_shown_as_the_models(tmp_path: Path) -> None:
    runs = [finished(tmp_path / method, method, counts=[10, 0, 10, 10]) for method in ("dynammo", "light")]
    notes = compare(runs).notes
    assert notes[0] == "recall is that of 3 of 4 classes, of which there are test images."
    whole = [finished(tmp_path / f"{method}_whole", method) for method in ("dynammo", "light")]
    assert not any("recall is that of" in note for note in compare(whole).notes)


def test_trained_runs_are_compared(made: Make, tmp_path: Path) -> None:
    runs = [made("blue,green red", method) for method in ("analytic", "finetune")]
    comparison = compare(runs, tmp_path / "out")
    assert names(comparison) == ["analytic", "finetune"]
    assert (comparison.classes, comparison.test_images) == (("blue", "green", "red"), 9)
    assert not any("test images" in note or "order" in note for note in comparison.notes)
    for row, run in zip(comparison.rows, runs, strict=True):
        record = json.loads((run / "run.json").read_text())
        assert row.classes_seen == (2, 3)
        assert [spread.mean for spread in row.recalls] == [r["mean_class_recall"] for r in record["results"]]
        assert row.measures["forgetting"].mean == record["metrics"]["forgetting"]
        expected = record["cost"]["gmac_per_image"] / record["cost"]["gmac_backbone"]
        assert row.measures["cost_ratio"].mean == pytest.approx(expected)
        assert row.measures["train_seconds"].mean == record["cost"]["train_seconds"]
    other = made("blue,green,red", "analytic")
    assert any("in other tasks" in note for note in compare([runs[0], other]).notes)


def test_an_exported_bundle_is_compared_by_its_record(made: Make, tmp_path: Path) -> None:
    run = made("blue,green red", "analytic")
    comparison = compare([run, exported(run, tmp_path / "bundle")])
    assert [row.name.split("/")[-1] for row in comparison.rows] == ["run", "bundle"]
    assert comparison.rows[0].measures == comparison.rows[1].measures and not comparison.notes


def test_files_hold_what_was_measured(tmp_path: Path) -> None:
    runs = [finished(tmp_path / "a"), finished(tmp_path / "b", "=finetune", (0.7, 0.25))]
    comparison = compare(runs, tmp_path / "out")
    with Image.open(tmp_path / "out" / "comparison.png") as image:
        assert image.format == "PNG"
    rows = list(csv.DictReader((tmp_path / "out" / "comparison.csv").open()))
    assert [row["name"] for row in rows] == ["dynammo", "'=finetune"], "no formula to a spreadsheet"
    assert [row["last_mean_class_recall"] for row in rows] == ["0.5", "0.25"]
    assert [row["last_mean_class_recall_deviation"] for row in rows] == ["", ""]
    kept = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert kept["rows"][1]["measures"].keys() == MEASURES.keys()
    assert [spread["mean"] for spread in kept["rows"][0]["recalls"]] == [0.8, 0.5]
    assert str(tmp_path) not in json.dumps(kept), "no folder of this machine"
    assert kept["test_images"] == comparison.test_images == 40


def test_the_table_says_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    comparison = compare([finished(tmp_path / "a"), finished(tmp_path / "b", "joint[0]\u202e", cost={})])
    first, second = [line for line in printed(comparison, monkeypatch) if "65.0" in line]
    assert first.split() == ["dynammo", "65.0", "50.0", "12.5", "1.50", "40", "61", "7.3"]
    assert second.split() == ["joint[0]\\u202e", "65.0", "50.0", "12.5", "-", "-", "-", "-"]
    assert capsys.readouterr().out == "4 classes, 40 test images; chance is 25.0 %.\n"


def test_seeds_of_a_method_are_one_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [finished(tmp_path / f"seed{i}", recalls=(0.8, last), seed=i) for i, last in enumerate((0.4, 0.5, 0.6))]
    comparison = compare([*runs, finished(tmp_path / "c", "finetune")])
    assert names(comparison) == ["dynammo", "finetune"]
    several = comparison.rows[0]
    assert (several.seeds, several.runs) == ((0, 1, 2), ("seed0", "seed1", "seed2"))
    last = several.measures["last_mean_class_recall"]
    assert (last.mean, last.deviation) == (pytest.approx(0.5), pytest.approx(0.1))
    lines = printed(comparison, monkeypatch)
    (place,) = [i for i, line in enumerate(lines) if "dynammo (3 seeds)" in line]
    assert lines[place].split()[3:] == ["65.0", "50.0", "12.5", "1.50", "40", "61", "7.3"]
    assert lines[place + 1].split() == ["±", "5.0", "±", "10.0"], "of what varies"
    assert "Mean ± standard deviation" in capsys.readouterr().out
    (band,) = comparison_figure(comparison).axes[0].collections
    assert band.get_paths()[0].get_extents().y0 == pytest.approx(40)


@pytest.mark.parametrize(
    ("change", "note"),
    [({}, ""), ({"config": {"epochs": 30}, "seed": 1}, "a, b are all dynammo and differ in epochs.")],
)
def test_a_method_that_repeats_is_named_by_its_folders(tmp_path: Path, change: dict[str, Any], note: str) -> None:
    comparison = compare([finished(tmp_path / "a"), finished(tmp_path / "b", **change)])
    assert names(comparison) == ["a", "b"]
    assert list(comparison.notes) == ([note] if note else [])


def test_folders_that_repeat_are_named_with_what_holds_them(tmp_path: Path) -> None:
    comparison = compare([finished(tmp_path / "a" / "run"), finished(tmp_path / "b" / "run")])
    assert names(comparison) == ["a/run", "b/run"]
    clash = [finished(tmp_path / "light"), finished(tmp_path / "x"), finished(tmp_path / "c", "light")]
    assert names(compare(clash)) == ["light", "x", "c"], "a folder that is called like a method"


def test_what_may_differ_is_said(tmp_path: Path) -> None:
    other = finished(
        tmp_path / "b", "finetune", tasks=[TASKS[1], TASKS[0]],
        test_images=None, machine="another", config={"image_size": 64, "weights": "/home/me/w.pt", "recipe": {}},
    )  # fmt: skip
    notes = compare([finished(tmp_path / "a"), other]).notes
    assert notes[0] == "b learnt the classes in another order than a."
    assert notes[1].startswith("not all records say which test images were used")
    assert notes[2:4] == (
        "the runs differ in image_size (a: 32; b: 64).", "the runs differ in weights (a: None; b: w.pt)."
    )  # fmt: skip
    assert notes[4:] == (
        "not all records say how images were prepared, or on which backbone.",
        "learning times were not taken on the same machine.",
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tasks": [["BCC", "BKL"], ["MEL", "DF"]]}, r"a and b know other classes \(only a has NV; only b has DF\)"),
        ({"counts": [10, 9, 10, 10]}, r"tested on other numbers of images \(BKL 10 and 9\); compare runs on the same"),
        ({"test_images": "b" * 64}, "a and b were tested on other images, whose names or sizes differ"),
        ({"counts": [0] * 4}, "b was tested on no image"),
        ({"tasks_learnt": 1}, "has learnt 1 of 2 tasks; finish it first"),
        ({"results": []}, "damaged"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    runs = [finished(tmp_path / "a"), finished(tmp_path / "b", **change)]
    with pytest.raises(UserError, match=message):
        compare(runs, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_folders_without_a_finished_run_are_refused(tmp_path: Path) -> None:
    run = finished(tmp_path / "a")
    with pytest.raises(UserError, match=r"1 runs were given.*at least two"):
        compare([run])
    with pytest.raises(UserError, match=r"a is given twice"):
        compare([run, run / ".." / "a"])
    with pytest.raises(UserError, match=r"there is no finished run in .*nothing"):
        compare([run, tmp_path / "nothing"])
    other = finished(tmp_path / "b", "finetune")
    (other / UNFINISHED).write_text("{}")
    with pytest.raises(UserError, match=r"the training of .*b is not finished"):
        compare([run, other])
    (other / UNFINISHED).unlink()
    record = json.loads((other / "run.json").read_text())
    del record["method"]
    (other / "run.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="lacks method"):
        compare([run, other])


def test_what_was_not_measured_stays_open(tmp_path: Path) -> None:
    runs = [finished(tmp_path / "a"), finished(tmp_path / "b", "finetune", (None, 0.25))]
    edit(runs[1] / "run.json", metrics=None)
    comparison = compare(runs, tmp_path / "out")
    assert comparison.rows[1].measures["forgetting"].mean is None
    assert [spread.mean for spread in comparison.rows[1].recalls] == [None, 0.25]
    assert (tmp_path / "out" / "comparison.png").is_file()


def test_the_figure_has_a_curve_for_every_run_and_chance(tmp_path: Path) -> None:
    comparison = compare([finished(tmp_path / "a"), finished(tmp_path / "b", "finetune", (0.8, 0.25))])
    written = [text.get_text() for text in comparison_figure(comparison).axes[0].texts]
    assert sorted(written) == ["chance  25.0 %", "dynammo  50.0 %", "finetune  25.0 %"]
